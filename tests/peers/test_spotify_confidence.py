"""spotify-confidence on random inputs: z, t, non-inferiority, group-sequential bounds. Its tables take 50 ms each."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as hs

from peers.libraries import bounds, spotify, spotify_frame
from splitgauge import statistics as st

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers; that ours raise none is tested elsewhere

FEW = settings(max_examples=12)
COUNTS = hs.tuples(*[hs.integers(100, 10**5)] * 2)
RATES = hs.tuples(*[hs.floats(0.05, 0.95)] * 2)


def difference(kind: Any, frame: Any, **options: Any) -> Any:
    """The one row of a comparison."""
    return kind(frame, "sum", "squares", "n", ["group"], interval_size=0.95).difference("c", "t", **options).iloc[0]


def rates_of(units: tuple[int, int], rates: tuple[float, float]) -> tuple[st.Effect, tuple[st.Arm, st.Arm], Any]:
    successes = [round(n * rate) for n, rate in zip(units, rates, strict=True)]
    control, treatment = (
        st.arm(*(float(part) for part in st.proportions(n, s))) for n, s in zip(units, successes, strict=True)
    )
    frame = spotify_frame(*((n, s, s) for n, s in zip(units, successes, strict=True)))
    return st.absolute_effect(control, treatment), (control, treatment), frame


@given(COUNTS, RATES)
@FEW
def test_z(units: tuple[int, int], rates: tuple[float, float]) -> None:
    effect, _, frame = rates_of(units, rates)
    theirs, ours = difference(spotify.ZTest, frame), st.z_test(effect, alpha=0.05)
    np.testing.assert_allclose(
        [float(ours.lower), float(ours.upper)], [theirs["ci_lower"], theirs["ci_upper"]], rtol=1e-9, atol=1e-12
    )
    assert float(ours.p_value) == pytest.approx(theirs["p-value"], rel=1e-6, abs=1e-14)


@given(hs.lists(hs.integers(-99, 99), min_size=5, max_size=40), hs.lists(hs.integers(-99, 99), min_size=5, max_size=40))
@FEW
def test_welch(control: list[int], treatment: list[int]) -> None:
    arms = [st.arm(len(y), np.mean(y), np.var(y, ddof=1)) for y in (control, treatment)]
    assume(all(float(arm.mean_variance) > 0 for arm in arms))
    frame = spotify_frame(*((len(y), sum(y), sum(v * v for v in y)) for y in (control, treatment)))
    theirs, ours = difference(spotify.StudentsTTest, frame), st.welch_test(st.absolute_effect(*arms), alpha=0.05)
    np.testing.assert_allclose(
        [float(ours.lower), float(ours.upper)], [theirs["ci_lower"], theirs["ci_upper"]], rtol=1e-7, atol=1e-7
    )
    assert float(ours.p_value) == pytest.approx(theirs["p-value"], rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("better", ["increase", "decrease"])
@given(COUNTS, RATES, hs.floats(0.01, 0.3))
@FEW
def test_non_inferiority(better: str, units: tuple[int, int], rates: tuple[float, float], margin: float) -> None:
    effect, (control, _), frame = rates_of(units, rates)
    theirs = difference(spotify.ZTest, frame, non_inferiority_margins=(margin, better))
    up = better == "increase"
    null = (-1 if up else 1) * margin * control.mean
    ours = st.z_test(effect, alpha=2 * 0.05, null=null)  # one-sided at 5 %
    assert float(null) == pytest.approx(theirs["null_hypothesis"], rel=1e-9)
    p_value = float(ours.p_greater if up else ours.p_less)
    assert p_value == pytest.approx(theirs["p-value"], rel=1e-6, abs=1e-14)
    bound, other = (ours.lower, "ci_lower") if up else (ours.upper, "ci_upper")
    assert float(bound) == pytest.approx(theirs[other], rel=1e-9, abs=1e-12)


@given(hs.lists(hs.floats(0.1, 1.0), min_size=1, max_size=4), hs.floats(0.01, 0.2), hs.sampled_from([1, 2]))
@FEW
def test_group_sequential_bounds(steps: list[float], alpha: float, sides: int) -> None:
    # Steps of much the same size: its fixed grid is too coarse for short ones (see the defects).
    fractions = np.cumsum(steps) / sum(steps)
    assume(fractions[0] >= 0.15)
    theirs = bounds(fractions, alpha=alpha, rho=2, ztrun=8, sides=sides, max_nints=1000).bounds
    ours = st.group_sequential_boundaries(fractions, alpha=alpha, spending="power", phi=2.0, sides=sides)
    np.testing.assert_allclose(ours.boundary, theirs, rtol=2e-3)
