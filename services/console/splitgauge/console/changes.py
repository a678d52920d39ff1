"""Changes: from a wish to the answer that it has won, lost, or was carried out before.

Owns idempotency and the reading of what became of a decision; what is legal is said in `splitgauge.experiments`.
"""

from collections.abc import Callable

from splitgauge.console.request_body import Conditions
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.experiments.commands import By
from splitgauge.experiments.state import ExperimentState, Registry, WorkloadState
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.errors import ConflictError, ContractError, IdempotencyError, StaleRevisionError

__all__ = ["Changes", "Wish"]

Wish = Callable[[Registry, By], DecisionData]
"""From the present state, and who wants it, to the decision that carries it out."""


class Changes:
    """The door through which changes go. One per event loop."""

    def __init__(self, decisions: DecisionLog, *, actor: str, clock: Callable[[], int], ids: Callable[[], str]) -> None:
        self._decisions = decisions
        self._actor = Actor(kind="user", name=actor)
        self._clock = clock
        self._ids = ids

    async def carry_out(self, wish: Wish, conditions: Conditions, *, reason: str) -> WorkloadState | ExperimentState:
        """The subject after the change, once its decision stands in the log and has won.

        Raises: what makes it illegal; ConflictError where another writer was faster; StaleRevisionError where the
            caller's revision is not the present one; IdempotencyError for a key used with another request.
        """
        registry = await self._decisions.catch_up()
        before = _applied(registry, conditions)
        if before is not None:
            return before
        decision = wish(registry, By(self._actor, reason, conditions.revision, conditions.key))
        try:
            judged = await self._decisions.propose(decision, event_id=self._ids(), time_us=self._clock())
        except ConflictError as exc:
            return _same_or_lost(self._decisions.registry, conditions, exc)
        if judged.refusal is None:
            return _subject(judged.registry, decision)
        return _same_or_lost(judged.registry, conditions, judged.refusal)


def _applied(registry: Registry, conditions: Conditions) -> WorkloadState | ExperimentState | None:
    key = conditions.key
    applied = registry.applied.get(key.key) if key is not None else None
    if key is None or applied is None:
        return None
    if applied.body != key.body:
        raise IdempotencyError(
            "this key was used before with another request",
            where="Idempotency-Key",
            remedy="Take a new key for a new request",
        )
    return applied.subject


def _same_or_lost(registry: Registry, conditions: Conditions, refusal: Exception) -> WorkloadState | ExperimentState:
    """The same request may have come twice at the same time: then the other one's answer is this one's, too."""
    before = _applied(registry, conditions)
    if before is not None:
        return before
    raise _lost(refusal, conditions) from refusal


def _lost(refusal: Exception, conditions: Conditions) -> ConflictError:
    if isinstance(refusal, StaleRevisionError) and conditions.revision is not None:
        return refusal
    if isinstance(refusal, ConflictError) and not isinstance(refusal, StaleRevisionError):
        return refusal
    message = refusal.message if isinstance(refusal, ConflictError | ContractError) else str(refusal)
    return ConflictError(
        f"another change was faster: {message}",
        where="decision",
        remedy="Read it again and repeat the request if it is still wanted",
        code="lost-race",
    )


def _subject(registry: Registry, decision: DecisionData) -> WorkloadState | ExperimentState:
    subject = decision.subject
    return registry.workloads[subject.id] if subject.kind == "workload" else registry.experiments[subject.id]
