"""Histograms of integer counts in logarithmic buckets: the sketch from which quantiles are read.

A value's bucket is the top of its float64: sign, exponent and 6 bits of the fraction, so 64 buckets an octave, each at
most 1/64 wide and its middle at most 1/128 (0.78 %) from anything in it. Counts are whole numbers, so merging gives
the same in any order; a sketch that adapts to its input (t-digest, KLL) does not. Owns the buckets and what they hold;
must not know quantiles' intervals.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from splitgauge.statistics.arguments import ArrayLike, FloatArray, counts, floats, one_of, require

__all__ = [
    "NAN_BUCKET",
    "Histogram",
    "bucket_edges",
    "bucket_of",
    "histogram_of",
    "merged",
    "representative",
    "value_at_rank",
]

IntegerArray: TypeAlias = npt.NDArray[np.int64]

_SHIFT = 46  # 52 bits of fraction less 6
_INFINITE = 0x7FF << 6

NAN_BUCKET = _INFINITE + 64
"""Of nan, behind all others; it is no value and has no rank."""


class Histogram(NamedTuple):
    """Counts by bucket, int64, both of shape (buckets,)."""

    buckets: IntegerArray
    """Rising, each once; what has no count may be left out."""
    counts: IntegerArray
    """How many values fell into each, at least 0."""

    @property
    def n(self) -> int:
        """Values that have a rank: all but nan."""
        return int(self.counts[self.buckets != NAN_BUCKET].sum())


def bucket_of(values: ArrayLike) -> IntegerArray:
    """The bucket of each value.

    Args:
        values: any unit, any shape.
    Returns: int64, same shape, rising with the value: 0 for 0, k > 0 for positive values, -k for their negatives;
        infinities and nan have buckets of their own.
    Raises: ContractError where a value is no number.
    Assumes: nothing.
    Source: the layout of IEEE 754 binary64.

        >>> bucket_of([0.0, 1.0, 1.015, 1.016, 2.0, -2.0, np.nan]).tolist()
        [0, 65472, 65472, 65473, 65536, -65536, 131072]
    """
    array = np.asarray(floats("values", values), dtype=np.float64)
    # What lies under the first bucket, below 1e-309, belongs to it: 0 is for 0.
    magnitude = np.maximum(np.abs(array).view(np.int64) >> _SHIFT, 1)
    keys = np.where(array < 0, -magnitude, magnitude)
    return np.where(array == 0, 0, np.where(np.isnan(array), NAN_BUCKET, keys))


@np.errstate(all="ignore")
def bucket_edges(buckets: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The ends of buckets.

    Args:
        buckets: as `bucket_of` gives them, any shape.
    Returns: lower and upper, same shape, the values' unit: the end nearer to 0 belongs to the bucket, the other one to
        the next. Both 0 for 0, both infinite for infinity, both nan for nan.
    Raises: ContractError where something is no bucket.
    Assumes: nothing.
    Source: as `bucket_of`.

        >>> lower, upper = bucket_edges([65472, -65536, 0])
        >>> lower.tolist(), upper.tolist()
        ([1.0, -2.03125, 0.0], [1.015625, -2.0, 0.0])
    """
    keys = _keys("buckets", buckets)
    magnitude = np.abs(keys)
    near = np.where(magnitude == 1, 0.0, (magnitude << _SHIFT).view(np.float64))
    far = np.where((magnitude == 0) | (magnitude == _INFINITE), near, ((magnitude + 1) << _SHIFT).view(np.float64))
    nan = keys == NAN_BUCKET
    lower, upper = np.where(keys < 0, -far, near), np.where(keys < 0, -near, far)
    return np.where(nan, np.nan, lower), np.where(nan, np.nan, upper)


def representative(buckets: npt.ArrayLike) -> FloatArray:
    """The middle of buckets: at most 1/128 from any value in them.

    Args:
        buckets: as `bucket_of` gives them, any shape.
    Returns: same shape, the values' unit; nan for the bucket of nan.
    Raises: ContractError where something is no bucket.
    Assumes: nothing.
    Source: as `bucket_of`.

        >>> representative([65472, 0]).tolist()
        [1.0078125, 0.0]
    """
    lower, upper = bucket_edges(buckets)
    # Halves before the sum: the sum of the largest values would overflow.
    return np.where(lower == upper, lower, lower / 2 + upper / 2)


