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
    positive,
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
    planned: PlannedEffect, n: ArrayLike, *, fractions: Sequence[float] | FloatArray, boundary: ArrayLike
) -> GroupPower:
    """Power and mean stopping time of a two-sided group-sequential test.

    Args:
        planned: shape (plans,); "guarded", as the engine takes its variances. Effect 0 gives the false positives.
        n: units of both arms together at information 1, above 0.
        fractions, boundary: of the looks, shape (looks,), from `group_sequential_boundaries`.
    Returns: `GroupPower`; nan where the variance is 0.
    Raises: ContractError where n, fractions or boundary is out of range, or shapes do not fit.
    Assumes: a normal limit.
    Source: `group_sequential_stopping`.

        >>> from splitgauge.statistics import group_sequential_boundaries, planned_mean
        >>> looks = [0.2, 0.4, 0.6, 0.8, 1.0]
        >>> boundary = group_sequential_boundaries(looks, alpha=0.05).boundary
        >>> found = group_power(planned_mean(25.0, 0.5), 3227, fractions=looks, boundary=boundary)
        >>> float(found.by_end.round(3)), round(float(found.mean_units))
        (0.801, 2592)
    """
    size, bounds = positive("n", n), floats("boundary", boundary)
    signal, scale = planned.per_root_unit()
    shape = broadcastable(planned=signal, n=size)
    drifts, scales = np.broadcast_to(signal * np.sqrt(size), shape), np.broadcast_to(scale, shape)
    by_end, mean_fraction = np.full(shape, np.nan), np.full(shape, np.nan)
    for guard in np.unique(scales[np.isfinite(scales)]):
        these = scales == guard
        found = group_sequential_stopping(fractions, bounds * guard, drift=drifts[these])
        by_end[these] = (found.above + found.below).sum(axis=-1)
        mean_fraction[these] = found.expected_fraction
    return GroupPower(by_end, np.asarray(mean_fraction * size))


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
