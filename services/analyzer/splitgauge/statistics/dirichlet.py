"""The Dirichlet-multinomial Bayes factor of counts against fixed shares, with all of its digits at any count.

Owns the arithmetic only: as it stands in print it is a difference of logarithms of gamma functions that are as large as
the counts, and at 1e12 units nothing after the decimal point is left of it. Must not know what is counted.
"""

import numpy as np
from scipy import special

from splitgauge.statistics.arrays import FloatArray, every

__all__ = ["dirichlet_log_factor", "two_arm_log_factor"]

_HALF_LOG_TWO_PI = 0.9189385332046727
_LARGE = 30.0  # from here on four terms of Stirling's series have every digit


def dirichlet_log_factor(c: FloatArray, w: FloatArray, k: FloatArray) -> FloatArray:
    """ln BF of counts c against shares w under a Dirichlet prior k w; arguments checked by the caller.

    Args:
        c: counts, shape (..., arms). w: shares, adding up to 1 over the last axis, likewise.
        k: concentration, above 0, shape (...).
    Returns: lnG(k) - lnG(k+N) + sum_j [lnG(k w_j + c_j) - lnG(k w_j)] - sum_j c_j ln w_j, shape (...); inf where an arm
        of share 0 has counts.
    Raises: nothing.
    Assumes: the same as `log_bayes_factor`.
    Source: Lindon and Malek 2022 (NeurIPS). With Stirling's formula lnG(z) = (z - 1/2) ln z - z + ln(2 pi)/2 + mu(z)
        everything that grows with the counts comes together as (k+N) times the divergence of w from the posterior mean,
        a sum of terms that are all positive (Loader 2000, "Fast and accurate computation of binomial probabilities",
        does so for binomial probabilities).

        >>> round(float(dirichlet_log_factor(np.array([100.0, 160.0]), np.array([0.5, 0.5]), np.array(100.0))), 6)
        4.395249
    """
    # Shares add up to 1 within rounding; of 1e12 units a rest of 1e-10 would make a hundred.
    w = w / w.sum(axis=-1, keepdims=True)
    n = c.sum(axis=-1, keepdims=True)
    # All arms together stand as one more, last: the same terms, taken off.
    before = k[..., None] * np.concatenate([w, np.ones((*w.shape[:-1], 1))], axis=-1)
    after = before + np.concatenate([c, n], axis=-1)
    small = _small_terms(before, after)
    terms = small[..., :-1] + _divergence(c - n * w, after[..., -1:] * w)
    if not every(w > 0):
        terms = np.where(w > 0, terms, np.where(c > 0, np.inf, 0.0))
    found: FloatArray = terms.sum(axis=-1) - small[..., -1]
    return found


def two_arm_log_factor(
    c: FloatArray, t: FloatArray, w: FloatArray, k: FloatArray | float, *, rest: FloatArray | None = None
) -> FloatArray:
    """`dirichlet_log_factor` of two arms with counts c and t, share w of the second and ``rest`` of the first.

    Args:
        c, t: counts, or parts of them. w: in (0, 1). k: above 0; any shapes that broadcast.
        rest: 1 - w where the caller knows it with more digits.
    Returns: ln BF, the common shape.
    Raises: nothing.
    Assumes: the same as `log_bayes_factor`.
    Source: as `dirichlet_log_factor`.

        >>> round(float(two_arm_log_factor(np.array(100.0), np.array(160.0), np.array(0.5), 100.0)), 6)
        4.395249
    """
    v = 1 - w if rest is None else rest
    grown = c + t + k
    # Of both arms the same distance from what was expected, without the digits that 1 - w has lost.
    excess = t * v - c * w
    first, second, whole = k * v, k * w, np.asarray(k)
    small = _small_terms(first, first + c) + _small_terms(second, second + t) - _small_terms(whole, grown)
    return small + _divergence(-excess, grown * v) + _divergence(excess, grown * w)


def _divergence(excess: FloatArray, expected: FloatArray) -> FloatArray:
    """One arm's part of (k+N) times the divergence: `excess` is c - N w, `expected` (k + N) w."""
    surprise = excess / expected
    return np.asarray(expected * (special.xlog1py(1 + surprise, surprise) - surprise), dtype=np.float64)


def _small_terms(before: FloatArray, after: FloatArray) -> FloatArray:
    """What else Stirling's formula has of lnG(after) - lnG(before)."""
    return _remainder(after) - _remainder(before) - 0.5 * np.log(after / before)


def _remainder(z: FloatArray) -> FloatArray:
    """mu(z) of Stirling's formula."""
    inverse = 1 / z
    square = inverse * inverse
    found = np.asarray(inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))))
    small = z < _LARGE
    if small.any():
        few = z[small]
        found[small] = special.gammaln(few) - special.xlogy(few - 0.5, few) + few - _HALF_LOG_TWO_PI
    return found
