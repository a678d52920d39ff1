"""Novelty: how often an effect is said to wear off that stays, that is not there, or that does.

Users with a rate of their own come back early (up to 3 days) and late, some only early; a ratio metric. One look per
run, as where a verdict would promote, except where said.
"""

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.statistics.novelty import NOVELTY_COLUMNS, NOVELTY_PRODUCTS
from statistics_worlds import Bools, Ints, chunks, ever, most, runs_of

ALPHA = 0.01
RUNS = runs_of(1000)
UNITS = 600


def columns(random: np.random.Generator, runs: int, lifts: tuple[float, float]) -> dict[str, Ints]:
    """Of one arm, each of the kept columns for each unit, shape (runs, units). ``lifts``: factors early and late."""
    shape = (runs, UNITS)
    own = random.gamma(2.0, 0.5, shape)
    d_early = random.geometric(0.3, shape)
    stays = random.random(shape) < 0.8
    d_late = np.where(stays, random.geometric(0.15, shape), 0)
    return {
        "m_early": random.poisson(own * d_early * lifts[0]),
        "d_early": d_early,
        "m_late": random.poisson(own * d_late * lifts[1]),
        "d_late": d_late,
    }


def moments(units: dict[str, Ints], looks: list[int]) -> st.NoveltyMoments:
    """After so many units, shape (1 epoch, runs * looks)."""
    sums = [np.cumsum(units[name], axis=1)[:, looks].ravel() for name in NOVELTY_COLUMNS]
    products = [np.cumsum(units[a] * units[b], axis=1)[:, looks].ravel() for a, b in NOVELTY_PRODUCTS]
    n = np.broadcast_to(np.array(looks) + 1, (len(units["m_early"]), len(looks))).ravel()
    made = st.novelty_moments(
        n=n.tolist(), sums=np.stack(sums, axis=1).tolist(), products=np.stack(products, axis=1).tolist()
    )
    return st.NoveltyMoments(*(field[None] for field in made))


def strong(random: np.random.Generator, runs: int, lifts: tuple[float, float], looks: list[int]) -> Bools:
    """Where the flag is up, shape (runs, looks)."""
    control = moments(columns(random, runs, (1.0, 1.0)), looks)
    found = st.novelty_test(control, moments(columns(random, runs, lifts), looks), alpha=ALPHA)
    return found.strong.reshape(runs, len(looks))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("lifts", [(1.0, 1.0), (1.2, 1.2), (1.1, 1.3)], ids=["none", "steady", "growing"])
def test_an_effect_that_does_not_wear_off_is_seldom_said_to(lifts: tuple[float, float]) -> None:
    flagged = sum(ever(strong(random, runs, lifts, [UNITS - 1])) for random, runs in chunks(RUNS, 471))
    print(f"{RUNS} runs: {flagged=}")  # noqa: T201 - shown with -s
    assert flagged <= most(RUNS, ALPHA)


def test_an_effect_that_wears_off_is_found() -> None:
    """50 % early, 5 % late."""
    [(random, runs)] = chunks(100, 472)
    assert ever(strong(random, runs, (1.5, 1.05), [UNITS - 1])) > 0.9 * runs


def test_a_flag_at_every_look_would_be_up_far_more_often_than_at_one() -> None:
    """Why a verdict asks only where it would promote."""
    looks = list(range(39, UNITS, 20))
    flagged, runs_made = 0, 300
    for random, runs in chunks(runs_made, 473):
        flagged += ever(strong(random, runs, (1.0, 1.0), looks))
    assert flagged > 3 * ALPHA * runs_made
