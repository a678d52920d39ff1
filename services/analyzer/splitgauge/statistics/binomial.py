"""Test of one share from counts at a planned end: of two arms' units, or of one rate against a known one.

Owns the exact binomial test and its normal form. Looked at only once: `sample_ratio` and `rate_sequence` are for looks
on the way.
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
    flags,
    one_of,
    require,
)

__all__ = ["ShareTest", "share_test"]

_LARGEST = 1e6  # units; beyond it logarithms of factorials lose the digits that tell ties from differences
_TIES = 1e-7  # outcomes whose probabilities differ by less, relatively, count as equally likely, as R and scipy have it


class ShareTest(NamedTuple):
    """A test of one share at a planned end, float64, shape (comparisons,)."""

    observed: FloatArray
    """count / n; nan while n = 0."""
    p_value: FloatArray
    """Two-sided; 1 while n = 0."""


@np.errstate(all="ignore")
def share_test(
    count: ArrayLike, n: ArrayLike, share: ArrayLike, *, method: str = "exact", continuity: bool = False
) -> ShareTest:
    """Test that a count of n is a draw with a given share.

    Args:
        count: counts, at most n, shape (comparisons,) or broadcastable.
        n: of both arms together, counts.
        share: under the null hypothesis, in (0, 1).
        method: `exact` (above a million units the normal form, which has the digits that matter there), or `normal`.
        continuity: take half a unit off the difference in the normal form.
    Returns: `ShareTest`.
    Raises: ContractError where something is no count, a count exceeds n, share is out of range, the method is unknown,
        or shapes do not fit.
    Assumes: one look, at the planned end; independent draws.
    Source: two-sided exact binomial test by the outcomes no likelier than the one seen (as R's binom.test).

        >>> found = share_test([5060, 2], [10060, 9], 0.5)
        >>> found.p_value.round(9).tolist()
        [0.556374744, 0.1796875]
    """
    one_of("method", method, ("exact", "normal"))
    seen, units, w = counts("count", count), counts("n", n), error_rates("share", share)
    shape = broadcastable(count=seen, n=units, share=w)
    require("count", seen, seen <= units, "a count is at most n")
    seen, units, w = (np.broadcast_to(a, shape) for a in (seen, units, w))
    apart = np.maximum(np.abs(seen - units * w) - (0.5 if flags("continuity", continuity).all() else 0.0), 0.0)
    normal = 2 * special.ndtr(-apart / np.sqrt(units * w * (1 - w)))
    p_value = np.where(units > 0, normal, 1.0)
    if method == "exact":
        p_value = np.where((units > 0) & (units <= _LARGEST), _exact(seen, units, w), p_value)
    return ShareTest(*aligned(seen / np.where(units > 0, units, np.nan), p_value))


def _exact(seen: FloatArray, n: FloatArray, w: FloatArray) -> FloatArray:
    """Both tails: the one seen, and on the other side all that is no likelier."""
    # Mirrored where the count is above what was expected, so that the tail seen is always the lower one.
    above = seen > n * w
    k, share = np.where(above, n - seen, seen), np.where(above, 1 - w, w)
    limit = _log_probability(k, n, share) + _TIES

    def no_likelier(x: FloatArray) -> BoolArray:
        return np.asarray(_log_probability(x, n, share) <= limit)

    likely, unlikely = np.floor(n * share), n + 1
    while np.any(unlikely - likely > 1):
        middle = np.floor((likely + unlikely) / 2)
        beyond = no_likelier(middle)
        likely, unlikely = np.where(beyond, likely, middle), np.where(beyond, middle, unlikely)
    lower = np.where(k < n, special.betainc(n - k, k + 1, 1 - share), 1.0)
    upper = np.where(unlikely > n, 0.0, special.betainc(unlikely, n - unlikely + 1, share))
    p_value = lower + upper
    return np.asarray(np.where(k == n * share, 1.0, np.minimum(p_value, 1.0)))


def _log_probability(k: FloatArray, n: FloatArray, share: FloatArray) -> FloatArray:
    ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.asarray(np.where(k > n, -np.inf, ways + special.xlogy(k, share) + special.xlog1py(n - k, -share)))
