"""Fixed-horizon tests against scipy and against what peers get wrong."""

from math import comb
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

IntArray: TypeAlias = npt.NDArray[np.int64]


def test_welch_equals_scipy_for_every_comparison() -> None:
    n_c, n_t = np.array([5, 40, 900]), np.array([7, 35, 1000])
    m_c, m_t = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.1, 3.05])
    v_c, v_t = np.array([1.0, 0.5, 2.0]), np.array([3.0, 0.4, 1.0])
    found = st.welch_test(st.absolute_effect(st.arm(n_c, m_c, v_c), st.arm(n_t, m_t, v_t)), alpha=0.05)
    peer = stats.ttest_ind_from_stats(m_t, np.sqrt(v_t), n_t, m_c, np.sqrt(v_c), n_c, equal_var=False)
    np.testing.assert_allclose(found.p_value, peer.pvalue, rtol=1e-11)
    np.testing.assert_allclose(found.statistic, peer.statistic, rtol=1e-13)
    assert found.few_units.tolist() == [True, False, False]


def test_far_tails_keep_their_digits() -> None:
    found = st.z_test(st.effect(30.0, 1.0, n_control=100, n_treatment=100), alpha=0.05)
    assert float(found.p_value) == pytest.approx(9.813428e-198, rel=1e-6)


def test_z_with_few_units_uses_t() -> None:
    effect = st.effect(2.0, 1.0, n_control=10, n_treatment=1000)
    found = st.z_test(effect, alpha=0.05)
    assert float(found.df) == 1008
    assert bool(found.few_units)
    assert float(found.p_value) == pytest.approx(2 * stats.t.sf(2.0, 1008), rel=1e-12)
    assert float(st.z_test(effect, alpha=0.05, few_units=0).p_value) == pytest.approx(2 * stats.norm.sf(2.0), rel=1e-12)


def test_without_variance_an_effect_has_no_t() -> None:
    effect = st.absolute_effect(st.arm(10, 1.0, 0.0), st.arm(10, 2.0, 0.0))
    found = st.welch_test(effect, alpha=0.05)
    assert np.isnan(found.p_value)
    assert np.isnan(found.lower)


def test_one_sided_p_values_complement_each_other() -> None:
    found = st.z_test(st.effect([1.0, -1.0, 0.0], 1.0, n_control=100, n_treatment=100), alpha=0.1)
    np.testing.assert_allclose(found.p_greater + found.p_less, 1.0, rtol=1e-15)
    np.testing.assert_allclose(found.p_greater, stats.norm.sf([1.0, -1.0, 0.0]), rtol=1e-14)


def test_all_against_nearly_all_is_tested_exactly() -> None:
    found = st.proportion_test(1000, 1000, 1000, 990, alpha=0.05)
    assert bool(found.exact)
    assert float(found.p_value) == pytest.approx(stats.fisher_exact(np.array([[1000, 0], [990, 10]])).pvalue, rel=1e-9)
    assert float(found.upper) < 0


def test_the_same_extreme_in_both_arms_is_no_difference() -> None:
    found = st.proportion_test([50, 50], [0, 50], [70, 70], [0, 70], alpha=0.05)
    assert found.p_value.tolist() == [1.0, 1.0]
    assert bool(np.all((found.lower < 0) & (found.upper > 0)))


@pytest.mark.parametrize("seed", range(4))
def test_fisher_equals_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n: IntArray = generator.integers(1, 400, (40, 2))
    s: IntArray = generator.binomial(n, [0.3, 0.35])
    found = st.proportion_test(n[:, 0], s[:, 0], n[:, 1], s[:, 1], alpha=0.05, method="exact")
    tables = np.stack([s, n - s], axis=1)
    np.testing.assert_allclose(found.p_value, [stats.fisher_exact(table).pvalue for table in tables], rtol=1e-9)


