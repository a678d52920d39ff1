"""To whom each observation belongs (events.md, rules 6-10): the story of one partition, event by event.

Owns the clock, what was seen, what is open or waiting, and one book per experiment. An event that cannot be used
raises a ContractError and has counted nowhere. Must not know batches, digests or positions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from splitgauge.aggregator.book import Book
from splitgauge.aggregator.clock import MISSING_AFTER_US, TICK_US, PartitionClock, expiry_tick, instant_us
from splitgauge.aggregator.duplicates import RecentIds
from splitgauge.aggregator.ledger import OpenRequest, OpenRequests, WaitingOutcome, WaitingReport, WaitingRoom
from splitgauge.aggregator.observation import (
    Arm,
    Assignment,
    AssignmentEvent,
    BoundedMeasured,
    ObservationEvent,
    Outcome,
    OutcomeEvent,
    Report,
    ReportEvent,
    arm_of,
)
from splitgauge.aggregator.values import check_measured
from splitgauge.experiments.state import Registry
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.experiment import DAY_S
from splitgauge.schemas.instants import SECOND_US

__all__ = ["Apart", "Attribution", "Ids"]

_ROUTER = SOURCES["router"]
_KEEP_OUTSIDE_US = round(7 * DAY_S) * SECOND_US
"""For requests outside every experiment, as long as an experiment keeps unless it says otherwise."""

_MOST_LANES = 10_000
"""Callers are whoever they are: what is remembered of them must not grow for ever."""


class Apart(Protocol):
    """An engine that keeps some open requests where `Attribution.open` has them not."""

    def give_back(self) -> None:
        """Let all of them be there."""
        ...

    def give_back_older(self, at_us: int) -> None:
        """Let those be there that were opened at this time or before."""
        ...

    def forget_lanes(self) -> None:
        """Decisions were read further."""
        ...


class Ids(Protocol):
    """The ids of the last events; `RecentIds` are such."""

    total: int

    def claim(self, event_id: str) -> bool: ...
    def release(self, event_id: str) -> None: ...
    def forget(self) -> None: ...
    def changed_rows(self) -> dict[bytes, bytes | None]: ...
    def restore(self, rows: Mapping[bytes, bytes], total: int) -> None: ...


class Attribution:
    """The state of a partition that decides what an observation means.

    Attributes:
        books: by experiment.
        outside: reports for no experiment.
        assigned_seen: the highest decisions_offset among assignments: which epochs have ended here (rule 9).
        apart: who else holds open requests; None: nobody.
    """

    def __init__(self) -> None:
        self.clock = PartitionClock()
        self.recent: Ids = RecentIds()
        self.open = OpenRequests()
        self.waiting = WaitingRoom()
        self.books: dict[str, Book] = {}
        self.outside = 0
        self.assigned_seen = 0
        self.apart: Apart | None = None
        self._view = Registry()
        # Arms that requests were given to already, each made once, and the book of its experiment.
        self._lanes: dict[tuple[Any, ...], tuple[Arm, Book | None]] = {}

    def look(self, view: Registry) -> None:
        """The decisions that count from now on."""
        self._view = view
        self._lanes.clear()
        if self.apart is not None:
            self.apart.forget_lanes()
        for experiment_id, book in self.books.items():
            book.learn(view.experiments[experiment_id])

    def observe(self, offset: int, event: ObservationEvent) -> None:
        """The next event of the partition. Raises: ContractError (a dead letter), and nothing has changed."""
        if isinstance(event, ReportEvent):
            self._report(offset, event)
            return
        event_id = event.id if event.source == _ROUTER else f"{event.source}\n{event.id}"
        if not self.recent.claim(event_id):
            self._count(event.data.experiment_id, "duplicates")
            return
        try:
            if isinstance(event, AssignmentEvent):
                self._assignment(event.data, event.time)
            elif event.data.mode == "live":
                self._outcome(offset, event)
        except ContractError:
            self.recent.release(event_id)
            raise

    def give_back(self) -> None:
        """Let `open` have all open requests."""
        if self.apart is not None:
            self.apart.give_back()

    def known_lane(self, arm: tuple[Any, ...]) -> tuple[Arm, Book | None] | None:
        """Of an arm that requests were given to since decisions were last read: itself, and its book."""
        return self._lanes.get(arm)

    def mark_missing(self) -> None:
        """Count requests whose horizon has passed. Calling it more or less often changes no number."""
        if self.clock.now_us is None:
            return
        if self.apart is not None:
            self.apart.give_back_older(self.clock.now_us - MISSING_AFTER_US)
        for request in self.open.newly_missing(self.clock.now_us):
            if request.arm.experiment_id is not None:
                self.books[request.arm.experiment_id].missing(request)

    # Assignments.

    def _assignment(self, data: Assignment, at: str) -> None:
        at_us = instant_us(at)
        key = arm_of(data)
        arm, book = self._lanes.get(key) or self._new_lane(key, data)
        covariates: Sequence[tuple[int, int]] = ()
        if book is not None and book.layout.has_covariates and data.reason == "split" and not book.has(data.unit_id):
            covariates = book.layout.covariate_values(data.covariates)
        live, request_id = data.mode == "live", data.request_id
        if live and (request_id in self.open.young or request_id in self.open.missing):
            self._count(data.experiment_id, "duplicates")
            return
        ticked = self.clock.move(at_us)
        if data.decisions_offset > self.assigned_seen:
            self._see_decisions(data.decisions_offset)
        if ticked:
            self._tick((self.clock.now_us or 0) // TICK_US)
        if not live:
            return
        request = OpenRequest(request_id, data.unit_id, arm, at_us, at)
        self.open.open(request)
        if book is not None and book.assigned(request, data, self.clock, covariates):
            self._apply_waiting(book, data.unit_id)
        waiting = self.waiting.take_outcome(request_id) if self.waiting.outcomes else None
        if waiting is not None:
            self._close(request, waiting.event.data)

    def _new_lane(self, key: tuple[Any, ...], data: Assignment) -> tuple[Arm, Book | None]:
        """Of an arm that this partition meets for the first time. Raises: ContractError where there is no such arm."""
        book = self._book(data.experiment_id)
        if book is not None and (data.epoch, data.variant) not in book.arms:
            _expect_arm(book, data)
        if len(self._lanes) >= _MOST_LANES:
            self._lanes.clear()
        lane = self._lanes[key] = (Arm(*key), book)
        return lane

    def _see_decisions(self, offset: int) -> None:
        self.assigned_seen = offset
        for book in self.books.values():
            book.read_decisions(offset, self.clock)

    def _tick(self, tick: int) -> None:
        # What is missing has to be counted before its unit's row goes.
        self.mark_missing()
        self.open.give_up(lambda request: expiry_tick(request.at_us, self._keep_us(request.arm.experiment_id)) <= tick)
        for experiment_id in self.waiting.give_up(tick):
            self.books[experiment_id].count("unattributable")
        for book in self.books.values():
            book.tick(tick)

    # Outcomes.

    def _outcome(self, offset: int, event: OutcomeEvent) -> None:
        data = event.data
        if data.experiment_id not in self.books:
            self._book(data.experiment_id)
        if type(data.metrics) is not BoundedMeasured:
            check_measured(data.metrics, complete=data.status == "complete")
        request = self.open.get(data.request_id)
        if request is not None:
            if data.assigned_at != request.at:
                instant_us(data.assigned_at)
            self._close(request, data)
            return
        assigned_at_us, keep_us = instant_us(data.assigned_at), self._keep_us(data.experiment_id)
        if self.clock.passed(expiry_tick(assigned_at_us, keep_us)):
            self._count(data.experiment_id, "too_late")
            return
        if not self.waiting.add_outcome(WaitingOutcome(offset, self._patience(assigned_at_us, keep_us), event)):
            self._count(data.experiment_id, "duplicates")

    def _close(self, request: OpenRequest, data: Outcome) -> None:
        arm, key = request.arm, arm_of(data)
        book = self.books.get(arm.experiment_id or "")
        was_missing = self.open.close(request.request_id)
        # Who called makes no conflict; it is the last field.
        agrees = key == arm or key[:-1] == arm[:-1]
        if not agrees or data.unit_id != request.unit_id:
            if book is not None:
                book.conflicting(request, was_missing=was_missing)
            else:
                self._count(data.experiment_id, "conflicts")
        elif book is not None:
            book.answered(request, data, self.clock, was_missing=was_missing)

    # Reports.

    def _report(self, offset: int, event: ReportEvent) -> None:
        data = event.data
        received_at_us = instant_us(data.received_at)
        book = self._book(data.experiment_id)
        if book is None:
            self._report_to_all(event, received_at_us)
            return
        values = book.named_values(data.metrics)
        if data.unit_id in book.cohorts.units.rows:
            self._apply_report(book, event, values, received_at_us)
        elif book.gone:
            book.count("too_late")
        else:
            waiting = WaitingReport(offset, self._patience(received_at_us, book.keep_us), event)
            if not self.waiting.add_report(book.id, waiting):
                book.count("duplicates")

    def _apply_waiting(self, book: Book, unit_id: str) -> None:
        for _, _, event in self.waiting.take_reports(book.id, unit_id):
            values = book.named_values(event.data.metrics)
            self._apply_report(book, event, values, instant_us(event.data.received_at))

    def _apply_report(self, book: Book, event: ReportEvent, values: list[tuple[int, int]], received_at_us: int) -> None:
        data = event.data
        if not self._counts_for(book, data):
            book.count("foreign")
            return
        book.reported(event.id, data, values, received_at_us, self.clock)

    def _report_to_all(self, event: ReportEvent, received_at_us: int) -> None:
        data = event.data
        # A report by token that names no experiment was outside all of them, wherever its unit is otherwise.
        found = [
            (book, book.known_values(data.metrics))
            for book in self.books.values()
            if data.request_id is None and data.unit_id in book.cohorts.units.rows and self._counts_for(book, data)
        ]
        applied = [(book, values) for book, values in found if values]
        for book, values in applied:
            book.reported(event.id, data, values, received_at_us, self.clock)
        if not applied:
            self.outside += 1

    def _counts_for(self, book: Book, data: Report) -> bool:
        """By token: if its epoch is the cohort's. By unit: until the cohort's epoch ends in this partition."""
        cohort = book.cohorts.key_of(book.cohorts.units.rows[data.unit_id]).epoch
        if data.request_id is not None:
            return data.epoch == cohort
        return not book.epochs[cohort].ended_for(self.assigned_seen)

    # All.

    def _book(self, experiment_id: str | None) -> Book | None:
        if experiment_id is None:
            return None
        book = self.books.get(experiment_id)
        if book is not None:
            return book
        state = self._view.experiments.get(experiment_id)
        if state is None or not state.epochs:
            raise ContractError(
                f"there is no experiment {experiment_id!r} that has started",
                where="/data/experiment_id",
                remedy=f"The event was written when decisions below {self._view.offset} were known",
                code="unknown-experiment",
            )
        book = self.books[experiment_id] = Book(state)
        book.read_decisions(self.assigned_seen, self.clock)
        return book

    def _count(self, experiment_id: str | None, why: str) -> None:
        if experiment_id in self.books:
            self.books[experiment_id].count(why)

    def settle(self) -> None:
        """Add up what books have put aside: between batches, so that it does not grow."""
        for book in self.books.values():
            book.settle_if_much()
        self.recent.forget()

    def _keep_us(self, experiment_id: str | None) -> int:
        book = self.books.get(experiment_id or "")
        return _KEEP_OUTSIDE_US if book is None else book.keep_us

    def _patience(self, at_us: int, keep_us: int) -> int:
        """Until which tick something waits: `keep` from now, by the partition's clock where it runs already."""
        return expiry_tick(at_us if self.clock.now_us is None else self.clock.now_us, keep_us)


def _expect_arm(book: Book, data: Assignment) -> None:
    split = data.reason == "split"
    if (split or data.variant is not None) and data.variant not in book.variants:
        raise ContractError(
            f"experiment {book.id!r} has no variant {data.variant!r}", where="/data/variant", code="unknown-variant"
        )
    if split:
        raise ContractError(
            f"experiment {book.id!r} has no epoch {data.epoch!r}", where="/data/epoch", code="unknown-epoch"
        )
