"""The one place that says what a decision does, and whether it is legal (events.md, "Actions and states").

`apply` is used twice: by whoever is about to write a decision, to refuse it with the reason, and by every reader of the
log, to ignore it for the same reason. It is pure: state and decision in, state out, or an error.
"""

from collections.abc import Callable
from dataclasses import replace

from splitgauge.experiments.legality import expect_legal, expect_revision, required
from splitgauge.experiments.split_table import SplitTable, from_runs
from splitgauge.experiments.state import Epoch, ExperimentState, Promotion, Registry
from splitgauge.experiments.workload_lifecycle import apply_to_workload
from splitgauge.schemas.decision import Action, DecisionData
from splitgauge.schemas.errors import ContractError, IllegalStepError
from splitgauge.schemas.experiment import ExperimentSpecification

__all__ = ["apply"]


def apply(registry: Registry, decision: DecisionData, *, offset: int, time_us: int) -> Registry:
    """The registry after the decision at `offset`, which it does not count as read yet.

    Raises: StaleRevisionError where its revision is not its subject's next; IllegalStepError where its action is not
        legal in the state of all subjects; ContractError where it lacks what its action needs.
    """
    subject = decision.subject
    if subject.kind == "log":
        return _initialize(registry, decision)
    if subject.kind == "workload":
        return replace(
            registry, workloads=registry.workloads.with_item(subject.id, apply_to_workload(registry, decision))
        )
    before = registry.experiments.get(subject.id)
    expect_revision(decision, before.revision if before is not None else 0)
    if before is None:
        after = _define(registry, decision, time_us)
    else:
        expect_legal(before, decision.action, decision.actor)
        _expect_bound(decision)
        after = _EFFECTS[decision.action](registry, before, decision, offset, time_us)
        after = replace(after, revision=decision.revision)
    changed = replace(registry, experiments=registry.experiments.with_item(subject.id, after))
    return _promoted(changed, after) if before is not None and _promotes(before, decision) else changed


def _initialize(registry: Registry, decision: DecisionData) -> Registry:
    if decision.action != "initialize" or registry.key_fingerprint is not None:
        raise IllegalStepError(f"a log is initialized once; {decision.action!r} is not legal", where="log")
    expect_revision(decision, 0)
    return replace(registry, key_fingerprint=required(decision.key_fingerprint, "key_fingerprint"))


def _expect_bound(decision: DecisionData) -> None:
    """Rule 3: what the analyzer decides follows the very state that it analysed."""
    evidence = decision.evidence
    if evidence is not None and evidence.revision + 1 != decision.revision:
        raise ContractError(
            f"the evidence saw revision {evidence.revision}, the decision makes {decision.revision}",
            where="/data/evidence/revision",
        )


def _define(registry: Registry, decision: DecisionData, time_us: int) -> ExperimentState:
    if decision.action != "define":
        raise IllegalStepError(
            f"there is no experiment {decision.subject.id!r} to {decision.action}",
            where=f"experiment {decision.subject.id}",
        )
    specification = _specification_of(registry, decision)
    return ExperimentState(
        id=decision.subject.id,
        specification=specification,
        status="draft",
        revision=decision.revision,
        defined_at_us=time_us,
    )


def _specification_of(registry: Registry, decision: DecisionData) -> ExperimentSpecification:
    specification = required(decision.experiment, "experiment")
    if specification.id not in {None, decision.subject.id}:
        raise ContractError(
            f"the specification is of experiment {specification.id!r}, the decision of {decision.subject.id!r}",
            where="/data/experiment/id",
        )
    base = registry.workloads.get(specification.base)
    if base is None or base.retired:
        raise IllegalStepError(
            f"there is no workload {specification.base!r}",
            where="/base_workload_id",
            remedy="Define the workload first",
        )
    return specification


def _redefine(
    registry: Registry, state: ExperimentState, decision: DecisionData, _offset: int, time_us: int
) -> ExperimentState:
    specification = _specification_of(registry, decision)
    if state.status == "discarded":
        return ExperimentState(state.id, specification, "draft", decision.revision, defined_at_us=time_us)
    return replace(state, specification=specification)


def _discard(
    _registry: Registry, state: ExperimentState, _decision: DecisionData, offset: int, time_us: int
) -> ExperimentState:
    return replace(state, status="discarded", completed_at_us=time_us, completed_offset=offset)