def test_fisher_of_a_hundred_million_units_ends_and_is_small() -> None:
    found = st.proportion_test(10**8, 0, 10**8, 60, alpha=0.05)
    assert float(found.p_value) == pytest.approx(2 * 0.5**60, rel=1e-6)


def test_fisher_of_a_rare_event_in_a_million_million_units_keeps_its_digits() -> None:
    n = 10**12
    found = st.proportion_test(n, 3, n, 20, alpha=0.05, method="exact")
    assert float(found.p_value) == pytest.approx(float(stats.binomtest(3, 23).pvalue), rel=1e-8)


def test_fisher_with_too_many_tables_falls_back_to_z_and_says_so() -> None:
    n = 10**12
    found = st.proportion_test([n, n], [n // 2, 0], [n, n], [n // 2 + 10**6, n // 2], alpha=0.05, method="exact")
    assert found.exact.tolist() == [False, True]
    assert float(found.p_value[0]) == pytest.approx(float(special.erfc(1.0)), rel=1e-5)
    assert float(found.p_value[1]) == 0.0


def test_fisher_equals_scipy_when_rows_are_many_and_of_all_sizes() -> None:
    generator = np.random.default_rng(9)
    n = 10 ** generator.integers(0, 6, (60, 2))
    s: IntArray = generator.binomial(n, 0.2)
    found = st.proportion_test(n[:, 0], s[:, 0], n[:, 1], s[:, 1], alpha=0.05, method="exact")
    tables = np.stack([s, n - s], axis=1)
    np.testing.assert_allclose(found.p_value, [stats.fisher_exact(table).pvalue for table in tables], rtol=1e-7)


def test_an_empty_arm_says_nothing() -> None:
    found = st.proportion_test(0, 0, 10, 3, alpha=0.05)
    assert np.isnan(found.p_value)
    assert np.isnan(found.lower)
    assert not bool(found.exact)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, np.nan])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ContractError) as caught:
        st.z_test(st.effect(1.0, 1.0, n_control=10, n_treatment=10), alpha=alpha)
    assert caught.value.where == "alpha"


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ContractError, match="not one of"):
        st.proportion_test(10, 1, 10, 2, alpha=0.05, method="magic")


def test_a_negative_standard_error_is_refused() -> None:
    with pytest.raises(ContractError, match="at least 0"):
        st.effect(1.0, -1.0, n_control=10, n_treatment=10)


def test_one_sided_fisher_adds_up_the_tables_on_its_side() -> None:
    tables = [(40, 3, 30, 9), (40, 39, 30, 25), (12, 0, 15, 4), (12, 12, 15, 11), (500, 3, 400, 0), (9, 4, 9, 4)]
    found = st.proportion_test(*np.array(tables).T, alpha=0.05, method="exact")
    for place, (n_c, s_c, n_t, s_t) in enumerate(tables):
        k = s_c + s_t
        ways = [comb(n_t, j) * comb(n_c, k - j) for j in range(k + 1)]
        assert float(found.p_greater[place]) == pytest.approx(sum(ways[s_t:]) / sum(ways), rel=1e-10)
        assert float(found.p_less[place]) == pytest.approx(sum(ways[: s_t + 1]) / sum(ways), rel=1e-10)


def test_one_sided_z_are_the_tails_of_the_statistic() -> None:
    found = st.proportion_test(400, [40, 60], 300, [50, 20], alpha=0.05)
    np.testing.assert_allclose(found.p_greater, special.ndtr(-found.statistic), rtol=1e-14)
    np.testing.assert_allclose(found.p_less, special.ndtr(found.statistic), rtol=1e-14)


def test_one_sided_fisher_of_a_table_beyond_float64_is_certain_on_the_other_side() -> None:
    found = st.proportion_test(10**6, [0, 10**6], 10**6, [10**6, 0], alpha=0.05)
    assert found.p_greater.tolist() == [0.0, 1.0]
    assert found.p_less.tolist() == [1.0, 0.0]
