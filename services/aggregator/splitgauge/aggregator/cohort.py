"""The cohorts of one experiment in one partition: its units, their rows, and the sums of their cells.

A unit belongs for ever to the epoch and variant of its first live split assignment. What changes rows is put aside;
`settle` brings rows and cell sums up to date, many at a time: it retracts what the units had added and adds what they
are now. That is exact at any time, so when it happens changes nothing. Knows no event and no clock.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.duplicates import remembered
from splitgauge.aggregator.exact import EXACT_BELOW, Matrix
from splitgauge.aggregator.layout import CELL, FIRST_AT, FLAGS, MISSING, RowLayout, column_of
from splitgauge.aggregator.novelty import RETURNED
from splitgauge.aggregator.segments import Segments
from splitgauge.aggregator.sums import CellSums
from splitgauge.aggregator.unit_table import UnitTable
from splitgauge.schemas.instants import to_text

__all__ = ["OWN_UNIT", "CellKey", "Change", "Cohorts", "UnitWatcher"]

OWN_UNIT = 2
"""Flag of a request that is its own unit: its row goes when its time is over, while the experiment runs on."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_HEAD = 3  # cell, first exposure and flags are always those of the matrix

_DAY_TEXT = 10  # YYYY-MM-DD


class CellKey(NamedTuple):
    """What units are summed by. `day` (of first exposure, UTC) is empty without an attribution window."""

    epoch: int
    variant: str
    day: str


class Change(NamedTuple):
    """Values of one column, of many rows. What is late changes only the whole; the rest the early part as well."""

    column: int
    rows: NDArray[np.int64]
    values: NDArray[np.int64]
    late: NDArray[np.int64]


class UnitWatcher(Protocol):
    """Who is told of units (`Cohorts.watch`)."""

    def load(self, unit_ids: Sequence[str], rows: NDArray[np.int64], matrix: Matrix, keys: Sequence[CellKey]) -> None:
        """Units that are here already, with their rows, and the keys of all cells."""
        ...

    def came(self, unit_id: str, row: int, *, key: CellKey, first_at_us: int) -> None:
        """A new unit."""
        ...

    def flagged(self, unit_id: str, flag: int) -> None:
        """A unit has a flag from now on."""
        ...

    def went(self, unit_id: str) -> None:
        """A unit is here no more."""
        ...


