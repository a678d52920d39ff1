"""Plans of tests that have not begun, and the size of a fixed one.

    planned_proportion, planned_mean -> PlannedEffect -> fixed_units, fixed_power (here)
                                                      -> sequential_units, sequential_power
                                                      -> group_units, group_power
    power of any of them -> detectable_effect

Owns what is assumed before the start: the effect, and the variances of its estimate. A plan is of one challenger
against control: with K challengers give alpha / K throughout. Must not know calendars beyond units a day.
"""

from collections.abc import Callable
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
    one_of,
    positive,
    require,
)
from splitgauge.statistics.crossing import crossing

__all__ = [
    "PlannedEffect",
    "detectable_effect",
    "duration_days",
    "fixed_power",
    "fixed_units",
    "linearised_variance",
    "planned_mean",
    "planned_proportion",
]

_TESTS = ("unpooled", "pooled", "guarded")


class PlannedEffect(NamedTuple):
    """What one comparison is planned for, float64, shape (plans,)."""

    effect: FloatArray
    """Treatment minus control under the alternative, metric units; nan where no such arm can be (a rate outside
    [0, 1])."""
    variance: FloatArray
    """n SE^2 of the estimated effect, n units of both arms together; metric units squared."""
    test_variance: FloatArray
    """n SE^2 as the test takes it: above `variance` where it pools or guards, else the same."""

    def per_root_unit(self) -> tuple[FloatArray, FloatArray]:
        """Size of the effect in true standard errors at one unit (they shrink with the root of units), and how many of
        them the test takes for one; nan without variance, or where anything is infinite."""
        with np.errstate(all="ignore"):
            known = (self.variance > 0) & np.isfinite(self.effect + self.variance + self.test_variance)
            noise = np.where(known, self.variance, np.nan)
            return np.abs(self.effect) / np.sqrt(noise), np.sqrt(self.test_variance / noise)


@np.errstate(all="ignore")
def planned_proportion(
    baseline: ArrayLike, effect: ArrayLike, *, share: ArrayLike = 0.5, test: str = "unpooled"
) -> PlannedEffect:
    """A rate that shall move from ``baseline`` by ``effect``, one outcome per unit.

    Args:
        baseline: control's rate, strictly between 0 and 1, shape (plans,).
        effect: treatment minus control, absolute; a relative one times baseline. 0 is no effect.
        share: treatment's part of the two arms' units, strictly between 0 and 1.
        test: "unpooled" (the z-test of `absolute_effect`), "pooled" (null variance from the joint rate), or "guarded"
            (the larger of own and pooled variance per arm, as every sequential engine takes it).
    Returns: `PlannedEffect`; all nan where baseline + effect is outside [0, 1].
    Raises: ContractError where baseline or share is out of range, test is unknown, or shapes do not fit.
    Assumes: one outcome per unit; for several requests of a unit see `linearised_variance`.
    Source: Fleiss, Levin, Paik 2003, Statistical Methods for Rates and Proportions, chapter 4 (without continuity
        correction); "pooled" equals statsmodels' power_proportions_2indep.

        >>> planned = planned_proportion(0.9, 0.02, test="pooled")
        >>> float(fixed_power(planned, 4000, alpha=0.05).round(6))
        0.598786
    """
    one_of("test", test, _TESTS)
    base, delta, part = error_rates("baseline", baseline), _known("effect", effect), error_rates("share", share)
    broadcastable(baseline=base, effect=delta, share=part)
    rate = base + delta
    rate = np.where((rate >= 0) & (rate <= 1), rate, np.nan)
    if test == "pooled":
        joint = base + part * delta
        v_c, v_t = base * (1 - base), rate * (1 - rate)
        pooled = joint * (1 - joint) * (1 / (1 - part) + 1 / part)
        return PlannedEffect(*aligned(rate - rate + delta, v_c / (1 - part) + v_t / part, rate - rate + pooled))
    made = planned_mean(base * (1 - base), delta, treatment_variance=rate * (1 - rate), share=part, test=test)
    return made._replace(effect=np.where(np.isnan(rate), np.nan, made.effect))


