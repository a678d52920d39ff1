"""The cohorts of one experiment in one partition: its units, their rows, and the sums of their cells.

A unit belongs for ever to the epoch and variant of its first live split assignment. Rows change with every event; cell
sums are brought up to date by `settle`, which retracts what touched units had added and adds what they are now. That
is exact at any time, so when it happens changes nothing. Knows no event and no clock.
"""

import json
from array import array
from collections.abc import Iterable, MutableSequence
from typing import Any, NamedTuple

from splitgauge.aggregator.duplicates import ReportRing
from splitgauge.aggregator.exact import stack
from splitgauge.aggregator.layout import CELL, FIRST_AT, FLAGS, PAIRS, RowLayout, column_of
from splitgauge.aggregator.sums import CellSums, rows_of
from splitgauge.aggregator.values import RouterValues
from splitgauge.schemas.instants import to_text

__all__ = ["OWN_UNIT", "CellKey", "Cohorts", "UnitRow"]

OWN_UNIT = 2
"""Flag of a request that is its own unit: its row goes when its time is over, while the experiment runs on."""

UnitRow = MutableSequence[int]
"""`array("q")`: 8 bytes a number; a list of Python integers once one of its numbers does not fit 64 bits."""

_DAY_TEXT = 10  # YYYY-MM-DD


class CellKey(NamedTuple):
    """What units are summed by. `day` (of first exposure, UTC) is empty without an attribution window."""

    epoch: int
    variant: str
    day: str


