"""Guardrails: is a challenger worse than control, and is it shown not to be worse by more than a margin?

Owns what harm is (its sign, its margin, absolute or relative) for the one-sided sequences and the test at a planned
end, and the bound for rates with too few failures to have a standard error. Must not know which guardrails there are,
nor what is done about them.
"""

from typing import NamedTuple

import numpy as np

from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    aligned,
    broadcastable,
    counts,
    error_rates,
    flags,
    non_negative,
    positive,
    require,
    signs,
)
from splitgauge.statistics.confidence_sequence import mixture_variance, one_sided_sequence
from splitgauge.statistics.count_sequence import rate_sequence
from splitgauge.statistics.effects import Effect, absolute_effect
from splitgauge.statistics.fixed import welch_test
from splitgauge.statistics.strata import Arm

__all__ = [
    "Guardrail",
    "NoninferiorityTest",
    "RareRateGuardrail",
    "guardrail_sequence",
    "noninferiority_test",
    "rare_rate_guardrail",
]


class Guardrail(NamedTuple):
    """A guardrail at one look, shape (comparisons,); float64 in metric units except where said. nan without
    variance."""

    harm: FloatArray
    """m_t - m_c in the harmful direction: positive is worse."""
    harm_se: FloatArray
    """Its standard error."""
    harm_lower: FloatArray
    """One-sided lower bound at harm_alpha."""
    p_harm: FloatArray
    """Always-valid p of harm > 0, in [0, 1]."""
    excess: FloatArray
    """Harm beyond the margin: harm - margin, or harm - margin |m_c| where relative."""
    excess_se: FloatArray
    """Its standard error, with control's noise in the margin."""
    excess_lower: FloatArray
    """One-sided lower bound at harm_alpha."""
    excess_upper: FloatArray
    """One-sided upper bound at pass_alpha."""
    p_pass: FloatArray
    """Always-valid p of excess < 0, in [0, 1]."""
    harmed: BoolArray
    """harm_lower > 0: worse than control. False where undefined."""
    beyond: BoolArray
    """excess_lower > 0: worse by more than the margin. False where undefined."""
    passed: BoolArray
    """excess_upper < 0: not worse by the margin. False where undefined."""


class NoninferiorityTest(NamedTuple):
    """A test at a planned end, shape (comparisons,); float64 in metric units but for passed. nan without variance."""

    excess: FloatArray
    """Harm beyond the margin: harm - margin, or harm - margin |m_c| where relative."""
    excess_se: FloatArray
    """Its standard error, with control's noise in the margin."""
    df: FloatArray
    """Degrees of freedom used."""
    excess_upper: FloatArray
    """One-sided upper bound at alpha."""
    p_pass: FloatArray
    """Of excess < 0, in [0, 1]."""
    passed: BoolArray
    """excess_upper < 0: not worse by the margin. False where undefined."""


class RareRateGuardrail(NamedTuple):
    """A rate with few failures at one look, shape (comparisons,); float64 except for passed."""

    lower_control: FloatArray
    """Lower bound of control's failure rate at alpha/2."""
    upper_treatment: FloatArray
    """Upper bound of the challenger's failure rate at alpha/2."""
    harm_upper: FloatArray
    """upper_treatment - lower_control: the harm is below it with probability 1 - alpha at every look."""
    passed: BoolArray
    """harm_upper < margin."""