@np.errstate(all="ignore")
def planned_mean(
    variance: ArrayLike,
    effect: ArrayLike,
    *,
    treatment_variance: ArrayLike | None = None,
    share: ArrayLike = 0.5,
    test: str = "unpooled",
) -> PlannedEffect:
    """A mean, or a ratio by its linearised variance, that shall move by ``effect``.

    Args:
        variance: of one unit of control, metric units squared, shape (plans,).
        effect: treatment minus control, metric units; a relative one times |baseline|. 0 is no effect.
        treatment_variance: of one unit of treatment; None where it is control's.
        share: treatment's part of the two arms' units, strictly between 0 and 1.
        test: "unpooled", or "guarded" as in `planned_proportion`.
    Returns: `PlannedEffect`; nan where a variance or the effect is.
    Raises: ContractError where a variance is negative, share is out of range, test is unknown, or shapes do not fit.
    Assumes: a normal limit.
    Source: Welch 1947; the guard: `guarded`.

        >>> planned = planned_mean(25.0, 0.5, share=0.2)
        >>> float(fixed_units(planned, alpha=0.05, power=0.8).round(1))
        4905.5
    """
    one_of("test", test, ("unpooled", "guarded"))
    v_c, delta = _known("variance", non_negative("variance", variance)), _known("effect", effect)
    given = v_c if treatment_variance is None else treatment_variance
    v_t, part = _known("treatment_variance", non_negative("treatment_variance", given)), error_rates("share", share)
    broadcastable(variance=v_c, effect=delta, treatment_variance=v_t, share=part)
    plain = v_c / (1 - part) + v_t / part
    if test == "unpooled":
        return PlannedEffect(*aligned(delta + 0 * plain, plain, plain))
    pooled = (1 - part) * v_c + part * v_t
    guarded = np.maximum(v_c, pooled) / (1 - part) + np.maximum(v_t, pooled) / part
    return PlannedEffect(*aligned(delta + 0 * plain, plain, guarded))


@np.errstate(all="ignore")
def linearised_variance(
    mean_m: ArrayLike, mean_d: ArrayLike, *, variance_m: ArrayLike, variance_d: ArrayLike, covariance: ArrayLike
) -> FloatArray:
    """Variance of one unit for a ratio R = sum(m) / sum(d), which `planned_mean` then takes.

    Args:
        mean_m, mean_d: per unit, of numerator and denominator (a rate per request: failures and requests of a user).
        variance_m, variance_d, covariance: of one unit's m and d.
    Returns: (s_mm - 2 R s_md + R^2 s_dd) / mean_d^2, units of R squared; nan where mean_d is 0. Never below 0.
    Raises: ContractError where a variance is negative or shapes do not fit.
    Assumes: units are independent; what is within a unit may depend on each other as it likes.
    Source: Deng, Knoblich, Lu 2018 (KDD), delta method.

        >>> float(linearised_variance(0.5, 10.0, variance_m=0.6, variance_d=90.0, covariance=4.5).round(6))
        0.00375
    """
    m, d, cov = _known("mean_m", mean_m), _known("mean_d", mean_d), _known("covariance", covariance)
    v_m = _known("variance_m", non_negative("variance_m", variance_m))
    v_d = _known("variance_d", non_negative("variance_d", variance_d))
    broadcastable(mean_m=m, mean_d=d, variance_m=v_m, variance_d=v_d, covariance=cov)
    base = np.where(d != 0, d, np.nan)
    ratio = m / base
    linearised: FloatArray = (v_m - 2 * ratio * cov + ratio**2 * v_d) / base**2
    return np.where(np.isfinite(linearised), np.maximum(linearised, 0.0), np.nan)


@np.errstate(all="ignore")
def fixed_units(planned: PlannedEffect, *, alpha: ArrayLike, power: ArrayLike) -> FloatArray:
    """Units that a fixed two-sided test needs, both arms together, at the plan's split.

    Args:
        planned: shape (plans,).
        alpha: two-sided error after all corrections, in (0, 1). power: to find the effect, in (0, 1).
    Returns: (z_{1-alpha/2} sqrt(test_variance) + z_{power} sqrt(variance))^2 / effect^2, not rounded; inf where the
        effect is 0, nan where the plan is or its variance is 0; 0 where so little power needs no unit.
    Raises: ContractError where alpha or power is out of range, or shapes do not fit.
    Assumes: a normal limit. The far tail (a significant result of the wrong sign) is not counted.
    Source: as the plans; with equal variances the textbook formula of `required_units`.

        >>> float(fixed_units(planned_proportion(0.9, 0.02), alpha=0.05, power=0.8).round(1))
        6420.4
    """
    level, wanted = error_rates("alpha", alpha), error_rates("power", power)
    broadcastable(planned=planned.effect, alpha=level, power=wanted)
    signal, scale = planned.per_root_unit()
    reach = special.ndtri(wanted) - special.ndtri(level / 2) * scale
    return np.where(signal == 0, np.inf, (np.maximum(reach, 0.0) / signal) ** 2)


