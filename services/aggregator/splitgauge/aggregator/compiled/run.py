"""What calm events do to the state of a partition, compiled: one call takes in as many as there are in a row.

An event is calm if all that it does is to be counted: its ids are new, its arm and its unit's are known and the same,
no tick passes, nothing waits for it. Owns the conditions of that, which are those of `attribution` and `book`; where
one does not hold, nothing has changed, and the event is theirs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.buckets import BUCKET_US
from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.compiled.jit import Bytes, Doubles, Longs, compiled, long
from splitgauge.aggregator.compiled.scanner import (
    ASSIGNMENT,
    AT_US,
    CALLER,
    DECISIONS,
    EPOCH,
    EVENT,
    EXPERIMENT,
    KIND,
    METRIC_TEXTS,
    N_METRICS,
    REASON,
    REQUEST,
    STATUS,
    STATUSES,
    UNIT,
    UNIT_TEXT,
    VARIANT,
    scan,
)
from splitgauge.aggregator.compiled.tables import (
    claim_id,
    find_id,
    find_open,
    find_unit,
    put_open,
    put_unit,
    take_open,
)
from splitgauge.aggregator.compiled.units import ARM_SHIFT, BOOK_SHIFT, LEFT_OUT, RETURNED_BIT
from splitgauge.aggregator.duplicates import RECENT_EVENTS

__all__ = [
    "ARM",
    "ASSIGNED_SEEN",
    "BOOK",
    "CELL_DAY",
    "CELL_OF_NEW",
    "EARLY_US",
    "ENDED_GROUPS",
    "GIVEN_GROUP",
    "HAS_VARIANT",
    "IS_SPLIT",
    "LANE_EPOCH",
    "LANE_REASON",
    "LANE_TEXTS",
    "NEXT_ROW",
    "NOW_US",
    "N_AGAIN",
    "N_COUNTS",
    "N_ENDED",
    "N_GIVEN",
    "N_LANE_FIELDS",
    "N_NEW",
    "N_OPEN",
    "N_SCALARS",
    "N_UNITS",
    "OLDEST_OPEN_US",
    "RECENT_TOTAL",
    "TICK_END_US",
    "TOUCHED",
    "VIEWED",
    "Results",
    "Tables",
    "lane_home",
    "run",
]

# Scalars: the state beside the tables.
NOW_US, TICK_END_US, VIEWED, ASSIGNED_SEEN, RECENT_TOTAL, N_OPEN, OLDEST_OPEN_US, N_UNITS, N_SCALARS = range(9)

# Fields of a lane: an arm that requests are given to, with what the book knows of it.
BOOK, ARM, IS_SPLIT, HAS_VARIANT, GIVEN_GROUP, CELL_OF_NEW, CELL_DAY, EARLY_US, LANE_EPOCH, LANE_REASON = range(10)
ENDED_GROUPS = 10
LANE_TEXTS = ENDED_GROUPS + len(STATUSES)  # where its texts stand, and their lengths: experiment, variant, caller
N_LANE_FIELDS = LANE_TEXTS + 4

# Fields of a book: the row that its next unit gets (-1: not the next one), and whether anything has happened.
NEXT_ROW, TOUCHED = range(2)

# How much came of a run: lines of `Results`.
N_GIVEN, N_ENDED, N_NEW, N_AGAIN, N_COUNTS = range(5)
_MEASURED = 5  # the first column of `measured`

_NOWHERE, _NOT_CALM = -1, -2
_ARM_MASK = LEFT_OUT


class Tables(NamedTuple):
    """The state of a partition as a run has it; `tables` says what the lines are."""

    scalars: Longs
    opens: Longs
    units: Longs
    watched: Longs
    ring: Longs
    lines: Longs
    lanes: Longs
    lane_lines: NDArray[np.int32]
    lane_texts: Bytes
    books: Longs


class Results(NamedTuple):
    """What has come of a run, a line each, to be told to the books: as many of each as `counts` says.

    given: book, and what `activity.pack_given` packs.
    new: book, row, cell, first exposure, where the unit's id stands.
    ended: book, and what `activity.pack_ended` packs; `measured` is the same memory.
    again: line and column of `measured`, place and length of the text of a number to be read with all its digits.
    """

    counts: Longs
    given: Longs
    new: Longs
    ended: Longs
    measured: Doubles
    again: Longs


@compiled
def _hash_text(mixed: int, buffer: Bytes, at: int, length: int) -> int:
    mixed = mixed * 31 + length
    for place in range(at, at + length):
        mixed = (mixed ^ long(buffer[place])) * 1_099_511_628_211
    return mixed


@compiled
def lane_home(
    buffer: Bytes, texts: tuple[int, int, int], lengths: tuple[int, int, int], epoch: int, reason: int, mask: int
) -> int:
    """Where the search for a lane begins. `texts`: where experiment, variant and caller are; `lengths`: -1 for none."""
    mixed = epoch * 8 + reason
    for number in range(3):
        mixed = _hash_text(mixed, buffer, texts[number], lengths[number])
    return (mixed ^ (mixed >> 32 & 0xFFFFFFFF)) & mask


@compiled
def _same(buffer: Bytes, at: int, held: Bytes, start: int, length: int) -> bool:
    for place in range(length):  # noqa: SIM110 - the compiler knows no generators
        if buffer[at + place] != held[start + place]:
            return False
    return True


@compiled
def _find_lane(buffer: Bytes, fields: Longs, state: Tables) -> int:
    """The lane of an event; -1: it is not known."""
    texts = (long(fields[EXPERIMENT]), long(fields[VARIANT]), long(fields[CALLER]))
    lengths = (long(fields[EXPERIMENT + 1]), long(fields[VARIANT + 1]), long(fields[CALLER + 1]))
    lanes, mask = state.lanes, len(state.lane_lines) - 1
    line = lane_home(buffer, texts, lengths, long(fields[EPOCH]), long(fields[REASON]), mask)
    while state.lane_lines[line] != 0:
        lane = long(state.lane_lines[line]) - 1
        found = lanes[lane, LANE_EPOCH] == fields[EPOCH] and lanes[lane, LANE_REASON] == fields[REASON]
        start = long(lanes[lane, LANE_TEXTS])
        for number in range(3):
            length = lengths[number]
            found = found and lanes[lane, LANE_TEXTS + 1 + number] == length
            found = found and _same(buffer, texts[number], state.lane_texts, start, length)
            start += max(length, 0)
        if found:
            return lane
        line = line + 1 & mask
    return -1


@compiled
def _bucket_start(at_us: int, now_us: int) -> int:
    start_us = at_us - at_us % BUCKET_US
    return start_us if start_us + DAY_US >= now_us else _NOWHERE


@compiled
def _row(fields: Longs, lane: int, state: Tables) -> tuple[int, bool, bool]:
    """Of the unit of a split request: its row (`_NOWHERE`: a new one, or one of another arm), whether the request is
    late, and whether the unit has returned before."""
    line = find_unit(state.units, fields[UNIT], fields[UNIT + 1], state.lanes[lane, BOOK])
    if line < 0:
        return _NOWHERE, False, False
    packed = long(state.units[line, 3])
    arm = packed >> ARM_SHIFT & _ARM_MASK
    if arm != state.lanes[lane, ARM] or arm == LEFT_OUT:
        return _NOT_CALM, False, False
    late = bool(fields[AT_US] - state.units[line, 2] > state.lanes[lane, EARLY_US])
    return (packed & 0xFFFFFFFF) - 1, late, packed & RETURNED_BIT != 0


@compiled
def _takes_new(fields: Longs, lane: int, state: Tables) -> bool:
    """Whether a new unit of a lane is calm."""
    day = state.lanes[lane, CELL_DAY]
    if state.lanes[lane, CELL_OF_NEW] < 0 or state.books[state.lanes[lane, BOOK], NEXT_ROW] < 0:
        return False
    if day >= 0 and day != fields[AT_US] // DAY_US:
        return False
    return not find_id(state.watched, fields[UNIT], fields[UNIT + 1])


@compiled
def _claim(fields: Longs, state: Tables) -> bool:
    """Whether the event's id is new; it is remembered."""
    scalars = state.scalars
    if not claim_id(state.ring, state.lines, fields[EVENT], fields[EVENT + 1], scalars[RECENT_TOTAL], RECENT_EVENTS):
        return False
    scalars[RECENT_TOTAL] += 1
    return True


