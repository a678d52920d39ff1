"""Two proportions with beta priors, exactly: probability to beat control, expected losses, credible intervals.

Exact from no success at all to 1e12 of them, so that no switch to a normal form is needed. Owns priors and data; the
integrals are `beta_pair`'s. Must not know decisions: a posterior probability alone never decides (`bayes_decision`).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import (
    ArrayLike,
    FloatArray,
    aligned,
    broadcastable,
    counts,
    error_rates,
    floats,
    require,
    signs,
)
from splitgauge.statistics.beta_pair import compare, difference_quantile

__all__ = ["BetaPosterior", "beta_binomial_posterior"]

_LEAST_PRIOR = 1e-3
"""Below it the tails on the scale of logits are longer than the quadrature reaches."""

_REMEMBERED = 64
"""Comparisons in one call up to which results are kept for the next look."""

_BLOCK = 1024
"""Comparisons at a time: each has some 100 nodes."""


class BetaPosterior(NamedTuple):
    """Posterior of two rates, float64, shape (comparisons,), as rates (0.01 is one point). Defined without data, too:
    the prior."""

    rate_control: FloatArray
    """Posterior mean of control's rate."""
    rate_treatment: FloatArray
    """Posterior mean of the challenger's rate."""
    lower_control: FloatArray
    """Of the central 1 - alpha credible interval of control's rate."""
    upper_control: FloatArray
    """Of the central 1 - alpha credible interval of control's rate."""
    lower_treatment: FloatArray
    """Of the central 1 - alpha credible interval of the challenger's rate."""
    upper_treatment: FloatArray
    """Of the central 1 - alpha credible interval of the challenger's rate."""
    difference: FloatArray
    """Posterior mean of the challenger's rate less control's."""
    lower: FloatArray
    """Of the central 1 - alpha credible interval of the difference."""
    upper: FloatArray
    """Of the central 1 - alpha credible interval of the difference."""
    probability_to_beat: FloatArray
    """Probability that the challenger is better than control, in the metric's direction."""
    loss_choosing: FloatArray
    """Expected loss of choosing the challenger, a difference of rates, at least 0."""
    loss_staying: FloatArray
    """Expected loss of staying with control, a difference of rates, at least 0."""


@np.errstate(all="ignore")
def beta_binomial_posterior(
    n_control: ArrayLike,
    successes_control: ArrayLike,
    n_treatment: ArrayLike,
    successes_treatment: ArrayLike,
    *,
    alpha: ArrayLike,
    direction: ArrayLike = 1,
    prior_control: tuple[ArrayLike, ArrayLike] = (1.0, 1.0),
    prior_treatment: tuple[ArrayLike, ArrayLike] = (1.0, 1.0),
) -> BetaPosterior:
    """Exact posterior of two proportions under independent beta priors.

    Args:
        n_control, n_treatment: units, counts, shape (comparisons,) or broadcastable.
        successes_control, successes_treatment: of them, counts, at most n.
        alpha: of the credible intervals, in (0, 1).
        direction: +1 where up is good, -1 where down is good.
        prior_control, prior_treatment: (a, b) of the Beta prior of each rate, at least 0.001 each; (1, 1) is uniform.
    Returns: `BetaPosterior`, never nan. Small probabilities and losses are accurate relative to themselves, the bounds
        of the difference to 1e-8 of its standard deviation. About 1 ms a comparison (one alone 10 ms); results of calls
        with up to 64 comparisons are remembered.
    Raises: ContractError where something is no count, successes exceed n, alpha, direction or a prior is out of range,
        or shapes do not fit.
    Assumes: independent units, one 0/1 outcome each; rates that do not move. Not time-uniform: looking again and again
        at these intervals or probabilities until they please has no error rate.
    Source: conjugate beta-binomial model; P(T > C) as one integral over one density and the other's distribution
        function (elementary); expected loss E[(T - x)+] = (mean - x)(1 - F(x)) + x(1 - x) f(x)/(a + b) by the
        recurrence of the incomplete beta function (DLMF 8.17.20).

        >>> found = beta_binomial_posterior(1000, 100, 1000, 130, alpha=0.05)
        >>> round(float(found.probability_to_beat), 9), round(float(found.loss_choosing), 12)
        (0.982165066, 9.2374492e-05)
        >>> round(float(found.lower), 6), round(float(found.upper), 6)
        (0.002009, 0.057979)
    """
    n_c, s_c = counts("n_control", n_control), counts("successes_control", successes_control)
    n_t, s_t = counts("n_treatment", n_treatment), counts("successes_treatment", successes_treatment)
    level, good = error_rates("alpha", alpha), signs("direction", direction)
    priors = [*_prior("prior_control", prior_control), *_prior("prior_treatment", prior_treatment)]
    shape = broadcastable(
        n_control=n_c,
        successes_control=s_c,
        n_treatment=n_t,
        successes_treatment=s_t,
        alpha=level,
        direction=good,
        prior_control=priors[0] + priors[1],
        prior_treatment=priors[2] + priors[3],
    )
    require("successes_control", s_c, s_c <= n_c, "successes are at most n")
    require("successes_treatment", s_t, s_t <= n_t, "successes are at most n")
    columns = (priors[0] + s_c, priors[1] + (n_c - s_c), priors[2] + s_t, priors[3] + (n_t - s_t), level, good)
    flat = [np.broadcast_to(column, shape).ravel() for column in columns]
    if not flat[0].size:
        found = [np.zeros(0)] * len(BetaPosterior._fields)
    elif flat[0].size <= _REMEMBERED:
        found = [np.frombuffer(field) for field in _remembered(*(column.tobytes() for column in flat))]
    else:
        blocks = range(0, flat[0].size, _BLOCK)
        parts = [_posterior(*(column[start : start + _BLOCK] for column in flat)) for start in blocks]
        found = [np.concatenate(fields) for fields in zip(*parts, strict=True)]
    return BetaPosterior(*(field.reshape(shape).copy() for field in found))


def _prior(name: str, value: tuple[ArrayLike, ArrayLike]) -> list[FloatArray]:
    a, b = (floats(name, one) for one in value)
    broadcastable(**{name: a, "b": b})
    rule = f"both numbers of a prior are at least {_LEAST_PRIOR:g} and finite"
    return [require(name, one, (one >= _LEAST_PRIOR) & (one < np.inf), rule) for one in (a, b)]


@lru_cache(maxsize=1024)
def _remembered(*columns: bytes) -> tuple[bytes, ...]:
    return tuple(field.tobytes() for field in _posterior(*(np.frombuffer(column) for column in columns)))


@np.errstate(all="ignore")
def _posterior(
    a_c: FloatArray, b_c: FloatArray, a_t: FloatArray, b_t: FloatArray, alpha: FloatArray, good: FloatArray
) -> BetaPosterior:
    control, treatment = (a_c, b_c), (a_t, b_t)
    found = compare(control, treatment)
    rate_c, rate_t = a_c / (a_c + b_c), a_t / (a_t + b_t)
    return BetaPosterior(
        *aligned(
            rate_c,
            rate_t,
            special.betaincinv(a_c, b_c, alpha / 2),
            special.betainccinv(a_c, b_c, alpha / 2),
            special.betaincinv(a_t, b_t, alpha / 2),
            special.betainccinv(a_t, b_t, alpha / 2),
            rate_t - rate_c,
            difference_quantile(control, treatment, alpha / 2),
            -difference_quantile(treatment, control, alpha / 2),
            np.where(good > 0, found.above, found.below),
            np.where(good > 0, found.loss, found.gain),
            np.where(good > 0, found.gain, found.loss),
        )
    )
