"""Sizes and powers before the start: against statsmodels' values, exact identities, and each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import special

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import FloatArray

ALPHA = 0.05


def unit(effect: float = 0.1) -> st.PlannedEffect:
    return st.planned_mean(1.0, effect)


def tuned(planned: st.PlannedEffect, alpha: float = ALPHA) -> float:
    return float(st.mixture_variance(st.fixed_units(planned, alpha=alpha, power=0.8), alpha=alpha))


# statsmodels 0.15.0.


@pytest.mark.parametrize(("n", "share", "power"), [(4000, 0.5, 0.5987860666410133), (2500, 0.2, 0.26137556629321324)])
def test_pooled_proportions_have_the_power_of_power_proportions_2indep(n: int, share: float, power: float) -> None:
    # power_proportions_2indep(0.02, 0.9, n * share, ratio=(1 - share) / share, alpha=0.05): first what differs.
    planned = st.planned_proportion(0.9, 0.02, share=share, test="pooled")
    assert float(st.fixed_power(planned, n, alpha=ALPHA)) == pytest.approx(power, rel=1e-9)


@pytest.mark.parametrize(("ratio", "first"), [(1, 3212.9370624961102), (4, 2054.093847880706)])
def test_pooled_proportions_have_the_size_of_samplesize_proportions_2indep(ratio: int, first: float) -> None:
    # samplesize_proportions_2indep_onetail(0.02, 0.9, 0.8, ratio, alpha=0.05) counts the sample that differs.
    planned = st.planned_proportion(0.9, 0.02, share=1 / (1 + ratio), test="pooled")
    n = float(st.fixed_units(planned, alpha=ALPHA, power=0.8))
    assert n / (1 + ratio) == pytest.approx(first, rel=1e-12)


def test_unequal_means_have_the_size_and_power_of_normal_ind_power() -> None:
    # NormalIndPower().solve_power(effect_size=0.1, alpha=0.05, power=0.8, ratio=4), far tail included.
    planned = st.planned_mean(1.0, 0.1, share=0.8)
    assert float(st.fixed_units(planned, alpha=ALPHA, power=0.8)) == pytest.approx(5 * 981.1075614775178, rel=5e-6)
    # .power(effect_size=0.1, nobs1=800, alpha=0.05, ratio=0.25)
    assert float(st.fixed_power(st.planned_mean(1.0, 0.1, share=0.2), 1000, alpha=ALPHA)) == pytest.approx(
        0.2441412070341405, rel=1e-9
    )


def test_the_detectable_effect_is_that_of_normal_ind_power() -> None:
    # NormalIndPower().solve_power(nobs1=2000, alpha=0.01, power=0.9, ratio=1), which stops its search at five digits.
    found = st.detectable_effect(
        lambda effect: st.fixed_power(st.planned_mean(1.0, effect), 4000, alpha=0.01), power=0.9, largest=1.0
    )
    assert float(found) == pytest.approx(0.12197923640334586, rel=2e-5)


def test_units_per_arm_are_half_of_both_arms() -> None:
    per_arm = st.required_units(1.0, 0.1, alpha=ALPHA, power=0.8)
    assert float(st.fixed_units(unit(), alpha=ALPHA, power=0.8)) == pytest.approx(2 * float(per_arm), rel=1e-14)


def test_the_guard_raises_the_small_arms_variance_to_the_pooled_one() -> None:
    planned = st.planned_proportion(0.9, 0.02, share=0.2, test="guarded")
    pooled = 0.8 * 0.09 + 0.2 * 0.0736
    assert float(planned.variance) == pytest.approx(0.09 / 0.8 + 0.0736 / 0.2, rel=1e-14)
    assert float(planned.test_variance) == pytest.approx(0.09 / 0.8 + pooled / 0.2, rel=1e-14)


def test_a_rate_that_cannot_be_is_no_plan() -> None:
    planned = st.planned_proportion(0.9, [0.1, 0.11, -0.9, -0.91])
    assert np.isnan(planned.effect).tolist() == [False, True, False, True]
    assert np.isnan(planned.variance).tolist() == [False, True, False, True]


def test_a_ratio_of_users_that_repeat_needs_more_than_its_requests_say() -> None:
    # A user's requests all fail or none: the variance is that of one request, times the size of users.
    variance = st.linearised_variance(2.0, 10.0, variance_m=16.0, variance_d=0.0, covariance=0.0)
    assert float(variance) == pytest.approx(0.2 * 0.8, rel=1e-14)
    moments = [2.0, 10.0, 16.0, 4.0, 1.0]
    for place in range(5):
        for broken in (np.nan, np.inf):
            m, d, v_m, v_d, cov = (broken if at == place else value for at, value in enumerate(moments))
            assert np.isnan(st.linearised_variance(m, d, variance_m=v_m, variance_d=v_d, covariance=cov))
    assert np.isnan(st.linearised_variance(1.0, 0.0, variance_m=1.0, variance_d=0.0, covariance=0.0))


def test_no_effect_is_never_found_by_any_size() -> None:
    assert st.fixed_units(unit(0.0), alpha=ALPHA, power=0.8) == np.inf
    assert st.sequential_units(unit(0.0), alpha=ALPHA, power=0.8, r2=0.01) == np.inf
    assert float(st.fixed_power(unit(0.0), 1000, alpha=ALPHA)) == pytest.approx(ALPHA, rel=1e-12)
    assert 0 < float(st.sequential_power(unit(0.0), 1000, alpha=ALPHA, r2=0.01).by_end) < ALPHA


def test_without_variance_or_plan_nothing_is_said() -> None:
    infinite = [
        unit()._replace(effect=np.array(np.inf)),
        unit()._replace(variance=np.array(np.inf)),
        unit()._replace(test_variance=np.array(np.inf)),
    ]
    plans = (st.planned_mean(0.0, 0.1), st.planned_mean(np.nan, 0.1), st.planned_mean(1.0, np.inf), *infinite)
    for planned in (*plans, st.planned_proportion(0.9, 0.2)):
        found = st.sequential_power(planned, 1000, alpha=ALPHA, r2=0.01)
        assert [bool(np.isnan(field)) for field in found] == [True] * 3
        assert np.isnan(st.sequential_units(planned, alpha=ALPHA, power=0.8, r2=0.01))
        assert np.isnan(st.fixed_power(planned, 1000, alpha=ALPHA))
        assert np.isnan(st.fixed_units(planned, alpha=ALPHA, power=0.8))
        assert np.isnan(st.group_units(planned, power=0.8, fractions=[0.5, 1.0], boundary=[2.8, 2.0]))
        assert np.isnan(st.group_power(planned, 1000, fractions=[0.5, 1.0], boundary=[2.8, 2.0])).all()


def test_the_sequence_needs_1_9_times_the_fixed_size_at_its_end_and_1_6_times_where_it_may_stop() -> None:
    planned = unit()
    fixed = float(st.fixed_units(planned, alpha=ALPHA, power=0.8))
    r2 = tuned(planned)
    assert float(st.sequential_power(planned, 1.94 * fixed, alpha=ALPHA, r2=r2).at_end) == pytest.approx(0.8, abs=0.001)
    most = st.sequential_units(planned, alpha=ALPHA, power=0.8, r2=r2)
    assert float(most) / fixed == pytest.approx(1.606, abs=0.002)
    assert float(st.sequential_units(planned, alpha=ALPHA, power=0.5, r2=r2)) / fixed == pytest.approx(0.915, abs=0.002)
    found = st.sequential_power(planned, most, alpha=ALPHA, r2=r2)
    assert float(found.mean_units) / fixed == pytest.approx(0.953, abs=0.002)


def test_power_at_the_end_is_that_of_the_running_tests_interval() -> None:
    now = st.effect(0.0, 1 / np.sqrt(750.0), n_control=1500, n_treatment=1500)
    running = st.remaining_units(now, 0.1, alpha=ALPHA, r2=0.002).power_now
    planned = st.sequential_power(unit(), 3000, alpha=ALPHA, r2=0.002).at_end
    assert float(planned) == pytest.approx(float(running), rel=1e-12)


@given(
    effect=some.floats(0.02, 0.5),
    share=some.floats(0.05, 0.95),
    alpha=some.sampled_from([0.05, 0.025, 0.01]),
    power=some.floats(0.3, 0.97),
    tightest=some.floats(0.3, 4.0),
    earliest=some.floats(0.0, 2.0),
)
def test_size_and_power_are_inverses(
    effect: float, share: float, alpha: float, power: float, tightest: float, earliest: float
) -> None:
    planned = st.planned_mean(1.0, effect, share=share)
    fixed = float(st.fixed_units(planned, alpha=alpha, power=0.8))
    r2, first = st.mixture_variance(tightest * fixed, alpha=alpha), earliest * fixed
    n = float(st.sequential_units(planned, alpha=alpha, power=power, r2=r2, earliest_n=first))
    found = st.sequential_power(planned, n, alpha=alpha, r2=r2, earliest_n=first)
    assert n >= first
    if n > first * (1 + 1e-9):
        assert float(found.by_end) == pytest.approx(power, abs=3e-4)
    assert float(found.by_end) >= float(found.at_end) - 1e-4
    assert float(found.mean_units) <= n


@given(some.floats(1e-6, 1e6), some.floats(0.05, 0.95))
def test_the_scale_of_a_metric_changes_no_size(scale: float, share: float) -> None:
    plain, scaled = st.planned_mean(2.0, 0.1, share=share), st.planned_mean(2.0 * scale**2, 0.1 * scale, share=share)
    r2 = tuned(plain)
    fixed = [float(st.fixed_units(planned, alpha=ALPHA, power=0.8)) for planned in (plain, scaled)]
    sequential = [float(st.sequential_units(planned, alpha=ALPHA, power=0.8, r2=r2)) for planned in (plain, scaled)]
    assert fixed[1] == pytest.approx(fixed[0], rel=1e-9)
    assert sequential[1] == pytest.approx(sequential[0], rel=1e-9)


def test_direction_changes_no_size_of_a_mean() -> None:
    up, down = (st.sequential_units(unit(sign * 0.1), alpha=ALPHA, power=0.8, r2=0.002) for sign in (1, -1))
    assert float(up) == float(down)


def test_more_units_a_larger_effect_and_a_larger_alpha_find_more() -> None:
    n = np.linspace(200, 8000, 12)
    by_n = st.sequential_power(unit(), n, alpha=ALPHA, r2=0.002).by_end
    by_effect = st.sequential_power(st.planned_mean(1.0, np.linspace(0, 0.2, 12)), 3000, alpha=ALPHA, r2=0.002).by_end
    by_alpha = st.sequential_power(unit(), 3000, alpha=np.geomspace(1e-6, 0.3, 12), r2=0.002).by_end
    for powers in (by_n, by_effect, by_alpha):
        assert (np.diff(powers) > 0).all()


def test_a_power_curve_is_one_call() -> None:
    found = st.sequential_power(st.planned_mean(1.0, [[0.05], [0.1]]), [1000.0, 2000.0, 4000.0], alpha=ALPHA, r2=0.002)
    assert [field.shape for field in found] == [(2, 3)] * 3
    alone = st.sequential_power(unit(), 2000.0, alpha=ALPHA, r2=0.002)
    assert float(found.by_end[1, 1]) == float(alone.by_end)
    assert float(found.mean_units[1, 1]) == float(alone.mean_units)


def test_a_guarded_test_finds_less_than_its_variance_would_let_it() -> None:
    plain, guarded = (st.planned_proportion(0.9, 0.02, share=0.2, test=test) for test in ("unpooled", "guarded"))
    assert st.fixed_power(guarded, 9000, alpha=ALPHA) < st.fixed_power(plain, 9000, alpha=ALPHA)
    least, most = (
        float(st.sequential_units(planned, alpha=ALPHA, power=0.8, r2=0.001)) for planned in (plain, guarded)
    )
    assert 1.05 < most / least < float(guarded.test_variance / guarded.variance)


def test_nothing_is_decided_before_the_earliest_size() -> None:
    found = st.sequential_power(unit(0.5), 3000, alpha=ALPHA, r2=0.002, earliest_n=2000)
    assert float(found.by_end) == pytest.approx(1.0, abs=1e-4)
    assert float(found.mean_units) == pytest.approx(2000, rel=1e-6)
    assert float(st.sequential_units(unit(0.5), alpha=ALPHA, power=0.8, r2=0.002, earliest_n=2000)) == 2000
    late = st.sequential_power(unit(), 3000, alpha=ALPHA, r2=0.002, earliest_n=3000)
    assert float(late.by_end) == pytest.approx(float(late.at_end), rel=1e-12)


def test_the_detectable_effect_of_a_sequence_is_found_with_the_power() -> None:
    def power_of(effect: FloatArray) -> FloatArray:
        return st.sequential_power(st.planned_proportion(0.9, effect), 10_000, alpha=ALPHA, r2=0.001).by_end

    up, down = (float(st.detectable_effect(power_of, power=0.8, largest=end)) for end in (0.1, -0.9))
    assert 0 < up < -down  # rates nearer 1/2 vary more
    assert float(power_of(np.array(up))) == pytest.approx(0.8, abs=1e-4)


def test_an_effect_too_small_for_any_rate_is_not_found() -> None:
    found = st.detectable_effect(
        lambda effect: st.fixed_power(st.planned_proportion(0.99, effect), 50, alpha=ALPHA), power=0.8, largest=0.01
    )
    assert np.isnan(found)


FRACTIONS = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_group_sequential_plan_is_the_fixed_one_inflated() -> None:
    boundary = st.group_sequential_boundaries(FRACTIONS, alpha=ALPHA).boundary
    n = st.group_units(unit(), power=[0.8, 0.9], fractions=FRACTIONS, boundary=boundary)
    fixed = st.fixed_units(unit(), alpha=ALPHA, power=[0.8, 0.9])
    known = st.group_sequential_drift(FRACTIONS, alpha=ALPHA, power=[0.8, 0.9])
    np.testing.assert_allclose(n / fixed, known.planned_ratio, rtol=1e-4)  # the far tail counts here
    found = st.group_power(unit(), n, fractions=FRACTIONS, boundary=boundary)
    np.testing.assert_allclose(found.by_end, [0.8, 0.9], rtol=1e-9)
    np.testing.assert_allclose(found.mean_units / fixed, known.expected_ratio, rtol=1e-3)
    null = st.group_power(unit(0.0), n[0], fractions=FRACTIONS, boundary=boundary)
    assert float(null.by_end) == pytest.approx(ALPHA, rel=1e-6)
    assert float(null.mean_units / fixed[0]) == pytest.approx(float(known.expected_ratio_null[0]), rel=1e-3)


def test_a_guarded_group_sequential_test_is_one_with_wider_boundaries() -> None:
    boundary = st.group_sequential_boundaries(FRACTIONS, alpha=ALPHA).boundary
    plans = st.planned_proportion(0.9, [0.02, 0.03, 0.02], share=[0.2, 0.5, 0.2], test="guarded")
    n = st.group_units(plans, power=0.8, fractions=FRACTIONS, boundary=boundary)
    assert n[0] == n[2]
    for place in (0, 1):
        signal, scale = (float(field[place]) for field in plans.per_root_unit())
        stops = st.group_sequential_stopping(FRACTIONS, boundary * scale, drift=signal * np.sqrt(n[place]))
        assert float((stops.above + stops.below).sum()) == pytest.approx(0.8, rel=1e-9)


def test_a_group_sequential_test_that_crosses_early_waits_for_its_earliest_end() -> None:
    boundary = st.group_sequential_boundaries(FRACTIONS, alpha=ALPHA).boundary
    drift = float(unit().per_root_unit()[0]) * np.sqrt(3000)
    stops = st.group_sequential_stopping(FRACTIONS, boundary, drift=drift)
    ends = np.maximum(np.array(FRACTIONS) * 3000, 2000)
    mean = (stops.above + stops.below) @ ends + (1 - (stops.above + stops.below).sum()) * 3000
    found = st.group_power(unit(), 3000, fractions=FRACTIONS, boundary=boundary, earliest_n=[0.0, 2000.0, 4000.0])
    assert found.mean_units[1] == pytest.approx(float(mean), rel=1e-12)
    assert found.mean_units[0] < found.mean_units[1]
    assert found.mean_units[2] == pytest.approx(4000.0, rel=1e-12)
    assert np.ptp(found.by_end) == 0


def test_group_sequential_plans_without_effect_or_variance() -> None:
    boundary = st.group_sequential_boundaries(FRACTIONS, alpha=ALPHA).boundary
    plans = st.planned_mean([1.0, 0.0, np.nan], [0.0, 0.1, 0.1])
    n = st.group_units(plans, power=0.8, fractions=FRACTIONS, boundary=boundary)
    assert np.isinf(n).tolist() == [True, False, False]
    assert np.isnan(n).tolist() == [False, True, True]
    found = st.group_power(plans, 100.0, fractions=FRACTIONS, boundary=boundary)
    assert np.isnan(found.mean_units).tolist() == [False, True, True]


def test_days_are_units_over_the_arms_share_of_the_traffic() -> None:
    days = st.duration_days([6420.0, np.inf], units_per_day=1000, share=0.5)
    assert days.tolist() == [pytest.approx(12.84), np.inf]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: st.planned_proportion(1.0, 0.1), "baseline"),
        (lambda: st.planned_proportion(0.5, 0.1, share=0.0), "share"),
        (lambda: st.planned_proportion(0.5, 0.1, test="best"), "test"),
        (lambda: st.planned_mean(-1.0, 0.1), "variance"),
        (lambda: st.planned_mean(1.0, 0.1, treatment_variance=-1.0), "treatment_variance"),
        (lambda: st.planned_mean(1.0, 0.1, test="pooled"), "test"),
        (lambda: st.linearised_variance(1, 1, variance_m=-1.0, variance_d=1.0, covariance=0.0), "variance_m"),
        (lambda: st.fixed_power(unit(), 0.0, alpha=ALPHA), "n"),
        (lambda: st.fixed_units(unit(), alpha=ALPHA, power=1.0), "power"),
        (lambda: st.sequential_power(unit(), np.inf, alpha=ALPHA, r2=0.1), "n"),
        (lambda: st.sequential_power(unit(), 9.0, alpha=ALPHA, r2=0.0), "r2"),
        (lambda: st.sequential_power(unit(), 9.0, alpha=ALPHA, r2=0.1, earliest_n=-1.0), "earliest_n"),
        (lambda: st.sequential_units(unit(), alpha=ALPHA, power=0.0, r2=0.1), "power"),
        (lambda: st.sequential_units(unit(), alpha=ALPHA, power=0.5, r2=0.1, earliest_n=np.inf), "earliest_n"),
        (lambda: st.detectable_effect(special.ndtr, power=0.8, largest=0.0), "largest"),
        (lambda: st.group_power(unit(), -1.0, fractions=[0.5, 1.0], boundary=[2.2, 2.1]), "n"),
        (lambda: st.group_power(unit(), 9.0, fractions=[0.5, 1.0], boundary=[2.2]), "boundary"),
        (
            lambda: st.group_power(unit(), 9.0, fractions=[1.0], boundary=[2.0], earliest_n=np.inf),
            "earliest_n",
        ),
        (lambda: st.group_units(unit(), power=0.8, fractions=[1.0, 0.5], boundary=[2.2, 2.1]), "fractions"),
        (lambda: st.group_units(unit(), power=1.0, fractions=[0.5, 1.0], boundary=[2.2, 2.1]), "power"),
        (lambda: st.duration_days(-1.0, units_per_day=1.0), "units"),
        (lambda: st.duration_days(1.0, units_per_day=0.0), "units_per_day"),
        (lambda: st.duration_days(1.0, units_per_day=1.0, share=1.5), "share"),
    ],
)
def test_what_breaks_the_contract_is_refused_by_name(call: object, named: str) -> None:
    assert callable(call)
    with pytest.raises(ContractError) as caught:
        call()
    assert caught.value.where == named
    assert caught.value.remedy
