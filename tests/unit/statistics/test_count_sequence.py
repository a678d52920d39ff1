"""Exact sequential counts: sample ratio, first failures, one rate."""

import numpy as np
import pytest
from scipy import special

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError


def test_bayes_factor_is_the_published_formula() -> None:
    c, w, k = np.array([30.0, 50.0, 20.0]), np.array([0.3, 0.3, 0.4]), 100.0
    g = special.gammaln
    expected = g(k) - g(k + 100) + np.sum(g(k * w + c) - g(k * w)) - np.sum(c * np.log(w))
    assert float(st.log_bayes_factor(c, w, concentration=k)) == pytest.approx(expected, rel=1e-12)


def test_bayes_factors_have_mean_one_under_the_null() -> None:
    n, w = 12, 0.3
    t = np.arange(n + 1)
    factors = np.exp(st.log_bayes_factor(np.stack([n - t, t], axis=-1), [1 - w, w], concentration=2.0))
    chance = special.binom(n, t) * w**t * (1 - w) ** (n - t)
    assert float(np.sum(factors * chance)) == pytest.approx(1.0, rel=1e-12)


def test_an_arm_switched_off_adds_nothing_and_its_units_are_impossible() -> None:
    pair = float(st.log_bayes_factor([40, 60], [0.5, 0.5], concentration=100.0))
    three = st.log_bayes_factor([[40, 60, 0], [40, 60, 1]], [0.5, 0.5, 0.0], concentration=100.0)
    assert float(three[0]) == pytest.approx(pair, rel=1e-12)
    assert float(three[1]) == np.inf


def test_sample_ratio_averages_over_k_after_multiplying_over_epochs() -> None:
    units, shares = np.array([[500, 540], [100, 290]]), np.array([[0.5, 0.5], [0.25, 0.75]])
    found = st.sample_ratio(units, shares)
    logs = [np.sum(st.log_bayes_factor(units, shares, concentration=k)) for k in (100.0, 10_000.0)]
    assert float(found.log_e_value) == pytest.approx(np.log(np.mean(np.exp(logs))), rel=1e-12)
    assert float(found.n) == 1430


def test_an_empty_arm_is_a_mismatch() -> None:
    assert float(st.sample_ratio([[100, 0]], [[0.5, 0.5]]).log_e_value) > np.log(1000)


def test_a_loss_of_one_percent_is_found_by_six_hundred_thousand_units() -> None:
    found = st.sample_ratio([[[200_000, 198_000], [300_000, 297_000]]], [0.5, 0.5])
    assert (found.log_e_value >= np.log(100)).tolist() == [False, True]


def test_no_units_are_no_evidence() -> None:
    found = st.sample_ratio([[0, 0, 0]], [[0.2, 0.3, 0.5]])
    assert float(found.log_e_value) == pytest.approx(0.0, abs=1e-12)
    assert float(found.p_value) == pytest.approx(1.0, rel=1e-12)


def test_many_experiments_at_once() -> None:
    units = np.array([[[50, 50], [10, 90]]])
    found = st.sample_ratio(units, [0.5, 0.5])
    assert found.log_e_value.shape == (2,)
    assert float(found.log_e_value[1]) == pytest.approx(float(st.sample_ratio([[10, 90]], [0.5, 0.5]).log_e_value))


