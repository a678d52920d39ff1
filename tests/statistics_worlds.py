"""Worlds for simulations of the statistics: how units arrive and what they do, and the running numbers a look would see
after every outcome.

All arrays are (runs, outcomes): one experiment a row, in the order in which its outcomes come. Nothing here tests
anything.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from splitgauge import statistics as st

__all__ = [
    "FLOOR",
    "RARER",
    "SPLITS",
    "Bools",
    "Floats",
    "Ints",
    "Maker",
    "Sums",
    "World",
    "arms_over_time",
    "chunks",
    "enough_units",
    "ever",
    "first_failures_over_time",
    "most",
    "runs_of",
    "shares_of_epochs",
    "sums_over_time",
    "unit_totals_before",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

FLOOR = 100
"""Units an arm before anything is concluded from an asymptotic sequence, as in the analyzer."""

RARER = 25
"""Of a rate's rarer outcome in both arms before its goal is concluded from, as in the analyzer."""

SPLITS = [0.5, 0.2, 0.05]
"""The challenger's share: 50/50, 80/20, 95/5."""

_CHUNK = 100
"""Runs at a time, so that memory stays small whatever number is asked for."""


def runs_of(default: int) -> int:
    """Runs of a simulation: more on request, SPLITGAUGE_SIMULATION_RUNS / 8 times as many."""
    return int(default * max(1.0, float(os.environ.get("SPLITGAUGE_SIMULATION_RUNS", "8")) / 8))


def most(runs: int, rate: float) -> int:
    """The tolerance: as many errors as chance brings about in at most one of 10,000 such tests where each run has an
    error with this rate (one-sided binomial)."""
    return int(stats.binom.ppf(1 - 1e-4, runs, rate))


