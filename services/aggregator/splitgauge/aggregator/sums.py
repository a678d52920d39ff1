"""Exact sums over unit rows (statistics.md, Aggregates): integers of any size, the same in any order.

Owns what a unit adds to its cell. Two ways with the same result: numpy over many rows, products split into limbs so
that nothing overflows, and Python integers for rows with numbers beyond 2^61. Retraction is the same with sign -1.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from splitgauge.aggregator.exact import EXACT_BELOW, Matrix, big, dots, totals
from splitgauge.aggregator.layout import FLAGS, MISSING, PAIRS, REQUESTS, RowLayout, column_of
from splitgauge.aggregator.novelty import LATE_FIELDS, RETURNED, both_ages, late_sums, late_terms
from splitgauge.schemas.metric import Metric
from splitgauge.schemas.tables import SHARE_SCALE

__all__ = ["CROSSOVER", "CellSums", "Row"]

CROSSOVER = 1
"""Flag of a unit that got two variants under one table: it stays exposed and leaves all sums."""

Row = Sequence[int]

_FIELDS: tuple[str, ...] = ("m", "d", "mm", "dd", "md", "x", "xx", "mx", "dx", "present", "hits", "misses", "shares")
_BIG_FIELDS = frozenset(_FIELDS) - {"present", "hits", "misses"}
_HEADER = ("exposed", "units", "crossovers", "requests", "missing", "missing_units")
_INT64_MAX = 2**63 - 1


class CellSums:
    """The sums of one cell: what `splitgauge.schemas.tables.Cell` publishes."""

    __slots__ = ("_layout", "header", "late", "metrics")

    def __init__(self, layout: RowLayout, numbers: Mapping[str, Any] | None = None) -> None:
        self._layout = layout
        self.header = [0] * len(_HEADER)
        self.metrics = [[0] * len(_FIELDS) for _ in layout.metrics]
        self.late = [0] * len(LATE_FIELDS)
        if numbers is not None:
            self.header = list(numbers["header"])
            self.metrics = [list(fields) for fields in numbers["metrics"]]
            self.late = list(numbers["late"])

    def add_matrix(self, matrix: Matrix, sign: int) -> None:
        """Add (sign 1) or retract (sign -1) units, a row each."""
        crossed = matrix[:, FLAGS] & CROSSOVER
        analysed = matrix[crossed == 0] if crossed.any() else matrix
        self._add_header(sign, len(matrix), len(analysed), *_requests_of(analysed))
        if not len(analysed):
            return
        if np.abs(analysed[:, PAIRS:]).max(initial=0) >= EXACT_BELOW or analysed[:, PAIRS:].min() < -EXACT_BELOW:
            self._add_units(analysed.tolist(), sign)
            return
        columns = np.ascontiguousarray(analysed.T)
        m, d, x = self._columns(columns)
        self._add_fields(_products(m, d, x), sign)
        self._add_fields(_counts(m, d, self._layout.metrics), sign, first=_FIELDS.index("present"))
        returned = (columns[FLAGS] & RETURNED).nonzero()[0]
        if len(returned):
            goal = self._layout.goal
            self._add_late(late_sums(columns[:, returned], m[goal, returned], d[goal, returned], self._layout), sign)

    def add_row(self, row: Row, sign: int) -> None:
        """The same for one unit of any size."""
        if row[FLAGS] & CROSSOVER:
            self._add_header(sign, 1, 0, 0, 0, 0)
            return
        self._add_header(sign, 1, 1, row[REQUESTS], row[MISSING], int(row[MISSING] > 0))
        self._add_units([row], sign)

    def _add_header(self, sign: int, exposed: int, units: int, requests: int, missing: int, missing_units: int) -> None:
        amounts = (exposed, units, exposed - units, requests, missing, missing_units)
        self.header = [held + sign * amount for held, amount in zip(self.header, amounts, strict=True)]

    def _columns(self, columns: Matrix) -> tuple[Matrix, Matrix, Matrix | None]:
        layout = self._layout
        m = columns[[column_of(place) for place in range(len(layout.metrics))]]
        for place, cap in enumerate(layout.caps):
            if cap is not None:
                np.minimum(m[place], min(cap, _INT64_MAX), out=m[place])
        d = columns[[max(column, 0) for column in layout.denominators]]
        for place, column in enumerate(layout.denominators):
            if column == layout.ONE:
                d[place] = 1
            elif column <= layout.OTHER:
                d[place] = m[layout.OTHER - column]
        if not layout.has_covariates:
            return m, d, None
        x = columns[[column or 0 for column in layout.covariates]]
        x[[column is None for column in layout.covariates]] = 0
        return m, d, x

    def _add_fields(self, columns: Iterable[list[int]], sign: int, *, first: int = 0) -> None:
        for field, amounts in enumerate(columns, first):
            for place, amount in enumerate(amounts):
                self.metrics[place][field] += sign * amount

    def _add_units(self, rows: Iterable[Row], sign: int) -> None:
        for row in rows:
            units = _terms(row, self._layout)
            for place, terms in enumerate(units):
                fields = self.metrics[place]
                for field, amount in enumerate(terms):
                    fields[field] += sign * amount
            if row[FLAGS] & RETURNED:
                m, d, *_ = units[self._layout.goal]
                self._add_late(late_terms(row, m, d, self._layout), sign)

    def _add_late(self, amounts: Iterable[int], sign: int) -> None:
        self.late = [held + sign * amount for held, amount in zip(self.late, amounts, strict=True)]

    def numbers(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"header": self.header, "metrics": self.metrics, "late": self.late}

    def plus(self, other: "CellSums") -> "CellSums":
        """Both together."""
        total = CellSums(self._layout)
        total.header = [a + b for a, b in zip(self.header, other.header, strict=True)]
        total.metrics = [
            [a + b for a, b in zip(mine, theirs, strict=True)]
            for mine, theirs in zip(self.metrics, other.metrics, strict=True)
        ]
        total.late = [a + b for a, b in zip(self.late, other.late, strict=True)]
        return total

    def published(self) -> dict[str, Any]:
        """In the shape of `Cell`."""
        metrics = {
            metric.name: {
                name: big(value) if name in _BIG_FIELDS else value for name, value in zip(_FIELDS, fields, strict=True)
            }
            for metric, fields in zip(self._layout.metrics, self.metrics, strict=True)
        }
        goal = dict(zip(_FIELDS, self.metrics[self._layout.goal], strict=True))
        novelty = {name: big(value) for name, value in both_ages(goal, self.late, self._layout)}
        header = dict(zip(_HEADER, self.header, strict=True))
        return {**header, "metrics": metrics, "novelty": novelty, "histograms": {}, "days": {}}


def _requests_of(rows: Matrix) -> tuple[int, int, int]:
    missing = rows[:, MISSING]
    return int(rows[:, REQUESTS].sum()), int(missing.sum()), int((missing > 0).sum())


def _products(m: Matrix, d: Matrix, x: Matrix | None) -> list[list[int]]:
    products = [dots(a, b) for a, b in ((m, m), (d, d), (m, d))]
    if x is None:
        none = [0] * len(m)
        return [totals(m), totals(d), *products, none, none, none, none]
    return [totals(m), totals(d), *products, totals(x), *(dots(a, x) for a in (x, m, d))]


def _counts(m: Matrix, d: Matrix, metrics: Sequence[Metric]) -> list[list[int]]:
    present, hits = (d > 0).sum(axis=1).tolist(), (m > 0).sum(axis=1).tolist()
    misses = (m < d).sum(axis=1).tolist()
    shares = [0] * len(metrics)
    for place, metric in enumerate(metrics):
        if metric.kind == "proportion":
            ones, of = m[place] // metric.scale, d[place]
            misses[place] = int((ones < of).sum())
            there = of > 0
            ones, of = ones[there], of[there]
            # |ones| <= 2^33 as a rule; beyond, the product with SHARE_SCALE would not fit 64 bits.
            if ones.size and int(ones.max()) < 2**32:
                shares[place] = sum(totals(((2 * SHARE_SCALE * ones + of) // (2 * of))[None]))
            else:
                shares[place] = sum(_share(one, n) for one, n in zip(ones.tolist(), of.tolist(), strict=True))
    return [present, hits, misses, shares]


def _share(ones: int, of: int) -> int:
    """rint(ones / of * SHARE_SCALE), halves up."""
    return (2 * SHARE_SCALE * ones + of) // (2 * of)


def _terms(row: Row, layout: RowLayout) -> list[tuple[int, ...]]:
    """Per metric what one unit adds, in the order of the fields."""
    ms: list[int] = []
    for place, cap in enumerate(layout.caps):
        m = row[column_of(place)]
        ms.append(m if cap is None else min(m, cap))
    terms: list[tuple[int, ...]] = []
    for place, metric in enumerate(layout.metrics):
        m, column, x_column = ms[place], layout.denominators[place], layout.covariates[place]
        d = row[column] if column >= 0 else 1 if column == layout.ONE else ms[layout.OTHER - column]
        x = 0 if x_column is None else row[x_column]
        proportion = metric.kind == "proportion"
        ones = m // metric.scale if proportion else m
        share = _share(ones, d) if proportion and d > 0 else 0
        counts = (int(d > 0), int(m > 0), int(ones < d), share)
        terms.append((m, d, m * m, d * d, m * d, x, x * x, m * x, d * x, *counts))
    return terms