def histogram_of(values: ArrayLike | Mapping[int, int]) -> Histogram:
    """A histogram from values, or from counts by bucket.

    Args:
        values: any unit, any shape; or how many by bucket.
    Returns: `Histogram`; empty without values.
    Raises: ContractError where something is no number, no bucket or no count.
    Assumes: nothing.
    Source: as `bucket_of`.

        >>> histogram_of([3.0, 3.01, 8.0]).counts.tolist()
        [2, 1]
        >>> histogram_of({65536: 5}).n
        5
    """
    if isinstance(values, Mapping):
        keys = _keys("values", sorted(values))
        held = counts("values", [values[int(key)] for key in keys])
        return Histogram(keys, np.asarray(held, dtype=np.int64))
    keys, times = np.unique(bucket_of(values), return_counts=True)
    return Histogram(keys, times.astype(np.int64))


def merged(*histograms: Histogram) -> Histogram:
    """Several histograms as one; the same in any order.

    Args:
        histograms: of values in one unit.
    Returns: `Histogram`; empty of none.
    Raises: ContractError where something is no bucket or no count.
    Assumes: no value is in two of them.
    Source: as `bucket_of`.

        >>> merged(histogram_of([1.0, 2.0]), histogram_of([2.0])).counts.tolist()
        [1, 2]
    """
    none = np.zeros(0, dtype=np.int64)
    keys = np.concatenate([none, *(_keys("histograms", one.buckets) for one in histograms)])
    held = np.concatenate([none, *(np.asarray(counts("histograms", one.counts)) for one in histograms)])
    unique, places = np.unique(keys, return_inverse=True)
    total = np.zeros(len(unique), dtype=np.int64)
    np.add.at(total, places, held.astype(np.int64))
    return Histogram(unique, total)


@np.errstate(all="ignore")
def value_at_rank(
    histogram: Histogram, rank: ArrayLike, *, side: Literal["within", "lower", "upper"] = "within"
) -> FloatArray:
    """The value at a rank among the values in rising order.

    Args:
        histogram: of the values.
        rank: 1 for the smallest, n for the largest; need not be whole; any shape.
        side: `within` its bucket, as if the bucket's values were spread evenly; or the bucket's `lower` or `upper` end,
            which the true value does not pass.
    Returns: same shape as rank, the values' unit; nan where rank is nan, below 1 or above n.
    Raises: ContractError where rank is no number, the histogram holds what is no bucket or no count, or side is
        unknown.
    Assumes: nothing; `within` is at most 1/64 from the true value.
    Source: elementary.

        >>> value_at_rank(histogram_of([100.0] * 50 + [400.0] * 50), [1, 100], side="lower").tolist()
        [100.0, 400.0]
    """
    one_of("side", side, ("within", "lower", "upper"))
    wanted = np.asarray(floats("rank", rank))
    keys, held = _keys("histogram", histogram.buckets), np.asarray(counts("histogram", histogram.counts))
    there = (held > 0) & (keys != NAN_BUCKET)
    keys, held = keys[there], held[there]
    ends = np.cumsum(held)
    n = ends[-1] if len(ends) else 0.0
    known = (wanted >= 1) & (wanted <= n)
    if not len(ends):
        return np.full(np.shape(wanted), np.nan)
    # A rank between two whole ones lies in the bucket of the next.
    place = np.minimum(np.searchsorted(ends, np.ceil(np.where(known, wanted, 1.0))), len(ends) - 1)
    lower, upper = bucket_edges(keys[place])
    if side == "within":
        # The r-th of c values stands at (r - 1/2) / c of the bucket; a fraction of a rank does not leave it.
        part = np.clip((wanted - (ends - held)[place] - 0.5) / held[place], 0.0, 1.0)
        found = np.where(lower == upper, lower, lower * (1 - part) + upper * part)
    else:
        found = lower if side == "lower" else upper
    return np.where(known, found, np.nan)


def _keys(name: str, value: npt.ArrayLike) -> IntegerArray:
    given = np.asarray(floats(name, value))
    whole = (np.floor(given) == given) & (given >= -_INFINITE) & ((given <= _INFINITE) | (given == NAN_BUCKET))
    require(name, given, np.asarray(whole), f"a bucket is a whole number between {-_INFINITE} and {_INFINITE}")
    return given.astype(np.int64)
