"""A plan: what the fixed, the sequential and the group-sequential test need, cost and find under the same assumptions.

Owns the numbers of `splitgauge plan`: from assumptions to sizes, days and curves. Sizes are of control and one
challenger together unless they are called total. Must not know options, tables or pictures.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from splitgauge.cli.plan_assumptions import Assumptions
from splitgauge.statistics import (
    PlannedEffect,
    detectable_effect,
    duration_days,
    fixed_power,
    fixed_units,
    group_power,
    group_sequential_boundaries,
    group_units,
    mixture_variance,
    planned_mean,
    planned_proportion,
    sequential_power,
    sequential_units,
)
from splitgauge.statistics.arguments import FloatArray

__all__ = ["Curve", "Plan", "PlannedTest", "Procedure", "in_days", "make_plan"]

_FEWEST_PLANNED = 20
"""The fewest planned_units that a specification takes."""
_RARE_OUTCOMES = 25
"""Units with a rate's rarer outcome in both arms together, before which the analyzer concludes nothing from it."""
_LOOKS_APART = 0.001
"""Part of the planned units; looks closer than this only repeat each other."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """One kind of test under the assumptions: how many units for a power, what power with so many units.

    Attributes:
        engine: as a specification names it.
        units, power: from effects, metric units, signed (and units), to units and power.
        mean_units: of a test that ends at n, at an effect; of the fixed test, n.
    """

    engine: str
    label: str
    units: Callable[[FloatArray], FloatArray]
    power: Callable[[FloatArray, float], FloatArray]
    mean_units: Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """One row of the plan.

    Attributes:
        units: of control and one challenger together, at which the test ends at the latest.
        planned_units: what the specification should say.
        expected_units: when it stops, on average, at the planned effect; expected_units_null: at none.
        detectable: the effect it finds with the wanted power at the plan's common size; nan where none is found.
    """

    test: Procedure
    units: int
    planned_units: int
    expected_units: float
    expected_units_null: float
    detectable: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One test's line of a picture."""

    engine: str
    label: str
    x: FloatArray
    y: FloatArray


@dataclass(frozen=True, slots=True)
class Plan:
    """All tests under the same assumptions.

    Attributes:
        earliest: units of control and one challenger before which nothing is decided.
        size: units at which the tests are compared with each other: the fixed test's.
    """

    assumptions: Assumptions
    earliest: int
    size: int
    tests: tuple[PlannedTest, ...]

    @property
    def recommended(self) -> PlannedTest:
        """The specification's engine; those that look at every unit are planned like the asymptotic one."""
        engine = self.assumptions.engine
        return next((row for row in self.tests if row.test.engine == engine), self.tests[1])

    def arms(self, units: float) -> tuple[int, int, int]:
        """Units in control, in the smallest challenger, and in the whole experiment."""
        share = self.assumptions.challenger_share
        total = units / self.assumptions.pair_share
        return math.ceil(_exact(units * (1 - share))), math.ceil(_exact(units * share)), math.ceil(_exact(total))

    def days(self, units: float) -> float | None:
        """Until so many have come and are counted, and the minimum duration is over; None without a rate."""
        assumed = self.assumptions
        if assumed.units_per_day is None:
            return None
        coming = float(duration_days(units, units_per_day=assumed.units_per_day, share=assumed.pair_share))
        return max(coming + assumed.waiting_days, assumed.minimum_days)

    def coming(self, units: float) -> float:
        """Where so many units lie on the axis of time: days until they are counted, or themselves without a rate."""
        days = self.days(units)
        return units if days is None else days

    @property
    def horizon(self) -> int:
        """Units up to which it is worth looking ahead."""
        return max(round(1.15 * max(row.units for row in self.tests)), 2 * self.earliest)

    def power_curves(self) -> Iterator[Curve]:
        """Power at the common size against the true effect, from none to two and a half times the planned one."""
        effects = self.assumptions.effect * np.linspace(0.0, _most(self.assumptions, 2.5), 51)
        for row in self.tests:
            yield Curve(row.test.engine, row.test.label, effects, row.test.power(effects, float(self.size)))

    def detectable_curves(self) -> Iterator[Curve]:
        """The effect found with the wanted power (y) by a number of units (x): the sequential test by then, the other
        two if they are planned to end then."""
        found = [row.detectable / self.assumptions.effect for row in self.tests]
        least = 0.6 * min([1.0, *(times for times in found if times > 0)])
        effects = self.assumptions.effect * np.geomspace(least, _most(self.assumptions, 4.0), 41)
        for row in self.tests:
            units = row.test.units(effects)
            seen = units > self.earliest
            yield Curve(row.test.engine, row.test.label, units[seen], effects[seen])


def make_plan(assumptions: Assumptions) -> Plan:
    """The plan. Raises: ContractError where the statistics refuse what was assumed."""
    earliest = _earliest(assumptions)
    fixed = _fixed(assumptions)
    effect = np.array(assumptions.effect)
    size = max(math.ceil(_exact(float(fixed.units(effect)))), earliest, _FEWEST_PLANNED)
    tests = (fixed, _sequential(assumptions, size, earliest), _group_sequential(assumptions, earliest))
    return Plan(assumptions, earliest, size, tuple(_row(assumptions, test, size, earliest) for test in tests))


def in_days(days: float) -> str:
    """Rounded up to tenths: after so many days it is over.

    >>> in_days(12.84), in_days(1.0)
    ('12.9 days', '1 day')
    """
    tenths = math.ceil(_exact(10 * days))
    return f"{tenths / 10:,g} day{'' if tenths == 10 else 's'}"


