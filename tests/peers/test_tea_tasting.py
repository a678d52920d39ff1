"""tea-tasting on random aggregates: means, rates, ratios, covariates, shares."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as hs

from peers.libraries import aggregates, moments, tea
from splitgauge import statistics as st

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers; that ours raise none is tested elsewhere

SOME = settings(max_examples=30)
ALPHAS = hs.floats(1e-4, 0.4)
# Means away from 0: near it the peer's relative interval overflows, and takes the absolute one with it (see defects).
UNITS = hs.lists(hs.tuples(hs.integers(500, 1500), hs.integers(1, 9), hs.integers(-50, 50)), min_size=3, max_size=30)


def columns(units: list[tuple[int, int, int]]) -> st.Moments:
    m, d, x = ([unit[place] for unit in units] for place in range(3))
    return moments(m, d, x)


def equal(ours: Any, theirs: float, *, rel: float = 1e-9, floor: float = 0.0) -> None:
    assert float(np.squeeze(ours)) == pytest.approx(float(theirs), rel=rel, abs=max(floor, 1e-300), nan_ok=True)


def both(control: st.Cells, treatment: st.Cells) -> tuple[st.Arm, st.Arm]:
    return st.arm(*control), st.arm(*treatment)


def varied(*cells: st.Cells) -> None:
    assume(all(float(cell.variance[0]) > 1e-6 for cell in cells))


@pytest.mark.parametrize("use_t", [True, False])
@given(UNITS, UNITS, ALPHAS)
@SOME
def test_means(use_t: bool, control: list[Any], treatment: list[Any], alpha: float) -> None:
    c, t = columns(control), columns(treatment)
    varied(st.means(c), st.means(t))
    theirs = tea.Mean("m", use_t=use_t, confidence_level=1 - alpha).analyze_aggregates(aggregates(c), aggregates(t))
    effect = st.absolute_effect(*both(st.means(c), st.means(t)))
    ours = st.welch_test(effect, alpha=alpha) if use_t else st.z_test(effect, alpha=alpha, few_units=0)
    size = float(effect.se[0])
    equal(ours.effect, theirs.effect_size, floor=1e-12 * size)
    equal(ours.statistic, theirs.statistic, floor=1e-12)
    equal(ours.p_value, theirs.pvalue)
    equal(ours.lower, theirs.effect_size_ci_lower, floor=1e-9 * size)
    equal(ours.upper, theirs.effect_size_ci_upper, floor=1e-9 * size)


@given(UNITS, UNITS, ALPHAS)
@SOME
def test_ratios(control: list[Any], treatment: list[Any], alpha: float) -> None:
    c, t = columns(control), columns(treatment)
    varied(st.ratios(c), st.ratios(t))
    metric = tea.RatioOfMeans("m", "d", confidence_level=1 - alpha)
    theirs = metric.analyze_aggregates(aggregates(c), aggregates(t))
    effect = st.absolute_effect(*both(st.ratios(c), st.ratios(t)))
    ours = st.welch_test(effect, alpha=alpha)
    size = float(effect.se[0])
    equal(ours.effect, theirs.effect_size, floor=1e-12 * size)
    equal(ours.p_value, theirs.pvalue, rel=1e-7)
    equal(ours.lower, theirs.effect_size_ci_lower, rel=1e-7, floor=1e-7 * size)
    equal(ours.upper, theirs.effect_size_ci_upper, rel=1e-7, floor=1e-7 * size)


@given(UNITS, UNITS, ALPHAS)
@SOME
def test_covariates(control: list[Any], treatment: list[Any], alpha: float) -> None:
    c, t = columns(control), columns(treatment)
    assume(float(c.var_x[0]) > 0 and float(t.var_x[0]) > 0)
    adjusted = st.adjusted_means(c, t)
    varied(adjusted.control, adjusted.treatment)
    theirs = tea.Mean("m", "x", confidence_level=1 - alpha).analyze_aggregates(aggregates(c), aggregates(t))
    effect = st.absolute_effect(*st.combine_epochs(adjusted.control, adjusted.treatment, guard=False))
    size = float(effect.se)
    equal(effect.value, theirs.effect_size, floor=1e-9 * size)
    ours = st.welch_test(effect, alpha=alpha)
    equal(ours.p_value, theirs.pvalue, rel=1e-6)
    equal(ours.lower, theirs.effect_size_ci_lower, rel=1e-7, floor=1e-7 * size)


@pytest.mark.parametrize("correction", [True, False])
@given(hs.tuples(*[hs.integers(1, 5000)] * 2), hs.tuples(*[hs.floats(0.001, 0.999)] * 2), ALPHAS)
@SOME
def test_rates(correction: bool, units: tuple[int, int], rates: tuple[float, float], alpha: float) -> None:
    n_c, n_t = units
    s_c, s_t = (min(max(round(n * rate), 0), n) for n, rate in zip(units, rates, strict=True))
    assume(0 < s_c < n_c and 0 < s_t < n_t)
    control, treatment = (aggregates(moments([1] * s + [0] * (n - s))) for n, s in ((n_c, s_c), (n_t, s_t)))
    for method, name in (("pooled", "norm"), ("exact", "fisher")):
        if correction and name == "fisher":
            continue
        metric = tea.Proportion("m", method=name, correction=correction)
        theirs = metric.analyze_aggregates(control, treatment)
        ours = st.proportion_test(n_c, s_c, n_t, s_t, alpha=alpha, method=method, continuity=correction)
        equal(ours.effect, theirs.effect_size, floor=1e-12)
        equal(ours.p_value, theirs.pvalue, rel=1e-7)


@pytest.mark.parametrize("correction", [True, False])
@given(hs.integers(0, 3000), hs.integers(0, 3000), hs.floats(0.05, 20))
@SOME
def test_shares(correction: bool, control: int, treatment: int, ratio: float) -> None:
    assume(control + treatment > 0)
    empty: Any = {0: tea.aggr.Aggregates(count_=control), 1: tea.aggr.Aggregates(count_=treatment)}
    for name, method in (("binom", "exact"), ("norm", "normal")):
        theirs = tea.SampleRatio(ratio, method=name, correction=correction).analyze(empty, 0, 1)
        share = ratio / (1 + ratio)
        ours = st.share_test(treatment, control + treatment, share, method=method, continuity=correction)
        equal(ours.p_value, theirs.pvalue, rel=1e-6)
