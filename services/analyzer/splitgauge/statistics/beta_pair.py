"""Two independent beta variables: which is larger, by how much, and how their difference is distributed, by quadrature.

Owns the numerical integration for `beta_binomial`, accurate to 1e-9 from parameters of 0.001 to 1e12 (to
1e-5 where both parameters of a variable are above 1e10, where scipy's incomplete beta function has no more). Must not
know priors, data or metrics; its arguments were checked by the caller.

On the scale of logits a beta density is log-concave and analytic, so the trapezoidal rule converges like exp(-c/h); the
nodes spread like a sinh around the integrand's mode, which covers exponential tails too. The density is always the
narrower variable's, the distribution function the wider one's: the other way round it would be a step between two
nodes.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import BoolArray, FloatArray
from splitgauge.statistics.crossing import crossing

__all__ = ["Beta", "Comparison", "compare", "difference_quantile"]

Beta: TypeAlias = tuple[FloatArray, FloatArray]
"""Its parameters (a, b), shape (comparisons,)."""

_STEP = 0.125
"""Of the trapezoidal rule, in local standard deviations at the mode: exp(-2 pi^2 / h^2) is far below 1e-16."""

_FAR = 1e4  # logits
_STEEP = 500.0  # logits: the exponential beside which a share of the other end is nothing
_NEWTON_STEPS = 100  # at most; halvings alone would need 60
_SETTLED = 1e-8  # standard deviations: a step of Newton's squares what is left
_NEGLIGIBLE = 1e-25  # of the heaviest node
_LEAST = 1e-290  # where float64 loses the digits of a rate


class Comparison(NamedTuple):
    """Two variables C and T, float64, shape (comparisons,)."""

    above: FloatArray
    """P(T > C)."""
    below: FloatArray
    """P(T < C)."""
    gain: FloatArray
    """E[(T - C)+]."""
    loss: FloatArray
    """E[(C - T)+]."""


def compare(control: Beta, treatment: Beta) -> Comparison:
    """The smaller probability and the smaller expectation by quadrature, the others from them: no digits are lost.

    Args:
        control, treatment: the variables C and T.
    Returns: `Comparison`.
    Raises: nothing.
    Assumes: independent variables.
    Source: P(T > C) as the integral of one density times the other's survival function; E[(T - x)+] = (mean - x) P(T >
        x) + x(1 - x) f(x)/(a + b) by the recurrence of the incomplete beta function (DLMF 8.17.20).

        >>> one = np.array([1.0])
        >>> compare((one, one), (one, 2 * one)).above.round(12).tolist()
        [0.333333333333]
    """
    ahead = treatment[0] / (treatment[0] + treatment[1]) - control[0] / (control[0] + control[1])
    treatment_leads = ahead > 0
    treatment_narrow = _logit_variance(treatment) < _logit_variance(control)
    narrow = _chosen(treatment_narrow, treatment, control)
    wide = _chosen(treatment_narrow, control, treatment)
    # The kernel asks for wide > narrow; where the narrow one lags, 1 - x has the same answer with both turned round.
    turned = treatment_leads != treatment_narrow
    unlikely, small = _exceeding(
        _chosen(turned, _complement(narrow), narrow),
        _chosen(turned, _complement(wide), wide),
    )
    likely, large = 1 - unlikely, small + np.abs(ahead)
    return Comparison(
        above=np.where(treatment_leads, likely, unlikely),
        below=np.where(treatment_leads, unlikely, likely),
        gain=np.where(treatment_leads, large, small),
        loss=np.where(treatment_leads, small, large),
    )


def difference_quantile(control: Beta, treatment: Beta, q: FloatArray) -> FloatArray:
    """d with P(T - C <= d) = q: Newton's steps inside a bracket, halvings of it where these do not shrink fast.

    Args:
        control, treatment: the variables C and T. q: probabilities in (0, 1), shape (comparisons,).
    Returns: d, shape (comparisons,), to 1e-8 standard deviations of T - C.
    Raises: nothing.
    Assumes: independent variables.
    Source: P(T - C <= d) as the integral of one density times the other's distribution function, elementary.

        >>> one = np.array([1.0])
        >>> difference_quantile((one, one), (one, one), np.array([0.125])).round(9).tolist()
        [-0.5]
    """
    mean = treatment[0] / (treatment[0] + treatment[1]) - control[0] / (control[0] + control[1])
    spread = np.sqrt(_variance(treatment) + _variance(control))
    low, high, last = np.full(mean.shape, -1.0), np.full(mean.shape, 1.0), np.full(mean.shape, 2.0)
    d = np.clip(mean + special.ndtri(q) * spread, (mean - 1) / 2, (mean + 1) / 2)
    # Rows that have settled are left alone: rounding would throw them out of their brackets again.
    rows = np.arange(mean.size)
    for _ in range(_NEWTON_STEPS):
        at = d[rows]
        below, density = _difference_distribution(_rows(control, rows), _rows(treatment, rows), at)
        low[rows] = np.where(below < q[rows], at, low[rows])
        high[rows] = np.where(below < q[rows], high[rows], at)
        newton, halving = (q[rows] - below) / density, (low[rows] + high[rows]) / 2 - at
        fast = (at + newton >= low[rows]) & (at + newton <= high[rows]) & (np.abs(newton) <= last[rows] / 2)
        step = np.where(fast, newton, halving)
        d[rows], last[rows] = at + step, np.abs(step)
        rows = rows[np.abs(step) > _SETTLED * spread[rows]]
        if not rows.size:
            break
    return d


def _chosen(which: BoolArray, one: Beta, other: Beta) -> Beta:
    return np.where(which, one[0], other[0]), np.where(which, one[1], other[1])


def _complement(beta: Beta) -> Beta:
    """Of 1 - x."""
    return beta[1], beta[0]


def _logit_variance(beta: Beta) -> FloatArray:
    return 1 / beta[0] + 1 / beta[1]


def _exceeding(narrow: Beta, wide: Beta) -> tuple[FloatArray, FloatArray]:
    """P(wide > narrow) and E[(wide - narrow)+], shape (comparisons,)."""
    a, b = narrow
    total, centre, centre_wide = a + b, np.log(a) - np.log(b), np.log(wide[0]) - np.log(wide[1])

    def rising(y: FloatArray) -> BoolArray:
        hazard = np.exp(_log_density(y - centre_wide, wide)) / _survival(y, wide)
        return np.asarray(a - total * special.expit(y) > hazard)

    mode = crossing(rising, centre, np.full(centre.shape, -_FAR))
    x = special.expit(mode)
    hazard = np.exp(_log_density(mode - centre_wide, wide)) / _survival(mode, wide)
    bend = hazard * (wide[0] - (wide[0] + wide[1]) * x + hazard)
    scale = 1 / np.sqrt(total * x * special.expit(-mode) + np.where(np.isfinite(bend), np.maximum(bend, 0.0), 0.0))
    u = _nodes(12 + 100 / (np.minimum(a, b) * scale))
    y = mode + scale * np.sinh(u)
    weight = _STEP * scale * np.cosh(u) * np.exp(_log_density(y - centre, narrow))
    beyond = _survival(y, wide)
    density = np.exp(_log_density(y - centre_wide, wide))
    # x(1-x) times a density of x is the density of its logit.
    mean, of = wide[0] / (wide[0] + wide[1]), wide[0] + wide[1]
    excess = np.maximum((mean - special.expit(y)) * beyond + density / of, 0.0)
    return np.minimum((weight * beyond).sum(axis=0), 1.0), (weight * excess).sum(axis=0)


def _survival(y: FloatArray, beta: Beta, weight: FloatArray | None = None) -> FloatArray:
    """P(X > expit(y)), from the side where the argument keeps its digits; 0 where its weight does not count."""
    a, b, y = np.broadcast_arrays(*beta, y)
    out = np.zeros(y.shape)
    # The incomplete beta function takes nearly all of the time, and most nodes of a tight integrand weigh nothing.
    counted = np.full(y.shape, fill_value=True) if weight is None else weight > _NEGLIGIBLE * weight.max(axis=0)
    left, right = counted & ~(y > 0), counted & (y > 0)
    out[left] = special.betaincc(a[left], b[left], special.expit(y[left]))
    out[right] = special.betainc(b[right], a[right], special.expit(-y[right]))
    return out


def _log_density(offset: FloatArray, beta: Beta) -> FloatArray:
    """ln density of the logit of a beta variable, at ``offset`` from its mode ln(a/b): relative to the mode nothing
    large cancels."""
    a, b = beta
    total = a + b
    # ln(1 - x + x exp(offset)) at x = a/total, from the end whose share is the smaller one: at 1e12 the other end's has
    # lost the digits that count.
    fewer, ahead = np.minimum(a, b), np.where(a <= b, offset, -offset)
    near = np.log1p(fewer / total * np.expm1(np.minimum(ahead, _STEEP)))
    grown = np.where(ahead < _STEEP, near, np.log(fewer / total) + ahead)
    peak = 0.5 * np.log(a / total * b / (2 * np.pi)) + _stirling(total) - _stirling(a) - _stirling(b)
    return np.asarray(fewer * ahead - total * grown + peak)


def _stirling(x: FloatArray) -> FloatArray:
    """lnGamma(x) less Stirling's leading terms (DLMF 5.11.1): without it ln B(a, b) has no digits at 1e12."""
    large = np.maximum(x, 10.0)
    inverse = 1 / large**2
    coefficients = (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
    series = np.polyval(coefficients, inverse) / large
    direct = special.gammaln(x) - ((x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi))
    return np.where(x >= 10, series, direct)


def _rows(beta: Beta, rows: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Beta:
    return beta[0][rows], beta[1][rows]


def _variance(beta: Beta) -> FloatArray:
    total = beta[0] + beta[1]
    return np.asarray(beta[0] / total * (beta[1] / total) / (total + 1))


def _difference_distribution(control: Beta, treatment: Beta, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P(T - C <= d) and the density of T - C at d."""
    # T - C = (1 - C) - (1 - T): the narrower arm can always stand as control.
    turned = _logit_variance(treatment) < _logit_variance(control)
    narrow = _chosen(turned, _complement(treatment), control)
    wide = _chosen(turned, _complement(control), treatment)
    # Where x and x + d are rates both: the integrand has kinks at these ends, so they become infinitely far.
    low, high = np.maximum(0.0, -d), np.minimum(1.0, 1 - d)
    width, sd = high - low, np.sqrt(_variance(narrow))
    margin = np.minimum(sd, width / 4)
    middle = np.clip(narrow[0] / (narrow[0] + narrow[1]), low + margin, high - margin)
    scale = np.minimum(sd * width / ((middle - low) * (high - middle)), 1.0)
    slowest = np.minimum(np.minimum(np.minimum(*narrow), np.minimum(*wide)), 1.0)
    u = _nodes(12 + 60 / (scale * slowest))
    z = np.log(middle - low) - np.log(high - middle) + scale * np.sinh(u)
    share, rest = width * special.expit(z), width * special.expit(-z)
    # Both rates and both complements as sums of what is at least 0: nothing cancels.
    x, not_x = low + share, np.maximum(0.0, d) + rest
    y, not_y = np.maximum(0.0, d) + share, np.maximum(0.0, -d) + rest
    weight = _STEP * scale * np.cosh(u) * share * (rest / width) * _density(x, not_x, narrow)
    weight = np.where(weight > 0, weight, 0.0)
    # Beyond x = 1 - d the wide arm is below for certain.
    certain = np.where(d > 0, special.betaincc(*narrow, high), 0.0)
    below = (weight * _survival(np.log(not_y) - np.log(y), _complement(wide), weight)).sum(axis=0) + certain
    # The density only steers Newton's steps: what float64 cannot hold near 0 and 1 may be left out.
    held = (weight > 0) & (np.minimum(y, not_y) > _LEAST)
    return below, np.where(held, weight * _density(y, not_y, wide), 0.0).sum(axis=0)


def _density(x: FloatArray, complement: FloatArray, beta: Beta) -> FloatArray:
    a, b = beta
    offset = np.log(x) - np.log(complement) - (np.log(a) - np.log(b))
    return np.asarray(np.exp(_log_density(offset, beta)) / (x * complement))


def _nodes(reach: FloatArray) -> FloatArray:
    """Nodes u of the trapezoidal rule, shape (nodes, 1), so that sinh(u) goes as far as the farthest reach."""
    ends = int(np.ceil(np.arcsinh(reach.max()) / _STEP))
    return np.asarray((np.arange(-ends, ends + 1) * _STEP)[:, None], dtype=np.float64)