def _activate(
    registry: Registry, state: ExperimentState, decision: DecisionData, offset: int, time_us: int
) -> ExperimentState:
    activation = required(decision.activation, "activation")
    _expect_room(registry, state)
    for key, revision in activation.workload_revisions.items():
        workload = registry.workloads.get(key)
        if workload is None or workload.retired or workload.revision != revision:
            raise IllegalStepError(
                f"workload {key!r} was changed while the experiment was being activated",
                where=f"workload {key}",
                remedy="Activate again: the configuration is resolved anew",
            )
    names = tuple(variant.name for variant in state.specification.variants)
    if set(activation.variants) != set(names):
        raise ContractError("the frozen variants are not those of the experiment", where="/data/activation/variants")
    active = replace(
        state,
        status="active",
        activation=activation,
        epochs=(Epoch(1, from_runs(activation.table, names=names), offset),),
        coverage_slots=activation.coverage_slots,
        activated_at_us=time_us,
        step_at_us=time_us,
    )
    return active if active.specification.ramp is None else replace(active, step=_step_in_force(active))


def _expect_room(registry: Registry, state: ExperimentState) -> None:
    mine = state.specification.traffic
    for other in registry.running_on(state.specification.base):
        theirs = other.specification.traffic
        if mine.start < theirs.end and theirs.start < mine.end:
            raise IllegalStepError(
                f"experiment {other.id!r} ({other.status}) has [{theirs.start:g}, {theirs.end:g}) of the traffic of "
                f"workload {state.specification.base!r}, and [{mine.start:g}, {mine.end:g}) overlaps with it",
                where="/traffic",
                remedy="Complete the other one first, or give both a part of the traffic",
            )


def _pause(
    _registry: Registry, state: ExperimentState, _decision: DecisionData, _offset: int, time_us: int
) -> ExperimentState:
    return replace(state, status="paused", paused_at_us=time_us, recommendation=None)


def _resume(
    _registry: Registry, state: ExperimentState, _decision: DecisionData, _offset: int, time_us: int
) -> ExperimentState:
    return replace(_unpaused(state, time_us), status="active")


def _unpaused(state: ExperimentState, time_us: int) -> ExperimentState:
    if state.paused_at_us is None:
        return state
    paused_us = max(0, time_us - state.paused_at_us)
    return replace(
        state,
        paused_at_us=None,
        paused_us=state.paused_us + paused_us,
        step_paused_us=state.step_paused_us + paused_us,
    )


def _reweight(
    _registry: Registry, state: ExperimentState, decision: DecisionData, offset: int, _time_us: int
) -> ExperimentState:
    required(decision.weights, "weights")
    table = _table_of(state, decision)
    gone = [name for name in state.removed if table.counts()[name]]
    if gone:
        raise IllegalStepError(
            f"variant {gone[0]!r} was rolled back and gets no traffic any more",
            where=f"/weights/{gone[0]}",
            remedy="Give it weight 0, or define a new experiment",
        )
    return replace(_next_epoch(state, table, offset), recommendation=None)


def _table_of(state: ExperimentState, decision: DecisionData) -> SplitTable:
    return from_runs(required(decision.table, "table"), names=state.table.names)


def _next_epoch(state: ExperimentState, table: SplitTable, offset: int) -> ExperimentState:
    ended = replace(state.epochs[-1], ended_offset=offset)
    after = replace(state, epochs=(*state.epochs[:-1], ended, Epoch(ended.number + 1, table, offset)))
    return after if after.step is None else replace(after, step=_step_in_force(after))


def _step_in_force(state: ExperimentState) -> int:
    """The last step that the coverage reaches: with another joint weight the same coverage is another share.

    Without this an experiment could stand at an index past the end, and never be ramped to full coverage.
    """
    reached = [step for step, slots in enumerate(state.ramp_slots) if slots <= state.coverage_slots]
    return reached[-1] if reached else 0


def _ramp(
    _registry: Registry, state: ExperimentState, decision: DecisionData, _offset: int, time_us: int
) -> ExperimentState:
    slots = required(decision.coverage_slots, "coverage_slots")
    step = required(decision.step, "step")
    if state.step is None:
        raise IllegalStepError(f"experiment {state.id!r} has no ramp", where=f"experiment {state.id}")
    if not 0 <= step < len(state.ramp_slots) or slots != state.ramp_slots[step]:
        raise ContractError(f"there is no ramp step {step} with {slots} slots", where="/data/step")
    if decision.actor.kind == "analyzer" and slots <= state.coverage_slots:
        raise IllegalStepError("the analyzer only raises coverage", where=f"experiment {state.id}")
    return replace(state, coverage_slots=slots, step=step, step_at_us=time_us, step_paused_us=0, recommendation=None)


