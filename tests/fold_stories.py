"""Stories for the fold: decisions and observations as they stand in the log, with as little said as a test needs."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from splitgauge.experiments.commands import (
    By,
    activate_experiment,
    complete_experiment,
    define_experiment,
    define_workload,
    initialize_log,
    reweight_experiment,
)
from splitgauge.experiments.history import DecisionHistory
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import EventType, wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.workload import Workload

__all__ = ["MINUTE", "START", "Decisions", "Stored", "assignment", "outcome", "report", "specification", "stored"]

START = 1_790_000_000_000_000
"""Microseconds since 1970 at which stories begin; on a full minute, 13:20 UTC or so."""

MINUTE = 60_000_000

_BY = By(actor=Actor(kind="user", name="tester"), reason="a test")


class Stored(NamedTuple):
    """An event with its offset, as the fold takes it."""

    offset: int
    value: bytes


def stored(values: list[bytes], start: int = 0) -> list[Stored]:
    """Events at the offsets from `start` on."""
    return [Stored(offset, value) for offset, value in enumerate(values, start)]


def specification(experiment_id: str, **fields: Any) -> ExperimentSpecification:
    """Two arms, `control` and `challenger`, half each, and whatever else is said."""
    return ExperimentSpecification.model_validate(
        {
            "name": experiment_id,
            "id": experiment_id,
            "base_workload_id": f"base-{experiment_id}",
            "control": "control",
            "variants": [
                {"name": "control", "workload_id": f"base-{experiment_id}", "weight": 1},
                {"name": "challenger", "workload_id": f"base-{experiment_id}", "weight": 1},
            ],
            **fields,
        }
    )


class Decisions:
    """A log of decisions that grows, and its history."""

    def __init__(self) -> None:
        self.history = DecisionHistory()
        self.values: list[bytes] = []
        self._append(initialize_log("f" * 64, _BY))

    @property
    def end(self) -> int:
        """How many decisions there are: what a router that has read them all writes as decisions_offset."""
        return len(self.values)

    def start(self, experiment_id: str, **fields: Any) -> int:
        """Define and activate an experiment on a workload of its own. Returns `end`."""
        workload = Workload.model_validate(
            {"id": f"base-{experiment_id}", "provider": "webhook", "url": "http://127.0.0.1:9/"}
        )
        self._append(define_workload(self.history.newest, workload, _BY))
        self._append(define_experiment(self.history.newest, experiment_id, specification(experiment_id, **fields), _BY))
        self._append(activate_experiment(self.history.newest, experiment_id, _BY))
        return self.end

    def reweight(self, experiment_id: str, control: float, challenger: float) -> int:
        """Opens the next epoch."""
        weights = {"control": control, "challenger": challenger}
        self._append(reweight_experiment(self.history.newest, experiment_id, weights, _BY))
        return self.end

    def complete(self, experiment_id: str) -> int:
        """Ends the experiment without a winner."""
        self._append(complete_experiment(self.history.newest, experiment_id, _BY))
        return self.end

    def _append(self, decision: DecisionData) -> None:
        value = wrap(
            encode(decision.model_dump(mode="json")),
            type="splitgauge.decision.v1",
            id=f"decision-{self.end}",
            source="/splitgauge/console",
            time=to_text(START + self.end),
        )
        judged = self.history.extend([(self.end, value)])
        assert judged[0].accepted, judged[0].refusal
        self.values.append(value)


def unit_id(name: str) -> str:
    """A unit's id as a router would write it."""
    return uuid5(NAMESPACE_URL, name).hex


def assignment(request: str, unit: str, variant: str | None = "control", **fields: Any) -> bytes:
    """A live split assignment in epoch 1 of experiment `exp`, unless said otherwise. `at`: microseconds."""
    at = fields.pop("at", START)
    data = _given(request, unit, variant, fields)
    return _event("splitgauge.assignment.v1", data, fields, event_id=f"{request}/assignment", time=at)


def outcome(request: str, unit: str, variant: str | None = "control", **fields: Any) -> bytes:
    """A complete answer to it. `metrics`: what the router measured."""
    at = fields.pop("at", START)
    metrics = fields.pop("metrics", {"success": True, "latency_ms": 100.0})
    status = fields.pop("status", "complete")
    data = {**_given(request, unit, variant, fields), "assigned_at": to_text(at), "status": status, "metrics": metrics}
    return _event("splitgauge.outcome.v1", data, fields, event_id=f"{request}/outcome", time=at + 1)


def report(unit: str, metrics: Mapping[str, Any], **fields: Any) -> bytes:
    """A report by unit; by token with `request`, `experiment` and `epoch`. `event`: its id, where it matters."""
    at = fields.pop("at", START)
    request = fields.pop("request", None)
    data = {
        "unit_id": unit_id(unit),
        "experiment_id": fields.pop("experiment", None),
        "epoch": fields.pop("epoch", None),
        "request_id": request,
        "metrics": dict(metrics),
        "received_at": to_text(at),
        "decisions_offset": fields.pop("seen", 4),
    }
    event_id = fields.pop("event", f"{request}/{unit}/{sorted(metrics.items())}/{at}")
    return _event("splitgauge.report.v1", data, fields, event_id=event_id, time=at)


def _given(request: str, unit: str, variant: str | None, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "experiment_id": fields.pop("experiment", "exp"),
        "epoch": fields.pop("epoch", 1),
        "workload": "base-exp",
        "request_id": request,
        "unit_id": unit_id(unit),
        "variant": variant,
        "reason": fields.pop("reason", "split"),
        "mode": fields.pop("mode", "live"),
        "decisions_offset": fields.pop("seen", 4),
        "caller": fields.pop("caller", None),
    }


def _event(kind: EventType, data: dict[str, Any], fields: dict[str, Any], *, event_id: str, time: int) -> bytes:
    return wrap(
        encode({**data, **fields}),
        type=kind,
        id=event_id,
        source="/splitgauge/router",
        time=to_text(time),
        key=data["unit_id"],
    )
