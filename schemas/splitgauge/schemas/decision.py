"""Decisions: everything that changes how traffic is routed, in one total order."""

from typing import Literal

from pydantic import Field

from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.model import EventData
from splitgauge.schemas.workload import Workload, WorkloadConfiguration

__all__ = [
    "RULES",
    "Action",
    "Activation",
    "Actor",
    "DecisionData",
    "Evidence",
    "IdempotencyKey",
    "Recommendation",
    "Subject",
]

RULES = 1
"""Version of the rules that judge decisions and analyses. A reader that meets a later one stops being ready."""

Action = Literal[
    "initialize",
    "define",
    "redefine",
    "serve",
    "retire",
    "discard",
    "activate",
    "pause",
    "resume",
    "reweight",
    "ramp",
    "promote",
    "roll_back",
    "recommend",
    "confirm",
    "dismiss",
    "complete",
]


class Subject(EventData):
    """What a decision is about. There is one subject of kind `log`, named `log`."""

    kind: Literal["log", "workload", "experiment"]
    id: str


class Actor(EventData):
    """Who decided."""

    kind: Literal["user", "analyzer"]
    name: str


class Evidence(EventData):
    """The accepted analysis that an analyzer's decision stands on: its id, its bytes, the state that it saw."""

    id: str
    sha256: str
    revision: int


class IdempotencyKey(EventData):
    """SHA-256 of the caller's key, and of the body that came with it."""

    key: str
    body: str


class Activation(EventData):
    """What runs from now on, frozen: configurations and prices of every variant, the split, the gates."""

    variants: dict[str, WorkloadConfiguration]
    table: list[tuple[str, int]] = Field(description="the 10,000 slots, run-length coded: [variant, slots]")
    workload_revisions: dict[str, int] = Field(description="of the base and all workloads referred to, as resolved")
    coverage_slots: int = Field(ge=0, le=10_000)
    split_seed: str
    coverage_seed: str
    holdout_seed: str
    layer_seed: str


class Recommendation(EventData):
    """What the analyzer proposes to a person."""

    id: str
    action: Literal["promote", "roll_back", "ramp", "complete"]
    variant: str | None = None
    step: int | None = None


class DecisionData(EventData):
    """`decision.v1`. Accepted if its revision follows its subject's and its action is legal in the state before it.

    By action: initialize (key_fingerprint); define, redefine (workload or experiment); serve (serves); activate
    (activation); reweight (weights, table); ramp (step, coverage_slots); promote (variant); roll_back (variant, table);
    recommend (recommendation); confirm, dismiss (recommendation_id, and for confirm what it carries out); complete
    (winner, None where inconclusive).
    """

    subject: Subject
    revision: int = Field(ge=1)
    action: Action
    actor: Actor
    reason: str
    rules: int = RULES
    idempotency_key: IdempotencyKey | None = None
    evidence: Evidence | None = None
    key_fingerprint: str | None = None
    workload: Workload | None = None
    experiment: ExperimentSpecification | None = None
    serves: WorkloadConfiguration | None = None
    activation: Activation | None = None
    weights: dict[str, float] | None = None
    table: list[tuple[str, int]] | None = None
    step: int | None = None
    coverage_slots: int | None = None
    variant: str | None = None
    winner: str | None = None
    recommendation: Recommendation | None = None
    recommendation_id: str | None = None