def _row(assumptions: Assumptions, test: Procedure, size: int, earliest: int) -> PlannedTest:
    units = max(math.ceil(_exact(float(test.units(np.array(assumptions.effect))))), earliest, _FEWEST_PLANNED)
    farthest = _farthest(assumptions)
    detectable = float(
        detectable_effect(
            lambda effect: test.power(effect, float(size)), power=assumptions.power, largest=np.array(farthest)
        )
    )
    return PlannedTest(
        test,
        units,
        size if test.engine == "asymptotic" else units,
        test.mean_units(assumptions.effect, units),
        test.mean_units(0.0, units),
        detectable,
    )


def _fixed(assumptions: Assumptions) -> Procedure:
    level, power = assumptions.level, assumptions.power
    return Procedure(
        "fixed",
        "fixed",
        lambda effects: fixed_units(_planned(assumptions, effects, "unpooled"), alpha=level, power=power),
        lambda effects, n: fixed_power(_planned(assumptions, effects, "unpooled"), n, alpha=level),
        lambda _effect, n: n,
    )


def _sequential(assumptions: Assumptions, planned_units: int, earliest: int) -> Procedure:
    level, power = assumptions.level, assumptions.power
    r2 = mixture_variance(float(planned_units), alpha=level)
    first = float(earliest)

    def planned(effects: FloatArray) -> PlannedEffect:
        return _planned(assumptions, effects, "guarded")

    return Procedure(
        "asymptotic",
        "sequential",
        lambda effects: sequential_units(planned(effects), alpha=level, power=power, r2=r2, earliest_n=first),
        lambda effects, n: sequential_power(planned(effects), n, alpha=level, r2=r2, earliest_n=first).by_end,
        lambda effect, n: float(
            sequential_power(planned(np.array(effect)), n, alpha=level, r2=r2, earliest_n=first).mean_units
        ),
    )


def _group_sequential(assumptions: Assumptions, earliest: int) -> Procedure:
    looks, power, first = assumptions.looks, assumptions.power, float(earliest)

    def planned(effects: FloatArray) -> PlannedEffect:
        return _planned(assumptions, effects, "guarded")

    def boundary(fractions: tuple[float, ...]) -> FloatArray:
        return group_sequential_boundaries(
            fractions, alpha=assumptions.level, spending=looks.spending, phi=2.0 if looks.phi is None else looks.phi
        ).boundary

    effect = planned(np.array(assumptions.effect))
    needed = float(group_units(effect, power=power, fractions=looks.looks, boundary=boundary(looks.looks)))
    taken = _taken(looks.looks, min(_comparable(assumptions) / max(needed, 1.0), 1.0))
    bounds = boundary(taken)
    return Procedure(
        "group_sequential",
        f"group sequential, {len(taken)} look{'s' if len(taken) > 1 else ''}",
        lambda effects: group_units(planned(effects), power=power, fractions=taken, boundary=bounds),
        lambda effects, n: group_power(planned(effects), n, fractions=taken, boundary=bounds).by_end,
        lambda effect, n: float(
            group_power(planned(np.array(effect)), n, fractions=taken, boundary=bounds, earliest_n=first).mean_units
        ),
    )


def _taken(looks: tuple[float, ...], first: float) -> tuple[float, ...]:
    """The looks where none is taken before `first`, a part of the planned units: those that are due wait, as one."""
    later = tuple(look for look in looks if look - first > _LOOKS_APART)
    return looks if first <= looks[0] else (first, *later)


def _planned(assumptions: Assumptions, effects: FloatArray, test: str) -> PlannedEffect:
    share = assumptions.challenger_share
    if assumptions.variance is not None:
        return planned_mean(assumptions.variance, effects, share=share, test=test)
    base = assumptions.baseline or 0.0
    # A relative effect may miss the end of the rates by a rounding.
    return planned_proportion(base, np.clip(effects, -base, 1 - base), share=share, test=test)


def _comparable(assumptions: Assumptions) -> float:
    """Units before which no look is taken: the minimum in each arm, and enough of a rate's rarer outcome."""
    share = assumptions.challenger_share
    by_arms = assumptions.minimum_units / min(share, 1 - share)
    if assumptions.variance is not None or assumptions.baseline is None:
        return by_arms
    return max(by_arms, _RARE_OUTCOMES / min(assumptions.baseline, 1 - assumptions.baseline))


def _earliest(assumptions: Assumptions) -> int:
    """Units before which nothing is decided: those, and what comes in the minimum duration."""
    coming = max(assumptions.minimum_days - assumptions.waiting_days, 0.0) * (assumptions.units_per_day or 0.0)
    return math.ceil(_exact(max(_comparable(assumptions), coming * assumptions.pair_share)))


def _farthest(assumptions: Assumptions) -> float:
    """Where the search for detectable effects ends: at the end of the rates, or at a hundred times the planned one."""
    if assumptions.variance is not None:
        return 100 * assumptions.effect
    base = assumptions.baseline or 0.0
    return 1 - base if assumptions.effect > 0 else -base


def _most(assumptions: Assumptions, times: float) -> float:
    """So many times the planned effect, as far as there are such rates."""
    end = 0.999 * _farthest(assumptions) / assumptions.effect
    return max(times if assumptions.variance is not None else min(times, end), 1.0)


def _exact(value: float) -> float:
    """Without what rounding left: 8.0000000001 units are 8."""
    return float(f"{value:.9g}")
