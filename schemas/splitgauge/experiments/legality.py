"""Checks that decisions pass: the fields they need, the revision they follow, and what a state allows to whom."""

from typing import TypeVar

from splitgauge.experiments.state import ExperimentState
from splitgauge.schemas.decision import Action, Actor, DecisionData
from splitgauge.schemas.errors import ContractError, IllegalStepError, StaleRevisionError

__all__ = ["LEGAL_ACTIONS", "expect_legal", "expect_revision", "required"]

LEGAL_ACTIONS: dict[str, frozenset[Action]] = {
    "draft": frozenset({"define", "discard", "activate"}),
    "active": frozenset(
        {
            "pause",
            "reweight",
            "ramp",
            "promote",
            "roll_back",
            "recommend",
            "confirm",
            "dismiss",
            "complete",
        }
    ),
    "paused": frozenset({"resume", "reweight", "promote", "roll_back", "complete"}),
    "completed": frozenset(),
    "discarded": frozenset({"define"}),  # nothing was ever assigned under it, so its id is free again
}
"""Of an experiment, by its state. While it is paused the analyzer decides nothing."""

ANALYZER_ACTIONS: frozenset[Action] = frozenset({"promote", "roll_back", "ramp", "complete", "recommend"})
"""What the analyzer may do at all; to confirm its own recommendation is not among it."""

_CALLED: dict[Action, str] = {"reweight": "weights", "roll_back": "roll-back"}
"""What API and command line call an action, where that is not its name in the log."""

_T = TypeVar("_T")


def expect_legal(state: ExperimentState, action: Action, actor: Actor) -> None:
    """Raises: IllegalStepError where the state, or who acts, forbids the action."""
    legal = LEGAL_ACTIONS[state.status]
    if action not in legal:
        raise IllegalStepError(
            f"experiment {state.id!r} is {state.status}: {action} is not legal",
            where=f"experiment {state.id}",
            remedy=_possible(state, actor),
        )
    if actor.kind != "analyzer":
        return
    if state.status == "paused":
        raise IllegalStepError(
            f"experiment {state.id!r} is paused: the analyzer decides nothing", where=f"experiment {state.id}"
        )
    if action not in ANALYZER_ACTIONS:
        raise IllegalStepError(f"the analyzer may not {action}: a person does", where=f"experiment {state.id}")


def _possible(state: ExperimentState, actor: Actor) -> str:
    """What the actor can do instead, in the words of API and command line."""
    possible = LEGAL_ACTIONS[state.status]
    if actor.kind == "analyzer":
        possible &= ANALYZER_ACTIONS
    else:
        possible -= {"ramp", "recommend"}
        if state.recommendation is None:
            possible -= {"confirm", "dismiss"}
    if not possible:
        return "Define a new experiment"
    return f"Legal now: {', '.join(sorted(_CALLED.get(action, action) for action in possible))}"


def expect_revision(decision: DecisionData, current: int) -> None:
    """Raises: StaleRevisionError unless the decision's revision is the one after `current`."""
    if decision.revision != current + 1:
        raise StaleRevisionError(
            f"the decision makes revision {decision.revision} of {decision.subject.kind} {decision.subject.id!r}, "
            f"which is at revision {current}",
            where=f"{decision.subject.kind} {decision.subject.id}",
            remedy="Read it again and decide on what it is now",
        )


def required(value: _T | None, field: str) -> _T:
    """The value of a field that the decision's action needs. Raises: ContractError where it is missing."""
    if value is None:
        raise ContractError(f"the decision lacks {field!r}", where=f"/data/{field}")
    return value