@compiled
def _expose(fields: Longs, lane: int, state: Tables, results: Results) -> int:
    """The row of a new unit."""
    book = long(state.lanes[lane, BOOK])
    row = long(state.books[book, NEXT_ROW])
    state.books[book, NEXT_ROW] += 1
    packed = book << BOOK_SHIFT | state.lanes[lane, ARM] << ARM_SHIFT | row + 1
    put_unit(state.units, fields[UNIT], fields[UNIT + 1], fields[AT_US], packed)
    state.scalars[N_UNITS] += 1
    new, line = results.new, results.counts[N_NEW]
    results.counts[N_NEW] += 1
    new[line, 0], new[line, 1], new[line, 2] = book, row, state.lanes[lane, CELL_OF_NEW]
    new[line, 3], new[line, 4] = fields[AT_US], fields[UNIT_TEXT]
    return row


@compiled
def _assignment(fields: Longs, lane: int, state: Tables, results: Results) -> bool:
    """An assignment to a known lane. False: it is not calm, and nothing has changed."""
    scalars, lanes, at_us = state.scalars, state.lanes, long(fields[AT_US])
    if (at_us > scalars[NOW_US] and at_us >= scalars[TICK_END_US]) or fields[DECISIONS] > scalars[ASSIGNED_SEEN]:
        return False
    high, low, book = long(fields[REQUEST]), long(fields[REQUEST + 1]), long(lanes[lane, BOOK])
    if find_id(state.watched, high, low) or find_open(state.opens, high, low) >= 0:
        return False
    counts = book >= 0 and lanes[lane, HAS_VARIANT] != 0
    if counts and lanes[lane, GIVEN_GROUP] < 0:
        return False
    row, late, is_split, is_new = _NOWHERE, False, lanes[lane, IS_SPLIT] != 0, False
    if is_split:
        row, late, returned = _row(fields, lane, state)
        is_new = row == _NOWHERE
        if row == _NOT_CALM or (late and not returned) or (is_new and not _takes_new(fields, lane, state)):
            return False
    if not _claim(fields, state):
        return False
    scalars[NOW_US] = max(scalars[NOW_US], at_us)
    put_open(state.opens, high, low, fields[UNIT], fields[UNIT + 1], at_us, lane)
    scalars[N_OPEN] += 1
    scalars[OLDEST_OPEN_US] = min(scalars[OLDEST_OPEN_US], at_us)
    if book >= 0:
        state.books[book, TOUCHED] = 1
        if counts:
            if is_new:
                row = _expose(fields, lane, state, results)
            given, line = results.given, results.counts[N_GIVEN]
            results.counts[N_GIVEN] += 1
            given[line, 0], given[line, 1], given[line, 2], given[line, 3] = book, row, late, lanes[lane, GIVEN_GROUP]
            given[line, 4] = at_us
            given[line, 5] = _bucket_start(at_us, scalars[NOW_US]) if is_split else _NOWHERE
    return True