@np.errstate(all="ignore")
def guardrail_sequence(
    control: Arm,
    treatment: Arm,
    *,
    margin: ArrayLike,
    relative: ArrayLike,
    direction: ArrayLike,
    harm_alpha: ArrayLike,
    pass_alpha: ArrayLike,
    planned_n: ArrayLike,
) -> Guardrail:
    """One-sided sequences of a guardrail's harm, and of its harm beyond the margin.

    Args:
        control, treatment: guarded arms of each comparison, shape (comparisons,), metric units.
        margin: d, above 0: metric units where absolute (0.005 for half a point of a rate), a fraction of |m_c| where
            relative.
        relative: True where the margin is relative; one or one a comparison. Never for a rate (the caller refuses it).
        direction: +1 where up is good, -1 where down is good (errors, cost, latency).
        harm_alpha: one-sided error of a rollback, already divided over guardrails and challengers, in (0, 0.5).
        pass_alpha: one-sided error of a pass; not divided, since a promotion needs all of them, in (0, 0.5).
        planned_n: units of both arms at which the sequences shall be tightest, above 0.
    Returns: `Guardrail`; numbers nan and verdicts False where an arm is undefined or nothing varies.
    Raises: ContractError where a margin, alpha, direction or size is out of range, or shapes do not fit.
    Assumes: independent arms with enough units (100 an arm); 25 failures in both together for a rate, else
        `rare_rate_guardrail`.
    Source: one-sided sequence as `one_sided_sequence`; relative margin: Fieller's linear form m_t - (1+d) m_c with
        SE^2 = v_t/n_t + (1+d)^2 v_c/n_c, valid at m_c = 0 too.

        >>> from splitgauge.statistics import arm
        >>> found = guardrail_sequence(arm(5000, 100.0, 900.0), arm(5000, 101.0, 900.0), margin=0.05, relative=True,
        ...                            direction=-1, harm_alpha=0.05, pass_alpha=0.05, planned_n=5000)
        >>> bool(found.harmed), bool(found.passed), round(float(found.excess), 9)
        (False, True, -4.0)
    """
    harm, excess = _harm_and_excess(control, treatment, margin=margin, relative=relative, direction=direction)
    harm_r2 = mixture_variance(planned_n, alpha=harm_alpha, sides=1)
    pass_r2 = mixture_variance(planned_n, alpha=pass_alpha, sides=1)
    of_harm = one_sided_sequence(harm, alpha=harm_alpha, r2=harm_r2)
    of_excess = one_sided_sequence(excess, alpha=harm_alpha, r2=harm_r2)
    of_pass = one_sided_sequence(excess, alpha=pass_alpha, r2=pass_r2)
    found = Guardrail(
        harm=harm.value,
        harm_se=harm.se,
        harm_lower=of_harm.lower,
        p_harm=of_harm.p_greater,
        excess=excess.value,
        excess_se=excess.se,
        excess_lower=of_excess.lower,
        excess_upper=of_pass.upper,
        p_pass=of_pass.p_less,
        harmed=np.asarray(of_harm.lower > 0),
        beyond=np.asarray(of_excess.lower > 0),
        passed=np.asarray(of_pass.upper < 0),
    )
    return Guardrail(*aligned(*found))


@np.errstate(all="ignore")
def noninferiority_test(
    control: Arm,
    treatment: Arm,
    *,
    margin: ArrayLike,
    relative: ArrayLike,
    direction: ArrayLike,
    alpha: ArrayLike,
) -> NoninferiorityTest:
    """Whether a challenger is shown at a planned end not to be worse than control by a margin: Welch's t, one-sided.

    Args:
        control, treatment: arms of each comparison, shape (comparisons,), metric units; without the guard.
        margin, relative, direction: as in `guardrail_sequence`.
        alpha: one-sided error of a pass, in (0, 0.5).
    Returns: `NoninferiorityTest`; numbers nan and passed False where an arm is undefined or nothing varies.
    Raises: ContractError where a margin, alpha or direction is out of range, or shapes do not fit.
    Assumes: one look, at the planned end; independent arms with enough units for Welch's t.
    Source: as `guardrail_sequence` for the margin; Welch 1947, Biometrika 34, degrees of freedom on the untransformed
        variances.

        >>> from splitgauge.statistics import arm
        >>> found = noninferiority_test(arm(900, 100.0, 900.0), arm(900, 101.0, 900.0), margin=0.05, relative=True,
        ...                             direction=-1, alpha=0.05)
        >>> round(float(found.excess), 9), round(float(found.p_pass), 6), bool(found.passed)
        (-4.0, 0.002932, True)
    """
    level = error_rates("alpha", alpha, below=0.5)
    _, excess = _harm_and_excess(control, treatment, margin=margin, relative=relative, direction=direction)
    found = welch_test(excess, alpha=2 * level)
    passed = np.asarray(found.upper < 0)
    return NoninferiorityTest(*aligned(excess.value, excess.se, excess.df, found.upper, found.p_less, passed))


