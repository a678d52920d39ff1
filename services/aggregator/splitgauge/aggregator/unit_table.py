"""The rows of an experiment's units in one partition: a line of 64-bit integers each (`layout`), and reports' marks.

Owns where a unit's row is, and its memory: a matrix, not an object per unit. Rows of units that have gone are used
again. Must not know what the columns mean.
"""

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import numpy as np

from splitgauge.aggregator.exact import Matrix

__all__ = ["UnitTable"]

_FIRST_ROWS = 64


class UnitTable:
    """Rows by unit.

    Attributes:
        rows: number of each unit's row.
        unit_ids: the unit of each row; empty where there is none.
        reports: marks of the last reports of each row's unit (`duplicates`).
        matrix: the rows, shape (more than there are units, width); where there is no unit, zeros.
        changed: which rows have changed since somebody last set this to false.
        numbers: the same memory in one line: one number is read or written three times as fast as in the matrix.
    """

    __slots__ = ("_free", "changed", "matrix", "numbers", "reports", "rows", "unit_ids", "width")

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

    def remove(self, unit_id: str) -> None:
        """Let go of a unit."""
        row = self.rows.pop(unit_id)
        self.unit_ids[row], self.reports[row] = "", b""
        self.matrix[row], self.changed[row] = 0, False
        self._free.append(row)
        if not self.rows:
            self.clear()

    def _grow(self) -> None:
        matrix, changed = self.matrix, self.changed
        self._use_memory(2 * len(matrix))
        self.matrix[: len(matrix)] = matrix
        self.changed[: len(matrix)] = changed

    def _use_memory(self, n_rows: int) -> None:
        # Anonymous memory: pages that nobody has written to take none, so doubling costs nothing.
        memory = mmap(-1, 8 * n_rows * self.width, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self.numbers = memoryview(memory).cast("q")
        self.matrix: Matrix = np.frombuffer(memory, dtype=np.int64).reshape(n_rows, self.width)
        self.changed = np.zeros(n_rows, dtype=bool)
