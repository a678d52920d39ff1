"""From two arms to one effect per comparison: its estimate and standard error.

Owns the delta method of relative effects. Every engine (fixed, sequential, Bayesian) takes the `Effect` made here, so
that each is written once for means, proportions and ratios, absolute and relative. Must not know any engine.
"""

from typing import NamedTuple

import numpy as np

from splitgauge.statistics.arguments import ArrayLike, FloatArray, aligned, broadcastable, counts, floats, non_negative
from splitgauge.statistics.arrays import select, where_known
from splitgauge.statistics.strata import Arm

__all__ = ["Effect", "absolute_effect", "effect", "known_se", "relative_effect", "usable"]


class Effect(NamedTuple):
    """Challenger against control, float64, shape (comparisons,). One that was estimated elsewhere comes in through
    `effect`; made by hand, nothing converts its fields."""

    value: FloatArray
    """m_t - m_c in metric units, or (m_t - m_c)/|m_c| as a fraction; nan where undefined."""
    se: FloatArray
    """Its standard error, same units; nan where undefined, 0 where neither arm varies."""
    df: FloatArray
    """Welch-Satterthwaite degrees of freedom on the untransformed variances; nan where undefined."""
    n_control: FloatArray
    """Units of control."""
    n_treatment: FloatArray
    """Units of the challenger."""

    @property
    def n(self) -> FloatArray:
        """Units of both arms together."""
        return self.n_control + self.n_treatment


@np.errstate(all="ignore")
def absolute_effect(control: Arm, treatment: Arm) -> Effect:
    """The difference of means m_t - m_c.

    Args:
        control, treatment: arms, shape (comparisons,), metric units.
    Returns: `Effect` in metric units; se^2 is the sum of the arms' mean variances; nan where an arm is undefined.
    Raises: ContractError where shapes do not fit or a variance is negative.
    Assumes: independent arms.
    Source: Welch 1947.

        >>> from splitgauge.statistics.strata import arm
        >>> found = absolute_effect(arm(1000, 10.0, 25.0), arm(1000, 10.5, 26.0))
        >>> float(found.value), round(float(found.se), 6), round(float(found.df), 3)
        (0.5, 0.225832, 1997.232)
    """
    v_c, v_t = _variances(control, treatment)
    value = treatment.mean - control.mean
    return Effect(*aligned(value, np.sqrt(v_c + v_t), _welch_df(control, treatment), control.n, treatment.n))


@np.errstate(all="ignore")
def relative_effect(control: Arm, treatment: Arm) -> Effect:
    """The relative difference (m_t - m_c)/|m_c|, control's noise included.

    Args:
        control, treatment: arms, shape (comparisons,), metric units.
    Returns: `Effect` as a fraction (0.05 is 5 %); nan where control's mean is 0 or an arm is undefined.
    Raises: ContractError where shapes do not fit or a variance is negative.
    Assumes: independent arms; control's mean away from 0 by several standard errors.
    Source: Deng, Knoblich, Lu 2018 (KDD), percent change by the delta method: SE^2 = v_t/(n_t m_c^2) + v_c m_t^2/(n_c
        m_c^4).

        >>> from splitgauge.statistics.strata import arm
        >>> found = relative_effect(arm(1000, 10.0, 25.0), arm(1000, 10.5, 26.0))
        >>> round(float(found.value), 12), round(float(found.se), 6)
        (0.05, 0.023144)
    """
    v_c, v_t = _variances(control, treatment)
    base = where_known((control.mean != 0) & np.isfinite(control.mean), control.mean)
    value = (treatment.mean - base) / np.abs(base)
    # Ratios before squares: base**4 would overflow or vanish long before the result does.
    se = np.hypot(np.sqrt(v_t) / base, np.sqrt(v_c) / base * (treatment.mean / base))
    return Effect(*aligned(value, se, _welch_df(control, treatment), control.n, treatment.n))


def effect(
    value: ArrayLike, se: ArrayLike, *, n_control: ArrayLike, n_treatment: ArrayLike, df: ArrayLike = np.inf
) -> Effect:
    """An effect that was estimated elsewhere, checked.

    Args:
        value, se: any one unit, shape (comparisons,); se at least 0 or nan.
        n_control, n_treatment: units, counts.
        df: degrees of freedom of se, above 0 (infinite: a normal limit).
    Returns: `Effect` as given, in float64.
    Raises: ContractError where se is negative, a size is no count, or shapes do not fit.
    Assumes: value is approximately normal with that standard error.
    Source: elementary.

        >>> float(effect(0.03, 0.01, n_control=1000, n_treatment=900).n)
        1900.0
    """
    made = Effect(
        floats("value", value),
        non_negative("se", se),
        non_negative("df", df),
        counts("n_control", n_control),
        counts("n_treatment", n_treatment),
    )
    broadcastable(**made._asdict())
    return Effect(*aligned(*made))


def usable(effect: Effect) -> tuple[FloatArray, FloatArray]:
    """Units and standard error of an effect, nan where there is nothing to go by, for the engines of this package.

    Without variance nothing is said, least of all p = 0 or p = 1; what is infinite is no measurement.
    """
    n = effect.n
    return where_known(n > 0, n), known_se(effect)


def known_se(effect: Effect) -> FloatArray:
    """Standard error of an effect as in `usable`, for engines that do not ask for units."""
    se = non_negative("effect.se", effect.se)
    broadcastable(value=effect.value, se=se)
    return where_known((se > 0) & np.isfinite(se + effect.value), se)


def _variances(control: Arm, treatment: Arm) -> tuple[FloatArray, FloatArray]:
    v_c = non_negative("control.mean_variance", control.mean_variance)
    v_t = non_negative("treatment.mean_variance", treatment.mean_variance)
    broadcastable(control=control.mean, control_variance=v_c, treatment=treatment.mean, treatment_variance=v_t)
    return v_c, v_t


def _welch_df(control: Arm, treatment: Arm) -> FloatArray:
    # As shares of the larger variance: squares of variances vanish at 1e-170 and overflow at 1e160.
    largest = np.maximum(control.mean_variance, treatment.mean_variance)
    c, t = control.mean_variance / largest, treatment.mean_variance / largest
    welch = (c + t) ** 2 / (c * c / control.df + t * t / treatment.df)
    return select(largest > 0, welch, control.df + treatment.df + 0 * largest)
