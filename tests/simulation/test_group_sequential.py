"""Group-sequential tests on streams of units: error at most alpha over all looks, coverage, power, however looks fall.

Every figure is checked to three binomial standard errors of its number of runs; seeds are fixed.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from splitgauge import statistics as st

Array = npt.NDArray[np.float64]

SPENDINGS: tuple[st.Spending, ...] = get_args(st.Spending)
FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)
RUNS = 200_000


def tolerance(rate: float, runs: int = RUNS) -> float:
    """Three binomial standard errors: 0.0015 for a rate of 0.05 in 200,000 runs."""
    return 3 * float(np.sqrt(rate * (1 - rate) / runs))


def correlated(fractions: Sequence[float], *, drift: float = 0.0, seed: int, runs: int = RUNS) -> Array:
    """z at each look of each run, shape (runs, looks): increments of information are independent."""
    t = np.array(fractions)
    steps = np.diff(t, prepend=0.0)
    draws = np.random.default_rng(seed).standard_normal((runs, t.size))
    z: Array = np.cumsum(drift * steps + np.sqrt(steps) * draws, axis=1) / np.sqrt(t)
    return z


def boundaries(fractions: Sequence[float], *, spending: st.Spending, sides: int = 2, alpha: float = 0.05) -> Array:
    """Those that the analysis meets, look after look, whatever was declared."""
    nobody = st.effect([], [], n_control=[], n_treatment=[])
    taken: list[st.TakenLook] = []
    for fraction in fractions:
        look = st.group_sequential_look(
            nobody, fraction, planned=FIVE, taken=taken, alpha=alpha, spending=spending, sides=sides
        )
        assert look.due
        taken.append(look.taken())
    return np.array([look.boundary for look in taken])


@pytest.mark.parametrize("spending", SPENDINGS)
def test_five_looks_err_as_often_as_alpha_under_no_difference(spending: st.Spending) -> None:
    z = correlated(FIVE, seed=11)
    two = (np.abs(z) > boundaries(FIVE, spending=spending)).any(axis=1).mean()
    one = (z > boundaries(FIVE, spending=spending, sides=1)).any(axis=1).mean()
    assert two == pytest.approx(0.05, abs=tolerance(0.05))
    assert one == pytest.approx(0.05, abs=tolerance(0.05))


def test_the_same_looks_without_a_boundary_for_them_err_far_more_often() -> None:
    naive = (np.abs(correlated(FIVE, seed=11)) > 1.959963984540054).any(axis=1).mean()
    assert naive == pytest.approx(0.142, abs=0.003)  # Armitage, McPherson, Rowe 1969: 0.142


@pytest.mark.parametrize(
    "fractions",
    [
        (0.21, 0.45, 0.6, 0.97, 1.0),  # late, and next to each other
        (0.35, 0.85, 1.02),  # two skipped, a little over
        (0.79, 2.0),  # three skipped, far over
        (0.2, 0.4, 0.6, 0.8, 1.5),
    ],
)
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_late_skipped_and_overrun_looks_keep_the_error(spending: st.Spending, fractions: tuple[float, ...]) -> None:
    z = correlated(fractions, seed=12)
    errors = (np.abs(z) > boundaries(fractions, spending=spending)).any(axis=1).mean()
    assert errors == pytest.approx(0.05, abs=tolerance(0.05))


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_the_repeated_interval_covers_at_all_looks_and_where_the_test_stops(spending: st.Spending) -> None:
    drift = 2.5
    z, bounds = correlated(FIVE, drift=drift, seed=13), boundaries(FIVE, spending=spending)
    misses = np.abs(z - drift * np.sqrt(FIVE)) > bounds
    assert misses.any(axis=1).mean() == pytest.approx(0.05, abs=tolerance(0.05))
    crossed = np.abs(z) > bounds
    stop = np.where(crossed.any(axis=1), crossed.argmax(axis=1), len(FIVE) - 1)
    assert misses[np.arange(RUNS), stop].mean() <= 0.05 + tolerance(0.05)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_a_plan_has_its_power_and_its_expected_size(spending: st.Spending) -> None:
    plan = st.group_sequential_drift(FIVE, alpha=0.05, power=0.8, spending=spending)
    z, bounds = correlated(FIVE, drift=float(plan.drift), seed=14), boundaries(FIVE, spending=spending)
    crossed = np.abs(z) > bounds
    assert (z > bounds).any(axis=1).mean() == pytest.approx(0.8, abs=tolerance(0.8))
    stop = np.array(FIVE)[np.where(crossed.any(axis=1), crossed.argmax(axis=1), len(FIVE) - 1)]
    expected = float(plan.expected_ratio / plan.planned_ratio)
    assert stop.mean() == pytest.approx(expected, abs=3 * float(stop.std()) / RUNS**0.5)


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_rates_of_arriving_units_err_at_most_alpha(share: float) -> None:
    """Two arms at a rate of 20 %, z from guarded arms, 20,000 runs; 5 % of the units in the smaller arm or half."""
    runs, n = 20_000, 10_000
    draws = np.random.default_rng(15)
    sizes = {"control": round(n / 5 * (1 - share)), "treatment": round(n / 5 * share)}
    successes = {arm: np.cumsum(draws.binomial(size, 0.2, (runs, 5)), axis=1) for arm, size in sizes.items()}
    stopped: dict[st.Spending, npt.NDArray[np.bool_]] = {spending: np.zeros(runs, dtype=bool) for spending in SPENDINGS}
    for k in range(5):
        control, treatment = (st.proportions([(k + 1) * size], successes[arm][:, k]) for arm, size in sizes.items())
        effect = st.absolute_effect(*(st.arm(*cells) for cells in st.guarded(control, treatment)))
        for spending, over in stopped.items():
            over |= np.abs(effect.value / effect.se) > boundaries(FIVE, spending=spending)[k]
    for over in stopped.values():
        assert over.mean() <= 0.05 + tolerance(0.05, runs)
