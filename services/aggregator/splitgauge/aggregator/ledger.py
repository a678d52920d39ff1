"""What is under way in a partition: open requests, and outcomes and reports that came before their assignment.

Owns who waits for whom, and until when; which request is missing. Counts nothing itself: it hands back what has become
due. Knows no metric.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct, json

from splitgauge.aggregator.clock import MISSING_AFTER_US
from splitgauge.aggregator.observation import Arm, OutcomeEvent, ReportEvent

__all__ = ["OpenRequest", "OpenRequests", "WaitingOutcome", "WaitingReport", "WaitingRoom"]

_NEVER_US = 2**63


class OpenRequest(Struct, frozen=True, gc=False):
    """A live request that has no outcome yet: what it was given to, and when (also as the event has it)."""

    request_id: str
    unit_id: str
    arm: Arm
    at_us: int
    at: str


class OpenRequests:
    """Open requests by id.

    Attributes:
        young: those whose horizon has not passed.
        missing: those past it, until their outcome comes.
    """

    __slots__ = ("_earliest_us", "_saved", "missing", "young")

    def __init__(self) -> None:
        self.young: dict[str, OpenRequest] = {}
        self.missing: dict[str, OpenRequest] = {}
        self._earliest_us = _NEVER_US  # no young request is older than that
        self._saved: set[str] = set()

    def get(self, request_id: str) -> OpenRequest | None:
        """The open request with this id."""
        return self.young.get(request_id) or self.missing.get(request_id)

    def open(self, request: OpenRequest) -> None:
        """A request was assigned."""
        self.young[request.request_id] = request
        if request.at_us < self._earliest_us:
            self._earliest_us = request.at_us

    def close(self, request_id: str) -> bool:
        """Its outcome came. True if it had been counted as missing."""
        if self.young.pop(request_id, None) is not None:
            return False
        del self.missing[request_id]
        return True

    def newly_missing(self, now_us: int) -> list[OpenRequest]:
        """Requests whose horizon has passed since the last call. Calling it more or less often changes nothing."""
        horizon_us = now_us - MISSING_AFTER_US
        if self._earliest_us > horizon_us:
            return []
        due = [request for request in self.young.values() if request.at_us <= horizon_us]
        for request in due:
            self.missing[request.request_id] = self.young.pop(request.request_id)
        self._earliest_us = min((request.at_us for request in self.young.values()), default=_NEVER_US)
        return due

    def give_up(self, over: Callable[[OpenRequest], bool]) -> None:
        """Let go of missing requests whose time is over. They stay counted as missing."""
        for request_id in [key for key, request in self.missing.items() if over(request)]:
            del self.missing[request_id]

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows `o/request` of what is open now and was not at the last call, or the other way round."""
        held = {**self.young, **self.missing}
        rows: dict[bytes, bytes | None] = {b"o/" + key.encode(): None for key in self._saved - held.keys()}
        for key in held.keys() - self._saved:
            rows[b"o/" + key.encode()] = json.encode(held[key])
        self._saved = set(held)
        return rows

    def restore(self, rows: Mapping[bytes, bytes], now_us: int | None) -> None:
        """From a checkpoint, at the clock of its position."""
        for key, value in rows.items():
            if key.startswith(b"o/"):
                request = json.decode(value, type=OpenRequest)
                if now_us is not None and request.at_us + MISSING_AFTER_US <= now_us:
                    self.missing[request.request_id] = request
                else:
                    self.open(request)
        self._saved = {*self.young, *self.missing}


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

    @property
    def units(self) -> Collection[tuple[str, str]]:
        """Experiments and units that reports wait for."""
        return self._reports.keys()

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
