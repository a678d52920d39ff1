"""scipy on random inputs: Welch, Fisher, chi-square, binomial, the beta-binomial posterior by quadrature."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as hs
from scipy import integrate, stats

from splitgauge import statistics as st

SOME = settings(max_examples=40)
scipy: Any = stats


@given(*[hs.integers(2, 10**6)] * 2, *[hs.floats(-1e3, 1e3)] * 2, *[hs.floats(1e-2, 1e3)] * 2)
@SOME
def test_welch(n_c: int, n_t: int, mean_c: float, mean_t: float, sd_c: float, sd_t: float) -> None:
    ours = st.welch_test(st.absolute_effect(st.arm(n_c, mean_c, sd_c**2), st.arm(n_t, mean_t, sd_t**2)), alpha=0.05)
    theirs = scipy.ttest_ind_from_stats(mean_t, sd_t, n_t, mean_c, sd_c, n_c, equal_var=False)
    assert float(ours.statistic) == pytest.approx(float(theirs.statistic), rel=1e-9, abs=1e-12)
    assert float(ours.p_value) == pytest.approx(float(theirs.pvalue), rel=1e-6, abs=1e-300)


@given(*[hs.integers(1, 400)] * 2, *[hs.floats(0, 1)] * 2)
@SOME
def test_fisher(n_c: int, n_t: int, rate_c: float, rate_t: float) -> None:
    s_c, s_t = round(n_c * rate_c), round(n_t * rate_t)
    ours = st.proportion_test(n_c, s_c, n_t, s_t, alpha=0.05, method="exact")
    theirs = scipy.fisher_exact([[s_t, n_t - s_t], [s_c, n_c - s_c]])
    assert float(ours.p_value) == pytest.approx(float(theirs.pvalue), rel=1e-7)


@given(hs.lists(hs.tuples(hs.integers(0, 10**6), hs.integers(1, 100)), min_size=2, max_size=5))
@SOME
def test_chi_square_of_the_sample_ratio(arms: list[tuple[int, int]]) -> None:
    seen, weights = (np.array(column, dtype=np.float64) for column in zip(*arms, strict=True))
    assume(seen.sum() > 0)
    share = weights / weights.sum()
    theirs = scipy.chisquare(seen, seen.sum() * share)
    ours = st.chi_square_test([seen], share)
    assert float(ours.p_value) == pytest.approx(float(theirs.pvalue), rel=1e-7, abs=1e-300)


@given(hs.integers(1, 2000), hs.floats(0, 1), hs.floats(0.01, 0.99))
@SOME
def test_binomial(n: int, rate: float, share: float) -> None:
    count = round(n * rate)
    theirs = scipy.binomtest(count, n, share).pvalue
    assert float(st.share_test(count, n, share).p_value) == pytest.approx(float(theirs), rel=1e-7, abs=1e-290)


@given(*[hs.integers(1, 300)] * 2, *[hs.floats(0, 1)] * 2)
@settings(max_examples=25)
def test_probability_to_beat_control(n_c: int, n_t: int, rate_c: float, rate_t: float) -> None:
    s_c, s_t = round(n_c * rate_c), round(n_t * rate_t)
    control, treatment = (scipy.beta(1 + s, 1 + n - s) for n, s in ((n_c, s_c), (n_t, s_t)))
    middle = [float(treatment.ppf(q)) for q in (0.001, 0.5, 0.999)]
    theirs, _ = integrate.quad(lambda x: float(treatment.pdf(x) * control.cdf(x)), 0, 1, points=middle, limit=200)
    ours = st.beta_binomial_posterior(n_c, s_c, n_t, s_t, alpha=0.05)
    assert float(ours.probability_to_beat) == pytest.approx(theirs, abs=1e-8)
    assert float(ours.difference) == pytest.approx(float(treatment.mean() - control.mean()), abs=1e-12)
