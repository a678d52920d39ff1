"""What is under way in a partition: open requests, and outcomes and reports that came before their assignment.

Owns who waits for whom, and until when; which request is missing. Counts nothing itself: it hands back what has become
due. Knows no metric.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct, json

from splitgauge.aggregator.clock import MISSING_AFTER_US
from splitgauge.aggregator.observation import Assignment, OutcomeEvent, ReportEvent
from splitgauge.schemas.instants import SECOND_US

__all__ = ["OpenRequest", "OpenRequests", "WaitingOutcome", "WaitingReport", "WaitingRoom"]


class OpenRequest(Struct, frozen=True, gc=False):
    """A live request that has no outcome yet: its assignment, and when that was (also as the event has it)."""

    data: Assignment
    at_us: int
    at: str


class OpenRequests:
    """Open requests by id (`held`). Those past their horizon are known: missing until their outcome comes."""

    __slots__ = ("_missing", "_saved", "_seconds", "held")

    def __init__(self) -> None:
        self.held: dict[str, OpenRequest] = {}
        self._missing: set[str] = set()
        # By second of assignment, so that the horizon finds what it passes without looking at all.
        self._seconds: dict[int, set[str]] = {}
        self._saved: set[str] = set()

    def open(self, request: OpenRequest) -> None:
        """A request was assigned."""
        request_id, second = request.data.request_id, request.at_us // SECOND_US
        self.held[request_id] = request
        held = self._seconds.get(second)
        if held is None:
            self._seconds[second] = {request_id}
        else:
            held.add(request_id)

    def close(self, request: OpenRequest) -> bool:
        """Its outcome came. True if it had been counted as missing."""
        request_id = request.data.request_id
        del self.held[request_id]
        if request_id in self._missing:
            self._missing.remove(request_id)
            return True
        self._seconds[request.at_us // SECOND_US].discard(request_id)
        return False

    def newly_missing(self, now_us: int) -> Iterator[OpenRequest]:
        """Requests whose horizon has passed since the last call. Calling it more or less often changes nothing."""
        horizon_us = now_us - MISSING_AFTER_US
        for second in [second for second in self._seconds if second * SECOND_US <= horizon_us]:
            due = {key for key in self._seconds[second] if self.held[key].at_us <= horizon_us}
            self._seconds[second] -= due
            if not self._seconds[second]:
                del self._seconds[second]
            self._missing |= due
            for request_id in due:
                yield self.held[request_id]

    def give_up(self, over: Callable[[OpenRequest], bool]) -> None:
        """Let go of missing requests whose time is over. They stay counted as missing."""
        for request_id in [key for key in self._missing if over(self.held[key])]:
            self._missing.remove(request_id)
            del self.held[request_id]

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows `o/request` of what is open now and was not at the last call, or the other way round."""
        held = set(self.held)
        rows: dict[bytes, bytes | None] = {b"o/" + key.encode(): None for key in self._saved - held}
        for key in held - self._saved:
            rows[b"o/" + key.encode()] = json.encode(self.held[key])
        self._saved = held
        return rows

    def restore(self, rows: Mapping[bytes, bytes], now_us: int | None) -> None:
        """From a checkpoint, at the clock of its position."""
        for key, value in rows.items():
            if key.startswith(b"o/"):
                request = json.decode(value, type=OpenRequest)
                if now_us is not None and request.at_us + MISSING_AFTER_US <= now_us:
                    self.held[request.data.request_id] = request
                    self._missing.add(request.data.request_id)
                else:
                    self.open(request)
        self._saved = set(self.held)


class WaitingOutcome(NamedTuple):
    """An outcome whose assignment has not come. It waits until `tick`."""

    offset: int
    tick: int
    event: OutcomeEvent


class WaitingReport(NamedTuple):
    """A report for a unit that its experiment has not met. It waits until `tick`."""

    offset: int
    tick: int
    event: ReportEvent


class WaitingRoom:
    """Outcomes by request, reports by experiment and unit."""

    __slots__ = ("_changed", "_reports", "outcomes")

    def __init__(self) -> None:
        self.outcomes: dict[str, WaitingOutcome] = {}
        self._reports: dict[tuple[str, str], list[WaitingReport]] = {}
        self._changed: set[bytes] = set()

    def add_outcome(self, waiting: WaitingOutcome) -> bool:
        """False if the request has an outcome waiting already: the first holds."""
        request_id = waiting.event.data.request_id
        if request_id in self.outcomes:
            return False
        self.outcomes[request_id] = waiting
        self._changed.add(b"w/" + request_id.encode())
        return True

    def add_report(self, experiment_id: str, waiting: WaitingReport) -> bool:
        """False if this very report is waiting already."""
        held = self._reports.setdefault((experiment_id, waiting.event.data.unit_id), [])
        if any(other.event.id == waiting.event.id for other in held):
            return False
        held.append(waiting)
        self._changed.add(_report_key(experiment_id, waiting.event.data.unit_id))
        return True

    def take_outcome(self, request_id: str) -> WaitingOutcome | None:
        """The outcome that waits for this request's assignment."""
        if request_id not in self.outcomes:
            return None
        self._changed.add(b"w/" + request_id.encode())
        return self.outcomes.pop(request_id)

    def take_reports(self, experiment_id: str, unit_id: str) -> list[WaitingReport]:
        """The reports that wait for this unit, in the order in which they came."""
        if not self._reports or (experiment_id, unit_id) not in self._reports:
            return []
        self._changed.add(_report_key(experiment_id, unit_id))
        return self._reports.pop((experiment_id, unit_id))

    def give_up(self, tick: int) -> Iterable[str]:
        """Let go of what has waited long enough at a tick: the experiment of each, where it has one."""
        for request_id in [key for key, waiting in self.outcomes.items() if waiting.tick <= tick]:
            waiting = self.outcomes.pop(request_id)
            self._changed.add(b"w/" + request_id.encode())
            if waiting.event.data.experiment_id is not None:
                yield waiting.event.data.experiment_id
        for (experiment_id, unit_id), held in list(self._reports.items()):
            kept = [report for report in held if report.tick > tick]
            if len(kept) < len(held):
                self._changed.add(_report_key(experiment_id, unit_id))
                self._reports[experiment_id, unit_id] = kept
                if not kept:
                    del self._reports[experiment_id, unit_id]
                yield from [experiment_id] * (len(held) - len(kept))

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows `w/request` and `v/[experiment,unit]` changed since the last call."""
        rows: dict[bytes, bytes | None] = {}
        for key in self._changed:
            if key.startswith(b"w/"):
                outcome = self.outcomes.get(key[2:].decode())
                rows[key] = None if outcome is None else json.encode(outcome)
            else:
                experiment_id, unit_id = json.decode(key[2:], type=tuple[str, str])
                reports = self._reports.get((experiment_id, unit_id))
                rows[key] = None if reports is None else json.encode(reports)
        self._changed.clear()
        return rows

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """From a checkpoint."""
        for key, value in rows.items():
            if key.startswith(b"w/"):
                self.outcomes[key[2:].decode()] = json.decode(value, type=WaitingOutcome)
            elif key.startswith(b"v/"):
                self._reports[json.decode(key[2:], type=tuple[str, str])] = json.decode(value, type=list[WaitingReport])


def _report_key(experiment_id: str, unit_id: str) -> bytes:
    return b"v/" + json.encode((experiment_id, unit_id))