@np.errstate(all="ignore")
def rare_rate_guardrail(
    n_control: ArrayLike,
    failures_control: ArrayLike,
    n_treatment: ArrayLike,
    failures_treatment: ArrayLike,
    *,
    margin: ArrayLike,
    alpha: ArrayLike,
) -> RareRateGuardrail:
    """Whether a rate with few failures passes its margin; for rates with under 25 failures in both arms together.

    Args:
        n_control, n_treatment: units, counts, shape (comparisons,).
        failures_control, failures_treatment: sums of the units' failure shares, in [0, n]; not whole where a unit has
            several requests.
        margin: absolute, above 0 (0.005 is half a point).
        alpha: one-sided error of a pass, in (0, 1); each bound gets half of it.
    Returns: `RareRateGuardrail`; without units the bounds are 0 and 1 and nothing passes.
    Raises: ContractError where n is no count, failures are outside [0, n], margin or alpha is out of range, or shapes
        do not fit.
    Assumes: independent units; exact at every n.
    Source: Howard et al. 2021, Annals of Statistics 49(2), Proposition 6, with c = 10, twice, by a union bound.

        >>> found = rare_rate_guardrail([780, 790], [0, 0], [780, 790], [0, 0], margin=0.005, alpha=0.05)
        >>> found.passed.tolist()
        [False, True]
    """
    n_c, n_t = counts("n_control", n_control), counts("n_treatment", n_treatment)
    f_c, f_t = (
        non_negative("failures_control", failures_control),
        non_negative("failures_treatment", failures_treatment),
    )
    d, level = positive("margin", margin), error_rates("alpha", alpha)
    broadcastable(n_control=n_c, failures_control=f_c, n_treatment=n_t, failures_treatment=f_t, margin=d, alpha=level)
    require("failures_control", f_c, f_c <= n_c, "the sum of failure shares is at most n")
    require("failures_treatment", f_t, f_t <= n_t, "the sum of failure shares is at most n")
    lower = rate_sequence(n_c, f_c, alpha=level / 2).lower
    upper = rate_sequence(n_t, f_t, alpha=level / 2).upper
    return RareRateGuardrail(*aligned(lower, upper, upper - lower, np.asarray(upper - lower < d)))


def _harm_and_excess(
    control: Arm, treatment: Arm, *, margin: ArrayLike, relative: ArrayLike, direction: ArrayLike
) -> tuple[Effect, Effect]:
    """Harm, and what of it lies beyond the margin, as effects whose positive side is the bad one."""
    d, good = positive("margin", margin), signs("direction", direction)
    fraction = flags("relative", relative)
    worse = -good
    harm = absolute_effect(control, treatment)
    broadcastable(effect=harm.value, margin=d, direction=good, relative=fraction.astype(np.float64))
    harm = harm._replace(value=worse * harm.value)
    # harm - d |m_c| = worse (m_t - factor m_c), so that control's noise enters once, through the factor.
    factor = np.where(fraction, 1 + worse * d * np.sign(control.mean), 1.0)
    scaled_se = np.sqrt(treatment.mean_variance + factor**2 * control.mean_variance)
    excess = harm._replace(
        value=np.where(fraction, worse * (treatment.mean - factor * control.mean), harm.value - d),
        se=np.where(fraction, scaled_se, harm.se),
    )
    return harm, excess