class Cohorts:
    """Units and cells."""

    def __init__(self, layout: RowLayout, *, by_day: bool) -> None:
        self.layout = layout
        self.units: dict[str, UnitRow] = {}
        self.keys: list[CellKey] = []
        self._blank = array("q", bytes(8 * layout.width))
        self._by_day = by_day
        self._numbers: dict[tuple[int, str, str], int] = {}
        self._sums: list[CellSums] = []
        self._rings: dict[str, ReportRing] = {}
        # Since the last settling: rows that will be added, and what they had added before.
        self._touched: dict[str, UnitRow] = {}
        self._before: list[UnitRow] = []
        self._any_wide = False
        self._unsaved: set[str] = set()
        self._unsaved_rings: set[str] = set()

    def expose(
        self, unit_id: str, cell: tuple[int, str], *, at_us: int, own_unit: bool, covariates: Iterable[tuple[int, int]]
    ) -> UnitRow:
        """The unit's first live split assignment, in (epoch, variant). `covariates` as (column, x)."""
        key = CellKey(*cell, to_text(at_us)[:_DAY_TEXT]) if self._by_day else (*cell, "")
        number = self._numbers.get(key)
        row = self._blank[:]
        row[CELL] = self._new_cell(CellKey(*key)) if number is None else number
        row[FIRST_AT] = at_us
        if own_unit:
            row[FLAGS] = OWN_UNIT
        for column, x in covariates:
            row[column] = x
        self.units[unit_id] = self._touched[unit_id] = row
        return row

    def touch(self, unit_id: str) -> UnitRow | None:
        """The unit's row, to be changed: what it has added so far is retracted when it is settled."""
        row = self._touched.get(unit_id)
        if row is None:
            row = self.units.get(unit_id)
            if row is not None:
                self._before.append(row[:])
                self._touched[unit_id] = row
        return row

    def add(self, unit_id: str, row: UnitRow, values: Iterable[tuple[int, int]]) -> None:
        """Add values, (place of the metric, fixed point), to a touched row, as each metric's fold says."""
        for place, value in values:
            row = self._add_value(unit_id, row, column_of(place), self.layout.metrics[place].fold, value)

    def add_early(self, unit_id: str, values: Iterable[tuple[int, int | None]]) -> None:
        """Add values to the early part of a touched unit that has it apart: those of its goal."""
        row = self.units[unit_id]
        for place, value in values:
            if value is not None and place in self.layout.early:
                column, fold = self.layout.early[place], self.layout.metrics[place].fold
                row = self._add_value(unit_id, row, column, fold, value)

    def _add_value(self, unit_id: str, row: UnitRow, column: int, fold: str, value: int) -> UnitRow:
        total = value
        if fold == "sum":
            total += row[column]
        elif row[column + 1]:
            total = max(total, row[column])
        try:
            row[column] = total
        except OverflowError:
            row = self._widened(unit_id, row)
            row[column] = total
        row[column + 1] += 1
        return row

    def add_outcome(self, unit_id: str, row: UnitRow, values: RouterValues) -> None:
        """The same for an outcome: the router's metrics stand first, and all add up."""
        column = PAIRS
        for value in values:
            if value is not None:
                try:
                    row[column] += value
                except OverflowError:
                    row = self._widened(unit_id, row)
                    row[column] += value
                row[column + 1] += 1
            column += 2

    def first_report(self, unit_id: str, report: str) -> bool:
        """Whether the unit has not had this report yet; it is remembered."""
        ring = self._rings.get(unit_id)
        if ring is None:
            ring = self._rings[unit_id] = ReportRing()
        if not ring.add(report):
            return False
        self._unsaved_rings.add(unit_id)
        return True

    def settle(self) -> None:
        """Bring the sums up to date."""
        self._add(self._before, -1)
        self._add(list(self._touched.values()), 1)
        self._unsaved.update(self._touched)
        self._touched.clear()
        self._before.clear()

    def evict(self, unit_ids: Iterable[str]) -> None:
        """Let go of units. What they added stays in the sums for ever."""
        self.settle()
        for unit_id in unit_ids:
            if self.units.pop(unit_id, None) is not None:
                self._unsaved.add(unit_id)
                if self._rings.pop(unit_id, None) is not None:
                    self._unsaved_rings.add(unit_id)

    def published(self) -> dict[str, dict[str, Any]]:
        """Settled cells, in the shape of `PartialData.epochs`."""
        whole: dict[tuple[int, str], CellSums] = {}
        days: dict[tuple[int, str], dict[str, Any]] = {}
        for key, sums in zip(self.keys, self._sums, strict=True):
            cell = (key.epoch, key.variant)
            whole[cell] = whole[cell].plus(sums) if cell in whole else sums
            if key.day:
                days.setdefault(cell, {})[key.day] = sums.published()
        epochs: dict[str, dict[str, Any]] = {}
        for (epoch, variant), sums in whole.items():
            published = {**sums.published(), "days": days.get((epoch, variant), {})}
            epochs.setdefault(str(epoch), {})[variant] = published
        return epochs

    def _new_cell(self, key: CellKey) -> int:
        number = self._numbers[key] = len(self.keys)
        self.keys.append(key)
        self._sums.append(CellSums(self.layout))
        return number

    def _widened(self, unit_id: str, row: UnitRow) -> UnitRow:
        self._any_wide = True
        wide = self.units[unit_id] = self._touched[unit_id] = list(row)
        return wide

    def _add(self, rows: list[UnitRow], sign: int) -> None:
        if self._any_wide:
            for row in rows:
                if not isinstance(row, array):
                    self._sums[row[CELL]].add_row(row, sign)
            rows = [row for row in rows if isinstance(row, array)]
        if not rows:
            return
        matrix = stack(rows, self.layout.width)
        cells: list[int] = matrix[:, CELL].tolist()
        for number in sorted(set(cells)):
            self._sums[number].add_matrix(rows_of(matrix, number), sign)

    # Checkpoint: rows of units and rings by themselves, cells with the experiment.

    def changed_units(self) -> dict[bytes, bytes | None]:
        """Rows (`u/unit`) and rings (`r/unit`) changed since the last call, settled; None where they are gone."""
        rows: dict[bytes, bytes | None] = {}
        for unit_id in self._unsaved:
            row = self.units.get(unit_id)
            rows[b"u/" + unit_id.encode()] = None if row is None else _row_bytes(row)
        for unit_id in self._unsaved_rings:
            ring = self._rings.get(unit_id)
            rows[b"r/" + unit_id.encode()] = None if ring is None else ring.to_bytes()
        self._unsaved.clear()
        self._unsaved_rings.clear()
        return rows

    def restore_unit(self, key: bytes, value: bytes) -> None:
        """One of the rows of `changed_units`."""
        unit_id = key[2:].decode()
        if key.startswith(b"u/"):
            row = self.units[unit_id] = _row_from(value)
            self._any_wide |= not isinstance(row, array)
        else:
            self._rings[unit_id] = ReportRing(value)

    def numbers(self) -> list[Any]:
        """The cells, for a checkpoint."""
        return [[*key, sums.numbers()] for key, sums in zip(self.keys, self._sums, strict=True)]

    def restore_cells(self, cells: Iterable[Any]) -> None:
        """From `numbers`."""
        for epoch, variant, day, numbers in cells:
            self._sums[self._new_cell(CellKey(epoch, variant, day))] = CellSums(self.layout, numbers)


def _row_bytes(row: UnitRow) -> bytes:
    # Little-endian everywhere that Splitgauge runs; a list is the rare row that does not fit.
    return b"q" + row.tobytes() if isinstance(row, array) else b"j" + json.dumps(list(row)).encode()


def _row_from(value: bytes) -> UnitRow:
    if value[:1] == b"q":
        row = array("q")
        row.frombytes(value[1:])
        return row
    return list(json.loads(value[1:]))
