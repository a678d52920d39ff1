"""The fixed test of the sample ratio, against scipy's, and where there is nothing to test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError


@settings(max_examples=100, deadline=None)
@given(
    counts=some.lists(some.integers(0, 10**9), min_size=3, max_size=3).filter(any),
    weights=some.lists(some.integers(1, 100), min_size=3, max_size=3),
)
def test_it_is_pearsons(counts: list[int], weights: list[int]) -> None:
    share = np.array(weights) / sum(weights)
    statistic, p_value = stats.chisquare(counts, share * sum(counts))
    found = st.chi_square_test([counts], share)
    assert float(found.statistic) == pytest.approx(float(statistic), rel=1e-9, abs=1e-9)
    assert float(found.p_value) == pytest.approx(float(p_value), rel=1e-6, abs=1e-300)


def test_far_tails_are_not_zero() -> None:
    """1 - cdf would be."""
    found = st.chi_square_test([[60_000, 40_000]], [0.5, 0.5])
    assert 0 < float(st.chi_square_test([[5600, 4400]], [0.5, 0.5]).p_value) < 1e-30
    assert float(found.statistic) == 4000.0


def test_it_must_not_be_looked_at_again_and_again() -> None:
    """A right split, 250 looks, an alarm at .001: more than ten times as many, where the sequential test has its 1 % at
    most."""
    arrivals = np.random.default_rng(61).multinomial(200, [0.5, 0.5], (1000, 250))
    units = np.cumsum(arrivals, axis=1)[None]
    looked = (st.chi_square_test(units, [0.5, 0.5]).p_value < 0.001).any(axis=1)
    assert float(np.asarray(looked, dtype=np.float64).mean()) > 0.01
    sequential = (st.sample_ratio(units, [0.5, 0.5]).log_e_value >= np.log(100)).any(axis=1)
    assert float(np.asarray(sequential, dtype=np.float64).mean()) <= 0.01


def test_epochs_add_up() -> None:
    one, other = (st.chi_square_test([counts], [0.5, 0.5]) for counts in ([40, 60], [100, 90]))
    both = st.chi_square_test([[40, 60], [100, 90], [0, 0]], [0.5, 0.5])
    assert float(both.statistic) == pytest.approx(float(one.statistic + other.statistic))
    assert float(both.df) == 2.0


def test_an_arm_that_was_off_adds_nothing_and_its_units_are_impossible() -> None:
    off = st.chi_square_test([[40, 60, 0]], [0.5, 0.5, 0.0])
    assert float(off.p_value) == float(st.chi_square_test([[40, 60]], [0.5, 0.5]).p_value)
    wrong = st.chi_square_test([[40, 60, 1]], [0.5, 0.5, 0.0])
    assert (float(wrong.statistic), float(wrong.p_value)) == (np.inf, 0.0)
    assert float(st.chi_square_test([[40, 1]], [1.0, 0.0]).p_value) == 0.0


@pytest.mark.parametrize(("counts", "share"), [([0, 0], [0.5, 0.5]), ([9, 0], [1.0, 0.0]), ([9], [1.0])])
def test_without_units_or_a_second_arm_nothing_is_said(counts: list[int], share: list[float]) -> None:
    found = st.chi_square_test([counts], share)
    assert np.isnan(found.statistic)
    assert np.isnan(found.p_value)


def test_many_experiments_at_once() -> None:
    found = st.chi_square_test([[[50, 50], [10, 90]]], [0.5, 0.5])
    assert found.p_value.shape == (2,)
    assert float(found.p_value[1]) == float(st.chi_square_test([[10, 90]], [0.5, 0.5]).p_value)


@pytest.mark.parametrize(
    ("counts", "share", "named"),
    [
        ([0.5, 1], [0.5, 0.5], "counts_per_arm"),
        ([1, np.nan], [0.5, 0.5], "counts_per_arm"),
        ([1, 1], [0.5, 0.6], "share"),
    ],
)
def test_what_is_no_count_or_share_is_refused(counts: list[float], share: list[float], named: str) -> None:
    with pytest.raises(ContractError) as caught:
        st.chi_square_test([counts], share)
    assert caught.value.where == named
