"""From a wish to the decision that would carry it out, all that follows from the present state worked out.

Pure: the registry in, a `DecisionData` out. Whether it is legal says `lifecycle.apply`, for writer and readers alike;
here only what cannot be expressed is refused (an unknown subject, a split that is none).
"""

from dataclasses import dataclass

from splitgauge.experiments.assignment import SLOTS
from splitgauge.experiments.legality import expect_legal
from splitgauge.experiments.split_table import lay_out, remove, reweight
from splitgauge.experiments.state import ExperimentState, Registry, WorkloadState, ramp_ladder
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
from splitgauge.schemas.errors import ContractError, IllegalStepError, StaleRevisionError, UnknownSubjectError
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
    "expect_legal_now",
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
    key, state = find_workload(registry, workload.key)
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
    if known is not None:
        expect_legal_now(known, "define", by)
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
    state = _legal(registry, experiment_id, "activate", by)
    specification = state.specification
    keys = {specification.base, *(str(v.workload_id) for v in specification.variants if v.workload_id is not None)}
    variants = {
        variant.name: _resolve(registry, specification, variant, place)
        for place, variant in enumerate(specification.variants)
    }
    table = lay_out(specification.weights)
    counts = table.counts()
    joint = sum(counts[name] for name in specification.challenger_names) / SLOTS
    ladder = ramp_ladder(specification.ramp, joint)
    activation = Activation(
        variants=variants,
        table=table.to_runs(),
        workload_revisions={key: registry.workloads[key].revision for key in sorted(keys)},
        coverage_slots=ladder[0][1] if ladder else SLOTS,
        split_seed=f"{experiment_id}/split",
        coverage_seed=f"{experiment_id}/coverage",
        holdout_seed=f"{experiment_id}/holdout",
        layer_seed=f"{specification.base}/layer",
    )
    return _of_experiment(state, "activate", by).model_copy(update={"activation": activation})


def _resolve(
    registry: Registry, specification: ExperimentSpecification, variant: VariantSpecification, place: int
) -> WorkloadConfiguration:
    base = _referred(registry, specification.base, "/base_workload_id").serves
    if variant.workload is not None:
        configuration = variant.workload
    elif variant.workload_id is not None:
        configuration = _referred(registry, str(variant.workload_id), f"/variants/{place}/workload_id").serves
    else:
        raise ContractError("a variant needs a workload", where=f"/variants/{place}")
    if configuration.provider != base.provider:
        raise ContractError(
            f"variant {variant.name!r} speaks {configuration.provider}, its base workload {base.provider}",
            where=f"/variants/{place}",
            remedy="Take a workload of the same provider: requests are not translated between them",
        )
    if configuration.provider == "openai" and "?" in (variant.overrides.url or ""):
        raise ContractError(
            f"variant {variant.name!r} is an openai workload, whose url is a base that paths are added to",
            where=f"/variants/{place}/overrides/url",
            remedy="Write the url without a query",
        )
    return configuration.overridden(variant.overrides)


def _referred(registry: Registry, key: str, where: str) -> WorkloadState:
    """A workload that a specification refers to: by its id, since a name may go to another one."""
    state = registry.workloads.get(key)
    if state is None or state.retired:
        named = registry.workload(key)
        raise ContractError(
            f"there is no workload {key!r}",
            where=where,
            remedy=f"Its id is {named.workload.key}" if named is not None else "Define the workload first",
            code="unknown-workload",
        )
    return state


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
    state = _legal(registry, experiment_id, "reweight", by)
    weights = {**dict.fromkeys(state.removed, 0.0), **weights}
    table = reweight(state.table, weights)
    return _of_experiment(state, "reweight", by).model_copy(update={"weights": weights, "table": table.to_runs()})


def ramp_experiment(registry: Registry, experiment_id: str, step: int, by: By) -> DecisionData:
    """Another step of the ramp. `step` is an index into `ExperimentState.ramp_shares`."""
    state = _legal(registry, experiment_id, "ramp", by)
    return _of_experiment(state, "ramp", by).model_copy(update=_ramp_fields(state, step))


def _ramp_fields(state: ExperimentState, step: int) -> dict[str, int]:
    slots = state.ramp_slots
    if not 0 <= step < len(slots):
        raise IllegalStepError(f"experiment {state.id!r} has {len(slots)} ramp steps, no step {step}", where="/step")
    return {"step": step, "coverage_slots": slots[step]}


def promote_variant(registry: Registry, experiment_id: str, variant: str, by: By) -> DecisionData:
    """Give it all traffic: the experiment ends, the base workload serves its frozen configuration."""
    state = _legal(registry, experiment_id, "promote", by)
    return _of_experiment(state, "promote", by).model_copy(update={"variant": variant})


def roll_back_variant(registry: Registry, experiment_id: str, variant: str, by: By) -> DecisionData:
    """Give the arm's slots to control; with the last challenger the experiment ends."""
    state = _legal(registry, experiment_id, "roll_back", by)
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
    fields: dict[str, object] = {"variant": standing.variant, "step": standing.step}
    if standing.action == "roll_back" and standing.variant is not None:
        fields |= _roll_back_fields(state, standing.variant)
    if standing.action == "ramp" and standing.step is not None:
        fields |= _ramp_fields(state, standing.step)
    return decision.model_copy(update=fields)


def dismiss_recommendation(registry: Registry, experiment_id: str, recommendation_id: str, by: By) -> DecisionData:
    """Turn down what stands recommended."""
    state = find_experiment(registry, experiment_id)
    return _of_experiment(state, "dismiss", by).model_copy(update={"recommendation_id": recommendation_id})


def expect_legal_now(state: ExperimentState, action: Action, by: By) -> None:
    """Refuse before anything is worked out, so that the reason named is the first one.

    Raises: StaleRevisionError where it was decided on another revision; IllegalStepError.
    """
    if by.revision is not None and by.revision != state.revision:
        raise StaleRevisionError(
            f"experiment {state.id!r} is at revision {state.revision}, not {by.revision}",
            where=f"experiment {state.id}",
            remedy="Read it again and decide on what it is now",
        )
    expect_legal(state, action, by.actor)


def _legal(registry: Registry, experiment_id: str, action: Action, by: By) -> ExperimentState:
    state = find_experiment(registry, experiment_id)
    expect_legal_now(state, action, by)
    return state


def _of_experiment(state: ExperimentState, action: Action, by: By) -> DecisionData:
    expect_legal_now(state, action, by)
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
