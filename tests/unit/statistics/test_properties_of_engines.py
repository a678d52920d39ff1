"""What every engine owes to the numbers it gets: units, signs, order, and intervals that agree with p-values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as hs

from splitgauge import statistics as st

UNITS = hs.integers(50, 10**9)
MEANS = hs.floats(-1e6, 1e6).filter(lambda mean: abs(mean) > 1e-3)
VARIANCES = hs.floats(1e-6, 1e6)
ALPHAS = hs.floats(1e-6, 0.4)
SCALES = hs.sampled_from([1e-12, 1e-3, 2.0, 1e6, 1e12])
LOOKS = [0.5, 1.0]

arms = hs.builds(st.arm, UNITS, MEANS, VARIANCES)

ENGINES: dict[str, Callable[[st.Effect, float], Any]] = {
    "z": lambda effect, alpha: st.z_test(effect, alpha=alpha),
    "welch": lambda effect, alpha: st.welch_test(effect, alpha=alpha),
    "two_sided": lambda effect, alpha: st.two_sided_sequence(
        effect, alpha=alpha, r2=st.mixture_variance(5000, alpha=alpha)
    ),
    "one_sided": lambda effect, alpha: st.one_sided_sequence(
        effect, alpha=alpha, r2=st.mixture_variance(5000, alpha=alpha, sides=1)
    ),
    "posterior": lambda effect, alpha: st.normal_posterior(effect, alpha=alpha),
    "group_sequential": lambda effect, alpha: st.group_sequential_look(effect, 0.5, planned=LOOKS, alpha=alpha),
}
OF_THE_EFFECT = {"effect", "se", "half_width", "lower", "upper", "mean", "sd", "loss_choosing", "loss_staying", "null"}
"""Fields in units of the effect; the others have none."""
MIRRORED = {
    "lower": "upper",
    "upper": "lower",
    "p_greater": "p_less",
    "p_less": "p_greater",
    "log_e_greater": "log_e_less",
    "log_e_less": "log_e_greater",
    "loss_choosing": "loss_staying",
    "loss_staying": "loss_choosing",
}
SIGNED = {"effect", "lower", "upper", "mean", "statistic"}


def number(value: Any) -> float:
    return float(np.asarray(value, dtype=np.float64))


def numbers(found: Any) -> dict[str, float]:
    """The fields of a result that are numbers."""
    return {
        name: number(value) for name, value in found._asdict().items() if np.shape(value) == () and value is not None
    }


@pytest.mark.parametrize("engine", ENGINES)
@given(arms, arms, ALPHAS, SCALES)
def test_the_units_of_a_metric_scale_the_effect_and_change_no_p(
    engine: str, control: st.Arm, treatment: st.Arm, alpha: float, scale: float
) -> None:
    scaled = [
        arm._replace(mean=arm.mean * scale, mean_variance=arm.mean_variance * scale**2) for arm in (control, treatment)
    ]
    here = numbers(ENGINES[engine](st.absolute_effect(control, treatment), alpha))
    there = numbers(ENGINES[engine](st.absolute_effect(*scaled), alpha))
    width = number(st.absolute_effect(control, treatment).se)
    for name, value in here.items():
        unit = scale if name in OF_THE_EFFECT else 1.0
        # A difference of means has lost the digits that both have in common.
        floor = 1e-12 * (abs(number(control.mean)) + abs(number(treatment.mean))) / (1 if unit == scale else width)
        assert there[name] / unit == pytest.approx(value, rel=1e-6, abs=max(floor, 1e-9), nan_ok=True), name


@pytest.mark.parametrize("engine", ENGINES)
@given(arms, arms, ALPHAS)
def test_the_relative_effect_has_no_units(engine: str, control: st.Arm, treatment: st.Arm, alpha: float) -> None:
    scaled = [
        arm._replace(mean=arm.mean * 1024.0, mean_variance=arm.mean_variance * 1024.0**2)
        for arm in (control, treatment)
    ]
    here = numbers(ENGINES[engine](st.relative_effect(control, treatment), alpha))
    there = numbers(ENGINES[engine](st.relative_effect(*scaled), alpha))
    # A power of two changes no digit.
    assert there == pytest.approx(here, rel=1e-12, abs=0, nan_ok=True)


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"group_sequential"}))
@given(arms, arms, ALPHAS)
def test_swapping_the_arms_flips_the_signs(engine: str, control: st.Arm, treatment: st.Arm, alpha: float) -> None:
    here = numbers(ENGINES[engine](st.absolute_effect(control, treatment), alpha))
    there = numbers(ENGINES[engine](st.absolute_effect(treatment, control), alpha))
    for name, value in here.items():
        other = there[MIRRORED.get(name, name)]
        if name == "probability_to_beat":
            other = 1 - other
        assert (-other if name in SIGNED else other) == pytest.approx(value, rel=1e-9, abs=1e-15, nan_ok=True), name


@given(hs.integers(0, 400), hs.integers(0, 400), hs.integers(0, 400), hs.integers(0, 400), ALPHAS)
def test_swapping_the_arms_flips_the_signs_of_counts(s_c: int, f_c: int, s_t: int, f_t: int, alpha: float) -> None:
    n_c, n_t = s_c + f_c, s_t + f_t
    assume(n_c > 0 and n_t > 0)
    here, there = (
        st.proportion_test(n_c, s_c, n_t, s_t, alpha=alpha),
        st.proportion_test(n_t, s_t, n_c, s_c, alpha=alpha),
    )
    assert number(here.p_value) == pytest.approx(number(there.p_value), rel=1e-9)
    assert number(here.lower) == pytest.approx(-number(there.upper), rel=1e-9, abs=1e-15)
    one, other = (
        st.rate_ratio_sequence([s_c], [s_t], 0.25, alpha=alpha),
        st.rate_ratio_sequence([s_t], [s_c], 0.75, alpha=alpha),
    )
    assert number(one.log_ratio) == pytest.approx(-number(other.log_ratio), rel=1e-9, abs=1e-9, nan_ok=True)
    assert number(one.lower) == pytest.approx(-number(other.upper), rel=1e-9, abs=1e-9)
    assert number(one.log_e_value) == pytest.approx(number(other.log_e_value), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("engine", ["z", "welch", "two_sided", "group_sequential"])
@given(hs.floats(-12, 12), hs.floats(1e-6, 1e6), UNITS, ALPHAS)
def test_p_is_below_alpha_exactly_when_the_interval_excludes_zero(
    engine: str, z: float, se: float, n: int, alpha: float
) -> None:
    # Few degrees of freedom at times, for the t-quantile's sake.
    effect = st.effect(z * se, se, n_control=n, n_treatment=n, df=min(n, 60))
    found = ENGINES[engine](effect, alpha)
    p_value, lower, upper = (number(part) for part in (found.p_value, found.lower, found.upper))
    if abs(p_value - alpha) > 1e-6 * alpha:
        assert (p_value < alpha) == (lower > 0 or upper < 0)


@given(hs.integers(0, 400), hs.integers(0, 400), hs.floats(0.05, 0.95), ALPHAS)
def test_the_rate_ratio_excludes_one_exactly_when_p_is_below_alpha(c: int, t: int, share: float, alpha: float) -> None:
    found = st.rate_ratio_sequence([c], [t], share, alpha=alpha)
    if abs(number(found.p_value) - alpha) > 1e-6 * alpha:
        assert (number(found.p_value) < alpha) == (number(found.lower) > 0 or number(found.upper) < 0)


@given(
    hs.lists(hs.tuples(hs.integers(-(10**9), 10**9), hs.integers(1, 9), hs.integers(-99, 99)), min_size=2, max_size=12),
    hs.randoms(use_true_random=False),
    hs.integers(1, 5),
)
def test_merging_in_any_order_and_any_batches_gives_the_same_bytes(rows: list[Any], random: Any, batches: int) -> None:
    def sums(part: list[Any]) -> list[int]:
        return [
            len(part),
            *(sum(row[place] for row in part) for place in range(3)),
            *(sum(row[a] * row[b] for row in part) for a, b in ((0, 0), (1, 1), (0, 1), (2, 2), (0, 2), (1, 2))),
        ]

    def moments(columns: list[int]) -> bytes:
        n, m, d, x, mm, dd, md, xx, mx, dx = ([value] for value in columns)
        found = st.exact_moments(n=n, m=m, d=d, mm=mm, dd=dd, md=md, x=x, xx=xx, mx=mx, dx=dx, scale=1000)
        return b"".join(np.asarray(part).tobytes() for part in (*found, *st.ratios(found), *st.means(found)))

    whole = moments(sums(rows))
    shuffled = random.sample(rows, len(rows))
    parts = [sums(shuffled[start::batches]) for start in range(batches)]
    merged = [sum(column) for column in zip(*random.sample(parts, len(parts)), strict=True)]
    assert moments(merged) == whole


@given(hs.lists(hs.tuples(hs.integers(1, 500), hs.floats(-3, 3), hs.floats(0.1, 10)), min_size=2, max_size=12), ALPHAS)
def test_more_looks_never_widen_the_running_intersection(looks: list[tuple[int, float, float]], alpha: float) -> None:
    n = np.cumsum([look[0] for look in looks])
    effect = st.effect(
        [look[1] for look in looks], [look[2] for look in looks] / np.sqrt(n), n_control=n, n_treatment=n
    )
    found = st.two_sided_sequence(effect, alpha=alpha, r2=st.mixture_variance(5000, alpha=alpha))
    lower, upper = np.maximum.accumulate(found.lower), np.minimum.accumulate(found.upper)
    assert np.all(np.diff(upper - lower) <= 0)
    # What an early look said does not depend on the looks that came later.
    for count in range(1, len(looks)):
        early = st.Effect(*(np.broadcast_to(part, n.shape)[:count] for part in effect))
        first = st.two_sided_sequence(early, alpha=alpha, r2=st.mixture_variance(5000, alpha=alpha))
        np.testing.assert_array_equal(first.lower, found.lower[:count])


@given(hs.lists(hs.floats(0.06, 1.0), min_size=2, max_size=5), ALPHAS)
def test_later_looks_move_no_earlier_boundary(steps: list[float], alpha: float) -> None:
    fractions = np.cumsum(steps) / sum(steps)
    whole = st.group_sequential_boundaries(fractions, alpha=alpha).boundary
    first = st.group_sequential_boundaries(fractions[:-1], alpha=alpha).boundary
    np.testing.assert_allclose(first, whole[:-1], rtol=1e-12)
