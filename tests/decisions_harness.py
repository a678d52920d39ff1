"""Decisions for tests: a history that is written with the commands and read with the fold, at chosen times."""

from typing import Any

from splitgauge.experiments import commands
from splitgauge.experiments.commands import By
from splitgauge.experiments.history import DecisionHistory, Judged
from splitgauge.experiments.state import ExperimentState, Registry, WorkloadState
from splitgauge.schemas import instants
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData, Evidence, IdempotencyKey
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.workload import Workload

START_US = 1_800_000_000_000_000
SECOND_US = 1_000_000
PERSON = Actor(kind="user", name="ann")
ANALYZER = Actor(kind="analyzer", name="analyzer")


def by(actor: Actor = PERSON, *, revision: int | None = None, key: str | None = None, seen: int | None = None) -> By:
    """Who wants it; `seen`: the revision that an analyzer's evidence saw."""
    idempotency = IdempotencyKey(key=key, body="b" * 64) if key else None
    evidence = Evidence(id="look", sha256="0" * 64, revision=seen) if seen is not None else None
    return By(actor, "because", revision, idempotency, evidence)


def workload(workload_id: int | str, **changes: Any) -> Workload:
    fields = {"id": workload_id, "provider": "webhook", "url": f"http://127.0.0.1:9/{workload_id}", **changes}
    return Workload.model_validate(fields)


def specification(base: int | str = 42, **changes: Any) -> ExperimentSpecification:
    """Control 80, challenger 20."""
    return ExperimentSpecification.model_validate(
        {
            "name": "a test",
            "base_workload_id": base,
            "variants": [
                {"name": "control", "workload_id": base, "weight": 80},
                {"name": "challenger", "workload_id": 57, "weight": 20},
            ],
            **changes,
        }
    )


THREE_ARMS: list[dict[str, Any]] = [
    {"name": "control", "workload_id": 42, "weight": 60},
    {"name": "b", "workload_id": 57, "weight": 20},
    {"name": "c", "workload_id": 57, "weight": 20},
]


class Chronicle:
    """A log of decisions in memory. Every decision is made a second after the one before."""

    def __init__(self) -> None:
        self.history = DecisionHistory()
        self.values: list[bytes] = []
        self.now_us = START_US

    @property
    def registry(self) -> Registry:
        return self.history.newest

    def experiment(self, experiment_id: str = "e1") -> ExperimentState:
        return self.registry.experiments[experiment_id]

    def workload(self, key: str = "42") -> WorkloadState:
        return self.registry.workloads[key]

    def write(self, decision: DecisionData) -> Judged:
        """Append and read back, whatever becomes of it."""
        return self.write_bytes(encode(decision.model_dump(mode="json", exclude_none=True)))

    def write_bytes(self, data: bytes) -> Judged:
        value = wrap(
            data,
            type="splitgauge.decision.v1",
            id=f"d{len(self.values)}",
            source="/splitgauge/console",
            time=instants.to_text(self.now_us),
        )
        self.now_us += SECOND_US
        self.values.append(value)
        [judged] = self.history.extend([(len(self.values) - 1, value)])
        return judged

    def accept(self, decision: DecisionData) -> "Chronicle":
        """Append what has to be accepted."""
        judged = self.write(decision)
        assert judged.refusal is None, str(judged.refusal)
        return self

    def define(self, experiment_id: str = "e1", **changes: Any) -> "Chronicle":
        wanted = specification(**changes)
        return self.accept(commands.define_experiment(self.registry, experiment_id, wanted, by()))

    def activate(self, experiment_id: str = "e1") -> "Chronicle":
        return self.accept(commands.activate_experiment(self.registry, experiment_id, by()))

    def wait(self, seconds: float) -> "Chronicle":
        self.now_us += round(seconds * SECOND_US)
        return self


def prepared() -> Chronicle:
    """With workloads 42 and 57."""
    chronicle = Chronicle()
    for key in (42, 57):
        chronicle.accept(commands.define_workload(chronicle.registry, workload(key), by()))
    return chronicle
