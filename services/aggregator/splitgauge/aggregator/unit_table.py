"""The rows of an experiment's units in one partition: a line of 64-bit integers each (`layout`), and reports' marks.

Owns where a unit's row is, and its memory: a matrix, not an object per unit. Rows of units that have gone are used
again. Must not know what the columns mean.
"""

from collections.abc import Sequence
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import numpy as np

from splitgauge.aggregator.exact import Matrix

__all__ = ["NOWHERE", "UnitTable"]

NOWHERE = -1
"""In place of a segment or a row."""

_FIRST_ROWS = 64


class UnitTable:
    """Rows by unit.

    Attributes:
        rows: number of each unit's row.
        unit_ids: the unit of each row; empty where there is none.
        reports: marks of the last reports of each row's unit (`duplicates`).
        matrix: the rows, shape (more than there are units, width); where there is no unit, zeros.
        changed: which rows have changed since the last checkpoint.
        segments: where in the checkpoint each row stands (`segments`); `NOWHERE`: it does not.
        numbers: the same memory in one line: one number is read or written three times as fast as in the matrix.
    """

    __slots__ = ("_free", "changed", "matrix", "numbers", "reports", "rows", "segments", "unit_ids", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.clear()

    def clear(self) -> None:
        """Let go of all units."""
        self.rows: dict[str, int] = {}
        self.unit_ids: list[str] = []
        self.reports: list[bytes] = []
        self._free: list[int] = []
        self._use_memory(_FIRST_ROWS)

    @property
    def next_row(self) -> int:
        """The first of the rows that new units get; `NOWHERE` while they get those of units that have gone."""
        return NOWHERE if self._free else len(self.unit_ids)

    def add(self, unit_id: str) -> int:
        """The row of a new unit, all zeros."""
        if self._free:
            row = self._free.pop()
            self.unit_ids[row] = unit_id
        else:
            row = len(self.unit_ids)
            self.unit_ids.append(unit_id)
            self.reports.append(b"")
            if row == len(self.matrix):
                self._grow()
        self.rows[unit_id] = row
        return row

    def extend(self, unit_ids: Sequence[str], matrix: Matrix, reports: Sequence[bytes]) -> int:
        """Add units with their rows, from `next_row` on. Returns: the first of the rows."""
        first = len(self.unit_ids)
        end = first + len(unit_ids)
        while end > len(self.matrix):
            self._grow()
        self.rows.update(zip(unit_ids, range(first, end), strict=True))
        self.unit_ids += unit_ids
        self.reports += reports
        self.matrix[first:end] = matrix
        return first

    def remove(self, unit_id: str) -> None:
        """Let go of a unit."""
        row = self.rows.pop(unit_id)
        self.unit_ids[row], self.reports[row] = "", b""
        self.matrix[row], self.changed[row], self.segments[row] = 0, False, NOWHERE
        self._free.append(row)
        if not self.rows:
            self.clear()

    def _grow(self) -> None:
        matrix, changed, segments = self.matrix, self.changed, self.segments
        self._use_memory(2 * len(matrix))
        self.matrix[: len(matrix)] = matrix
        self.changed[: len(matrix)] = changed
        self.segments[: len(matrix)] = segments

    def _use_memory(self, n_rows: int) -> None:
        # Anonymous memory: pages that nobody has written to take none, so doubling costs nothing.
        memory = mmap(-1, 8 * n_rows * self.width, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self.numbers = memoryview(memory).cast("q")
        self.matrix: Matrix = np.frombuffer(memory, dtype=np.int64).reshape(n_rows, self.width)
        self.changed = np.zeros(n_rows, dtype=bool)
        self.segments = np.full(n_rows, NOWHERE, dtype=np.int32)
