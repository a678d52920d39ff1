"""Sequential tests on counts that are exact at every n: Dirichlet-multinomial Bayes factors and the beta-binomial
mixture.

Owns the sample-ratio test, the test of first failures for operational guardrails, and the confidence sequence of one
rate. Nothing here is asymptotic, nothing needs a burn-in. Must not know thresholds of verdicts beyond what a caller
hands in.
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
    non_negative,
    positive,
    require,
    shares,
)
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.dirichlet import dirichlet_log_factor, two_arm_log_factor

__all__ = [
    "FirstFailures",
    "RateBounds",
    "SampleRatio",
    "first_failures",
    "log_bayes_factor",
    "rate_log_mixture",
    "rate_sequence",
    "rate_tuning",
    "sample_ratio",
]

SAMPLE_RATIO_CONCENTRATIONS = (100.0, 10_000.0)
"""k = 100 finds gross mismatches at once, k = 10,000 small ones in the long run; their average is still an e-value."""

_FAR = 800.0  # logits: rates of 1e-347, beyond what float64 holds
_MANY = 1e7  # outcomes; up to here a difference of logarithms of beta functions is right to 1e-8


class SampleRatio(NamedTuple):
    """Sequential sample-ratio test at one look, float64, shape (experiments,)."""

    log_e_value: FloatArray
    """Natural logarithm of the e-value: ln(100) is the alarm, ln(1,000) hard. 0 without units."""
    p_value: FloatArray
    """Always valid: min(1, 1/e)."""
    n: FloatArray
    """Units of all arms and epochs."""


class FirstFailures(NamedTuple):
    """First failures of the units of two arms at one look, shape (comparisons,); float64 except for harm."""

    log_e_value: FloatArray
    """Natural logarithm of the Bayes factor over epochs; 0 without failures."""
    failures: FloatArray
    """First failures in both arms together."""
    observed: FloatArray
    """Of them the challenger's."""
    expected: FloatArray
    """What the challenger's would be under equal rates: sum over epochs of failures times its share."""
    harm: BoolArray
    """True where the challenger has more than expected, e >= 1/alpha, and the failures are enough."""


class RateBounds(NamedTuple):
    """Confidence sequence of one rate at one look, float64, shape (cells,)."""

    rate: FloatArray
    """Mean outcome; nan while n = 0."""
    lower: FloatArray
    """Lower bound at alpha; 0 while n = 0 or the outcomes are all 0."""
    upper: FloatArray
    """Upper bound at alpha; 1 while n = 0 or the outcomes are all 1."""


@np.errstate(all="ignore")
def log_bayes_factor(counts_per_arm: ArrayLike, share: ArrayLike, *, concentration: ArrayLike) -> FloatArray:
    """ln of the Dirichlet-multinomial Bayes factor of counts against fixed shares; an e-value at every n.

    Args:
        counts_per_arm: counted once each, counts, shape (..., arms). An empty arm stands as 0.
        share: assignment shares under the null hypothesis, shape (..., arms), adding up to 1 over the last axis.
        concentration: k of the Dirichlet prior k * share, above 0, broadcastable with the leading axes.
    Returns: ln BF, shape (...); 0 without counts, inf where an arm of share 0 has counts.
    Raises: ContractError where something is no count, shares do not add up, k is not above 0, or shapes do not fit.
    Assumes: each item falls into an arm by its share, independently, whatever the rate over time does.
    Source: Lindon and Malek 2022 (NeurIPS), "Anytime-valid inference for multinomial count data": the Dirichlet
        mixture against a fixed multinomial.

        >>> round(float(log_bayes_factor([100, 160], [0.5, 0.5], concentration=100)), 6)
        4.395249
    """
    c, w, k = counts("counts_per_arm", counts_per_arm), shares("share", share), positive("concentration", concentration)
    broadcastable(counts_per_arm=c, share=w)
    broadcastable(counts_per_arm=c.sum(axis=-1), share=w.sum(axis=-1), concentration=k)
    return dirichlet_log_factor(c, w, k)


