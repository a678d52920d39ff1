"""statsmodels on random inputs: intervals of rates, clusters, power, families."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as hs

from peers.libraries import models, moments, tests
from splitgauge import statistics as st

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers; that ours raise none is tested elsewhere

SOME = settings(max_examples=40)
ALPHAS = hs.floats(1e-4, 0.4)


@given(hs.tuples(*[hs.integers(1, 10**6)] * 2), hs.tuples(*[hs.floats(0, 1)] * 2), ALPHAS)
@SOME
def test_intervals_of_two_rates(units: tuple[int, int], rates: tuple[float, float], alpha: float) -> None:
    (n_c, n_t), (s_c, s_t) = units, (round(n * rate) for n, rate in zip(units, rates, strict=True))
    ours = st.proportion_test(n_c, s_c, n_t, s_t, alpha=alpha)
    newcombe = tests.confint_proportions_2indep(s_t, n_t, s_c, n_c, method="newcomb", compare="diff", alpha=alpha)
    np.testing.assert_allclose([float(ours.lower), float(ours.upper)], newcombe, rtol=1e-9, atol=1e-12)
    if 0 < s_c < n_c and 0 < s_t < n_t:
        pooled = st.proportion_test(n_c, s_c, n_t, s_t, alpha=alpha, method="pooled")
        statistic, p_value = tests.proportions_ztest([s_t, s_c], [n_t, n_c])
        np.testing.assert_allclose(float(pooled.statistic), statistic, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(float(pooled.p_value), p_value, rtol=1e-6, atol=1e-300)


@given(hs.lists(hs.lists(hs.integers(-9, 9), min_size=1, max_size=6), min_size=3, max_size=15))
@SOME
def test_a_ratio_over_units_is_regression_with_clustered_errors(units: list[list[int]]) -> None:
    values = np.array([value for unit in units for value in unit], dtype=np.float64)
    groups = np.repeat(np.arange(len(units)), [len(unit) for unit in units])
    ours = st.ratios(moments([sum(unit) for unit in units], [len(unit) for unit in units]))
    assume(float(ours.variance[0]) > 1e-9)
    fit = models.OLS(values, np.ones((values.size, 1))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    k = len(units)
    assert float(ours.value[0]) == pytest.approx(float(fit.params[0]), rel=1e-9, abs=1e-12)
    assert float(ours.variance[0]) / k == pytest.approx(float(fit.bse[0]) ** 2 * k / (k - 1), rel=1e-9)


@given(hs.floats(0.01, 1.0), hs.floats(1e-4, 0.2), hs.floats(0.5, 0.99))
@SOME
def test_required_units_and_power(effect: float, alpha: float, power: float) -> None:
    ours = float(st.required_units(1.0, effect, alpha=alpha, power=power))
    theirs = tests.NormalIndPower()
    # Without the far tail, which the peer's own search for n counts.
    assert theirs.power(effect, ours, alpha / 2, ratio=1.0, alternative="larger") == pytest.approx(power, rel=1e-9)
    planned = st.planned_mean(1.0, effect)
    both_tails = theirs.power(effect, ours, alpha, ratio=1.0, alternative="two-sided")
    assert float(st.fixed_power(planned, 2 * ours, alpha=alpha)) == pytest.approx(both_tails, rel=1e-9)


@given(hs.lists(hs.floats(0, 1), min_size=1, max_size=20), hs.floats(0.001, 0.5))
@settings(max_examples=15)  # its Holm takes 0.1 s
def test_families(p_values: list[float], alpha: float) -> None:
    for ours, name in ((st.bonferroni, "bonferroni"), (st.holm, "holm"), (st.benjamini_hochberg, "fdr_bh")):
        reject, theirs = tests.multipletests(p_values, alpha=alpha, method=name)[:2]
        adjusted = ours(p_values)
        np.testing.assert_allclose(adjusted, theirs, rtol=1e-12, atol=1e-300)
        clear = np.abs(adjusted - alpha) > 1e-12
        np.testing.assert_array_equal((adjusted <= alpha)[clear], np.asarray(reject)[clear])
