"""Outcomes that come late, the slower arm's later than the other's: with an attribution window, and only the days that
ended at least a window ago, equal arms stay equal; what has been reported so far makes the slower one look worse.
"""

from typing import NamedTuple

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import RARER, SPLITS, Bools, Floats, Ints, chunks, enough_units, ever, most, runs_of

ALPHA = 0.05
RUNS = runs_of(300)
DAYS = 30
WINDOW_DAYS = 7.0
LOOKS_A_DAY = 24
UNITS_A_DAY = 300
RATE = 0.3
DELAYS = (0.2, 4.0)
"""Mean days from exposure to report of the two arms; what would come after the window is drawn again within it."""


class Arrivals(NamedTuple):
    """Units of some runs, shape (runs, units): exposure and report in days (inf: none), and whose they are."""

    exposed: Floats
    reported: Floats
    treatment: Bools


def arrivals(random: np.random.Generator, runs: int, share: float) -> Arrivals:
    """The same share of both arms reports within the window, the challenger's later; the traffic swings with the day
    and grows from day to day."""
    shape = (runs, UNITS_A_DAY * DAYS)
    exposed = np.sort(DAYS * random.beta(1.3, 1.0, shape), axis=1)
    treatment = random.random(shape) < share
    mean = np.where(treatment, DELAYS[1], DELAYS[0])
    # Exponential delays, cut at the window by their distribution function.
    delay = -mean * np.log1p(-random.random(shape) * -np.expm1(-WINDOW_DAYS / mean))
    converts = random.random(shape) < RATE
    return Arrivals(exposed, np.where(converts, exposed + delay, np.inf), treatment)


def seen_at(looks: Floats, units: Arrivals, *, mature_only: bool) -> tuple[st.Arms, Floats]:
    """Guarded arms and conversions at each look, shape (runs, looks): of units whose day of exposure ended a window
    ago, or of all that were exposed, with what has been reported."""
    day_end = np.floor(units.exposed) + 1
    counted_from = day_end + WINDOW_DAYS if mature_only else units.exposed
    hit_from = counted_from if mature_only else units.reported
    hits = np.isfinite(units.reported)

    def running(from_time: Floats, which: Bools) -> Floats:
        """How many of them count at each look."""
        look: Ints = np.searchsorted(looks, np.where(which, from_time, np.inf).ravel()).reshape(which.shape)
        at = look + np.arange(which.shape[0], dtype=np.int64)[:, None] * (looks.size + 1)
        counted = np.bincount(at.ravel(), minlength=which.shape[0] * (looks.size + 1))
        return np.cumsum(counted.reshape(-1, looks.size + 1)[:, :-1], axis=1).astype(np.float64)

    arms = [units.treatment == arm for arm in (False, True)]
    n = [running(counted_from, arm) for arm in arms]
    total = [running(hit_from, arm & hits) for arm in arms]
    cells = [st.Cells(*(field[None] for field in st.proportions(*pair))) for pair in zip(n, total, strict=True)]
    return st.combine_epochs(*cells), total[0] + total[1]


def told_apart(arms: st.Arms, conversions: Floats) -> Bools:
    r2 = st.mixture_variance(5000.0, alpha=ALPHA)
    found = st.two_sided_sequence(st.absolute_effect(*arms), alpha=ALPHA, r2=r2)
    return enough_units(arms) & (conversions >= RARER) & ((found.lower > 0) | (found.upper < 0))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
def test_a_slower_arm_is_seldom_told_apart_by_what_is_attributed(share: float) -> None:
    wrong = 0
    looks = np.arange(1, (DAYS + WINDOW_DAYS + 1) * LOOKS_A_DAY + 1) / LOOKS_A_DAY
    for random, runs in chunks(RUNS, 451):
        wrong += ever(told_apart(*seen_at(looks, arrivals(random, runs, share), mature_only=True)))
    assert wrong <= most(RUNS, ALPHA)


def test_what_has_been_reported_so_far_makes_the_slower_arm_look_worse() -> None:
    [(random, runs)] = chunks(100, 452)
    looks = np.arange(1, DAYS * LOOKS_A_DAY + 1) / LOOKS_A_DAY
    assert ever(told_apart(*seen_at(looks, arrivals(random, runs, 0.5), mature_only=False))) > 0.5 * runs