@compiled
def _end(fields: Longs, values: Doubles, lane: int, row: int, late: bool, state: Tables, results: Results) -> None:
    """Put down a calm outcome of a lane with a variant."""
    counts, ended, line = results.counts, results.ended, results.counts[N_ENDED]
    counts[N_ENDED] += 1
    ended[line, 0], ended[line, 1], ended[line, 2] = state.lanes[lane, BOOK], row, late
    ended[line, 3] = state.lanes[lane, ENDED_GROUPS + fields[STATUS]]
    ended[line, 4] = _bucket_start(fields[AT_US], state.scalars[NOW_US]) if row >= 0 else _NOWHERE
    for metric in range(N_METRICS):
        results.measured[line, _MEASURED + metric] = values[metric]
        length = fields[METRIC_TEXTS + 2 * metric + 1]
        if length:
            again, place = results.again, counts[N_AGAIN]
            counts[N_AGAIN] += 1
            again[place, 0], again[place, 1] = line, _MEASURED + metric
            again[place, 2], again[place, 3] = fields[METRIC_TEXTS + 2 * metric], length


@compiled
def _outcome(fields: Longs, values: Doubles, lane: int, state: Tables, results: Results) -> bool:
    """An outcome of a known lane. False: it is not calm, and nothing has changed."""
    opens, lanes = state.opens, state.lanes
    request = find_open(opens, fields[REQUEST], fields[REQUEST + 1])
    if request < 0 or opens[request, 5] != lane + 1 or opens[request, 4] != fields[AT_US]:
        return False
    if opens[request, 2] != fields[UNIT] or opens[request, 3] != fields[UNIT + 1]:
        return False
    row, late, book = _NOWHERE, False, long(lanes[lane, BOOK])
    counts = book >= 0 and lanes[lane, HAS_VARIANT] != 0
    if counts and lanes[lane, ENDED_GROUPS + fields[STATUS]] < 0:
        return False
    if lanes[lane, IS_SPLIT]:
        row, late, _ = _row(fields, lane, state)
        if row < 0:
            return False
    if not _claim(fields, state):
        return False
    take_open(opens, request)
    state.scalars[N_OPEN] -= 1
    if book >= 0:
        state.books[book, TOUCHED] = 1
        if counts:
            _end(fields, values, lane, row, late, state, results)
    return True


@compiled
def run(
    buffer: Bytes, starts: Longs, first: int, fields: Longs, values: Doubles, state: Tables, results: Results
) -> int:
    """Take in events from the `first` on, up to one that is not calm. Returns the number of that one.

    Event n is `buffer[starts[n]:starts[n + 1]]`; `fields` and `values` are room for one. Tables and results have room
    for all events.
    """
    results.counts[:] = 0
    number = first
    while number < len(starts) - 1:
        if not scan(buffer, starts[number], starts[number + 1], fields, values):
            break
        lane = _find_lane(buffer, fields, state)
        if lane < 0 or fields[DECISIONS] > state.scalars[VIEWED]:
            break
        if fields[KIND] == ASSIGNMENT:
            calm = _assignment(fields, lane, state, results)
        else:
            calm = _outcome(fields, values, lane, state, results)
        if not calm:
            break
        number += 1
    return number
