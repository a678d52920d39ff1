"""The asymptotic confidence sequence: intervals, always-valid p-values and e-values of an effect at any number of
looks.

The default engine. Owns the normal-mixture boundary, two-sided and one-sided, and the tuning of its r^2. mSPRT (Johari
et al.) with tau^2 = r^2 n SE^2 is the same thing and is not written twice. Must not know burn-in or verdicts:
asymptotic means not for a handful of units (100 an arm is the analyzer's floor), and that gate is the analyzer's.
"""

from typing import NamedTuple

import numpy as np

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import (
    ArrayLike,
    FloatArray,
    aligned,
    broadcastable,
    error_rates,
    finite,
    positive,
)
from splitgauge.statistics.arrays import select
from splitgauge.statistics.effects import Effect, usable

__all__ = ["OneSidedSequence", "TwoSidedSequence", "mixture_variance", "one_sided_sequence", "two_sided_sequence"]


class TwoSidedSequence(NamedTuple):
    """A two-sided sequence at one look, float64, shape (comparisons,). All nan where se is 0 or undefined, or n is
    0."""

    half_width: FloatArray
    """Of the interval, units of the effect."""
    lower: FloatArray
    """effect - half_width."""
    upper: FloatArray
    """effect + half_width."""
    p_value: FloatArray
    """Always valid at this look: min(1, 1/e). The running minimum over looks is the reader's, and for display."""
    log_e_value: FloatArray
    """Natural logarithm of the e-value against effect = null; at least ln(1/alpha) exactly when the interval excludes
    it."""


class OneSidedSequence(NamedTuple):
    """Both one-sided sequences at one look, each at alpha by itself; float64, shape (comparisons,); nan as in
    `TwoSidedSequence`."""

    half_width: FloatArray
    """Distance of each bound, units of the effect."""
    lower: FloatArray
    """Lower bound: the effect is above it at every look with probability 1 - alpha."""
    upper: FloatArray
    """Upper bound: the effect is below it at every look with probability 1 - alpha."""
    p_greater: FloatArray
    """Always-valid p of the alternative effect > null."""
    p_less: FloatArray
    """Always-valid p of the alternative effect < null."""
    log_e_greater: FloatArray
    """Natural logarithm of the e-value (1/p before the cap at 1) for effect > null; -inf where the effect is not
    above."""
    log_e_less: FloatArray
    """Natural logarithm of the e-value for effect < null; -inf where the effect is not below."""


@np.errstate(all="ignore")
def mixture_variance(planned_n: ArrayLike, *, alpha: ArrayLike, sides: int = 2) -> FloatArray:
    """r^2, which sets where a sequence is tightest; fixed before the first unit, with the alpha after all corrections.

    Args:
        planned_n: units of both arms together at which it shall be tightest, above 0 (5,000 where nothing is planned).
        alpha: the error of the sequence, in (0, 1); below 0.5 where one-sided.
        sides: 2, or 1 for `one_sided_sequence` (which takes r^2 at 2 alpha).
    Returns: r^2 = (-2 ln a + ln(-2 ln a + 1)) / planned_n with a = alpha, or 2 alpha one-sided; dimensionless.
    Raises: ContractError where planned_n is not above 0, alpha or sides is out of range, or shapes do not fit.
    Assumes: nothing.
    Source: Waudby-Smith et al. 2024, Annals of Statistics 52(6); arXiv 2103.06476v7, equation 161 (approximation; the
        exact optimum is (-W_{-1}(-a^2/e) - 1)/planned_n).

        >>> round(float(mixture_variance(5000, alpha=0.05)) ** 0.5, 12)
        0.039840066771
    """
    if sides not in (1, 2):
        raise ContractError(
            f"{sides} is neither 1 nor 2", where="sides", remedy="give 1 for one_sided_sequence, else 2"
        )
    planned = positive("planned_n", planned_n)
    level = error_rates("alpha", alpha) if sides == 2 else 2 * error_rates("alpha", alpha, below=0.5)
    broadcastable(planned_n=planned, alpha=level)
    spent: FloatArray = -2 * np.log(level)
    return (spent + np.log1p(spent)) / planned


