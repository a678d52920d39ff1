"""Hash tables over ids of 128 bits, compiled: open addressing with linear probing, in arrays of 64-bit integers.

Owns how an id is found, put in, taken out and moved to a larger table. A table has a power of two of lines and is never
more than about half full, which its owner sees to. Knows no event.
"""

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.compiled.jit import compiled

__all__ = [
    "FREE",
    "add_id",
    "claim_id",
    "find_id",
    "find_open",
    "find_recent",
    "find_unit",
    "home",
    "index_recent",
    "move_open",
    "move_units",
    "put_open",
    "put_unit",
    "put_units",
    "take_open",
    "take_unit",
]

Longs = NDArray[np.int64]

FREE = 0
"""In the last column of a line: nothing stands there."""

_MIX_A, _MIX_B, _MIX_C = -7046029254386353131, -4417276706812531889, -2643881736870682267


@compiled
def home(high: int, low: int, more: int, mask: int) -> int:
    """Where the search for an id begins."""
    mixed = (high ^ _MIX_C * more) * _MIX_A ^ low * _MIX_B
    mixed = (mixed ^ (mixed >> 29 & 0x7FFFFFFFF)) * _MIX_C
    return (mixed ^ (mixed >> 32 & 0xFFFFFFFF)) & mask


@compiled
def _copy(table: Longs, line: int, to: int) -> None:
    for column in range(table.shape[1]):
        table[to, column] = table[line, column]


# Sets of ids: (high, low, 1).


@compiled
def find_id(table: Longs, high: int, low: int) -> bool:
    """Whether an id is in a set."""
    mask = len(table) - 1
    line = home(high, low, 0, mask)
    while table[line, 2] != FREE:
        if table[line, 0] == high and table[line, 1] == low:
            return True
        line = line + 1 & mask
    return False


@compiled
def add_id(table: Longs, high: int, low: int) -> bool:
    """Put an id into a set. False: it is there."""
    mask = len(table) - 1
    line = home(high, low, 0, mask)
    while table[line, 2] != FREE:
        if table[line, 0] == high and table[line, 1] == low:
            return False
        line = line + 1 & mask
    table[line, 0], table[line, 1], table[line, 2] = high, low, 1
    return True


# Recent ids: `ring` has the ids by number, and `lines` finds a number (+ 1) by its id.


@compiled
def find_recent(ring: Longs, lines: Longs, high: int, low: int, total: int) -> int:
    """The line of an id's newest number; that of a free line, as -1 - line, where it has none any more."""
    mask, oldest = len(lines) - 1, max(0, total - len(ring))
    line = home(high, low, 0, mask)
    while lines[line] != FREE:
        number = lines[line] - 1
        if oldest <= number < total:
            place = number % len(ring)
            if ring[place, 0] == high and ring[place, 1] == low:
                return line
        line = line + 1 & mask
    return -1 - line


@compiled
def claim_id(ring: Longs, lines: Longs, high: int, low: int, total: int, remembered: int) -> bool:
    """Give an id the number `total`. False: it has one of the last `remembered` numbers already."""
    line = find_recent(ring, lines, high, low, total)
    if line >= 0 and lines[line] - 1 >= total - remembered:
        return False
    place = total % len(ring)
    ring[place, 0], ring[place, 1], ring[place, 2] = high, low, 1
    lines[line if line >= 0 else -1 - line] = total + 1
    return True


@compiled
def index_recent(ring: Longs, lines: Longs, oldest: int, total: int) -> None:
    """Fill `lines` anew with the numbers from `oldest` on."""
    lines[:] = FREE
    mask = len(lines) - 1
    for number in range(oldest, total):
        place = number % len(ring)
        if ring[place, 2]:
            line = home(ring[place, 0], ring[place, 1], 0, mask)
            while lines[line] != FREE:
                line = line + 1 & mask
            lines[line] = number + 1


# Open requests: (high, low, the unit's high and low, at_us, lane + 1).


@compiled
def find_open(table: Longs, high: int, low: int) -> int:
    """The line of a request; -1: it is not there."""
    mask = len(table) - 1
    line = home(high, low, 0, mask)
    while table[line, 5] != FREE:
        if table[line, 0] == high and table[line, 1] == low:
            return line
        line = line + 1 & mask
    return -1


@compiled
def put_open(table: Longs, high: int, low: int, unit_high: int, unit_low: int, at_us: int, lane: int) -> None:
    """Put in a request that is not there."""
    mask = len(table) - 1
    line = home(high, low, 0, mask)
    while table[line, 5] != FREE:
        line = line + 1 & mask
    table[line, 0], table[line, 1], table[line, 2], table[line, 3] = high, low, unit_high, unit_low
    table[line, 4], table[line, 5] = at_us, lane + 1


@compiled
def take_open(table: Longs, line: int) -> None:
    """Take a request out, and move up those behind it that were to be nearer to their home."""
    mask = len(table) - 1
    hole = line
    line = line + 1 & mask
    while table[line, 5] != FREE:
        wanted = home(table[line, 0], table[line, 1], 0, mask)
        if (line - wanted & mask) >= (line - hole & mask):
            _copy(table, line, hole)
            hole = line
        line = line + 1 & mask
    table[hole, 5] = FREE


@compiled
def move_open(table: Longs, larger: Longs) -> None:
    """Put all of a table into a larger, empty one."""
    for line in range(len(table)):
        if table[line, 5] != FREE:
            put_open(
                larger, table[line, 0], table[line, 1], table[line, 2], table[line, 3], table[line, 4],
                table[line, 5] - 1,
            )  # fmt: skip


# Units of all experiments: (high, low, first exposure, book, arm, whether it has returned, row + 1), the last four in
# one number.


@compiled
def find_unit(table: Longs, high: int, low: int, book: int) -> int:
    """The line of a unit of a book; -1: it is not there."""
    mask = len(table) - 1
    line = home(high, low, book + 1, mask)
    while table[line, 3] != FREE:
        if table[line, 0] == high and table[line, 1] == low and table[line, 3] >> 48 == book:
            return line
        line = line + 1 & mask
    return -1


@compiled
def put_unit(table: Longs, high: int, low: int, first_at_us: int, packed: int) -> None:
    """Put in a unit that is not there. `packed`: book << 48 | what its owner wants, and never 0."""
    mask = len(table) - 1
    line = home(high, low, (packed >> 48) + 1, mask)
    while table[line, 3] != FREE:
        line = line + 1 & mask
    table[line, 0], table[line, 1], table[line, 2], table[line, 3] = high, low, first_at_us, packed


@compiled
def put_units(table: Longs, ids: Longs, first_at_us: Longs, packed: Longs) -> None:
    """Put in many units that are not there."""
    for number in range(len(ids)):
        put_unit(table, ids[number, 0], ids[number, 1], first_at_us[number], packed[number])


@compiled
def take_unit(table: Longs, line: int) -> None:
    """Take a unit out, and move up those behind it that were to be nearer to their home."""
    mask = len(table) - 1
    hole = line
    line = line + 1 & mask
    while table[line, 3] != FREE:
        wanted = home(table[line, 0], table[line, 1], (table[line, 3] >> 48) + 1, mask)
        if (line - wanted & mask) >= (line - hole & mask):
            _copy(table, line, hole)
            hole = line
        line = line + 1 & mask
    table[hole, 3] = FREE


@compiled
def move_units(table: Longs, larger: Longs) -> None:
    """Put all of a table into a larger, empty one."""
    for line in range(len(table)):
        if table[line, 3] != FREE:
            put_unit(larger, table[line, 0], table[line, 1], table[line, 2], table[line, 3])
