"""From a wish to the decision that would carry it out, all that follows from the present state worked out.

Pure: the registry in, a `DecisionData` out. Whether it is legal says `lifecycle.apply`, for writer and readers alike;
here only what cannot be expressed is refused (an unknown subject, a split that is none).
"""

from dataclasses import dataclass

from splitgauge.experiments.assignment import SLOTS, coverage_slots
from splitgauge.experiments.split_table import lay_out, remove, reweight
from splitgauge.experiments.state import ExperimentState, Registry, WorkloadState
from splitgauge.schemas.decision import (
    Action,
    Activation,
    Actor,
    DecisionData,
    Evidence,
    IdempotencyKey,
    Recommendation,
    Subject,
)
from splitgauge.schemas.errors import ContractError, IllegalStepError, UnknownSubjectError
from splitgauge.schemas.experiment import ExperimentSpecification, VariantSpecification
from splitgauge.schemas.workload import Workload, WorkloadConfiguration

__all__ = [
    "By",
    "activate_experiment",
    "complete_experiment",
    "confirm_recommendation",
    "define_experiment",
    "define_workload",
    "discard_experiment",
    "dismiss_recommendation",
    "find_experiment",
    "find_workload",
    "initialize_log",
    "pause_experiment",
    "promote_variant",
    "ramp_experiment",
    "recommend",
    "redefine_workload",
    "resume_experiment",
    "retire_workload",
    "reweight_experiment",
    "roll_back_variant",
    "serve_workload",
]


@dataclass(frozen=True, slots=True)
class By:
    """Who wants it, and why.

    Attributes:
        revision: the subject's revision that they decided on; None: whatever it is now.
        idempotency_key: hashes of the caller's key and body.
        evidence: of the analyzer's decisions.
    """

    actor: Actor
    reason: str
    revision: int | None = None
    idempotency_key: IdempotencyKey | None = None
    evidence: Evidence | None = None


def find_experiment(registry: Registry, experiment_id: str) -> ExperimentState:
    """The experiment. Raises: UnknownSubjectError."""
    state = registry.experiments.get(experiment_id)
    if state is None:
        raise UnknownSubjectError(
            f"there is no experiment {experiment_id!r}", where="experiment", remedy="List them to see their ids"
        )
    return state


def find_workload(registry: Registry, id_or_name: str | int) -> tuple[str, WorkloadState]:
    """The workload and its key. Raises: UnknownSubjectError."""
    state = registry.workload(id_or_name)
    if state is None:
        raise UnknownSubjectError(
            f"there is no workload {str(id_or_name)!r}", where="workload", remedy="List them to see their ids"
        )
    return state.workload.key, state


def initialize_log(key_fingerprint: str, by: By) -> DecisionData:
    """The first decision of a log: whose key its unit ids are hashed with."""
    return _decision("log", "log", 0, "initialize", by).model_copy(update={"key_fingerprint": key_fingerprint})


def define_workload(registry: Registry, workload: Workload, by: By) -> DecisionData:
    """A new workload; also one whose id was retired."""
    known = registry.workloads.get(workload.key)
    revision = known.revision if known is not None else 0
    return _decision("workload", workload.key, revision, "define", by).model_copy(update={"workload": workload})


def redefine_workload(registry: Registry, workload: Workload, by: By) -> DecisionData:
    """A workload defined anew; it also serves the new definition from then on."""
    key, state = find_workload(registry, workload.id)
    return _decision("workload", key, state.revision, "redefine", by).model_copy(update={"workload": workload})


def serve_workload(
    registry: Registry, workload_id: str | int, configuration: WorkloadConfiguration, by: By
) -> DecisionData:
    """What the workload serves from now on where no experiment is active."""
    key, state = find_workload(registry, workload_id)
    return _decision("workload", key, state.revision, "serve", by).model_copy(update={"serves": configuration})