@np.errstate(all="ignore")
def fixed_power(planned: PlannedEffect, n: ArrayLike, *, alpha: ArrayLike) -> FloatArray:
    """Probability that a fixed two-sided test of ``n`` units rejects.

    Args:
        planned: shape (plans,). n: units of both arms together, above 0. alpha: two-sided error, in (0, 1).
    Returns: probability, both tails; nan where the plan is or its variance is 0.
    Raises: ContractError where n or alpha is out of range, or shapes do not fit.
    Assumes: a normal limit.
    Source: as the plans.

        >>> float(fixed_power(planned_mean(25.0, 0.5), 3139.6, alpha=0.05).round(4))
        0.8
    """
    size, level = positive("n", n), error_rates("alpha", alpha)
    broadcastable(planned=planned.effect, n=size, alpha=level)
    effect, scale = planned.per_root_unit()
    signal, critical = effect * np.sqrt(size), -special.ndtri(level / 2) * scale
    return np.asarray(special.ndtr(signal - critical) + special.ndtr(-signal - critical))


@np.errstate(all="ignore")
def detectable_effect(
    power_of: Callable[[FloatArray], FloatArray], *, power: ArrayLike, largest: ArrayLike
) -> FloatArray:
    """The smallest effect that a test finds with a wanted power: of any test whose power can be said.

    Args:
        power_of: from effects, shape (plans,), to the power at each; rising away from 0.
        power: to reach, in (0, 1).
        largest: where to stop looking, metric units, finite; its sign says in which direction (1 - baseline for a rate
            that shall rise).
    Returns: the effect, between 0 and largest, shape (plans,); nan where not even the largest is found.
    Raises: ContractError where power or largest is out of range; what power_of raises.
    Assumes: nothing more.
    Source: bisection.

        >>> found = detectable_effect(
        ...     lambda effect: fixed_power(planned_proportion(0.9, effect), 6420.4, alpha=0.05), power=0.8, largest=0.1)
        >>> float(found.round(6))
        0.02
    """
    wanted, end = error_rates("power", power), floats("largest", largest)
    require("largest", end, np.isfinite(end) & (end != 0), "it is finite and not 0")
    shape = broadcastable(power=wanted, largest=end)
    far = np.broadcast_to(end, shape)

    def enough(effect: FloatArray) -> BoolArray:
        return np.asarray(power_of(effect) >= wanted)

    found = enough(far)
    return np.where(found, crossing(enough, np.zeros(np.shape(found)), np.broadcast_to(far, np.shape(found))), np.nan)


@np.errstate(all="ignore")
def duration_days(units: ArrayLike, *, units_per_day: ArrayLike, share: ArrayLike = 1.0) -> FloatArray:
    """Days until so many units have come.

    Args:
        units: wanted, of the arms concerned, at least 0.
        units_per_day: new units a day of the whole traffic (not requests: a returning user is not new), above 0.
        share: the arms' part of that traffic, in (0, 1].
    Returns: days, not rounded; inf where units is, nan where it is.
    Raises: ContractError where an argument is out of range, or shapes do not fit.
    Assumes: new units come at a steady rate.
    Source: elementary.

        >>> float(duration_days(6420, units_per_day=1000, share=0.5))
        12.84
    """
    wanted, rate, part = non_negative("units", units), positive("units_per_day", units_per_day), floats("share", share)
    require("share", part, (part > 0) & (part <= 1), "it lies above 0 and at most at 1")
    broadcastable(units=wanted, units_per_day=rate, share=part)
    return np.asarray(wanted / (rate * part))


def _known(name: str, value: ArrayLike) -> FloatArray:
    array = floats(name, value)
    return np.where(np.isfinite(array), array, np.nan)
