"""The normal posterior of an effect, in closed form, and the Bayesian decision.

Reported always; a posterior probability alone never decides: stopping on it gives 39-58 % false positives. A Bayesian
decision needs a Bayes factor (`two_sided_sequence`'s e-value is one) beside the expected loss from here:
`bayes_decision` takes both.
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
    finite,
    floats,
    non_negative,
    positive,
    signs,
)
from splitgauge.statistics.arrays import select
from splitgauge.statistics.effects import Effect, known_se

__all__ = ["BayesDecision", "Posterior", "bayes_decision", "normal_posterior"]

_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


class Posterior(NamedTuple):
    """Posterior of an effect, float64, shape (comparisons,). All nan where se is 0 or undefined."""

    mean: FloatArray
    """Posterior mean, units of the effect."""
    sd: FloatArray
    """Posterior standard deviation, units of the effect."""
    lower: FloatArray
    """Of the central 1 - alpha credible interval."""
    upper: FloatArray
    """Of the central 1 - alpha credible interval."""
    probability_to_beat: FloatArray
    """Probability that the challenger is better than control, in the metric's direction."""
    loss_choosing: FloatArray
    """Expected loss of choosing the challenger, units of the effect, at least 0."""
    loss_staying: FloatArray
    """Expected loss of staying with control, units of the effect, at least 0."""


class BayesDecision(NamedTuple):
    """What a Bayesian design does at one look, bool, shape (comparisons,). All False: go on."""

    choose: BoolArray
    """Stop, and choose the challenger."""
    stay: BoolArray
    """Stop, and stay with control."""
    evident: BoolArray
    """The Bayes factor against no effect is at least 1/alpha; without it nothing is decided."""


@np.errstate(all="ignore")
def normal_posterior(
    effect: Effect,
    *,
    alpha: ArrayLike,
    direction: ArrayLike = 1,
    prior_mean: ArrayLike = 0.0,
    prior_sd: ArrayLike = np.inf,
) -> Posterior:
    """Normal posterior of an effect under a normal or flat prior.

    Args:
        effect: of each comparison, shape (comparisons,), absolute or relative.
        alpha: of the credible interval, in (0, 1).
        direction: +1 where up is good, -1 where down is good.
        prior_mean, prior_sd: of the effect, its units; prior_sd above 0, inf for a flat prior.
    Returns: `Posterior`; nan where se is 0 or undefined.
    Raises: ContractError where alpha, direction or prior_sd is out of range, or shapes do not fit.
    Assumes: a normal likelihood.
    Source: conjugate normal model; expected loss: Stucchi 2015, "Bayesian A/B testing at VWO", closed form of the
        normal loss.

        >>> from splitgauge.statistics import effect
        >>> found = normal_posterior(effect(0.3, 0.16284962388657825, n_control=1000, n_treatment=1000), alpha=0.05)
        >>> round(float(found.probability_to_beat), 9), round(float(found.loss_choosing), 9)
        (0.967276342, 0.002089065)
    """
    level, good = error_rates("alpha", alpha), signs("direction", direction)
    centre, width = finite("prior_mean", prior_mean), positive("prior_sd", prior_sd, finite=False)
    se = known_se(effect)
    broadcastable(effect=effect.value, se=se, alpha=level, direction=good, prior_mean=centre, prior_sd=width)
    # The data's weight 1/(1 + se^2/s0^2): as precisions, 1/se^2 overflows for small units.
    weight = 1 / (1 + (se / width) ** 2)
    mean = select(weight == 1, effect.value, weight * effect.value + (1 - weight) * centre)
    sd = se / np.hypot(1.0, se / width)
    half = -special.ndtri(level / 2) * sd
    z = good * mean / sd
    density = np.exp(-0.5 * z * z) / _ROOT_TWO_PI
    upside, downside = special.ndtr(z), special.ndtr(-z)
    choosing = np.maximum(sd * (density - z * downside), 0.0)
    staying = np.maximum(sd * (density + z * upside), 0.0)
    return Posterior(*aligned(mean, sd, mean - half, mean + half, upside, choosing, staying))


@np.errstate(all="ignore")
def bayes_decision(
    log_e_value: ArrayLike,
    loss_choosing: ArrayLike,
    loss_staying: ArrayLike,
    *,
    alpha: ArrayLike,
    loss_threshold: ArrayLike,
) -> BayesDecision:
    """Stop on a Bayes factor and on a small expected loss, both at the same look.

    Args:
        log_e_value: natural logarithm of a Bayes factor against no effect that is an e-value at every look, shape
            (comparisons,): `two_sided_sequence`'s, `rate_ratio_sequence`'s or `log_bayes_factor`'s; nan: none.
        loss_choosing, loss_staying: expected losses, from `normal_posterior` or `beta_binomial_posterior`, at least 0
            or nan.
        alpha: probability that equal arms are ever told apart, over all looks, after all corrections, in (0, 1).
        loss_threshold: the expected loss that does not matter, units of the losses, above 0.
    Returns: `BayesDecision`: evident where log_e_value >= ln(1/alpha); choose (stay) where evident, the expected
        loss of choosing (staying) is at most the threshold, and it is the smaller of the two. False where anything is
        nan.
    Raises: ContractError where alpha or the threshold is out of range, a loss is negative, or shapes do not fit.
    Assumes: the Bayes factor has expectation at most 1 under equal arms at every stopping time; the posterior may be
        any, since it can only keep from deciding.
    Source: Ville 1939 (P(sup e >= 1/alpha) <= alpha); expected loss: Stucchi 2015, "Bayesian A/B testing at VWO".

        >>> found = bayes_decision([1.0, 4.0, 4.0], [0.001, 0.001, 0.2], [0.2, 0.2, 0.001], alpha=0.05,
        ...                        loss_threshold=0.01)
        >>> found.choose.tolist(), found.stay.tolist()
        ([False, True, False], [False, False, True])
    """
    log_e, level = floats("log_e_value", log_e_value), error_rates("alpha", alpha)
    choosing, staying = non_negative("loss_choosing", loss_choosing), non_negative("loss_staying", loss_staying)
    enough = positive("loss_threshold", loss_threshold)
    broadcastable(log_e_value=log_e, loss_choosing=choosing, loss_staying=staying, alpha=level, loss_threshold=enough)
    evident = np.asarray(log_e >= -np.log(level))
    choose = np.asarray(evident & (choosing <= enough) & (choosing < staying))
    stay = np.asarray(evident & (staying <= enough) & (staying < choosing))
    return BayesDecision(*aligned(choose, stay, evident))
