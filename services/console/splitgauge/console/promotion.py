"""Whom a person means without naming anybody: to promote, the winner of the latest accepted look if it still stands; to
roll back, the only challenger. Pure.
"""

from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.experiments.state import ExperimentState
from splitgauge.schemas.errors import ConflictError, ContractError

__all__ = ["only_challenger_of", "winner_of"]


def winner_of(state: ExperimentState, look: AcceptedLook | None, history: DecisionHistory) -> str:
    """The challenger that the look would promote, the minimum duration waived (decision rule, step 8).

    Raises: ConflictError with the reason where there is none, or where the split has changed since the look.
    """
    if look is None:
        raise _no_winner(state, "there is no analysis yet")
    seen = history.at(min(look.data.decisions.upto, history.end)).experiments.get(state.id)
    # A recommendation or a pause in between changes no numbers; another split, or an arm that went, does.
    if seen is None or seen.epochs != state.epochs:
        raise _no_winner(state, "the split was changed after the latest analysis; the next one is on its way")
    verdict = look.data.verdict
    if verdict.promotable is None:
        raise _no_winner(state, verdict.not_promotable_because or verdict.reason)
    return verdict.promotable


def _no_winner(state: ExperimentState, reason: str) -> ConflictError:
    return ConflictError(
        f"no variant can be promoted as the winner: {reason}",
        where=f"experiment {state.id}",
        remedy="Wait for more data, or name the variant and the reason: that is then your decision",
        code="no-winner",
    )


def only_challenger_of(state: ExperimentState) -> str:
    """The one challenger that is in. Raises: ContractError where one of several has to be named."""
    if len(state.challengers) != 1:
        raise ContractError(
            f"experiment {state.id!r} has {len(state.challengers)} challengers",
            where="/variant",
            remedy=f"Name one of {', '.join(state.challengers)}",
        )
    return state.challengers[0]