class Cohorts:
    """Units and cells."""

    def __init__(self, layout: RowLayout, *, by_day: bool) -> None:
        self.layout = layout
        self.units = UnitTable(layout.width)
        self.keys: list[CellKey] = []
        self.by_day = by_day
        self._numbers: dict[tuple[int, str, str], int] = {}
        self._sums: list[CellSums] = []
        # Rows with a number that does not fit 64 bits, as Python integers; their line in the matrix is out of date.
        self._wide: dict[int, list[int]] = {}
        self._early_columns = dict(layout.early_copies)
        self._largest = {column_of(place) for place, metric in enumerate(layout.metrics) if metric.fold != "sum"}
        # Since the last settling: (row, value, late) by column; new rows; rows whose early part is to be set apart;
        # rows and their flags before they changed.
        self._changes: defaultdict[int, list[tuple[int, int, bool]]] = defaultdict(list)
        self._new: list[int] = []
        self._returned: list[int] = []
        self._flags_before: dict[int, int] = {}
        self._segments = Segments(self.units)
        self.watcher: UnitWatcher | None = None

    def expose(
        self,
        unit_id: str,
        epoch: int,
        variant: str,
        *,
        at_us: int,
        own_unit: bool,
        covariates: Iterable[tuple[int, int]],
    ) -> int:
        """The row of a unit after its first live split assignment, with `covariates` as (column, x)."""
        key = self._cell_key(epoch, variant, at_us)
        number = self._numbers.get(key)
        row = self.units.add(unit_id)
        numbers, start = self.units.numbers, row * self.layout.width
        numbers[start + CELL] = self._new_cell(CellKey(*key)) if number is None else number
        numbers[start + FIRST_AT] = at_us
        if own_unit:
            numbers[start + FLAGS] = OWN_UNIT
        for column, x in covariates:
            numbers[start + column] = x
        self._new.append(row)
        if self.watcher is not None:
            self.watcher.came(unit_id, row, key=self.key_of(row), first_at_us=at_us)
        return row

    def expose_many(self, unit_ids: Sequence[str], cells: NDArray[np.int64], first_at_us: NDArray[np.int64]) -> None:
        """New units that their watcher knows already, in rows from `units.next_row` on; `cells` from `cell_at`."""
        matrix = np.zeros((len(unit_ids), self.layout.width), dtype=np.int64)
        matrix[:, CELL], matrix[:, FIRST_AT] = cells, first_at_us
        first = self.units.extend(unit_ids, matrix, [b""] * len(unit_ids))
        self._new.extend(range(first, first + len(unit_ids)))

    def cell_at(self, epoch: int, variant: str, at_us: int) -> int | None:
        """The cell of units that are first exposed at this time; None where there is none yet."""
        return self._numbers.get(self._cell_key(epoch, variant, at_us))

    def watch(self, watcher: "UnitWatcher") -> None:
        """Tell somebody of all units, and from now on what becomes of them."""
        self.watcher = watcher
        units = self.units
        rows = np.array(list(units.rows.values()), dtype=np.int64)
        watcher.load(list(units.rows), rows, units.matrix[rows], self.keys)

    def key_of(self, row: int) -> CellKey:
        """The cell of a unit."""
        return self.keys[self.units.numbers[row * self.layout.width + CELL]]

    def first_at_us(self, row: int) -> int:
        """First exposure of a unit."""
        return self.units.numbers[row * self.layout.width + FIRST_AT]

    def flags(self, row: int) -> int:
        """Flags of a unit."""
        return self.units.numbers[row * self.layout.width + FLAGS]

    def flag(self, row: int, flag: int) -> None:
        """Set a flag of a unit."""
        place = row * self.layout.width + FLAGS
        before = self.units.numbers[place]
        if not before & flag:
            self.units.numbers[place] = before | flag
            self._flags_before.setdefault(row, before)
            if flag == RETURNED:
                self._returned.append(row)
            if self.watcher is not None:
                self.watcher.flagged(self.units.unit_ids[row], flag)

    def add(self, row: int, values: Iterable[tuple[int, int]], *, late: bool) -> None:
        """Put reported values aside: (place of the metric, fixed point)."""
        for place, value in values:
            column = column_of(place)
            self._changes[column].append((row, value, late))
            self._changes[column + 1].append((row, 1, late))

    def miss(self, row: int, times: int) -> None:
        """Requests of a unit became missing, or (negative) are no longer."""
        self._changes[MISSING].append((row, times, True))

    def first_report(self, row: int, report: str) -> bool:
        """Whether the unit has not had this report yet; it is remembered."""
        marks = remembered(self.units.reports[row], report)
        if marks is None:
            return False
        self.units.reports[row] = marks
        self.units.changed[row] = True
        return True

    def settle(self, changes: Iterable[Change] = ()) -> None:
        """Bring rows and sums up to date with these changes and with what was put aside."""
        # By column, so that m comes before its d.
        own = (Change(column, *np.array(self._changes[column]).T) for column in sorted(self._changes))
        every = [*changes, *own]
        self._changes.clear()
        if not every:
            return
        is_changed = np.zeros(len(self.units.matrix), dtype=bool)
        for change in every:
            is_changed[change.rows] = True
        rows = np.flatnonzero(is_changed)
        is_changed[self._new] = False
        known = is_changed[rows]
        held = self.units.matrix[rows]
        self._add(rows[known], self._with_flags_before(rows, held)[known], -1)
        self._change(rows, held, every)
        self._add(rows, self.units.matrix[rows], 1)
        self.units.changed[rows] = True
        self._new.clear()
        self._returned.clear()
        self._flags_before.clear()

    def evict(self, unit_ids: Iterable[str]) -> None:
        """Let go of settled units. What they added stays in the sums for ever."""
        for unit_id in unit_ids:
            row = self.units.rows.get(unit_id)
            if row is not None:
                self._wide.pop(row, None)
                self.units.remove(unit_id)
                if self.watcher is not None:
                    self.watcher.went(unit_id)

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

    def _cell_key(self, epoch: int, variant: str, at_us: int) -> tuple[int, str, str]:
        return epoch, variant, to_text(at_us)[:_DAY_TEXT] if self.by_day else ""

    def _new_cell(self, key: CellKey) -> int:
        number = self._numbers[key] = len(self.keys)
        self.keys.append(key)
        self._sums.append(CellSums(self.layout))
        return number

    # Settling.

    def _with_flags_before(self, rows: NDArray[np.int64], held: Matrix) -> Matrix:
        if not self._flags_before:
            return held
        before = held.copy()
        before[np.searchsorted(rows, list(self._flags_before)), FLAGS] = list(self._flags_before.values())
        return before

    def _change(self, rows: NDArray[np.int64], held: Matrix, changes: Sequence[Change]) -> None:
        largest = max(float(held.max(initial=0)), -float(held.min(initial=0)))
        largest += sum(float(np.abs(change.values).sum(dtype=np.float64)) for change in changes)
        wide = self._wide.keys() & rows.tolist() if self._wide else ()
        if not wide and largest < EXACT_BELOW:
            self._fold_in(self.units.matrix, changes, self._returned)
            return
        exact = held.astype(object)
        for row in wide:
            exact[np.searchsorted(rows, row), _HEAD:] = self._wide[row][_HEAD:]
        moved = [change._replace(rows=np.searchsorted(rows, change.rows)) for change in changes]
        self._fold_in(exact, moved, np.searchsorted(rows, self._returned))
        for row, numbers in zip(rows.tolist(), exact.tolist(), strict=True):
            if row in wide or min(numbers) < _INT64_MIN or max(numbers) > _INT64_MAX:
                self._wide[row] = numbers
            else:
                self.units.matrix[row] = numbers

    def _fold_in(
        self, matrix: NDArray[Any], changes: Iterable[Change], returned: Sequence[int] | NDArray[np.int64]
    ) -> None:
        """Change a matrix, of 64-bit or of Python integers. `returned`: rows whose early part is to be set apart."""
        # All that they have settled so far is early; what is early and comes now goes to both below.
        for column, early in self._early_columns.items() if len(returned) else ():
            matrix[returned, early] = matrix[returned, column]
        numbers = matrix.reshape(-1)
        for column, rows, values, late in changes:
            places = rows * self.layout.width
            fold = _take_largest if column in self._largest else _add_up
            fold(numbers, places + column, values)
            if column in self._early_columns:
                apart = (matrix[rows, FLAGS] & RETURNED).astype(bool) & (late == 0)
                fold(numbers, places[apart] + self._early_columns[column], values[apart])

    def _add(self, rows: NDArray[np.int64], matrix: Matrix, sign: int) -> None:
        wide = self._wide.keys() & rows.tolist() if self._wide else ()
        if wide:
            places = np.searchsorted(rows, sorted(wide))
            heads: list[list[int]] = matrix[places, :_HEAD].tolist()
            for row, head in zip(sorted(wide), heads, strict=True):
                self._sums[head[CELL]].add_row([*head, *self._wide[row][_HEAD:]], sign)
            matrix = np.delete(matrix, places, axis=0)
        numbers: list[int] = np.unique(matrix[:, CELL]).tolist()
        for number in numbers:
            self._sums[number].add_matrix(matrix[matrix[:, CELL] == number], sign)

    # Checkpoint: units in segments, cells with the experiment.

    def changed_units(self) -> dict[bytes, bytes | None]:
        """Segments of settled units changed since the last call; None where one is over."""
        heads: dict[int, list[int]] = {row: self.units.matrix[row, :_HEAD].tolist() for row in self._wide}
        wide = {row: [*heads[row], *numbers[_HEAD:]] for row, numbers in self._wide.items()}
        return self._segments.changed_rows(wide)

    def restore_units(self, saved: Mapping[bytes, bytes]) -> None:
        """The rows of `changed_units`. Some may be of units that had gone."""
        self._wide = self._segments.restore(saved)

    def numbers(self) -> list[Any]:
        """The cells, for a checkpoint."""
        return [[*key, sums.numbers()] for key, sums in zip(self.keys, self._sums, strict=True)]

    def restore_cells(self, cells: Iterable[Any]) -> None:
        """From `numbers`."""
        for epoch, variant, day, numbers in cells:
            self._sums[self._new_cell(CellKey(epoch, variant, day))] = CellSums(self.layout, numbers)


def _add_up(numbers: NDArray[Any], places: NDArray[np.int64], values: NDArray[np.int64]) -> None:
    np.add.at(numbers, places, values)


def _take_largest(numbers: NDArray[Any], places: NDArray[np.int64], values: NDArray[np.int64]) -> None:
    numbers[places[numbers[places + 1] == 0]] = _INT64_MIN  # d is 0: there is no value yet, and 0 is none
    np.maximum.at(numbers, places, values)