def chunks(runs: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """A generator and a number of runs for each chunk; the first runs are the same however many there are."""
    for number, start in enumerate(range(0, runs, _CHUNK)):
        yield np.random.default_rng([seed, number]), min(_CHUNK, runs - start)


def ever(flags: Bools) -> int:
    """In how many runs a flag was up at any look."""
    return int(flags.any(axis=-1).sum())


@dataclass(frozen=True, slots=True)
class World:
    """Outcomes of some runs, under no difference between the arms.

    Attributes:
        value: of each outcome.
        share: of the traffic that the challenger gets, one or one per outcome.
        unit: whose outcome it is, from 0; None: each unit has one.
        epoch: in which it came, from 0; None: there is one epoch.
    """

    value: Floats
    share: float | Floats
    unit: Ints | None = None
    epoch: Ints | None = None

    def members(self, random: np.random.Generator) -> Bools:
        """Which outcomes are the challenger's: units are drawn by the share at their first outcome, for ever."""
        luck = random.random(self.value.shape)
        share = np.broadcast_to(self.share, self.value.shape)
        if self.unit is None:
            return luck < share
        first = first_outcome(self.unit)
        return np.take_along_axis(luck, first, axis=1) < np.take_along_axis(share, first, axis=1)


@dataclass(frozen=True, slots=True)
class Sums:
    """Running sums over the units of one arm, as the aggregator keeps them: shape (epochs, runs, outcomes)."""

    n: Floats
    m: Floats
    d: Floats
    mm: Floats
    dd: Floats
    md: Floats

    def cells(self) -> st.Cells:
        """Means or ratios per unit; floats are exact enough for what is drawn here."""
        with np.errstate(all="ignore"):
            ratio = self.m / self.d
            spread = np.maximum(self.mm - 2 * ratio * self.md + ratio**2 * self.dd, 0.0) / (self.n - 1)
            variance = np.where(self.n >= 2, spread / (self.d / self.n) ** 2, np.nan)
        return st.Cells(self.n, ratio, variance)


def first_outcome(unit: Ints) -> npt.NDArray[np.intp]:
    """The place of each outcome's unit's first outcome, shape (runs, outcomes)."""
    order, start, rank = _by_unit(unit)
    first = np.take_along_axis(order, start, axis=1)
    return np.take_along_axis(first, rank, axis=1)


def unit_totals_before(unit: Ints, value: Floats) -> Floats:
    """What each outcome's unit had in total before it, shape (runs, outcomes)."""
    order, start, rank = _by_unit(unit)
    ordered = np.take_along_axis(value, order, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    before -= np.take_along_axis(before, start, axis=1)
    return np.take_along_axis(before, rank, axis=1)


def _by_unit(unit: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Outcomes ordered by unit and time; where each one's unit starts in that order; and the way back."""
    order = np.argsort(unit, axis=1, kind="stable")
    ordered = np.take_along_axis(unit, order, axis=1)
    places = np.broadcast_to(np.arange(unit.shape[1], dtype=np.int64), unit.shape)
    is_first = np.diff(ordered, axis=1, prepend=-1) != 0
    start = np.maximum.accumulate(np.where(is_first, places, 0), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, places, axis=1)
    return order, start, rank


def sums_over_time(world: World, member: Bools) -> tuple[Sums, Sums]:
    """Control's and the challenger's running sums after every outcome, by epoch; a unit belongs to the epoch of its
    first outcome, and what it does in later ones does not count."""
    shape = world.value.shape
    epoch = np.zeros(shape, dtype=np.int64) if world.epoch is None else np.broadcast_to(world.epoch, shape)
    if world.unit is None:
        new, counted = np.ones(shape, dtype=np.bool_), np.ones(shape)
        value = world.value
        m_before = d_before = np.zeros(1)
    else:
        first = first_outcome(world.unit)
        new = first == np.arange(shape[1], dtype=np.int64)
        counted = (np.take_along_axis(epoch, first, axis=1) == epoch).astype(np.float64)
        value = world.value * counted
        m_before, d_before = (unit_totals_before(world.unit, totals) for totals in (value, counted))
    steps = [
        new.astype(np.float64),
        value,
        counted,
        value * (2 * m_before + value),
        counted * (2 * d_before + 1),
        counted * (m_before + value * d_before + value),
    ]
    epochs = range(int(epoch.max()) + 1)

    def running(arm: Bools) -> Sums:
        parts = [(arm & (epoch == one)) for one in epochs]
        return Sums(*(np.stack([np.cumsum(np.where(part, step, 0.0), axis=1) for part in parts]) for step in steps))

    return running(~member), running(member)


def first_failures_over_time(world: World, member: Bools) -> tuple[Floats, Floats]:
    """How many of each arm's units had an outcome of 1, by the epoch of the unit: shape (epochs, runs, outcomes)."""
    shape = world.value.shape
    epoch = np.zeros(shape, dtype=np.int64) if world.epoch is None else np.broadcast_to(world.epoch, shape)
    failed = world.value
    if world.unit is not None:
        failed = failed * (np.take_along_axis(epoch, first_outcome(world.unit), axis=1) == epoch)
        failed = failed * (unit_totals_before(world.unit, failed) == 0)
    parts = [failed * (epoch == one) for one in range(int(epoch.max()) + 1)]
    control, treatment = (np.stack([np.cumsum(part * arm, axis=1) for part in parts]) for arm in (~member, member))
    return control, treatment


def shares_of_epochs(world: World) -> Floats:
    """The challenger's share in each epoch, shape (epochs, 1, 1)."""
    epoch = np.zeros(world.value.shape[1], dtype=np.int64) if world.epoch is None else world.epoch[0]
    starts = np.searchsorted(epoch, np.arange(int(epoch.max()) + 1))
    share: Floats = np.broadcast_to(world.share, world.value.shape)[0, starts]
    return share[:, None, None]


def arms_over_time(world: World, member: Bools, *, guard: bool = True) -> st.Arms:
    """Both arms after every outcome, shape (runs, outcomes)."""
    control, treatment = sums_over_time(world, member)
    return st.combine_epochs(control.cells(), treatment.cells(), guard=guard)


def enough_units(arms: st.Arms) -> Bools:
    """Where the asymptotic sequences may conclude."""
    return np.asarray((arms.control.n >= FLOOR) & (arms.treatment.n >= FLOOR))


Maker: TypeAlias = Callable[[np.random.Generator, int, float], World]
"""(random, runs, the challenger's share) -> a world."""


def common_rate(random: np.random.Generator, runs: int, share: float) -> World:
    """10 % of units convert."""
    return World((random.random((runs, 4000)) < 0.1).astype(np.float64), share)


def rare_rate(random: np.random.Generator, runs: int, share: float) -> World:
    """1 % of units convert."""
    return World((random.random((runs, 6000)) < 0.01).astype(np.float64), share)


def skewed_revenue(random: np.random.Generator, runs: int, share: float) -> World:
    """5 % of units pay, lognormal amounts: sigma 1.5."""
    paid = random.random((runs, 5000)) < 0.05
    return World(np.where(paid, random.lognormal(3.0, 1.5, (runs, 5000)), 0.0), share)


def heavy_latency(random: np.random.Generator, runs: int, share: float) -> World:
    """Lognormal values, sigma 1.2, one per unit."""
    return World(random.lognormal(5.0, 1.2, (runs, 4000)), share)


def sticky_failures(random: np.random.Generator, runs: int, share: float) -> World:
    """Users of heavy-tailed activity (Pareto) come back, each with an error rate of its own: Beta(.6, 5.4)."""
    unit = _returning_users(random, runs, users=1500, outcomes=4000)
    own = np.take_along_axis(random.beta(0.6, 5.4, (runs, 1500)), unit, axis=1)
    return World((random.random(unit.shape) < own).astype(np.float64), share, unit)


def sticky_cost(random: np.random.Generator, runs: int, share: float) -> World:
    """The same users with a level of cost per request of their own, lognormal, and lognormal noise: a ratio metric."""
    unit = _returning_users(random, runs, users=1500, outcomes=4000)
    own = np.take_along_axis(random.lognormal(0.0, 1.0, (runs, 1500)), unit, axis=1)
    return World(own * random.lognormal(0.0, 0.5, unit.shape), share, unit)


def common_trend(random: np.random.Generator, runs: int, share: float) -> World:
    """A rate that triples on the way and swings with the day, the same in both arms."""
    at = np.linspace(0.0, 1.0, 4000)
    rate = 0.05 + 0.1 * at + 0.04 * np.sin(2 * np.pi * 7 * at)
    return World((random.random((runs, 4000)) < rate).astype(np.float64), share)


def ramped(random: np.random.Generator, runs: int, share: float) -> World:
    """Coverage of 5, 25 and 100 %: ever more users of another kind come in, arms in the same shares, one epoch."""
    step = np.searchsorted([200, 1200], np.arange(4000), side="right")
    level, spread = np.array([0.3, 0.0, -0.4])[step], np.array([1.5, 1.0, 0.7])[step]
    return World(random.lognormal(level, spread, (runs, 4000)), share)


def reweighted(random: np.random.Generator, runs: int, share: float) -> World:
    """Two re-weightings (the challenger at `share`, at 0.8, at 0.5), users who come back over all three epochs, and a
    level that rises with time: taking all epochs together would make a difference of it."""
    epoch = np.broadcast_to(np.searchsorted([1300, 2600], np.arange(4000), side="right"), (runs, 4000))
    shares = np.array([share, 0.8, 0.5])[epoch]
    unit = _returning_users(random, runs, users=6000, outcomes=4000)
    own = np.take_along_axis(random.beta(1.0, 9.0, (runs, 6000)), unit, axis=1)
    value = random.random(unit.shape) < np.minimum(own * np.array([0.3, 1.0, 3.0])[epoch], 1.0)
    return World(value.astype(np.float64), shares, unit, epoch)


def _returning_users(random: np.random.Generator, runs: int, *, users: int, outcomes: int) -> Ints:
    """Whose each outcome is: activity is Pareto with index 1.5, so that few users make much of the traffic."""
    activity = np.cumsum(random.pareto(1.5, (runs, users)) + 0.5, axis=1)
    point = random.random((runs, outcomes)) * activity[:, -1:]
    unit = np.empty(point.shape, dtype=np.int64)
    for run in range(runs):
        unit[run] = np.searchsorted(activity[run], point[run], side="right")
    return unit
