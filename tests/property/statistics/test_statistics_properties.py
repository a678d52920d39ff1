"""What must hold of every comparison, whatever the numbers."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from splitgauge import statistics as st

UNITS = hs.integers(2, 10**12)
MEANS = hs.floats(-1e15, 1e15, allow_nan=False)
VARIANCES = hs.floats(1e-12, 1e12)
ALPHAS = hs.floats(1e-6, 0.4)
ANYTHING = hs.one_of(hs.floats(allow_nan=True, allow_infinity=True), hs.sampled_from([0.0, 1e-300, 1e300, 1e15, -1e15]))
ANY_VARIANCE = hs.one_of(hs.floats(0, allow_infinity=True), hs.sampled_from([math.nan, 0.0, 1.0]))

arms = hs.builds(st.arm, UNITS, MEANS, VARIANCES)


def numbers(result: Any) -> list[float]:
    return [float(field) for field in result]


@given(arms, arms, ALPHAS)
def test_swapping_the_arms_flips_the_sign_and_nothing_else(control: st.Arm, treatment: st.Arm, alpha: float) -> None:
    r2 = st.mixture_variance(5000, alpha=alpha)
    here, there = st.absolute_effect(control, treatment), st.absolute_effect(treatment, control)
    one, other = (st.two_sided_sequence(e, alpha=alpha, r2=r2) for e in (here, there))
    assert float(one.lower) == -float(other.upper)
    assert float(one.p_value) == float(other.p_value)
    a, b = (st.one_sided_sequence(e, alpha=alpha, r2=r2) for e in (here, there))
    assert (float(a.p_greater), float(a.lower)) == (float(b.p_less), -float(b.upper))
    w, v = (st.welch_test(e, alpha=alpha) for e in (here, there))
    assert (float(w.p_value), float(w.lower)) == (float(v.p_value), -float(v.upper))
    p, q = (st.normal_posterior(e, alpha=alpha) for e in (here, there))
    assert float(p.loss_choosing) == float(q.loss_staying)


@given(arms, arms, ALPHAS, hs.sampled_from([2.0**-30, 2.0**-10, 2.0, 2.0**20]))
def test_the_units_of_a_metric_change_no_p(control: st.Arm, treatment: st.Arm, alpha: float, unit: float) -> None:
    """Units that are powers of two, as others round the means of which the difference is taken."""
    scaled = [a._replace(mean=a.mean * unit, mean_variance=a.mean_variance * unit**2) for a in (control, treatment)]
    here, there = st.absolute_effect(control, treatment), st.absolute_effect(*scaled)
    r2 = st.mixture_variance(5000, alpha=alpha)
    first = st.two_sided_sequence(here, alpha=alpha, r2=r2)
    second = st.two_sided_sequence(there, alpha=alpha, r2=r2)
    assert float(second.log_e_value) == pytest.approx(float(first.log_e_value), rel=1e-9, abs=1e-9)
    assert float(second.half_width) == pytest.approx(float(first.half_width) * unit, rel=1e-12)
    assert float(st.welch_test(there, alpha=alpha).p_value) == pytest.approx(
        float(st.welch_test(here, alpha=alpha).p_value), rel=1e-6, abs=1e-300
    )


@given(hs.floats(-12, 12), hs.floats(1e-6, 1e6), UNITS, ALPHAS)
def test_p_is_below_alpha_exactly_when_the_interval_excludes_zero(z: float, se: float, n: int, alpha: float) -> None:
    effect = st.effect(z * se, se, n_control=n, n_treatment=n)
    two = st.two_sided_sequence(effect, alpha=alpha, r2=st.mixture_variance(5000, alpha=alpha))
    one = st.one_sided_sequence(effect, alpha=alpha, r2=st.mixture_variance(5000, alpha=alpha, sides=1))
    fixed = st.z_test(effect, alpha=alpha)
    for p, lower, upper in (
        (two.p_value, two.lower, two.upper),
        (fixed.p_value, fixed.lower, fixed.upper),
        (one.p_greater, one.lower, np.inf),
        (one.p_less, -np.inf, one.upper),
    ):
        if not math.isclose(float(p), alpha, rel_tol=1e-9):
            assert (float(p) < alpha) == (float(lower) > 0 or float(upper) < 0)


@given(hs.lists(hs.integers(-(10**15), 10**15), min_size=2, max_size=20), hs.integers(-(10**18), 10**18))
def test_a_shift_of_all_values_changes_no_variance(values: list[int], shift: int) -> None:
    def moments(m: list[int]) -> st.Moments:
        n = len(m)
        return st.exact_moments(n=[n], m=[sum(m)], d=[n], mm=[sum(v * v for v in m)], dd=[n], md=[sum(m)])

    assert moments([v + shift for v in values]).var_m.tolist() == moments(values).var_m.tolist()


@given(
    hs.lists(hs.tuples(hs.integers(0, 10**9), hs.integers(1, 1000)), min_size=2, max_size=20), hs.integers(1, 10**12)
)
def test_a_ratio_is_that_of_the_rows_and_blind_to_its_scale(rows: list[tuple[int, int]], scale: int) -> None:
    def cells(factor: int) -> st.Cells:
        m, d = [r[0] * factor for r in rows], [r[1] for r in rows]
        return st.ratios(
            st.exact_moments(
                n=[len(m)],
                m=[sum(m)],
                d=[sum(d)],
                mm=[sum(v * v for v in m)],
                dd=[sum(v * v for v in d)],
                md=[sum(a * b for a, b in zip(m, d, strict=True))],
                scale=factor,
            )
        )

    plain, scaled = cells(1), cells(scale)
    assert float(scaled.value[0]) == pytest.approx(float(plain.value[0]), rel=1e-15)
    assert float(scaled.variance[0]) == pytest.approx(float(plain.variance[0]), rel=1e-15)
    m, d = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    by_rows = np.var((m - m.sum() / d.sum() * d) / d.mean(), ddof=1)
    assert float(plain.variance[0]) == pytest.approx(float(by_rows), rel=1e-6, abs=1e-12 * float(np.max(m)) ** 2)


@settings(max_examples=300)
@given(ANYTHING, ANYTHING, ANY_VARIANCE, hs.integers(0, 3), hs.integers(0, 10**12))
def test_what_is_not_a_number_never_becomes_one(
    mean_c: float, mean_t: float, variance: float, n_c: int, n_t: int
) -> None:
    control, treatment = st.arm(n_c, mean_c, variance), st.arm(n_t, mean_t, variance)
    for effect in (st.absolute_effect(control, treatment), st.relative_effect(control, treatment)):
        found = [
            *numbers(st.two_sided_sequence(effect, alpha=0.05, r2=0.001)),
            *numbers(st.one_sided_sequence(effect, alpha=0.05, r2=0.001)),
            float(st.z_test(effect, alpha=0.05).p_value),
            float(st.welch_test(effect, alpha=0.05).p_value),
            *numbers(st.normal_posterior(effect, alpha=0.05)),
            float(st.conditional_power(effect, 0.1, final_n=10.0, alpha=0.05)),
        ]
        if not all(math.isfinite(v) for v in (mean_c, mean_t, variance)) or min(n_c, n_t) < 2:
            assert all(math.isnan(value) for value in found)


@given(hs.integers(0, 10**6), hs.floats(0, 1), ALPHAS, hs.floats(0.1, 1e4))
def test_rate_bounds_hold_the_rate_and_stay_in_range(n: int, share: float, alpha: float, c: float) -> None:
    found = st.rate_sequence(n, share * n, alpha=alpha, concentration=c)
    lower, upper = float(found.lower), float(found.upper)
    assert 0 <= lower <= upper <= 1
    if n:
        assert lower <= float(found.rate) <= upper


@given(hs.lists(hs.floats(0, 1), min_size=1, max_size=12), hs.randoms(use_true_random=False))
def test_corrections_keep_order_and_do_not_depend_on_it(p: list[float], random: Any) -> None:
    places = list(range(len(p)))
    random.shuffle(places)
    for correct in (st.bonferroni, st.holm, st.benjamini_hochberg):
        adjusted = correct(p)
        assert np.all(adjusted >= np.array(p))
        np.testing.assert_array_equal(correct([p[i] for i in places]), adjusted[places])
    assert np.all(st.benjamini_hochberg(p) <= st.holm(p))


@given(hs.lists(hs.tuples(UNITS, MEANS, VARIANCES, UNITS, MEANS, VARIANCES), min_size=1, max_size=5), ALPHAS)
def test_a_row_does_not_feel_the_other_rows(rows: list[tuple[float, ...]], alpha: float) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    r2 = st.mixture_variance(5000, alpha=alpha)

    def both(c: Any) -> list[Any]:
        effect = st.absolute_effect(st.arm(*c[:3]), st.arm(*c[3:]))
        return [*st.two_sided_sequence(effect, alpha=alpha, r2=r2), *st.normal_posterior(effect, alpha=alpha)]

    together = both(columns)
    for i, row in enumerate(rows):
        for whole, alone in zip(together, both(row), strict=True):
            assert float(whole[i]) == pytest.approx(float(alone), rel=1e-12, nan_ok=True)


@given(hs.integers(0, 300), hs.integers(0, 300), hs.floats(0.01, 0.99))
def test_first_failures_are_a_dirichlet_bayes_factor(control: int, treatment: int, share: float) -> None:
    found = st.first_failures([control], [treatment], share, alpha=0.025)
    general = st.log_bayes_factor([control, treatment], [1 - share, share], concentration=2.0)
    assert float(found.log_e_value) == pytest.approx(float(general), rel=1e-9, abs=1e-9)
