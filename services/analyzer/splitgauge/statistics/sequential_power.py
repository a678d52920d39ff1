"""What a confidence sequence finds, when it stops, and how far it may have to go.

Owns the power and size of the default engine's two-sided test. A test that stops at the first exclusion of 0 finds more
than an interval looked at once, at the end: both are said. Must not know fixed tests; `sample_size` makes the plans.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    broadcastable,
    error_rates,
    non_negative,
    positive,
    require,
)
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.first_passage import first_passage
from splitgauge.statistics.sample_size import PlannedEffect

__all__ = ["SequentialPower", "sequential_power", "sequential_units"]


class SequentialPower(NamedTuple):
    """Of a test that goes on to n units at most, float64, shape (plans,). nan where the plan is undefined."""

    at_end: FloatArray
    """Probability that the interval excludes 0 at n itself; exact in the normal limit."""
    by_end: FloatArray
    """Probability that it excludes 0 somewhere on the way: the power of the test."""
    mean_units: FloatArray
    """Mean number of units when the test stops: at its first exclusion of 0, or at n."""


@np.errstate(all="ignore")
def sequential_power(
    planned: PlannedEffect, n: ArrayLike, *, alpha: ArrayLike, r2: ArrayLike, earliest_n: ArrayLike = 0.0
) -> SequentialPower:
    """Power and mean stopping time of a test by `two_sided_sequence`.

    Args:
        planned: shape (plans,); "guarded", as the engine takes its variances. Effect 0 gives the false positives.
        n: units of both arms together at which the test ends, above 0.
        alpha: two-sided error after all corrections, in (0, 1). r2: from `mixture_variance`, above 0.
        earliest_n: units before which nothing is decided (minimum sizes and durations), at least 0.
    Returns: `SequentialPower`; where earliest_n is n or more, there is one look, at n. nan where the variance is 0.
    Raises: ContractError where n, alpha, r2 or earliest_n is out of range, or shapes do not fit.
    Assumes: a normal limit; a look at every unit, for which by_end is within 1e-4, mean_units within 0.05 %. Looks at
        every 0.2 % more units find 0.007 less and stop 1.4 % later, at every 2 % more 0.02 less and 4 % later
        (measured). Some 3 ms for each new (n r2, alpha, earliest_n, guard); plans that share them share it.
    Source: the boundary: Waudby-Smith et al. 2024; its crossing: `first_passage`.

        >>> from splitgauge.statistics import planned_mean, mixture_variance
        >>> found = sequential_power(planned_mean(25.0, 0.5), 5040, alpha=0.05, r2=mixture_variance(3140, alpha=0.05))
        >>> float(found.at_end.round(3)), float(found.by_end.round(3)), round(float(found.mean_units), -1)
        (0.692, 0.8, 2990.0)
    """
    end, level, tuning = positive("n", n), error_rates("alpha", alpha), positive("r2", r2)
    first = _first(earliest_n)
    signal, scale = planned.per_root_unit()
    shape = broadcastable(planned=signal, n=end, alpha=level, r2=tuning, earliest_n=first)
    at_end = _at_end(signal, scale, end, level, tuning)
    by_end, mean_units = np.full(shape, np.nan), np.full(shape, np.nan)
    for place, (mu, guard, size, a, r, early) in _each(shape, signal, scale, end, level, tuning, first):
        # Python's floats: as keys of the cache, and quicker one by one.
        passage = first_passage(mu / r**0.5, size * r, alpha=a, start=early * r, scale=guard)
        by_end[place], mean_units[place] = passage.left[-1], passage.mean_time / r
    return SequentialPower(np.broadcast_to(at_end, shape), by_end, mean_units)


@np.errstate(all="ignore")
def sequential_units(
    planned: PlannedEffect, *, alpha: ArrayLike, power: ArrayLike, r2: ArrayLike, earliest_n: ArrayLike = 0.0
) -> FloatArray:
    """Units after which a test by `two_sided_sequence` has stopped for the effect with a wanted probability.

    With power 0.8 the size up to which a test with 80 % power may have to go; with power 0.5 the median of where it
    stops.

    Args:
        planned, alpha, r2, earliest_n: as in `sequential_power`. power: by then, in (0, 1).
    Returns: units of both arms together, not rounded, shape (plans,); at least earliest_n; inf where the effect is
        0, nan where the plan is undefined or its variance is 0.
    Raises: ContractError where alpha, power, r2 or earliest_n is out of range, or shapes do not fit.
    Assumes: as `sequential_power`.
    Source: as `sequential_power`. Tuned to the size of the fixed test it is 1.61 times that for 80 % at alpha 0.05.

        >>> from splitgauge.statistics import fixed_units, planned_mean, mixture_variance
        >>> planned = planned_mean(25.0, 0.5)
        >>> fixed = fixed_units(planned, alpha=0.05, power=0.8)
        >>> found = sequential_units(planned, alpha=0.05, power=0.8, r2=mixture_variance(fixed, alpha=0.05))
        >>> float((found / fixed).round(2))
        1.61
    """
    level, wanted, tuning = error_rates("alpha", alpha), error_rates("power", power), positive("r2", r2)
    first = _first(earliest_n)
    signal, scale = planned.per_root_unit()
    shape = broadcastable(planned=signal, alpha=level, power=wanted, r2=tuning, earliest_n=first)

    def enough(log_spent: FloatArray) -> BoolArray:
        return np.asarray(_at_end(signal, scale, np.exp(log_spent) / tuning, level, tuning) >= wanted)

    # Where one look at the end would do, stopping on the way does all the more.
    longest = np.exp(crossing(enough, np.full(shape, -50.0), np.full(shape, 300.0))) / tuning
    found = np.array(np.broadcast_to(np.where(signal == 0, np.inf, np.nan), shape))
    for place, (mu, guard, size, a, p, r, early) in _each(shape, signal, scale, longest, level, wanted, tuning, first):
        if mu == 0:
            continue
        passage = first_passage(mu / r**0.5, max(size, early) * r, alpha=a, start=early * r, scale=guard)
        found[place] = max(np.interp(p, passage.left, passage.time) / r, early)
    return found


def _first(earliest_n: ArrayLike) -> FloatArray:
    first = non_negative("earliest_n", earliest_n)
    return require("earliest_n", first, np.isfinite(first), "it is finite")


def _at_end(signal: FloatArray, scale: FloatArray, n: FloatArray, alpha: FloatArray, r2: FloatArray) -> FloatArray:
    spent = n * r2
    critical = scale * np.sqrt(2 * (spent + 1) / spent * (0.5 * np.log1p(spent) - np.log(alpha)))
    now = signal * np.sqrt(n)
    return np.asarray(special.ndtr(now - critical) + special.ndtr(-now - critical))


def _each(shape: tuple[int, ...], *arrays: FloatArray) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Place and values, element by element; those with a nan are left out."""
    together = np.stack([np.broadcast_to(array, shape) for array in arrays], axis=-1)
    for place in np.ndindex(shape):
        values = together[place]
        if np.isfinite(values).all():
            yield place, tuple(values.tolist())
