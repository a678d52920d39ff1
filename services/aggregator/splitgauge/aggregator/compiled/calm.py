"""The compiled engine of the fold: takes in calm events many at a time, and leaves all others to `attribution`.

Owns what stands in the run's tables and how it comes back: nothing that `attribution` and its books look for is missing
there when they look. Both engines give the same bytes; a test folds the same events with both.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.attribution import Attribution
from splitgauge.aggregator.book import Book
from splitgauge.aggregator.compiled import run as of
from splitgauge.aggregator.compiled.ids import RecentIdRing, halves_of, text_of
from splitgauge.aggregator.compiled.lanes import Lanes
from splitgauge.aggregator.compiled.run import run
from splitgauge.aggregator.compiled.scanner import N_FIELDS, N_METRICS
from splitgauge.aggregator.compiled.tables import FREE, add_id, find_open, move_open, take_open
from splitgauge.aggregator.compiled.units import LEFT_OUT, MOST_BOOKS, UnitIndex, unit_halves, unit_text
from splitgauge.aggregator.ledger import OpenRequest
from splitgauge.aggregator.observation import AssignmentEvent, ObservationEvent, OutcomeEvent, ReportEvent, arm_of
from splitgauge.schemas.instants import to_text

__all__ = ["CalmEvents"]

_FIRST_LINES = 1_024
_NEVER_US = 2**63 - 1
_MOST_AT_ONCE = 10_000
_LONGEST_PAUSE = 63
_BEHIND = bytes(64)
"""So that nothing is read beyond the last event."""

_UNIT_ID_LENGTH = 32


class CalmEvents:
    """The engine of one partition's fold; it has a share in that fold's state."""

    def __init__(self, state: Attribution) -> None:
        self._state = state
        self._ids = state.recent = RecentIdRing()
        state.apart = self
        self._lanes = Lanes()
        self._units = UnitIndex()
        self._books: list[Book] = []
        self._numbers: dict[str, int] = {}
        self._of_books: NDArray[np.int64] = np.zeros((0, 2), dtype=np.int64)
        self._scalars = np.zeros(of.N_SCALARS, dtype=np.int64)
        self._scalars[of.OLDEST_OPEN_US] = _NEVER_US
        self._open: NDArray[np.int64] = np.zeros((_FIRST_LINES, 6), dtype=np.int64)
        self._watched: NDArray[np.int64] = np.zeros((_FIRST_LINES, 3), dtype=np.int64)
        self._n_watched = _FIRST_LINES  # so that it is made anew before the first run
        self._fields, self._values = np.zeros(N_FIELDS, dtype=np.int64), np.zeros(N_METRICS)
        self._results = _results(0)
        self._tick_end_us = 0
        # How many events are passed over without a look, after this one and after the next that is not calm.
        self._passing = self._pause = 0
        self._looked = False

    # A batch.

    def begin(self, values: Sequence[bytes]) -> None:
        """The next events."""
        self._joined = b"".join([*values, _BEHIND])
        self._buffer = np.frombuffer(self._joined, dtype=np.uint8)
        self._starts = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum([len(value) for value in values], out=self._starts[1:])
        if min(len(values), _MOST_AT_ONCE) > len(self._results.given):
            self._results = _results(min(len(values), _MOST_AT_ONCE))

    def take(self, number: int, viewed: int) -> int:
        """Take in the calm events from this one on. Returns how many; the one behind them is another's.

        `viewed`: below which offset decisions are known.
        """
        self._looked = self._passing == 0
        if self._passing:  # where hardly anything is calm, looking costs more than it brings
            self._passing -= 1
            return 0
        end = min(len(self._starts) - 1, number + _MOST_AT_ONCE)
        self._prepare(end - number, viewed)
        reached = run(
            self._buffer, self._starts[: end + 1], number, self._fields, self._values, self._tables(), self._results
        )
        if reached > number:
            self._pause = 0
            self._apply()
        else:
            self._passing, self._pause = self._pause, min(2 * self._pause + 1, _LONGEST_PAUSE)
        return reached - number

    def before(self, event: ObservationEvent) -> None:
        """An event that is not calm is about to be observed: its request has to be where it will be looked for."""
        if self._scalars[of.N_OPEN] and not isinstance(event, ReportEvent):
            halves = halves_of(event.data.request_id)
            line = -1 if halves is None else find_open(self._open, *halves)
            if line >= 0:
                self._state.open.open(self._request(self._open[line].tolist()))
                take_open(self._open, line)
                self._scalars[of.N_OPEN] -= 1

    def after(self, event: ObservationEvent) -> None:
        """An event that was not calm has been observed, whatever became of it."""
        if isinstance(event, ReportEvent):
            if self._state.waiting.units:
                self._watch(unit_halves(event.data.unit_id))
        else:
            self._watch(halves_of(event.data.request_id))
        if self._tick_end_us != self._state.clock.tick_end_us:
            self._tick_end_us = self._state.clock.tick_end_us
            self.forget_lanes()
        if self._looked and not isinstance(event, ReportEvent):
            self._learn(event)

    def restored(self) -> None:
        """The state has come from a checkpoint: many units are met now, rather than when the first event asks."""
        for book in self._state.books.values():
            self._number_of(book)

    # What others look for.

    def give_back(self) -> None:
        """Let the open requests be where all look for them."""
        if not self._scalars[of.N_OPEN]:
            return
        lines = self._open[self._open[:, 5] != FREE].tolist()
        for line in lines:
            self._state.open.open(self._request(line))
            self._watch((line[0], line[1]))
        self._open[:, 5] = FREE
        self._scalars[of.N_OPEN], self._scalars[of.OLDEST_OPEN_US] = 0, _NEVER_US

    def give_back_older(self, at_us: int) -> None:
        """The same where any may have been opened at this time or before."""
        if self._scalars[of.OLDEST_OPEN_US] <= at_us:
            self.give_back()

    def forget_lanes(self) -> None:
        """What lanes say may be true no more."""
        self.give_back()
        self._lanes.clear()

    # Around a run.

    def _prepare(self, n_events: int, viewed: int) -> None:
        now_us = self._state.clock.now_us
        scalars = self._scalars
        scalars[of.NOW_US] = -1 if now_us is None else now_us
        scalars[of.TICK_END_US], scalars[of.VIEWED] = self._state.clock.tick_end_us, viewed
        scalars[of.ASSIGNED_SEEN] = self._state.assigned_seen
        self._ids.make_room(n_events)
        scalars[of.RECENT_TOTAL] = self._ids.total
        self._units.make_room(n_events)
        scalars[of.N_UNITS] = self._units.count
        needed = 2 * (int(scalars[of.N_OPEN]) + n_events)
        if needed > len(self._open):
            larger = np.zeros((1 << needed.bit_length(), 6), dtype=np.int64)
            move_open(self._open, larger)
            self._open = larger
        if 2 * self._n_watched > len(self._watched):
            self._watch_anew()
        for number, book in enumerate(self._books):
            self._of_books[number] = book.cohorts.units.next_row, 0

    def _apply(self) -> None:
        """Tell the books and the rest of the state what has come of a run."""
        scalars = self._scalars
        now_us = int(scalars[of.NOW_US])
        self._state.clock.now_us = None if now_us < 0 else now_us
        self._ids.total, self._units.count = int(scalars[of.RECENT_TOTAL]), int(scalars[of.N_UNITS])
        results = self._results
        n_given, n_ended, n_new, n_again = results.counts.tolist()
        given, ended, new = results.given[:n_given], results.ended[:n_ended], results.new[:n_new]
        for line, column, at, length in results.again[:n_again].tolist():
            results.measured[line, column] = float(self._joined[at : at + length])
        for number in self._of_books[:, of.TOUCHED].nonzero()[0].tolist():
            book = self._books[number]
            book.changed = book.unsaved = True
            mine = new[new[:, 0] == number]
            if len(mine):
                texts = [self._joined[at : at + _UNIT_ID_LENGTH].decode() for at in mine[:, 4].tolist()]
                book.cohorts.expose_many(texts, mine[:, 2], mine[:, 3])
            book.activity.given += given[given[:, 0] == number, 1:].tobytes()
            book.activity.ended += ended[ended[:, 0] == number, 1:].tobytes()

    def _tables(self) -> of.Tables:
        lanes, ids = self._lanes, self._ids
        return of.Tables(
            scalars=self._scalars,
            opens=self._open,
            units=self._units.table,
            watched=self._watched,
            ring=ids.ring,
            lines=ids.lines,
            lanes=lanes.numbers,
            lane_lines=lanes.lines,
            lane_texts=lanes.texts,
            books=self._of_books,
        )

    def _request(self, line: list[int]) -> OpenRequest:
        high, low, unit_high, unit_low, at_us, lane = line
        unit_id, arm = unit_text(unit_high, unit_low), self._lanes.arms[lane - 1]
        return OpenRequest(text_of(high, low), unit_id, arm, at_us, to_text(at_us))

    # What the run knows.

    def _learn(self, event: AssignmentEvent | OutcomeEvent) -> None:
        known = self._state.known_lane(arm_of(event.data))
        if known is None:
            return
        if self._lanes.full:
            self.forget_lanes()
        arm, book = known
        number = -1 if book is None else self._number_of(book)
        if book is not None and number < 0:
            return
        known_arm = arm.epoch is not None and arm.variant is not None
        unit_arm = self._units.arm(number, arm.epoch or 0, arm.variant or "") if known_arm else LEFT_OUT
        self._lanes.learn(arm, book, book_number=number, unit_arm=unit_arm, at_us=self._state.clock.now_us or 0)

    def _number_of(self, book: Book) -> int:
        """The number of a book, which is watched from now on; -1: there are too many."""
        if book.id not in self._numbers:
            if len(self._books) == MOST_BOOKS:
                return -1
            self._numbers[book.id] = len(self._books)
            book.cohorts.watch(self._units.of_book(len(self._books)))
            self._books.append(book)
            self._of_books = np.zeros((len(self._books), 2), dtype=np.int64)
        return self._numbers[book.id]

    def _watch(self, halves: tuple[int, int] | None) -> None:
        """The run leaves events to others that have this request or, if it is a new one, this unit."""
        if halves is not None and 2 * self._n_watched <= len(self._watched):
            self._n_watched += add_id(self._watched, *halves)

    def _watch_anew(self) -> None:
        """Watch only what somebody waits for now."""
        state = self._state
        requests = [halves_of(text) for text in chain(state.open.young, state.open.missing, state.waiting.outcomes)]
        ids = {*requests, *(unit_halves(unit_id) for _, unit_id in state.waiting.units)} - {None}
        self._watched = np.zeros((max(_FIRST_LINES, 1 << (4 * len(ids)).bit_length()), 3), dtype=np.int64)
        self._n_watched = 0
        for halves in ids:
            self._watch(halves)


def _results(n_events: int) -> of.Results:
    """Room for what comes of as many events."""
    ended = np.zeros((n_events, 5 + N_METRICS), dtype=np.int64)
    return of.Results(
        counts=np.zeros(of.N_COUNTS, dtype=np.int64),
        given=np.zeros((n_events, 6), dtype=np.int64),
        new=np.zeros((n_events, 5), dtype=np.int64),
        ended=ended,
        measured=ended.view(np.float64),
        again=np.zeros((n_events * N_METRICS, 4), dtype=np.int64),
    )