def retire_workload(registry: Registry, workload_id: str | int, by: By) -> DecisionData:
    """No traffic any more; its id can be defined again."""
    key, state = find_workload(registry, workload_id)
    return _decision("workload", key, state.revision, "retire", by)


def define_experiment(
    registry: Registry, experiment_id: str, specification: ExperimentSpecification, by: By
) -> DecisionData:
    """A new draft, or a draft written anew."""
    known = registry.experiments.get(experiment_id)
    revision = known.revision if known is not None else 0
    for place, variant in enumerate(specification.variants):
        _resolve(registry, specification, variant, place)
    decision = _decision("experiment", experiment_id, revision, "define", by)
    return decision.model_copy(update={"experiment": specification})


def discard_experiment(registry: Registry, experiment_id: str, by: By) -> DecisionData:
    """Drop a draft."""
    return _of_experiment(find_experiment(registry, experiment_id), "discard", by)


def activate_experiment(registry: Registry, experiment_id: str, by: By) -> DecisionData:
    """Start it: every variant's configuration and price resolved and frozen, the split laid out, the gates set."""
    state = find_experiment(registry, experiment_id)
    specification = state.specification
    keys = {specification.base, *(str(v.workload_id) for v in specification.variants if v.workload_id is not None)}
    variants = {
        variant.name: _resolve(registry, specification, variant, place)
        for place, variant in enumerate(specification.variants)
    }
    table = lay_out(specification.weights)
    shares = table.shares()
    joint = sum(shares[name] for name in specification.challenger_names)
    ramp = specification.ramp
    first = ramp.steps[0].share if ramp is not None else joint
    activation = Activation(
        variants=variants,
        table=table.to_runs(),
        workload_revisions={key: find_workload(registry, key)[1].revision for key in sorted(keys)},
        coverage_slots=coverage_slots(first, joint) if first < joint else SLOTS,
        split_seed=f"{experiment_id}/split",
        coverage_seed=f"{experiment_id}/coverage",
        holdout_seed=f"{experiment_id}/holdout",
        layer_seed=f"{specification.base}/layer",
    )
    return _of_experiment(state, "activate", by).model_copy(update={"activation": activation})


def _resolve(
    registry: Registry, specification: ExperimentSpecification, variant: VariantSpecification, place: int
) -> WorkloadConfiguration:
    base = find_workload(registry, specification.base)[1].serves
    if variant.workload is not None:
        configuration = variant.workload
    elif variant.workload_id is not None:
        configuration = find_workload(registry, variant.workload_id)[1].serves
    else:
        raise ContractError("a variant needs a workload", where=f"/variants/{place}")
    if configuration.provider != base.provider:
        raise ContractError(
            f"variant {variant.name!r} speaks {configuration.provider}, its base workload {base.provider}",
            where=f"/variants/{place}",
            remedy="Take a workload of the same provider: requests are not translated between them",
        )
    return configuration.overridden(variant.overrides)


def pause_experiment(registry: Registry, experiment_id: str, by: By) -> DecisionData:
    """Stop its traffic, keep its numbers."""
    return _of_experiment(find_experiment(registry, experiment_id), "pause", by)


def resume_experiment(registry: Registry, experiment_id: str, by: By) -> DecisionData:
    """Go on after a pause."""
    return _of_experiment(find_experiment(registry, experiment_id), "resume", by)


def complete_experiment(registry: Registry, experiment_id: str, by: By, *, winner: str | None = None) -> DecisionData:
    """End it and leave the base workload as it is. `winner`: control, or None where it stays inconclusive."""
    state = find_experiment(registry, experiment_id)
    return _of_experiment(state, "complete", by).model_copy(update={"winner": winner})


def reweight_experiment(registry: Registry, experiment_id: str, weights: dict[str, float], by: By) -> DecisionData:
    """New weights, the fewest slots moved. Opens an epoch."""
    state = _activated(registry, experiment_id, "reweight")
    table = reweight(state.table, weights)
    return _of_experiment(state, "reweight", by).model_copy(update={"weights": weights, "table": table.to_runs()})


