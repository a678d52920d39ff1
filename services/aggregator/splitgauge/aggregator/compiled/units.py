"""Where the units of all experiments of a partition stand, as the compiled run finds them: by id and book.

Owns the index. It watches the books' cohorts, and has all units of a watched book whose ids have the router's form: the
run takes a unit that is not here for a new one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.cohort import CellKey, UnitWatcher
from splitgauge.aggregator.compiled.tables import find_unit, move_units, put_unit, put_units, take_unit
from splitgauge.aggregator.exact import Matrix
from splitgauge.aggregator.layout import CELL, FIRST_AT, FLAGS
from splitgauge.aggregator.novelty import RETURNED
from splitgauge.aggregator.sums import CROSSOVER

__all__ = ["ARM_SHIFT", "BOOK_SHIFT", "LEFT_OUT", "MOST_BOOKS", "RETURNED_BIT", "UnitIndex", "unit_halves", "unit_text"]

RETURNED_BIT, ARM_SHIFT, BOOK_SHIFT = 1 << 32, 33, 48
LEFT_OUT = 0x7FFF
"""The arm of units that the run leaves to `book`: no lane has it."""

MOST_BOOKS = 0x7FFF

_FIRST_LINES = 256
_ID_LENGTH = 32
_HEX = frozenset("0123456789abcdef")
_IS_HEX = np.array([chr(byte) in _HEX for byte in range(256)])
_ALL_BITS = 2**64 - 1

Longs = NDArray[np.int64]


def unit_halves(unit_id: str) -> tuple[int, int] | None:
    """Of an id of 32 small hexadecimal digits, as signed integers; None for any other text.

    >>> unit_halves("0000000000000001ffffffffffffffff")
    (1, -1)
    """
    if len(unit_id) != _ID_LENGTH or not _HEX.issuperset(unit_id):
        return None
    raw = bytes.fromhex(unit_id)
    return int.from_bytes(raw[:8], "big", signed=True), int.from_bytes(raw[8:], "big", signed=True)


def unit_text(high: int, low: int) -> str:
    """The id with these halves."""
    return f"{high & _ALL_BITS:016x}{low & _ALL_BITS:016x}"


class UnitIndex:
    """Units by id and book.

    Attributes:
        table: lines of `tables`: id, first exposure; book, arm, whether it has returned, and row + 1, in one number.
        count: lines of it that are used.
    """

    __slots__ = ("_arms", "count", "table")

    def __init__(self) -> None:
        self.table: Longs = np.zeros((_FIRST_LINES, 4), dtype=np.int64)
        self.count = 0
        self._arms: dict[tuple[int, int, str], int] = {}

    def make_room(self, more: int) -> None:
        """Be able to take as many more units."""
        needed = 2 * (self.count + more)
        if needed > len(self.table):
            larger = np.zeros((1 << needed.bit_length(), 4), dtype=np.int64)
            move_units(self.table, larger)
            self.table = larger

    def arm(self, book: int, epoch: int, variant: str) -> int:
        """The number of an arm of units."""
        return self._arms.setdefault((book, epoch, variant), min(len(self._arms), LEFT_OUT))

    def of_book(self, book: int) -> UnitWatcher:
        """Whom the cohorts of a book tell."""
        return _OfBook(self, book)


class _OfBook:
    """The units of one book."""

    __slots__ = ("_book", "_index")

    def __init__(self, index: UnitIndex, book: int) -> None:
        self._index = index
        self._book = book

    def load(self, unit_ids: Sequence[str], rows: Longs, matrix: Matrix, keys: Sequence[CellKey]) -> None:
        fitting = np.array([len(unit_id) == _ID_LENGTH and unit_id.isascii() for unit_id in unit_ids], dtype=bool)
        text = "".join([unit_id for unit_id, fits in zip(unit_ids, fitting, strict=True) if fits])
        characters = np.frombuffer(text.encode(), dtype=np.uint8).reshape(-1, _ID_LENGTH)
        are_ids = _IS_HEX[characters].all(axis=1)
        fitting[fitting] = are_ids
        halves = np.frombuffer(bytes.fromhex(characters[are_ids].tobytes().decode()), dtype=">i8").astype(np.int64)
        arms = np.array([self._arm(key) for key in keys], dtype=np.int64)[matrix[:, CELL]]
        arms[(matrix[:, FLAGS] & CROSSOVER) != 0] = LEFT_OUT
        returned = np.where(matrix[:, FLAGS] & RETURNED, RETURNED_BIT, 0)
        packed = self._book << BOOK_SHIFT | arms << ARM_SHIFT | returned | rows + 1
        index = self._index
        index.make_room(len(halves) // 2)
        put_units(index.table, halves.reshape(-1, 2), matrix[fitting, FIRST_AT], packed[fitting])
        index.count += len(halves) // 2

    def came(self, unit_id: str, row: int, *, key: CellKey, first_at_us: int) -> None:
        halves, index = unit_halves(unit_id), self._index
        if halves is not None:
            index.make_room(1)
            packed = self._book << BOOK_SHIFT | self._arm(key) << ARM_SHIFT | row + 1
            put_unit(index.table, *halves, first_at_us, packed)
            index.count += 1

    def flagged(self, unit_id: str, flag: int) -> None:
        line = self._line(unit_id)
        if line >= 0:
            self._index.table[line, 3] |= RETURNED_BIT if flag == RETURNED else LEFT_OUT << ARM_SHIFT

    def went(self, unit_id: str) -> None:
        line = self._line(unit_id)
        if line >= 0:
            take_unit(self._index.table, line)
            self._index.count -= 1

    def _arm(self, key: CellKey) -> int:
        return self._index.arm(self._book, key.epoch, key.variant)

    def _line(self, unit_id: str) -> int:
        halves = unit_halves(unit_id)
        return -1 if halves is None else find_unit(self._index.table, *halves, self._book)