@np.errstate(all="ignore")
def two_sided_sequence(effect: Effect, *, alpha: ArrayLike, r2: ArrayLike, null: ArrayLike = 0.0) -> TwoSidedSequence:
    """The asymptotic confidence sequence of an effect, absolute or relative.

    Args:
        effect: of each comparison at this look, shape (comparisons,); for unequal splits from guarded arms.
        alpha: error over all looks together, two-sided, in (0, 1).
        r2: from `mixture_variance`, above 0, the same at every look.
        null: the effect under the null hypothesis, units of the effect.
    Returns: `TwoSidedSequence`; nan where se is 0 or undefined, or no unit is there.
    Raises: ContractError where alpha or r2 is out of range, a standard error is negative, or shapes do not fit.
    Assumes: independent units with finite 2+ moments; enough units for a normal limit (100 an arm; 25 at the least).
    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024, Annals of Statistics 52(6), Theorem 2.2;
        arXiv 2103.06476v7, equation 9; e-value: equation 155, the normal mixture of Robbins 1970.

        >>> from splitgauge.statistics import effect
        >>> found = two_sided_sequence(effect(0.03, 0.014251315728731857, n_control=1000, n_treatment=1000),
        ...                            alpha=0.05, r2=mixture_variance(5000, alpha=0.05))
        >>> round(float(found.lower), 9), round(float(found.upper), 9), round(float(found.p_value), 9)
        (-0.014517962, 0.074517962, 0.378931508)
    """
    level, tuning, centre = error_rates("alpha", alpha), positive("r2", r2), finite("null", null)
    n, se = usable(effect)
    broadcastable(effect=effect.value, se=se, alpha=level, r2=tuning, null=centre)
    spent = n * tuning
    log_root = 0.5 * np.log1p(spent)
    half = se * np.sqrt(2 * (spent + 1) / spent * (log_root - np.log(level)))
    log_e = spent * ((effect.value - centre) / se) ** 2 / (2 * (spent + 1)) - log_root
    p_value = np.exp(-np.maximum(log_e, 0.0))
    return TwoSidedSequence(*aligned(half, effect.value - half, effect.value + half, p_value, log_e))


@np.errstate(all="ignore")
def one_sided_sequence(effect: Effect, *, alpha: ArrayLike, r2: ArrayLike, null: ArrayLike = 0.0) -> OneSidedSequence:
    """Lower and upper one-sided sequences of an effect, for guardrails.

    Args:
        effect: of each comparison at this look, shape (comparisons,); for unequal splits from guarded arms.
        alpha: error over all looks together, of one side, in (0, 0.5).
        r2: from `mixture_variance(..., sides=1)`, above 0, the same at every look.
        null: the effect at which the p-values stand, units of the effect.
    Returns: `OneSidedSequence`; nan where se is 0 or undefined, or no unit is there.
    Raises: ContractError where alpha or r2 is out of range, a standard error is negative, or shapes do not fit.
    Assumes: as `two_sided_sequence`.
    Source: Waudby-Smith et al. 2024, Annals of Statistics 52(6); arXiv 2103.06476v7, equation 134; the closed form of p
        solves its boundary for alpha. 1/p lies below the half-normal mixture martingale, so it is an e-value.

        >>> from splitgauge.statistics import effect
        >>> found = one_sided_sequence(effect(0.03, 0.014251315728731857, n_control=1000, n_treatment=1000),
        ...                            alpha=0.05, r2=mixture_variance(5000, alpha=0.05, sides=1))
        >>> round(float(found.lower), 9), round(float(found.upper), 9), round(float(found.p_greater), 5)
        (-0.011129496, 0.071129496, 0.24122)
    """
    level, tuning, centre = error_rates("alpha", alpha, below=0.5), positive("r2", r2), finite("null", null)
    n, se = usable(effect)
    broadcastable(effect=effect.value, se=se, alpha=level, r2=tuning, null=centre)
    spent = n * tuning
    log_root = 0.5 * np.log1p(spent)
    half = se * np.sqrt(2 * (spent + 1) / spent * np.log1p(np.exp(log_root) / (2 * level)))
    z = (effect.value - centre) / se
    # ln(exp(y) - 1) as y + ln(1 - exp(-y)): no overflow far out, no cancellation near 0.
    y = z**2 * spent / (2 * (spent + 1))
    log_e = np.log(2.0) + y + np.log(-np.expm1(-y)) - log_root
    nothing = z * 0 - np.inf
    greater, less = select(z > 0, log_e, nothing), select(z < 0, log_e, nothing)
    p_greater, p_less = np.exp(-np.maximum(greater, 0.0)), np.exp(-np.maximum(less, 0.0))
    lower, upper = effect.value - half, effect.value + half
    return OneSidedSequence(*aligned(half, lower, upper, p_greater, p_less, greater, less))
