"""What workloads and experiments are at one point of the decisions: immutable values, no behaviour but questions.

Owns the state; must not know how it came about (`lifecycle`) nor the events (`registry`).
"""

from dataclasses import dataclass, field
from typing import Literal

from splitgauge.experiments.assignment import SLOTS
from splitgauge.experiments.layered_map import LayeredMap
from splitgauge.experiments.split_table import SplitTable
from splitgauge.schemas.decision import Activation, Recommendation
from splitgauge.schemas.experiment import ExperimentSpecification, Ramp
from splitgauge.schemas.workload import Workload, WorkloadConfiguration

__all__ = ["Applied", "Epoch", "ExperimentState", "Promotion", "Registry", "Status", "WorkloadState", "ramp_ladder"]

Status = Literal["draft", "active", "paused", "completed", "discarded"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """Where what a workload serves came from."""

    experiment_id: str
    variant: str


@dataclass(frozen=True, slots=True)
class WorkloadState:
    """A workload: as it was defined, and what it serves where no experiment is active."""

    workload: Workload
    serves: WorkloadConfiguration
    revision: int
    retired: bool = False
    promotion: Promotion | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of an experiment under one split table.

    Attributes:
        number: from 1.
        opened_offset, ended_offset: of the decisions that opened and ended it; whoever has read decisions past
            `ended_offset` (its position, exclusive, is greater) knows that it has ended. None: it goes on.
    """

    number: int
    table: SplitTable
    opened_offset: int
    ended_offset: int | None = None

    def ended_for(self, decisions_offset: int) -> bool:
        """Whether one who has read the decisions below `decisions_offset` knows that it has ended."""
        return self.ended_offset is not None and decisions_offset > self.ended_offset


@dataclass(frozen=True, slots=True)
class ExperimentState:
    """An experiment after some decisions. Times are microseconds since 1970.

    Attributes:
        step: index of the ramp step in force, None without a ramp.
        step_at_us, step_paused_us: when it began, and how long it was paused since.
        paused_us: paused in total, without the pause that lasts.
        removed: challengers rolled back, in that order.
        winner: after completion: control, a challenger, or None for inconclusive.
        recommendation: what the analyzer proposes to a person now.
        dismissed: what a person dismissed last; it is not recommended again unless something else was in between.
    """

    id: str
    specification: ExperimentSpecification
    status: Status
    revision: int
    defined_at_us: int
    activation: Activation | None = None
    epochs: tuple[Epoch, ...] = ()
    coverage_slots: int = SLOTS
    step: int | None = None
    step_at_us: int = 0
    step_paused_us: int = 0
    activated_at_us: int | None = None
    paused_at_us: int | None = None
    paused_us: int = 0
    completed_at_us: int | None = None
    completed_offset: int | None = None
    removed: tuple[str, ...] = ()
    winner: str | None = None
    recommendation: Recommendation | None = None
    dismissed: Recommendation | None = None

    @property
    def control(self) -> str:
        """The control's name."""
        return self.specification.control_name

    @property
    def challengers(self) -> tuple[str, ...]:
        """The challengers that are still in."""
        return tuple(name for name in self.specification.challenger_names if name not in self.removed)

    @property
    def table(self) -> SplitTable:
        """The split in force; only of an experiment that was activated."""
        return self.epochs[-1].table

    @property
    def joint_weight(self) -> float:
        """The challengers' joint share of the split table."""
        counts = self.table.counts()
        return sum(counts[name] for name in self.challengers) / SLOTS  # a float sum of shares could miss 0.3

    @property
    def ramp_shares(self) -> tuple[float, ...]:
        """The steps in force: the declared ones below full coverage, then full coverage. Empty without a ramp."""
        return tuple(share for share, _ in ramp_ladder(self.specification.ramp, self.joint_weight))

    @property
    def ramp_slots(self) -> tuple[int, ...]:
        """Slots of the coverage gate at each of these steps."""
        return tuple(slots for _, slots in ramp_ladder(self.specification.ramp, self.joint_weight))

    @property
    def fully_covered(self) -> bool:
        """Whether every unit of its share of the traffic is split."""
        return self.coverage_slots == SLOTS

    def running_us(self, now_us: int) -> int:
        """Time since activation, until completion, pauses left out."""
        if self.activated_at_us is None:
            return 0
        if self.completed_at_us is not None:
            now_us = min(now_us, self.completed_at_us)
        return now_us - self.activated_at_us - self._paused_us(self.paused_us, now_us)

    def step_running_us(self, now_us: int) -> int:
        """Time since the ramp step in force began, pauses left out."""
        return now_us - self.step_at_us - self._paused_us(self.step_paused_us, now_us)

    def _paused_us(self, before_us: int, now_us: int) -> int:
        return before_us + (max(0, now_us - self.paused_at_us) if self.paused_at_us is not None else 0)


def ramp_ladder(ramp: Ramp | None, joint_weight: float) -> tuple[tuple[float, int], ...]:
    """The steps of a ramp: the challengers' joint share of all traffic, and the coverage that gives it.

    The declared steps that stay below full coverage after rounding, then full coverage; empty without a ramp.
    """
    if ramp is None:
        return ()
    declared = ((step.share, _coverage(step.share, joint_weight)) for step in ramp.steps if joint_weight > 0)
    return (*((share, slots) for share, slots in declared if slots < SLOTS), (joint_weight, SLOTS))


def _coverage(share: float, joint_weight: float) -> int:
    """At least one slot, however small the step: a re-weighting must not make the next step impossible."""
    return max(1, round(SLOTS * share / joint_weight))


@dataclass(frozen=True, slots=True)
class Applied:
    """What an idempotency key was used for: its body's hash, and the subject as the decision left it."""

    body: str
    offset: int
    subject: WorkloadState | ExperimentState


@dataclass(frozen=True, slots=True)
class Registry:
    """All workloads and experiments after the decisions below `offset`."""

    offset: int = 0
    key_fingerprint: str | None = None
    workloads: LayeredMap[WorkloadState] = field(default_factory=LayeredMap[WorkloadState])
    experiments: LayeredMap[ExperimentState] = field(default_factory=LayeredMap[ExperimentState])
    applied: LayeredMap[Applied] = field(default_factory=LayeredMap[Applied])

    def workload(self, id_or_name: str | int) -> WorkloadState | None:
        """By id, else by name; None if there is none or it is retired."""
        found = self.workloads.get(str(id_or_name))
        if (found is None or found.retired) and id_or_name != "":  # most workloads have no name
            named = (state for state in self.workloads.values() if state.workload.name == id_or_name)
            found = next((state for state in named if not state.retired), None)
        return found

    def running_on(self, workload_id: str) -> tuple[ExperimentState, ...]:
        """Active and paused experiments whose base is the workload, in the order of their definition."""
        return tuple(
            experiment
            for experiment in self.experiments.values()
            if experiment.status in {"active", "paused"} and experiment.specification.base == workload_id
        )

    def using(self, workload_id: str) -> tuple[ExperimentState, ...]:
        """Active and paused experiments that have the workload as base or in a variant."""
        return tuple(
            experiment
            for experiment in self.experiments.values()
            if experiment.status in {"active", "paused"}
            and experiment.activation is not None
            and workload_id in experiment.activation.workload_revisions
        )
