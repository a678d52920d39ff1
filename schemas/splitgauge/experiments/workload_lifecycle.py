"""What decisions about workloads do, and when they are legal: define, redefine, serve, retire."""

from dataclasses import replace

from splitgauge.experiments.legality import expect_revision, required
from splitgauge.experiments.state import Registry, WorkloadState
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.errors import ContractError, IllegalStepError
from splitgauge.schemas.workload import Workload

__all__ = ["apply_to_workload"]


def apply_to_workload(registry: Registry, decision: DecisionData) -> WorkloadState:
    """The workload after the decision. Raises: as `lifecycle.apply`."""
    key = decision.subject.id
    state = registry.workloads.get(key)
    expect_revision(decision, state.revision if state is not None else 0)
    if decision.action == "define":
        return _define(registry, decision, state)
    if state is None or state.retired:
        raise IllegalStepError(f"there is no workload {key!r} to {decision.action}", where=f"workload {key}")
    _refuse_in_use(registry, decision)
    match decision.action:
        case "redefine":
            workload = _workload_of(registry, decision)
            return replace(
                state,
                workload=workload,
                serves=workload.configuration,
                revision=decision.revision,
                promotion=None,
            )
        case "serve":
            serves = required(decision.serves, "serves")
            if serves.provider != state.workload.provider:
                raise ContractError(
                    f"workload {key!r} speaks {state.workload.provider}, not {serves.provider}",
                    where="/serves/provider",
                    remedy="Its callers would get answers that they cannot read: redefine the workload instead",
                )
            return replace(state, serves=serves, revision=decision.revision, promotion=None)
        case "retire":
            return replace(state, retired=True, revision=decision.revision)
        case _:
            raise IllegalStepError(f"{decision.action!r} is no action of a workload", where=f"workload {key}")


def _define(registry: Registry, decision: DecisionData, state: WorkloadState | None) -> WorkloadState:
    key = decision.subject.id
    if state is not None and not state.retired:
        raise IllegalStepError(
            f"workload {key!r} is there already", where=f"workload {key}", remedy="Redefine it, or take another id"
        )
    workload = _workload_of(registry, decision)
    return WorkloadState(workload, workload.configuration, revision=decision.revision)


def _workload_of(registry: Registry, decision: DecisionData) -> Workload:
    workload, key = required(decision.workload, "workload"), decision.subject.id
    if workload.key != key:
        raise ContractError(
            f"the definition is of workload {workload.key!r}, the decision of {key!r}", where="/data/workload/id"
        )
    for other_key, other in registry.workloads.items():
        if other_key == key or other.retired:
            continue
        # Callers ask by id or name: neither may be another workload's name, nor the name another's id.
        for said, where in ((workload.name, "/name"), (key, "/id")):
            if said and said in {other.workload.name, other_key}:
                raise IllegalStepError(
                    f"workload {other_key!r} is called {said!r} already",
                    where=where,
                    remedy="Callers ask for workloads by id or name: choose another one",
                )
    return workload


def _refuse_in_use(registry: Registry, decision: DecisionData) -> None:
    users = registry.using(decision.subject.id)
    if users:
        raise IllegalStepError(
            f"workload {decision.subject.id!r} is in use by experiment {users[0].id!r} ({users[0].status}): "
            f"{decision.action} is not legal",
            where=f"workload {decision.subject.id}",
            remedy="Complete the experiment first, or define a new workload",
        )