def _promote(
    _registry: Registry, state: ExperimentState, decision: DecisionData, offset: int, time_us: int
) -> ExperimentState:
    variant = required(decision.variant, "variant")
    if variant != state.control and variant not in state.challengers:
        raise IllegalStepError(
            f"variant {variant!r} is not in experiment {state.id!r} any more, or never was",
            where="/variant",
            remedy=f"Name one of {', '.join((state.control, *state.challengers))}",
        )
    return _completed(state, variant, offset, time_us)


def _completed(state: ExperimentState, winner: str | None, offset: int, time_us: int) -> ExperimentState:
    ended = replace(state.epochs[-1], ended_offset=offset)
    return replace(
        _unpaused(state, time_us),
        status="completed",
        epochs=(*state.epochs[:-1], ended),
        winner=winner,
        recommendation=None,
        completed_at_us=time_us,
        completed_offset=offset,
    )


def _roll_back(
    _registry: Registry, state: ExperimentState, decision: DecisionData, offset: int, time_us: int
) -> ExperimentState:
    variant = required(decision.variant, "variant")
    if variant not in state.challengers:
        raise IllegalStepError(
            f"variant {variant!r} is no challenger of experiment {state.id!r} now",
            where="/variant",
            remedy=f"Name one of {', '.join(state.challengers)}",
        )
    removed = replace(state, removed=(*state.removed, variant), recommendation=None)
    if not removed.challengers:
        return _completed(removed, state.control, offset, time_us)
    table = _table_of(state, decision)
    if table.counts()[variant]:
        raise ContractError("the table leaves slots with the arm that goes", where="/data/table")
    return _next_epoch(removed, table, offset)


def _recommend(
    _registry: Registry, state: ExperimentState, decision: DecisionData, _offset: int, _time_us: int
) -> ExperimentState:
    return replace(state, recommendation=required(decision.recommendation, "recommendation"), dismissed=None)


def _confirm(
    registry: Registry, state: ExperimentState, decision: DecisionData, offset: int, time_us: int
) -> ExperimentState:
    standing = state.recommendation
    if standing is None or standing.id != decision.recommendation_id:
        raise IllegalStepError(
            f"recommendation {decision.recommendation_id!r} does not stand",
            where="/recommendation_id",
            remedy="Read the experiment: a later decision may have voided it",
        )
    if (decision.variant, decision.step) != (standing.variant, standing.step):
        raise ContractError("the confirmation is not of what was recommended", where="/data/variant")
    if standing.action == "complete":
        decision = decision.model_copy(update={"winner": standing.variant})
    return _EFFECTS[standing.action](registry, state, decision, offset, time_us)


def _dismiss(
    _registry: Registry, state: ExperimentState, decision: DecisionData, _offset: int, _time_us: int
) -> ExperimentState:
    standing = state.recommendation
    if standing is None or standing.id != decision.recommendation_id:
        raise IllegalStepError(
            f"recommendation {decision.recommendation_id!r} does not stand", where="/recommendation_id"
        )
    return replace(state, recommendation=None, dismissed=standing)


def _complete(
    _registry: Registry, state: ExperimentState, decision: DecisionData, offset: int, time_us: int
) -> ExperimentState:
    if decision.winner not in {None, state.control}:
        raise IllegalStepError(
            "completing leaves the base workload as it is; a challenger wins by promotion",
            where="/winner",
            remedy="Promote it instead",
        )
    return _completed(state, decision.winner, offset, time_us)


def _promotes(before: ExperimentState, decision: DecisionData) -> bool:
    """Whether it is a promotion, of control too: then the base workload serves what was frozen."""
    if decision.action == "confirm":
        return before.recommendation is not None and before.recommendation.action == "promote"
    return decision.action == "promote"


def _promoted(registry: Registry, state: ExperimentState) -> Registry:
    if state.activation is None or state.winner is None:
        return registry
    base = registry.workloads[state.specification.base]
    serves = replace(
        base,
        serves=state.activation.variants[state.winner],
        revision=base.revision + 1,
        promotion=Promotion(state.id, state.winner),
    )
    return replace(registry, workloads=registry.workloads.with_item(state.specification.base, serves))


_Effect = Callable[[Registry, ExperimentState, DecisionData, int, int], ExperimentState]

_EFFECTS: dict[Action, _Effect] = {
    "define": _redefine,
    "discard": _discard,
    "activate": _activate,
    "pause": _pause,
    "resume": _resume,
    "reweight": _reweight,
    "ramp": _ramp,
    "promote": _promote,
    "roll_back": _roll_back,
    "recommend": _recommend,
    "confirm": _confirm,
    "dismiss": _dismiss,
    "complete": _complete,
}
