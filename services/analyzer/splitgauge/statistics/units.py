"""From raw rows to the moments of one cell: what a notebook holds, in the same whole numbers that a running experiment
keeps.

Owns the fixed point of values and their folding within a unit: the unit of analysis is the unit of randomisation (the
user), never the row. Must not know where rows come from, nor arms, effects or tests.
"""

from operator import mul
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.aggregates import Moments, exact_moments
from splitgauge.statistics.arguments import ArrayLike, FloatArray, broadcastable, counts, finite, one_of, require

__all__ = ["Fold", "unit_moments"]

Fold: TypeAlias = Literal["sum", "any", "max"]
"""How a unit's values become one: their sum, 1 if any is not 0, or their maximum."""

WholeArray: TypeAlias = npt.NDArray[Any]
"""Whole numbers: int64 where they fit, else Python's own."""

_LARGEST = 2.0**53  # beyond it float64 skips whole numbers
_WORD = 2**63


class _Units(NamedTuple):
    """Which unit each row belongs to."""

    n: int
    of_row: npt.NDArray[np.intp]
    first_row: npt.NDArray[np.intp]


def unit_moments(
    unit: npt.ArrayLike,
    m: ArrayLike,
    *,
    fold: Fold = "sum",
    d: ArrayLike = 1,
    x: ArrayLike = 0,
    scale: int = 1_000_000,
    x_scale: int = 1_000_000,
) -> Moments:
    """Moments over the units of one cell (an arm in one epoch) from its rows.

    Args:
        unit: whose row it is (a user's id), labels that can be sorted, shape (rows,).
        m: the metric's value of each row, its units; one a row, or one for all.
        fold: of a unit's values: `sum`, `any` or `max`.
        d: what a row adds to the unit's denominator, whole: 1 for a rate per request, 0 where it has no value.
        x: the covariate; of a unit's rows the first counts.
        scale, x_scale: fixed-point scales of m and of x, ints of at least 1: values are rounded to 1/scale, ties to
            even.
    Returns: `Moments`, shape (1,), one epoch; for more of them join the fields of each: `Moments(*map(np.concatenate,
        zip(first, second)))`. The order of rows changes nothing, not even the last bit, but for which x comes
        first. Units that were exposed and have no value count only if they stand here, with m = 0 and d = 0.
    Raises: ContractError where a label is missing, a value is nan or infinite or times its scale 2^53 or more, d is no
        count, a scale is below 1, or shapes do not fit.
    Assumes: a unit is in one arm only: leave crossovers out of both.
    Source: Deng, Knoblich, Lu 2018 (KDD): the unit of analysis is that of randomisation.

        >>> rows = unit_moments(["ann", "ben", "ann", "eve"], [0.25, 1.0, 0.5, 0.0])
        >>> rows.n.tolist(), rows.mean_m.round(6).tolist(), rows.mean_d.round(6).tolist()
        ([3.0], [0.583333], [1.333333])
    """
    one_of("fold", fold, ("sum", "any", "max"))
    units = _units(unit)
    value, weight, covariate = finite("m", m), counts("d", d), finite("x", x)
    shape = broadcastable(unit=np.empty(units.of_row.shape), m=value, d=weight, x=covariate)
    if shape != units.of_row.shape:
        raise ContractError(
            f"{len(units.of_row)} labels for rows of shape {shape}", where="unit", remedy="give one label a row"
        )
    if fold == "any":
        value = np.asarray(value != 0, dtype=np.float64)
    folded = _summed if fold == "sum" else _largest
    totals = folded(_fixed("m", value, scale, units), units)
    below = _summed(_fixed("d", weight, 1, units), units)
    before = _fixed("x", covariate, x_scale, units)[units.first_row]
    columns = {"m": totals, "d": below, "x": before}
    products = {a + b: _product(columns[a], columns[b]) for a, b in ("mm", "dd", "md", "xx", "mx", "dx")}
    ones = np.ones(units.n, dtype=np.int64)
    return exact_moments(
        n=[units.n],
        **{name: [_product(column, ones)] for name, column in columns.items()},
        **{name: [total] for name, total in products.items()},
        scale=scale,
        x_scale=x_scale,
    )


def _units(unit: npt.ArrayLike) -> _Units:
    try:
        labels = np.asarray(unit)
        # nan and NaT differ from themselves; taken for a label they would make one unit of all rows without one.
        missing = np.array([label is None or label != label for label in np.ravel(labels).tolist()], dtype=np.bool_)
        names, first, of_row = np.unique(labels, return_index=True, return_inverse=True)
    except (TypeError, ValueError) as exc:
        raise ContractError(
            "labels that cannot be compared", where="unit", remedy="give one label a row, all of one type"
        ) from exc
    if labels.ndim != 1:
        raise ContractError(f"shape {labels.shape} is not that of rows", where="unit", remedy="give one label a row")
    if missing.any() or np.ma.is_masked(unit):
        raise ContractError(f"row {int(missing.argmax())} has no label", where="unit", remedy="leave such rows out")
    return _Units(len(names), of_row, first)


def _fixed(name: str, value: FloatArray, scale: int, units: _Units) -> WholeArray:
    scaled = np.rint(value * float(scale))
    require(name, scaled, np.abs(scaled) < _LARGEST, "times its scale it stays below 2^53")
    return np.broadcast_to(np.asarray(scaled, dtype=np.int64), units.of_row.shape)


def _summed(rows: WholeArray, units: _Units) -> WholeArray:
    wide = rows if _fits(_size(rows), 1, len(rows)) else rows.astype(object)
    totals = np.zeros(units.n, dtype=wide.dtype)
    np.add.at(totals, units.of_row, wide)
    return totals


def _largest(rows: WholeArray, units: _Units) -> WholeArray:
    found = rows[units.first_row].copy()
    np.maximum.at(found, units.of_row, rows)
    return found


def _product(one: WholeArray, other: WholeArray) -> int:
    """Sum of products, exact: in machine words where it fits, else in Python's whole numbers."""
    if _fits(_size(one), _size(other), len(one)):
        return int(one @ other)
    return sum(map(mul, one.tolist(), other.tolist()))


def _size(values: WholeArray) -> int:
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def _fits(one: int, other: int, terms: int) -> bool:
    return one * other * terms < _WORD
