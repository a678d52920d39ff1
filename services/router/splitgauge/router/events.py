"""The bytes of the router's events. Pure.

Owns their making on the data path: plain dictionaries through orjson, as validating each event again would cost more
than all the rest of a request. That they are what `splitgauge.schemas.traffic` says is held by tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from splitgauge.eventlog.dead_letters import dead_letter
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.router.plan import Plan
from splitgauge.router.reports import Attributed
from splitgauge.router.usage import Usage
from splitgauge.schemas.envelope import SOURCES, EventType, wrap
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.identifiers import live_event_id
from splitgauge.schemas.topics import unit_partition
from splitgauge.schemas.traffic import OutcomeStatus

__all__ = ["Assigned", "Ending", "EventMaker"]

_SOURCE = SOURCES["router"]


@dataclass(frozen=True, slots=True)
class Assigned:
    """A request with its plan, from the moment of its assignment on.

    Attributes:
        at: that moment, RFC 3339.
        decisions_offset: how far its router had read the decisions.
    """

    request_id: str
    plan: Plan
    at: str
    decisions_offset: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended.

    Attributes:
        success: None where it counts neither way.
        answered: whether the endpoint gave an answer of any status.
        ttft_ms: until the head of the answer was there.
    """

    status: OutcomeStatus
    success: bool | None
    answered: bool
    latency_ms: float
    ttft_ms: float | None
    usage: Usage
    cost: float | None


class EventMaker:
    """Makes events of one router instance."""

    def __init__(self, *, instance: str, observation_partitions: int) -> None:
        self._instance = instance
        self._partitions = observation_partitions

    def assignment(self, assigned: Assigned) -> Record:
        """Of a request, for `splitgauge.observations`."""
        plan = assigned.plan
        data = _common(assigned)
        if plan.slot is not None:
            data["slot"] = plan.slot
        if plan.own_unit:
            data["own_unit"] = True
        if plan.covariates:
            data["covariates"] = plan.covariates
        return self._of_unit(
            data,
            kind="splitgauge.assignment.v1",
            event_id=live_event_id(assigned.request_id, "assignment"),
            unit_id=plan.unit_id,
            time=assigned.at,
            subject=plan.experiment_id or plan.workload,
        )

    def outcome(self, assigned: Assigned, ending: Ending, *, time: str) -> Record:
        """Of a request, for `splitgauge.observations`."""
        plan, usage = assigned.plan, ending.usage
        data = _common(assigned)
        data["assigned_at"] = assigned.at
        data["status"] = ending.status
        if ending.answered and plan.variant is not None:
            data["served"] = plan.variant
        spent = _present({"tokens": usage.total, "cost": ending.cost})
        attempt = {"variant": plan.variant, "status": ending.status, "latency_ms": ending.latency_ms, **spent}
        data["attempts"] = [attempt]
        metrics: dict[str, Any] = {
            "success": ending.success,
            "latency_ms": ending.latency_ms,
            "ttft_ms": ending.ttft_ms,
            "input_tokens": usage.input_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "output_tokens": usage.output_tokens,
            "cost": ending.cost,
        }
        data["metrics"] = _present(metrics)
        return self._of_unit(
            data,
            kind="splitgauge.outcome.v1",
            event_id=live_event_id(assigned.request_id, "outcome"),
            unit_id=plan.unit_id,
            time=time,
            subject=plan.experiment_id or plan.workload,
        )

    def report(self, report: Attributed, *, received_at: str, decisions_offset: int) -> Record:
        """An attributed report, for `splitgauge.observations`."""
        place = {"experiment_id": report.experiment_id, "epoch": report.epoch, "request_id": report.request_id}
        data = _present(place) | {
            "unit_id": report.unit_id,
            "metrics": dict(report.metrics),
            "received_at": received_at,
            "decisions_offset": decisions_offset,
        }
        return self._of_unit(
            data,
            kind="splitgauge.report.v1",
            event_id=report.event_id,
            unit_id=report.unit_id,
            time=report.time or received_at,
            subject=report.experiment_id,
        )

    def response(self, data: Mapping[str, Any], *, request_id: str, time: str) -> Record:
        """The answer to a request event, for `splitgauge.responses`."""
        event = wrap(
            orjson.dumps(data),
            type="splitgauge.response.v1",
            id=live_event_id(request_id, "response"),
            source=_SOURCE,
            time=time,
            key=request_id,
            instance=self._instance,
        )
        return Record(event, request_id.encode())

    def dead_letter(self, stored: StoredRecord, error: SplitgaugeError, *, time: str) -> Record:
        """Of an event of callers that could not be used, for `splitgauge.dead-letters`."""
        return dead_letter(
            stored, code=error.code, reason=str(error), role="router", time=time, instance=self._instance
        )

    def _of_unit(
        self, data: dict[str, Any], *, kind: EventType, event_id: str, unit_id: str, time: str, subject: str | None
    ) -> Record:
        event = wrap(
            orjson.dumps(data),
            type=kind,
            id=event_id,
            source=_SOURCE,
            time=time,
            subject=subject,
            key=unit_id,
            instance=self._instance,
        )
        return Record(event, unit_id.encode(), unit_partition(unit_id, self._partitions))


def _common(assigned: Assigned) -> dict[str, Any]:
    """What an assignment and its outcome say alike."""
    plan = assigned.plan
    data: dict[str, Any] = {
        "workload": plan.workload,
        "request_id": assigned.request_id,
        "unit_id": plan.unit_id,
        "reason": plan.reason,
        "decisions_offset": assigned.decisions_offset,
    }
    if plan.experiment_id is not None:
        data["experiment_id"] = plan.experiment_id
        data["epoch"] = plan.epoch
    if plan.variant is not None:
        data["variant"] = plan.variant
    return data


def _present(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known: a reader's default for it is the same null."""
    return {name: value for name, value in data.items() if value is not None}
