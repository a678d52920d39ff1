"""Effects adjusted for a covariate under no difference, with a look after every outcome: theta is estimated anew at
each look, from the very units it adjusts, and no error may come of that.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import FLOOR, SPLITS, Bools, Floats, chunks, ever, most, runs_of

ALPHA = 0.05
UNITS = 3000
RUNS = runs_of(200)

Pairs: TypeAlias = Callable[[np.random.Generator, int], tuple[Floats, Floats]]


def skewed(random: np.random.Generator, runs: int) -> tuple[Floats, Floats]:
    """Lognormal values around what each unit had before: most of the variance goes."""
    x = random.lognormal(0.0, 1.0, (runs, UNITS))
    return x, x * random.lognormal(0.0, 0.4, x.shape)


def seldom(random: np.random.Generator, runs: int) -> tuple[Floats, Floats]:
    """2 % of units have a covariate at all, and then a large one, so that theta hangs on few of them."""
    x = np.where(random.random((runs, UNITS)) < 0.02, random.lognormal(1.0, 1.0, (runs, UNITS)), 0.0)
    return x, 0.5 * x + random.exponential(1.0, x.shape)


def unrelated(random: np.random.Generator, runs: int) -> tuple[Floats, Floats]:
    """A covariate that says nothing."""
    return random.exponential(1.0, (runs, UNITS)), (random.random((runs, UNITS)) < 0.05).astype(np.float64)


def moments(x: Floats, m: Floats, arm: Bools) -> st.Moments:
    """Of one value per unit, shape (1 epoch, runs, outcomes)."""
    n, x_sum, m_sum, xx, mm, mx = (
        np.cumsum(term * arm, axis=1) for term in (np.ones_like(x), x, m, x * x, m * m, m * x)
    )
    with np.errstate(all="ignore"):
        mean_m, mean_x = m_sum / n, x_sum / n
        var_m, var_x = (
            np.where(n >= 2, np.maximum(square - n * mean**2, 0.0) / (n - 1), np.nan)
            for square, mean in ((mm, mean_m), (xx, mean_x))
        )
        cov = np.where(n >= 2, (mx - n * mean_m * mean_x) / (n - 1), np.nan)
    one, none = np.where(n > 0, 1.0, np.nan), np.where(n >= 2, 0.0, np.nan)
    fields = (n, mean_m, one, var_m, none, none, var_m, mean_x, var_x, cov, none)
    return st.Moments(*(np.asarray(field, dtype=np.float64)[None] for field in fields))


def sequences(x: Floats, m: Floats, member: Bools) -> tuple[st.TwoSidedSequence, st.TwoSidedSequence]:
    """Adjusted and plain, nan before the floor."""
    control, treatment = moments(x, m, ~member), moments(x, m, member)
    adjusted = st.adjusted_means(control, treatment)
    found: list[st.TwoSidedSequence] = []
    for cells in ((adjusted.control, adjusted.treatment), (st.means(control), st.means(treatment))):
        effect = st.absolute_effect(*st.combine_epochs(*cells))
        may = np.minimum(effect.n_control, effect.n_treatment) >= FLOOR
        effect = effect._replace(se=np.where(may, effect.se, np.nan))
        found.append(st.two_sided_sequence(effect, alpha=ALPHA, r2=st.mixture_variance(5000.0, alpha=ALPHA)))
    return found[0], found[1]


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("pairs", [skewed, seldom, unrelated], ids=lambda pairs: pairs.__name__)
def test_equal_arms_are_seldom_told_apart_by_adjusted_effects(pairs: Pairs, share: float) -> None:
    wrong = 0
    for random, runs in chunks(RUNS, 491):
        x, m = pairs(random, runs)
        adjusted, _ = sequences(x, m, random.random(x.shape) < share)
        wrong += ever((adjusted.lower > 0) | (adjusted.upper < 0))
    print(f"{RUNS} runs: {wrong=}")  # noqa: T201 - shown with -s
    assert wrong <= most(RUNS, ALPHA)


def test_the_adjusted_interval_covers_an_effect_that_the_plain_one_seldom_sees() -> None:
    [(random, runs)] = chunks(100, 492)
    x, m = skewed(random, runs)
    member = random.random(x.shape) < 0.5
    adjusted, plain = sequences(x, m + 0.2 * member, member)
    assert ever((adjusted.lower > 0.2) | (adjusted.upper < 0.2)) <= most(runs, ALPHA)
    assert ever(adjusted.lower > 0) > 2 * ever(plain.lower > 0)
    assert ever(adjusted.lower > 0) > 0.8 * runs
