"""Exact sums of columns: 64-bit integers in, integers of any size out, the same in any order.

Owns how nothing overflows: values and products are split into limbs before they are added up.
"""

import numpy as np
from numpy.typing import NDArray

from splitgauge.schemas.codec import MAX_SAFE_INTEGER

__all__ = ["EXACT_BELOW", "Matrix", "big", "dots", "run_totals", "totals"]

Matrix = NDArray[np.int64]
"""Unit rows, shape (units, columns), or columns of many rows, shape (columns, rows)."""

EXACT_BELOW = 2**61
"""Numbers below this, and the difference of any two of them, can be multiplied by `dots`."""

_LIMB = 31
_LIMB_MASK = 2**_LIMB - 1


def big(value: int) -> int | str:
    """As JSON carries it: decimal text beyond 2^53 - 1."""
    return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str(value)


def totals(columns: Matrix) -> list[int]:
    """Sums of columns, a line each: halves of 32 bits, so that 2^31 rows fit."""
    high, low = (columns >> 32).sum(axis=1).tolist(), (columns & (2**32 - 1)).sum(axis=1).tolist()
    return [(h << 32) + w for h, w in zip(high, low, strict=True)]


def run_totals(columns: Matrix, runs: NDArray[np.intp]) -> list[list[int]]:
    """Per run of rows the sums of columns, a line each; a run goes from its beginning to that of the next."""
    high = np.add.reduceat(columns >> 32, runs, axis=1).T.tolist()
    low = np.add.reduceat(columns & (2**32 - 1), runs, axis=1).T.tolist()
    return [[(h << 32) + w for h, w in zip(*halves, strict=True)] for halves in zip(high, low, strict=True)]


def dots(a: Matrix, b: Matrix) -> list[int]:
    """Sums of products of columns, a line each, for |a|, |b| <= 2^62."""
    if float(np.abs(a).max()) * float(np.abs(b).max()) * a.shape[1] < EXACT_BELOW:
        return [int(total) for total in (a * b).sum(axis=1)]
    a1, a0, b1, b0 = a >> _LIMB, a & _LIMB_MASK, b >> _LIMB, b & _LIMB_MASK
    parts = zip(totals(a1 * b1), totals(a1 * b0), totals(a0 * b1), totals(a0 * b0), strict=True)
    return [(hh << 2 * _LIMB) + ((hl + lh) << _LIMB) + ll for hh, hl, lh, ll in parts]