@np.errstate(all="ignore")
def sample_ratio(counts_per_arm: ArrayLike, share: ArrayLike) -> SampleRatio:
    """Sequential test that the units arrived in the assignment's shares.

    Args:
        counts_per_arm: units at their first live split exposure, each once, in its own epoch; counts, shape
            (epochs, ..., arms), epochs along the first axis.
        share: assignment shares of each epoch, same shape or broadcastable, adding up to 1 over the last axis.
    Returns: `SampleRatio`, shape (...): factors multiplied over epochs for k = 100 and for k = 10,000, then averaged.
    Raises: ContractError where something is no count, shares do not add up, or shapes do not fit.
    Assumes: units counted once; a returning unit is not counted again (that gave 2-12 % false alarms).
    Source: Lindon and Malek 2022 (NeurIPS), as `log_bayes_factor`; an average of e-values is one (Vovk and Wang 2021,
        Annals of Statistics 49(3), section 3).

        >>> found = sample_ratio([[5000, 5060]], [[0.5, 0.5]])
        >>> bool(found.log_e_value < np.log(100)), float(found.n)
        (True, 10060.0)
    """
    c, w = counts("counts_per_arm", counts_per_arm), shares("share", share)
    broadcastable(counts_per_arm=c, share=w)
    # One more axis in front: both k at once.
    k = np.reshape(SAMPLE_RATIO_CONCENTRATIONS, (-1,) + (1,) * (max(c.ndim, w.ndim) - 1))
    log_e = np.logaddexp(*dirichlet_log_factor(c, w, k).sum(axis=1)) - np.log(2.0)
    return SampleRatio(log_e, np.exp(-np.maximum(log_e, 0.0)), c.sum(axis=(0, -1)))


@np.errstate(all="ignore")
def first_failures(
    control: ArrayLike, treatment: ArrayLike, share: ArrayLike, *, alpha: ArrayLike, min_failures: int = 10
) -> FirstFailures:
    """Exact sequential test that a challenger's units fail more often: step 1 of the decision rule.

    Args:
        control, treatment: units whose first failure fell in this epoch, counts, shape (epochs, comparisons).
        share: the challenger's share of the traffic of the two arms in that epoch, in [0, 1]; at 0 or 1 only one arm
            was there, and the epoch is left out.
        alpha: error after every division: alpha / (2 guardrails challengers), in (0, 1).
        min_failures: in both arms together, below which harm is not declared.
    Returns: `FirstFailures`, shape (comparisons,), Dirichlet with k = 2, log factors summed over epochs.
    Raises: ContractError where something is no count, a share or alpha is out of range, or shapes do not fit.
    Assumes: one failure per unit, its first; under equal rates it falls to the challenger with probability share.
    Source: Lindon and Malek 2022 (NeurIPS), test of equal time-inhomogeneous Bernoulli processes.

        >>> found = first_failures([[2]], [[18]], 0.5, alpha=0.025)
        >>> found.harm.tolist(), found.expected.tolist()
        ([True], [10.0])
    """
    c, t, w = counts("control", control), counts("treatment", treatment), shares("share", share, whole=False)
    level, fewest = error_rates("alpha", alpha), counts("min_failures", min_failures)
    shape = broadcastable(control=c, treatment=t, share=w)
    # An epoch with one arm only says nothing about the other.
    both = (w > 0) & (w < 1)
    c, t, w = np.where(both, c, 0.0), np.where(both, t, 0.0), np.broadcast_to(np.where(both, w, 0.5), shape)
    broadcastable(failures=c.sum(axis=0), alpha=level, min_failures=fewest)
    log_e = two_arm_log_factor(c, t, w, 2.0).sum(axis=0)
    total, observed, expected = (c + t).sum(axis=0), t.sum(axis=0), ((c + t) * w).sum(axis=0)
    harm = (observed > expected) & (log_e >= -np.log(level)) & (total >= fewest)
    return FirstFailures(*aligned(log_e, total, observed, expected, np.asarray(harm)))


