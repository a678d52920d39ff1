"""Quantiles: exact ranks, coverage, clusters, and agreement with values in hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics import (
    absolute_effect,
    design_effect,
    exact_moments,
    histogram_of,
    histogram_quantiles,
    quantile_arm,
    quantile_ranks,
    quantile_ranks_sequence,
    quantile_values_needed,
    rate_sequence,
    rate_tuning,
    ratios,
    welch_test,
)

LEVELS = np.array([0.5, 0.9, 0.95, 0.99])


def test_the_p99_needs_more_than_380_values() -> None:
    assert np.floor(quantile_values_needed(LEVELS, alpha=0.05)).tolist() == [3, 34, 72, 380]
    ranks = quantile_ranks([380, 381], 0.99, alpha=0.05)
    assert np.isnan(ranks.upper[0])
    assert (ranks.lower[1], ranks.upper[1]) == (373, 381)
    assert float(quantile_values_needed(0.99, alpha=0.05, effect_of_design=2.0)) == pytest.approx(2 * 380.3, rel=1e-3)
    assert quantile_values_needed(0.01, alpha=0.05) == pytest.approx(quantile_values_needed(0.99, alpha=0.05))


def test_the_estimate_is_the_smallest_value_with_that_share_under_it() -> None:
    ranks = quantile_ranks([1, 2, 3, 100, 100, 0], [0.5, 0.5, 0.5, 0.99, 0.07, 0.5], alpha=0.05)
    assert ranks.rank.tolist()[:5] == [1, 1, 2, 99, 7]
    assert np.isnan(ranks.rank[5])


def test_fixed_ranks_are_those_of_the_binomial_limit() -> None:
    n, z = 10_000, stats.norm.ppf(0.975)
    ranks = quantile_ranks(n, LEVELS, alpha=0.05)
    reach = z * np.sqrt(n * LEVELS * (1 - LEVELS))
    assert ranks.lower.tolist() == np.floor(n * LEVELS - reach).tolist()
    assert ranks.upper.tolist() == np.ceil(n * LEVELS + reach).tolist()


def test_fixed_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    values = np.sort(rng.lognormal(6, 0.5, (2_000, 1_000)), axis=1)
    for level in (0.5, 0.95):
        ranks = quantile_ranks(1_000, level, alpha=0.05)
        true = stats.lognorm.ppf(level, 0.5, scale=np.exp(6))
        covered = (values[:, int(ranks.lower) - 1] <= true) & (true <= values[:, int(ranks.upper) - 1])
        # 2,000 runs at .95: standard error .005; ranks are whole, so a little more is covered.
        assert 0.94 < covered.mean() < 0.97


@given(st.integers(1, 5_000), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([10.0, 300.0]))
def test_time_uniform_ranks_are_the_counts_that_the_rate_sequence_allows(n: int, level: float, c: float) -> None:
    """The quantile is not excluded by a rank as long as the level is no impossible rate of values at or under it."""
    ranks = quantile_ranks_sequence(n, level, alpha=0.05, concentration=c)
    under = np.arange(n + 1)
    found = rate_sequence(n, under, alpha=0.05, concentration=c)
    allowed = under[(found.lower < level) & (level < found.upper)]
    lower = allowed[0] if allowed[0] > 0 else np.nan
    upper = allowed[-1] + 1 if allowed[-1] < n else np.nan
    np.testing.assert_equal([float(ranks.lower), float(ranks.upper)], [lower, upper])


def test_time_uniform_intervals_cover_at_all_looks_together() -> None:
    rng, level, alpha = np.random.default_rng(5), 0.9, 0.05
    looks = np.unique(np.geomspace(20, 3_000, 120).astype(int))
    ranks = quantile_ranks_sequence(looks, level, alpha=alpha, concentration=rate_tuning(500, alpha=alpha))
    below = rng.random((1_500, looks[-1])) < level
    under = np.cumsum(below, axis=1)[:, looks - 1]
    # Under the quantile there are `under` values: X_(lower) <= Q as long as lower <= under, Q <= X_(upper) as
    # long as under < upper.
    missed = (np.nan_to_num(ranks.lower, nan=0) > under) | (np.nan_to_num(ranks.upper, nan=np.inf) <= under)
    # 1,500 runs: three standard errors of .05 are .017.
    assert missed.any(axis=1).mean() < alpha + 0.017
    assert missed.any(axis=1).mean() > 0.005


def test_sequences_are_wider_than_fixed_intervals() -> None:
    fixed = quantile_ranks(5_000, LEVELS, alpha=0.05)
    sequence = quantile_ranks_sequence(5_000, LEVELS, alpha=0.05, concentration=rate_tuning(5_000.0, alpha=0.05))
    assert (sequence.lower < fixed.lower).all()
    assert (sequence.upper > fixed.upper).all()
    assert (sequence.upper - sequence.lower < 2.2 * (fixed.upper - fixed.lower)).all()


def test_the_design_effect_is_the_number_of_copies_where_a_units_values_are_the_same() -> None:
    # 1,000 units with 4 equal values each, half of them under the limit.
    share = ratios(exact_moments(n=[1000], m=[2000], d=[4000], mm=[8000], dd=[16000], md=[8000]))
    assert design_effect(share, 4000)[0] == pytest.approx(4 * 1000 / 999)
    alone = ratios(exact_moments(n=[1000], m=[500], d=[1000], mm=[500], dd=[1000], md=[500]))
    assert design_effect(alone, 1000)[0] == pytest.approx(1000 / 999)
    all_under = ratios(exact_moments(n=[10], m=[10], d=[10], mm=[10], dd=[10], md=[10]))
    assert np.isnan(design_effect(all_under, 10)).all()
    nobody = ratios(exact_moments(n=[0], m=[0], d=[0], mm=[0], dd=[0], md=[0]))
    assert np.isnan(design_effect(nobody, 0)).all()


def test_clustered_intervals_cover_where_independent_ones_do_not() -> None:
    rng, level, runs, units, each = np.random.default_rng(11), 0.9, 400, 300, 8
    true = stats.norm.ppf(level) * np.sqrt(2)
    missed = np.zeros(2)
    for _ in range(runs):
        values = rng.normal(size=(units, 1)) + rng.normal(size=(units, each))
        under = (values <= 1.8).sum(axis=1).tolist()
        share = ratios(
            exact_moments(
                n=[units],
                m=[sum(under)],
                d=[units * each],
                mm=[sum(u * u for u in under)],
                dd=[units * each * each],
                md=[sum(under) * each],
            )
        )
        effects = np.array([1.0, design_effect(share, units * each)[0]])
        in_order = np.sort(values, axis=None)
        ranks = quantile_ranks(units * each, level, alpha=0.05, effect_of_design=effects)
        low, high = in_order[ranks.lower.astype(int) - 1], in_order[ranks.upper.astype(int) - 1]
        missed += (low > true) | (true > high)
    # 400 runs at .05: standard error .011.
    assert missed[0] / runs > 0.12
    assert missed[1] / runs < 0.085


def test_a_histogram_gives_what_the_values_give_to_a_64th() -> None:
    values = np.random.default_rng(2).lognormal(6, 0.6, 20_000)
    found = histogram_quantiles(histogram_of(values), LEVELS, alpha=0.05)
    np.testing.assert_allclose(found.value, np.quantile(values, LEVELS, method="inverted_cdf"), rtol=1 / 64)
    ranks = quantile_ranks(len(values), LEVELS, alpha=0.05)
    in_order = np.sort(values)
    assert (found.lower <= in_order[ranks.lower.astype(int) - 1]).all()
    assert (found.upper >= in_order[ranks.upper.astype(int) - 1]).all()
    arm = quantile_arm(
        len(values),
        found.value,
        in_order[ranks.lower.astype(int) - 1],
        in_order[ranks.upper.astype(int) - 1],
        level=LEVELS,
        alpha=0.05,
    )
    np.testing.assert_allclose(found.se, np.sqrt(arm.mean_variance), rtol=0.25)


def test_differences_of_quantiles_have_the_error_that_they_say() -> None:
    rng, rejected, runs = np.random.default_rng(4), 0, 1_000
    for _ in range(runs):
        arms = [histogram_quantiles(histogram_of(rng.lognormal(6, 0.5, 800)), 0.9, alpha=0.05) for _ in range(2)]
        made = [
            quantile_arm(800, one.value, one.value - one.se, one.value + one.se, level=0.9, alpha=2 * stats.norm.sf(1))
            for one in arms
        ]
        rejected += bool(welch_test(absolute_effect(*made), alpha=0.05).p_value < 0.05)
    # 1,000 runs at .05: three standard errors are .021.
    assert rejected / runs < 0.071


def test_too_few_values_give_an_estimate_and_no_interval() -> None:
    found = histogram_quantiles(histogram_of(np.arange(1.0, 301.0)), [0.5, 0.99], alpha=0.05)
    assert np.isfinite(found.value).all()
    assert np.isnan([found.lower[1], found.upper[1], found.se[1]]).all()
    none: list[float] = []
    assert np.isnan(histogram_quantiles(histogram_of(none), LEVELS, alpha=0.05)).all()


def test_an_interval_without_width_says_nothing_of_the_spread() -> None:
    arm = quantile_arm([1000, 1000], 5.0, [5.0, 4.0], [5.0, 6.0], level=0.5, alpha=0.05)
    assert np.isnan(arm.mean_variance).tolist() == [True, False]
    assert np.isnan(quantile_arm(1000, 5.0, np.nan, 6.0, level=0.5, alpha=0.05).mean_variance)
    assert np.isnan(quantile_arm(1000, 5.0, -np.inf, 6.0, level=0.5, alpha=0.05).mean_variance)
    assert np.isnan(quantile_arm(380, 5.0, 4.0, 6.0, level=0.99, alpha=0.05).mean_variance)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, np.nan, 95])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    for call in (
        lambda: quantile_ranks(100, level, alpha=0.05),
        lambda: quantile_ranks_sequence(100, level, alpha=0.05),
        lambda: quantile_values_needed(level, alpha=0.05),
        lambda: quantile_arm(100, 1.0, 0.0, 2.0, level=level, alpha=0.05),
        lambda: histogram_quantiles(histogram_of([1.0]), level, alpha=0.05),
    ):
        with pytest.raises(ContractError) as caught:
            call()
        assert caught.value.where == "level"


def test_ends_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ContractError) as caught:
        quantile_arm(100, 1.0, 2.0, 1.0, level=0.5, alpha=0.05)
    assert caught.value.where == "upper"
