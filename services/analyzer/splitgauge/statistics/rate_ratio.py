"""The ratio of two event rates from counts of successes alone, exact at every n: the engine for rare events.

Owns the confidence sequence of the log rate ratio. Under equal rates the labels of the successes are multinomial in the
assignment shares, whatever the rate does over time; so nothing but successes and shares is needed, and no burn-in.
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
    counts,
    error_rates,
    positive,
    shares,
)
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.dirichlet import two_arm_log_factor

__all__ = ["RateRatio", "rate_ratio_sequence"]

_FAR = 800.0  # a log ratio beyond what float64 holds as a ratio


class RateRatio(NamedTuple):
    """Challenger's rate over control's at one look, float64, shape (comparisons,); logarithms are natural."""

    log_ratio: FloatArray
    """Estimate of ln(rate_t / rate_c); nan without successes, -inf or inf where one arm has none."""
    lower: FloatArray
    """Lower bound at alpha, two-sided; -inf while the challenger has no success; nan where no ratio is left: it was not
    the same in all epochs."""
    upper: FloatArray
    """Upper bound at alpha, two-sided; inf while control has no success; nan where no ratio is left."""
    p_value: FloatArray
    """Always-valid p of equal rates: min(1, 1/e)."""
    log_e_value: FloatArray
    """Natural logarithm of the e-value against equal rates; 0 without successes."""
    successes: FloatArray
    """Successes of both arms that count."""


@np.errstate(all="ignore")
def rate_ratio_sequence(
    control: ArrayLike, treatment: ArrayLike, share: ArrayLike, *, alpha: ArrayLike, concentration: ArrayLike = 100.0
) -> RateRatio:
    """Confidence sequence of the log rate ratio of two arms.

    Args:
        control, treatment: successes (of a rare outcome, one per unit), counts, shape (epochs, comparisons).
        share: the challenger's share of the traffic of the two arms in that epoch, in [0, 1]; at 0 or 1 only one arm
            was there, and the epoch is left out.
        alpha: two-sided error over all looks, in (0, 1).
        concentration: k of the Dirichlet prior, above 0; small finds large ratios early.
    Returns: `RateRatio`, shape (comparisons,): the interval is {theta: BF(theta) < 1/alpha}, log factors summed over
        epochs; the estimate is nan without successes, the bounds are where that set is empty.
    Raises: ContractError where something is no count, a share, alpha or k is out of range, or shapes do not fit.
    Assumes: rates of one ratio at all times; rates under about 10 % (count the rarer outcome).
    Source: Lindon and Malek 2022 (NeurIPS), contrasts of time-inhomogeneous Bernoulli processes.

        >>> found = rate_ratio_sequence([100], [160], 0.5, alpha=0.05)
        >>> round(float(found.lower), 5), round(float(found.upper), 5), round(float(found.p_value), 6)
        (0.04928, 0.90475, 0.012336)
    """
    c, t, w = counts("control", control), counts("treatment", treatment), shares("share", share, whole=False)
    level, k = error_rates("alpha", alpha), positive("concentration", concentration)
    epochs = np.broadcast(np.empty(broadcastable(control=c, treatment=t, share=w)), np.empty(1)).shape
    ends_shape = broadcastable(successes=np.empty(epochs[1:]), alpha=level, concentration=k)
    # One axis of epochs in front of all axes of comparisons: else alpha or k of one epoch each would be taken for it.
    shape = (epochs[0], *(1,) * (len(ends_shape) - len(epochs) + 1), *epochs[1:])
    both = (w > 0) & (w < 1)
    c, t, w = (
        np.broadcast_to(np.where(both, value, other), epochs).reshape(shape)
        for value, other in ((c, 0.0), (t, 0.0), (w, 0.5))
    )
    total_c, total_t = c.sum(axis=0), t.sum(axis=0)
    ends = np.broadcast_to(total_c, ends_shape)
    at_zero = two_arm_log_factor(c, t, w, k).sum(axis=0)

    def expected(theta: FloatArray) -> FloatArray:
        return np.asarray(((c + t) * special.expit(theta + special.logit(w))).sum(axis=0), dtype=np.float64)

    def inside(theta: FloatArray) -> BoolArray:
        gained = (c + t) * np.logaddexp(np.log1p(-w), np.log(w) + theta)
        return np.asarray(at_zero + gained.sum(axis=0) - total_t * theta < -np.log(level))

    low, high = np.full(ends.shape, -_FAR), np.full(ends.shape, _FAR)
    # ln BF is convex in theta; its least point, the estimate, is where the challenger has what is expected.
    best = crossing(lambda theta: np.asarray(expected(theta) < total_t), high, low)
    none_c, none_t = total_c == 0, total_t == 0
    estimate = np.where(none_t, np.where(none_c, np.nan, -np.inf), np.where(none_c, np.inf, best))
    lower = np.where(none_t, -np.inf, crossing(inside, low, best))
    upper = np.where(none_c, np.inf, crossing(inside, high, best))
    none_left = ~(none_c | none_t | inside(best))
    lower, upper = np.where(none_left, np.nan, lower), np.where(none_left, np.nan, upper)
    log_e = at_zero + 0 * ends
    return RateRatio(*aligned(estimate, lower, upper, np.exp(-np.maximum(log_e, 0.0)), log_e, total_c + total_t))