@pytest.mark.parametrize("shares", [[0.5, 0.6], [-0.5, 1.5], [0.5, np.nan]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    with pytest.raises(ContractError) as caught:
        st.sample_ratio([[5, 5]], shares)
    assert caught.value.where == "share"


def test_a_broken_challenger_is_found_after_its_first_failures() -> None:
    found = st.first_failures([np.zeros(30)], [np.arange(30)], 0.5, alpha=0.025)
    assert int(np.argmax(found.harm)) == 10
    assert float(found.log_e_value[0]) == 0.0


def test_a_better_challenger_is_no_harm_however_strong_the_evidence() -> None:
    found = st.first_failures([100], [0], 0.5, alpha=0.025)
    assert float(found.log_e_value) > np.log(1e6)
    assert not bool(found.harm)


def test_first_failures_are_summed_over_epochs_and_an_epoch_with_one_arm_is_left_out() -> None:
    parts = [st.first_failures([a], [b], w, alpha=0.025) for a, b, w in ((3, 9, 0.5), (2, 5, 0.2))]
    found = st.first_failures([[3], [2], [7]], [[9], [5], [0]], [[0.5], [0.2], [0.0]], alpha=0.025)
    assert float(found.log_e_value[0]) == pytest.approx(sum(float(p.log_e_value) for p in parts), rel=1e-12)
    assert found.failures.tolist() == [19.0]
    assert found.expected.tolist() == [pytest.approx(6 + 1.4)]


def test_rate_bounds_solve_the_published_e_value() -> None:
    n, s, alpha, c = 100, 7.5, 0.05, 10.0
    found = st.rate_sequence(n, s, alpha=alpha, concentration=c)
    for p in (float(found.lower), float(found.upper)):
        log_e = special.betaln(c * p + s, c * (1 - p) + n - s) - special.betaln(c * p, c * (1 - p))
        log_e -= s * np.log(p) + (n - s) * np.log(1 - p)
        assert np.exp(log_e) == pytest.approx(1 / alpha, rel=1e-9)


def test_rate_bounds_are_symmetric_in_success_and_failure() -> None:
    found = st.rate_sequence([50, 50], [3.0, 47.0], alpha=0.05)
    assert float(found.lower[1]) == pytest.approx(1 - float(found.upper[0]), rel=1e-12)


@pytest.mark.parametrize("n", [12, 400, 10**9])
def test_bounds_of_all_successes_mirror_those_of_none(n: int) -> None:
    found = st.rate_sequence(n, [0, n], alpha=0.05)
    assert 0 < found.upper[0] < 1
    assert 1 - found.lower[1] == pytest.approx(found.upper[0], rel=1e-6)


def test_rate_bounds_at_the_edges() -> None:
    found = st.rate_sequence([0, 10, 10, 1], [0, 0, 10, 1], alpha=0.05)
    assert found.lower[[0, 1]].tolist() == [0.0, 0.0]
    assert found.upper[[0, 2, 3]].tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(found.rate[0])
    assert 0 < float(found.upper[1]) < 1
    assert 0 < float(found.lower[2]) < 1


def test_tiny_rates_keep_their_digits() -> None:
    found = st.rate_sequence(10**12, 100.0, alpha=0.05, concentration=10.0)
    assert 0 < float(found.lower) < 1e-10 < float(found.upper) < 1e-9


@pytest.mark.parametrize(("n", "total"), [(10, 11.0), (10, -1.0), (10.5, 1.0)])
def test_totals_outside_the_outcomes_are_refused(n: float, total: float) -> None:
    with pytest.raises(ContractError):
        st.rate_sequence(n, total, alpha=0.05)


def test_rate_ratio_bounds_solve_the_bayes_factor_at_that_ratio() -> None:
    c, t, w, k = 40.0, 75.0, 0.3, 100.0
    found = st.rate_ratio_sequence([c], [t], w, alpha=0.05, concentration=k)
    assert float(found.log_ratio) == pytest.approx(np.log(t / c) - np.log(w / (1 - w)), rel=1e-12)
    for theta in (float(found.lower), float(found.upper)):
        tilted = w * np.exp(theta) / (1 - w + w * np.exp(theta))
        log_e = special.betaln(k * (1 - w) + c, k * w + t) - special.betaln(k * (1 - w), k * w)
        assert log_e - c * np.log(1 - tilted) - t * np.log(tilted) == pytest.approx(np.log(20), rel=1e-9)


def test_rate_ratio_is_open_where_an_arm_has_no_success() -> None:
    found = st.rate_ratio_sequence([[0, 9, 0]], [[9, 0, 0]], 0.5, alpha=0.05)
    assert found.log_ratio[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(found.log_ratio[2])
    assert found.upper[[0, 2]].tolist() == [np.inf, np.inf]
    assert found.lower[[1, 2]].tolist() == [-np.inf, -np.inf]
    assert np.isfinite(found.lower[0])
    assert float(found.upper[1]) == pytest.approx(-float(found.lower[0]), rel=1e-12)


def test_rate_ratio_over_epochs_uses_each_epochs_share() -> None:
    found = st.rate_ratio_sequence([[90], [50]], [[10], [50]], [[0.1], [0.5]], alpha=0.05)
    assert float(found.log_ratio[0]) == pytest.approx(0.0, abs=1e-12)
    assert float(found.lower[0]) < 0 < float(found.upper[0])
    assert float(found.p_value[0]) == 1.0


def test_rate_ratio_excludes_equality_exactly_when_p_is_below_alpha() -> None:
    t = np.arange(40, 120)
    found = st.rate_ratio_sequence([np.full(80, 60)], [t], 0.5, alpha=0.05)
    assert ((found.lower > 0) | (found.upper < 0)).tolist() == (found.p_value < 0.05).tolist()


def test_each_alpha_and_concentration_of_a_rate_ratio_is_that_of_its_comparison_not_of_an_epoch() -> None:
    alphas, concentrations, w = [0.05, 0.01, 0.2], [10.0, 100.0, 1000.0], np.array([0.5, 0.3, 0.4])
    c, t = np.array([10, 20, 30]), np.array([12, 24, 90])  # three epochs, three comparisons
    together = st.rate_ratio_sequence(c, t, w, alpha=alphas, concentration=concentrations)
    for place, (alpha, k) in enumerate(zip(alphas, concentrations, strict=True)):
        alone = st.rate_ratio_sequence(c, t, w, alpha=alpha, concentration=k)
        for one, all_of_them in zip(alone, together, strict=True):
            assert all_of_them[place] == pytest.approx(float(one), rel=1e-12)
    two_epochs = st.rate_ratio_sequence(c[:2], t[:2], 0.5, alpha=alphas)
    assert two_epochs.lower.shape == (3,)


def test_no_rate_ratio_is_left_where_epochs_contradict_each_other() -> None:
    found = st.rate_ratio_sequence([[1000], [10]], [[10], [1000]], 0.5, alpha=0.05)
    assert np.isnan([found.lower[0], found.upper[0]]).all()
    assert float(found.log_ratio[0]) == pytest.approx(0.0, abs=1e-12)
    assert float(found.p_value[0]) < 1e-300  # equal rates at all times are refuted all the same
