"""What a group-sequential test finds, when it stops, and how many units its last look needs, from a planned effect.

Owns the way from `PlannedEffect` to the drift of a design. Must not know how boundaries come about: they are given.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    broadcastable,
    error_rates,
    floats,
    non_negative,
    positive,
    require,
)
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.group_sequential import group_sequential_stopping
from splitgauge.statistics.sample_size import PlannedEffect

__all__ = ["GroupPower", "group_power", "group_units"]


class GroupPower(NamedTuple):
    """Of a test with its last look at n units, float64, shape (plans,). nan where the plan is undefined."""

    by_end: FloatArray
    """Probability to stop at one of the looks, on either side."""
    mean_units: FloatArray
    """Mean number of units at the end of the test: at a crossing, or at the last look."""


@np.errstate(all="ignore")
def group_power(
    planned: PlannedEffect,
    n: ArrayLike,
    *,
    fractions: Sequence[float] | FloatArray,
    boundary: ArrayLike,
    earliest_n: ArrayLike = 0.0,
) -> GroupPower:
    """Power and mean stopping time of a two-sided group-sequential test.

    Args:
        planned: shape (plans,); "guarded", as the engine takes its variances. Effect 0 gives the false positives.
        n: units of both arms together at information 1, above 0.
        fractions, boundary: of the looks, shape (looks,), from `group_sequential_boundaries`.
        earliest_n: units before which a test that has crossed does not end (a minimum duration), at least 0.
    Returns: `GroupPower`; nan where the variance is 0.
    Raises: ContractError where n, fractions, boundary or earliest_n is out of range, or shapes do not fit.
    Assumes: a normal limit.
    Source: `group_sequential_stopping`.

        >>> from splitgauge.statistics import group_sequential_boundaries, planned_mean
        >>> looks = [0.2, 0.4, 0.6, 0.8, 1.0]
        >>> boundary = group_sequential_boundaries(looks, alpha=0.05).boundary
        >>> found = group_power(planned_mean(25.0, 0.5), 3217, fractions=looks, boundary=boundary)
        >>> float(found.by_end.round(3)), round(float(found.mean_units))
        (0.8, 2586)
    """
    size, bounds = positive("n", n), floats("boundary", boundary)
    first = non_negative("earliest_n", earliest_n)
    require("earliest_n", first, np.isfinite(first), "it is finite")
    group_sequential_stopping(fractions, bounds)  # refuses what is no design, also where there are no plans
    signal, scale = planned.per_root_unit()
    shape = broadcastable(planned=signal, n=size, earliest_n=first)
    sizes, scales, firsts = (np.broadcast_to(array, shape) for array in (size, scale, first))
    drifts = np.broadcast_to(signal * np.sqrt(size), shape)
    by_end, mean_units = np.full(shape, np.nan), np.full(shape, np.nan)
    for guard in np.unique(scales[np.isfinite(scales)]):
        these = scales == guard
        found = group_sequential_stopping(fractions, bounds * guard, drift=drifts[these])
        stops = found.above + found.below
        by_end[these] = stops.sum(axis=-1)
        ends = np.maximum(np.asarray(fractions) * sizes[these][:, None], firsts[these][:, None])
        mean_units[these] = (stops * ends).sum(axis=-1) + (1 - by_end[these]) * ends[:, -1]
    return GroupPower(by_end, mean_units)


@np.errstate(all="ignore")
def group_units(
    planned: PlannedEffect, *, power: ArrayLike, fractions: Sequence[float] | FloatArray, boundary: ArrayLike
) -> FloatArray:
    """Units at information 1 with which a two-sided group-sequential test has a wanted power.

    Args:
        planned, fractions, boundary: as in `group_power`. power: in (0, 1).
    Returns: units of both arms together, not rounded, shape (plans,); inf where the effect is 0, nan where the plan is
        undefined or its variance is 0.
    Raises: ContractError where power, fractions or boundary is out of range, or shapes do not fit.
    Assumes: a normal limit.
    Source: as `group_power`.

        >>> from splitgauge.statistics import group_sequential_boundaries, planned_mean
        >>> looks = [0.2, 0.4, 0.6, 0.8, 1.0]
        >>> boundary = group_sequential_boundaries(looks, alpha=0.05).boundary
        >>> round(float(group_units(planned_mean(25.0, 0.5), power=0.8, fractions=looks, boundary=boundary)))
        3217
    """
    wanted, bounds, information = (
        error_rates("power", power),
        floats("boundary", boundary),
        floats("fractions", fractions),
    )
    group_sequential_stopping(fractions, bounds)  # refuses what is no design, before anything is made of it
    signal, scale = planned.per_root_unit()
    shape = broadcastable(planned=signal, power=wanted)
    powers, scales = np.broadcast_to(wanted, shape), np.broadcast_to(scale, shape)
    drift = np.full(shape, np.nan)
    for guard in np.unique(scales[np.isfinite(scales)]):
        these = scales == guard
        target = powers[these]

        def enough(drifts: FloatArray, guard: float = guard, target: FloatArray = target) -> BoolArray:
            found = group_sequential_stopping(fractions, bounds * guard, drift=drifts)
            return np.asarray((found.above + found.below).sum(axis=-1) >= target)

        # The look that alone would need the least has the power from here on.
        reach = (bounds[:, None] * guard + special.ndtri(target)) / np.sqrt(information)[:, None]
        drift[these] = crossing(enough, np.zeros_like(target), np.maximum(reach.min(axis=0), 0.0))
    return np.where(signal == 0, np.inf, (drift / signal) ** 2)
