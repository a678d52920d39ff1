"""How many units a running test still lacks, and what it may still find, for fixed and sequential intervals.

Owns power at an end that is looked at once. Before the start, `sample_size` and what follows it plan whole tests. Must
not know calendars: units become days where the traffic is known.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    aligned,
    broadcastable,
    error_rates,
    floats,
    non_negative,
    positive,
)
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.effects import Effect, usable

__all__ = ["Remaining", "conditional_power", "remaining_units", "required_units"]


class Remaining(NamedTuple):
    """What is missing to a conclusive result, float64, shape (comparisons,). nan where se is 0 or undefined."""

    power_now: FloatArray
    """Probability that the interval at today's size excludes 0 under the target effect."""
    growth: FloatArray
    """f, the smallest share of today's units to add; 0 where there is enough, inf where the target is 0."""
    units: FloatArray
    """n f: additional units of both arms together, at today's split; not rounded."""


@np.errstate(all="ignore")
def required_units(variance: ArrayLike, effect: ArrayLike, *, alpha: ArrayLike, power: ArrayLike) -> FloatArray:
    """Units per arm of a fixed two-sided test, equal split.

    Args:
        variance: of one unit, metric units squared, at least 0. effect: the smallest worth finding, metric units.
        alpha: two-sided error, in (0, 1). power: to find it, in (0, 1). All broadcastable, shape (plans,).
    Returns: n per arm = 2 v (z_{1-alpha/2} + z_{power})^2 / effect^2, not rounded; inf where effect is 0, nan where
        variance or effect is.
    Raises: ContractError where alpha, power or variance is out of range, or shapes do not fit.
    Assumes: a normal limit; the same variance in both arms. Other tests and splits: `sample_size`, `sequential_power`.
    Source: textbook; equals statsmodels' NormalIndPower but for its far tail (2.4e-6).

        >>> round(float(required_units(1.0, 0.1, alpha=0.05, power=0.8)), 3)
        1569.776
    """
    v, delta = _known("variance", non_negative("variance", variance)), _known("effect", effect)
    level, wanted = error_rates("alpha", alpha), error_rates("power", power)
    broadcastable(variance=v, effect=delta, alpha=level, power=wanted)
    z = special.ndtri(wanted) - special.ndtri(level / 2)
    return np.where(delta == 0, np.inf, 2 * v * (z / delta) ** 2)


@np.errstate(all="ignore")
def remaining_units(
    effect: Effect, target: ArrayLike, *, alpha: ArrayLike, power: ArrayLike = 0.8, r2: ArrayLike | None = None
) -> Remaining:
    """How many more units a running test needs.

    Args:
        effect: at this look, shape (comparisons,): its standard error and sizes are used, not its value.
        target: the effect that shall be found, units of the effect; its sign does not matter.
        alpha: two-sided error, in (0, 1). power: to reach, in (0, 1).
        r2: of the sequence (`mixture_variance`); None for the fixed interval.
    Returns: `Remaining`; the smallest f >= 0 with power(se / sqrt(1 + f)) at the target.
    Raises: ContractError where alpha, power or r2 is out of range, or shapes do not fit.
    Assumes: new units come at today's split and vary like today's.
    Source: GrowthBook's mid-experiment power (gbstats 0.8), both tails counted.

        >>> from splitgauge.statistics import effect
        >>> now = effect(0.3, 0.16284962388657825, n_control=1000, n_treatment=1000)
        >>> found = remaining_units(now, 0.05, alpha=0.05)
        >>> round(float(found.power_now), 6), round(float(found.growth), 2)
        (0.060868, 82.26)
    """
    level, wanted, delta = error_rates("alpha", alpha), error_rates("power", power), np.abs(_known("target", target))
    n, se = usable(effect)
    tuning = None if r2 is None else positive("r2", r2)
    shape = broadcastable(
        effect=effect.value, se=se, n=n, target=delta, alpha=level, power=wanted, r2=level if tuning is None else tuning
    )
    signal = delta / se
    now = _power(signal, n, level, tuning)

    def enough(log_growth: FloatArray) -> BoolArray:
        return np.asarray(_power(signal * np.exp(log_growth / 2), n * np.exp(log_growth), level, tuning) >= wanted)

    needed = np.expm1(crossing(enough, np.zeros(shape), np.full(shape, 100.0)))
    growth = np.where(now >= wanted, 0.0, np.where(delta == 0, np.inf, needed))
    growth = np.where(np.isnan(now), np.nan, growth)
    return Remaining(*aligned(now, growth, np.where(growth == 0, 0.0, n * growth)))


@np.errstate(all="ignore")
def conditional_power(
    effect: Effect, target: ArrayLike, *, final_n: ArrayLike, alpha: ArrayLike, r2: ArrayLike | None = None
) -> FloatArray:
    """Probability that the interval excludes 0 at a final size, given what was seen and a true effect from now on.

    Args:
        effect: at this look, shape (comparisons,).
        target: the effect of units still to come, units of the effect.
        final_n: units of both arms at the end, above 0.
        alpha: two-sided error, in (0, 1). r2: of the sequence; None for the fixed interval.
    Returns: probability, shape (comparisons,); at or past final_n it is 1 or 0 by today's interval; nan where se is 0
        or undefined.
    Raises: ContractError where alpha, r2 or final_n is out of range, or shapes do not fit.
    Assumes: new units come at today's split and vary like today's; only the end counts, crossings on the way are extra.
    Source: Lan, Simon, Halperin 1982 (stochastic curtailment), in the B-value form of Lan and Wittes 1988, Biometrics
        44.

        >>> from splitgauge.statistics import effect
        >>> now = effect(0.0, 0.1, n_control=500, n_treatment=500)
        >>> round(float(conditional_power(now, 0.1, final_n=2000, alpha=0.05)), 4)
        0.0383
    """
    level, delta, end = error_rates("alpha", alpha), _known("target", target), positive("final_n", final_n)
    n, se = usable(effect)
    tuning = None if r2 is None else positive("r2", r2)
    broadcastable(
        effect=effect.value, se=se, n=n, target=delta, alpha=level, final_n=end, r2=level if tuning is None else tuning
    )
    t = np.minimum(n / end, 1.0)
    mean = t * effect.value + (1 - t) * delta
    half = _critical(n / t, level, tuning) * se * np.sqrt(t)
    spread = se * np.sqrt(t * (1 - t))
    chance = special.ndtr((mean - half) / spread) + special.ndtr((-mean - half) / spread)
    return np.where(t < 1, chance, np.where(np.isnan(mean + half), np.nan, np.abs(mean) > half))


def _known(name: str, value: ArrayLike) -> FloatArray:
    array = floats(name, value)
    return np.where(np.isfinite(array), array, np.nan)


def _power(signal: FloatArray, n: FloatArray, alpha: FloatArray, r2: FloatArray | None) -> FloatArray:
    critical = _critical(n, alpha, r2)
    return special.ndtr(signal - critical) + special.ndtr(-signal - critical)


def _critical(n: FloatArray, alpha: FloatArray, r2: FloatArray | None) -> FloatArray:
    """Half-width in standard errors."""
    if r2 is None:
        return -special.ndtri(alpha / 2)
    spent = n * r2
    return np.sqrt(2 * (spent + 1) / spent * (0.5 * np.log1p(spent) - np.log(alpha)))