def ramp_experiment(registry: Registry, experiment_id: str, step: int, by: By) -> DecisionData:
    """Another step of the ramp. `step` is an index into `ExperimentState.ramp_shares`."""
    state = _activated(registry, experiment_id, "ramp")
    return _of_experiment(state, "ramp", by).model_copy(update=_ramp_fields(state, step))


def _ramp_fields(state: ExperimentState, step: int) -> dict[str, int]:
    shares = state.ramp_shares
    if not 0 <= step < len(shares):
        raise IllegalStepError(f"experiment {state.id!r} has {len(shares)} ramp steps, not step {step}", where="/step")
    full = step == len(shares) - 1
    return {"step": step, "coverage_slots": SLOTS if full else coverage_slots(shares[step], state.joint_weight)}


def promote_variant(registry: Registry, experiment_id: str, variant: str, by: By) -> DecisionData:
    """Give it all traffic: the experiment ends, the base workload serves its frozen configuration."""
    state = _activated(registry, experiment_id, "promote")
    return _of_experiment(state, "promote", by).model_copy(update={"variant": variant})


def roll_back_variant(registry: Registry, experiment_id: str, variant: str, by: By) -> DecisionData:
    """Give the arm's slots to control; with the last challenger the experiment ends."""
    state = _activated(registry, experiment_id, "roll_back")
    return _of_experiment(state, "roll_back", by).model_copy(update=_roll_back_fields(state, variant))


def _roll_back_fields(state: ExperimentState, variant: str) -> dict[str, object]:
    table = remove(state.table, variant, to=state.control)
    return {"variant": variant, "table": table.to_runs()}


def recommend(registry: Registry, experiment_id: str, recommendation: Recommendation, by: By) -> DecisionData:
    """Propose something to a person."""
    state = find_experiment(registry, experiment_id)
    return _of_experiment(state, "recommend", by).model_copy(update={"recommendation": recommendation})


def confirm_recommendation(registry: Registry, experiment_id: str, recommendation_id: str, by: By) -> DecisionData:
    """Carry out what stands recommended."""
    state = find_experiment(registry, experiment_id)
    decision = _of_experiment(state, "confirm", by).model_copy(update={"recommendation_id": recommendation_id})
    standing = state.recommendation
    if standing is None or standing.id != recommendation_id:
        return decision
    if standing.action == "roll_back" and standing.variant is not None:
        return decision.model_copy(update=_roll_back_fields(state, standing.variant))
    if standing.action == "ramp" and standing.step is not None:
        return decision.model_copy(update=_ramp_fields(state, standing.step))
    return decision.model_copy(update={"variant": standing.variant})


def dismiss_recommendation(registry: Registry, experiment_id: str, recommendation_id: str, by: By) -> DecisionData:
    """Turn down what stands recommended."""
    state = find_experiment(registry, experiment_id)
    return _of_experiment(state, "dismiss", by).model_copy(update={"recommendation_id": recommendation_id})


def _activated(registry: Registry, experiment_id: str, action: Action) -> ExperimentState:
    state = find_experiment(registry, experiment_id)
    if state.activation is None:
        raise IllegalStepError(
            f"experiment {experiment_id!r} is {state.status}: {action} is not legal",
            where=f"experiment {experiment_id}",
            remedy="Activate it first",
        )
    return state


def _of_experiment(state: ExperimentState, action: Action, by: By) -> DecisionData:
    return _decision("experiment", state.id, state.revision, action, by)


def _decision(kind: str, subject_id: str, revision: int, action: Action, by: By) -> DecisionData:
    return DecisionData(
        subject=Subject.model_validate({"kind": kind, "id": subject_id}),
        revision=(by.revision if by.revision is not None else revision) + 1,
        action=action,
        actor=by.actor,
        reason=by.reason,
        idempotency_key=by.idempotency_key,
        evidence=by.evidence,
    )
