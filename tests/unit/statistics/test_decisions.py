"""Posterior, guardrails, families and planning: known values and refusals."""

import numpy as np
import pytest
from scipy import integrate, stats

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

PLAN = {"harm_alpha": 0.05, "pass_alpha": 0.05, "planned_n": 5000}


def test_expected_losses_are_the_integrals() -> None:
    found = st.normal_posterior(st.effect(0.4, 1.3, n_control=50, n_treatment=50), alpha=0.05)
    density = stats.norm(0.4, 1.3).pdf
    choosing = integrate.quad(lambda d: max(-d, 0.0) * density(d), -15, 0)[0]
    staying = integrate.quad(lambda d: max(d, 0.0) * density(d), 0, 15)[0]
    assert float(found.loss_choosing) == pytest.approx(choosing, rel=1e-8)
    assert float(found.loss_staying) == pytest.approx(staying, rel=1e-8)


def test_a_prior_pulls_towards_its_mean_by_its_precision() -> None:
    found = st.normal_posterior(
        st.effect(1.0, 0.5, n_control=50, n_treatment=50), alpha=0.05, prior_mean=-1.0, prior_sd=1.0
    )
    assert float(found.mean) == pytest.approx((1 / 0.25 - 1) / (1 / 0.25 + 1), rel=1e-14)
    assert float(found.sd) == pytest.approx(5**-0.5, rel=1e-14)


def test_downward_metrics_swap_the_losses() -> None:
    effect = st.effect(0.3, 0.2, n_control=50, n_treatment=50)
    up, down = (st.normal_posterior(effect, alpha=0.05, direction=sign) for sign in (1, -1))
    assert float(down.loss_choosing) == pytest.approx(float(up.loss_staying), rel=1e-12)
    assert float(up.probability_to_beat + down.probability_to_beat) == pytest.approx(1.0, rel=1e-15)


def test_absolute_guardrail_of_a_rate() -> None:
    control = st.arm([20_000] * 3, [0.99] * 3, [0.0099] * 3)
    treatment = st.arm([20_000] * 3, [0.9905, 0.95, 0.986], [0.0095, 0.0475, 0.0138])
    found = st.guardrail_sequence(control, treatment, margin=0.005, relative=False, direction=1, **PLAN)
    assert found.passed.tolist() == [True, False, False]
    assert found.harmed.tolist() == [False, True, True]
    assert found.beyond.tolist() == [False, True, False]
    np.testing.assert_allclose(found.excess, np.array([-0.0005, 0.04, 0.004]) - 0.005, atol=1e-15)


@pytest.mark.parametrize(
    ("direction", "control", "treatment"), [(-1, 100.0, 104.0), (1, 100.0, 96.0), (1, -100.0, -104.0)]
)
def test_relative_guardrail_is_the_linear_form_in_every_direction(
    direction: int, control: float, treatment: float
) -> None:
    found = st.guardrail_sequence(
        st.arm(400, control, 50.0),
        st.arm(500, treatment, 60.0),
        margin=0.05,
        relative=True,
        direction=direction,
        **PLAN,
    )
    factor = treatment / control + (0.01 if abs(treatment) > abs(control) else -0.01)
    assert float(found.excess) == pytest.approx(-1.0, rel=1e-12)
    assert float(found.harm) == pytest.approx(4.0, rel=1e-12)
    assert float(found.excess_se) == pytest.approx(np.sqrt(60 / 500 + factor**2 * 50 / 400), rel=1e-12)


def test_a_guardrail_without_data_neither_passes_nor_harms() -> None:
    empty = st.arm([0, 50], [np.nan, 1.0], [np.nan, 0.0])
    found = st.guardrail_sequence(empty, empty, margin=0.05, relative=True, direction=-1, **PLAN)
    assert not found.passed.any()
    assert not found.harmed.any()
    assert not found.beyond.any()


def test_half_a_point_passes_after_790_failure_free_units_an_arm() -> None:
    n = np.arange(10, 2000, 10)
    found = st.rare_rate_guardrail(n, 0, n, 0, margin=0.005, alpha=0.05)
    assert n[found.passed][0] == 790


@pytest.mark.parametrize("margin", [0.0, -0.01, np.nan])
def test_margins_of_the_wrong_sign_are_refused(margin: float) -> None:
    with pytest.raises(ContractError) as caught:
        st.rare_rate_guardrail(10, 0, 10, 0, margin=margin, alpha=0.05)
    assert caught.value.where == "margin"


def test_a_member_that_could_not_be_tested_counts_in_its_family() -> None:
    np.testing.assert_allclose(st.holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])
    np.testing.assert_allclose(st.bonferroni([0.01, np.nan]), [0.02, np.nan])


def test_families_lie_along_the_last_axis() -> None:
    rows = np.array([[0.01, 0.04], [0.5, 0.02]])
    np.testing.assert_allclose(st.holm(rows), [st.holm(row) for row in rows])
    assert st.e_bh(np.log([[100.0, 1.0], [1.0, 1.0]]), alpha=0.05).tolist() == [[True, False], [False, False]]


def test_e_bh_rejects_nothing_of_an_empty_family() -> None:
    assert st.e_bh(np.empty((0,)), alpha=0.05).shape == (0,)


def test_p_values_outside_their_range_are_refused() -> None:
    with pytest.raises(ContractError, match="between 0 and 1"):
        st.holm([0.5, 1.5])


def test_growth_reaches_the_power_asked_for() -> None:
    effect = st.effect(0.0, 0.1, n_control=500, n_treatment=500)
    r2 = st.mixture_variance(5000, alpha=0.05)
    for tuning in (None, r2):
        found = st.remaining_units(effect, 0.1, alpha=0.05, power=0.9, r2=tuning)
        n = 500 * (1 + float(found.growth))
        later = st.effect(0.0, 0.1 / np.sqrt(1 + found.growth), n_control=round(n), n_treatment=round(n))
        assert float(st.remaining_units(later, 0.1, alpha=0.05, power=0.9, r2=tuning).power_now) == pytest.approx(
            0.9, abs=1e-3
        )
        assert float(found.units) == pytest.approx(1000 * float(found.growth))


def test_enough_is_zero_and_nothing_to_find_is_never() -> None:
    effect = st.effect(0.0, 0.1, n_control=500, n_treatment=500)
    found = st.remaining_units(effect, [5.0, 0.0, np.nan], alpha=0.05)
    np.testing.assert_array_equal(found.units, [0.0, np.inf, np.nan])


def test_conditional_power_at_the_end_is_the_answer() -> None:
    effect = st.effect([0.5, 0.1], 0.1, n_control=500, n_treatment=500)
    assert st.conditional_power(effect, 0.0, final_n=1000, alpha=0.05).tolist() == [1.0, 0.0]