@np.errstate(all="ignore")
def rate_sequence(n: ArrayLike, total: ArrayLike, *, alpha: ArrayLike, concentration: ArrayLike = 10.0) -> RateBounds:
    """Confidence sequence of one rate by the beta-binomial mixture, exact at every n.

    Args:
        n: outcomes, counts, shape (cells,).
        total: their sum, in [0, n]; whole for 0/1 outcomes, any number for outcomes in [0, 1] (a unit's failure share).
        alpha: error over all looks. The interval {p: e(p) < 1/alpha} has it for both sides together; a caller who uses
            one bound at alpha/2 hands in alpha/2 and nothing halves it again.
        concentration: c of the mixture, above 0; small is for early looks (10), see `rate_tuning`.
    Returns: `RateBounds`; rate nan and bounds 0 and 1 while n = 0.
    Raises: ContractError where n is no count, total is outside [0, n], alpha or c is out of range, or shapes do not
        fit.
    Assumes: independent outcomes in [0, 1] with one mean.
    Source: Howard, Ramdas, McAuliffe, Sekhon 2021, Annals of Statistics 49(2), Proposition 6 (two-sided sub-Bernoulli
        mixture): e(p) = B(cp+s, c(1-p)+n-s) / B(cp, c(1-p)) / (p^s (1-p)^(n-s)).

        >>> found = rate_sequence(790, 0, alpha=0.025)
        >>> float(found.lower), bool(found.upper < 0.005)
        (0.0, True)
    """
    units, s = counts("n", n), non_negative("total", total)
    level, c = error_rates("alpha", alpha), positive("concentration", concentration)
    shape = broadcastable(n=units, total=s, alpha=level, concentration=c)
    require("total", s, s <= units, "the sum of outcomes in [0, 1] lies between 0 and n")
    units, s, level, c = (np.broadcast_to(a, shape) for a in (units, s, level, c))
    rate = s / np.where(units > 0, units, np.nan)
    centre = np.clip(special.logit(rate), -_FAR, _FAR)
    threshold = -np.log(level)

    def within(x: FloatArray) -> BoolArray:
        return np.asarray(rate_log_mixture(x, units, s, c) < threshold)

    lower = special.expit(crossing(within, np.full(shape, -_FAR), centre))
    upper = special.expit(crossing(within, np.full(shape, _FAR), centre))
    return RateBounds(
        rate, np.where((units > 0) & (s > 0), lower, 0.0), np.where((units > 0) & (s < units), upper, 1.0)
    )


@np.errstate(all="ignore")
def rate_tuning(n_opt: ArrayLike, *, alpha: ArrayLike) -> FloatArray:
    """The concentration c at which `rate_sequence` is tightest around n_opt outcomes.

    Args:
        n_opt: outcomes, above 0. alpha: its error, in (0, 1).
    Returns: c = n_opt / (2 ln(1/alpha) + ln(1 + 2 ln(1/alpha))) - 1, at least 0.001.
    Raises: ContractError where an argument is out of range or shapes do not fit.
    Assumes: nothing.
    Source: Howard et al. 2021, Annals of Statistics 49(2), section 3.5.

        >>> round(float(rate_tuning(100, alpha=0.05)), 6)
        11.600561
    """
    at, level = positive("n_opt", n_opt), error_rates("alpha", alpha)
    broadcastable(n_opt=at, alpha=level)
    spent: FloatArray = -2 * np.log(level)
    return np.asarray(np.maximum(at / (spent + np.log1p(spent)) - 1, 1e-3))


def rate_log_mixture(x: FloatArray, n: FloatArray, s: FloatArray, c: FloatArray) -> FloatArray:
    """ln e(p) at p = expit(x); logits keep the digits of rates near 0 and near 1."""
    p, q = special.expit(x), special.expit(-x)
    # n - s first: added to n, a small c q would be gone.
    gained = special.betaln(c * p + s, c * q + (n - s)) - special.betaln(c * p, c * q)
    found = gained - s * special.log_expit(x) - (n - s) * special.log_expit(-x)
    large = n > _MANY
    # The other form has all of its digits at any n; this one takes a third of the time, in every step of the roots.
    return np.where(large, two_arm_log_factor(n - s, s, p, c, rest=q), found) if np.any(large) else np.asarray(found)
