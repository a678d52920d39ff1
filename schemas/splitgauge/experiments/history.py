"""Decisions read in order: which were accepted, what they made, and the running digest over all of them.

`evolve` is the fold of one decision; `DecisionHistory` keeps the state at every offset, because an observation means
what the decisions below its `decisions_offset` say (events.md, rule 6), and an analysis names how far it had read.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import ValidationError

from splitgauge.experiments.lifecycle import apply
from splitgauge.experiments.state import Applied, Registry
from splitgauge.schemas import instants
from splitgauge.schemas.decision import RULES, DecisionData
from splitgauge.schemas.envelope import Envelope, parse
from splitgauge.schemas.errors import (
    ConflictError,
    ContractError,
    IdempotencyError,
    LogDamagedError,
    MalformedError,
    SplitgaugeError,
    UnknownRulesError,
)
from splitgauge.schemas.topics import DECISIONS
from splitgauge.schemas.validation import first_fault

__all__ = ["ZERO_DIGEST", "DecisionHistory", "Judged", "chain", "evolve", "read_decision"]

ZERO_DIGEST = bytes(32)
"""Where every running digest begins (events.md, rule 12)."""


def chain(digest: bytes, offset: int, value: bytes) -> bytes:
    """The running digest after the event `value` at `offset`."""
    return hashlib.sha256(digest + offset.to_bytes(8, "big") + value).digest()


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one decision.

    Attributes:
        registry: the state after it; where it was not accepted, the state before it, one offset further.
        refusal: why every reader ignores it; None: accepted.
        envelope, decision: what was read; None where it could not be.
    """

    offset: int
    registry: Registry
    refusal: SplitgaugeError | None
    envelope: Envelope | None
    decision: DecisionData | None

    @property
    def accepted(self) -> bool:
        """Whether it counts."""
        return self.refusal is None


def read_decision(value: bytes) -> tuple[Envelope, DecisionData]:
    """The decision in an event. Raises: MalformedError naming the field; UnknownRulesError of a later version."""
    envelope = parse(value)
    if envelope.type != "splitgauge.decision.v1" or envelope.time is None:
        raise MalformedError(f"a {envelope.type} without place among the decisions", where="/type")
    rules = envelope.data.get("rules", RULES)
    if not isinstance(rules, int) or rules > RULES:
        raise UnknownRulesError(
            f"a decision under rules {rules!r}; this version knows rules up to {RULES}",
            where="/data/rules",
            remedy="Upgrade this instance",
        )
    try:
        return envelope, DecisionData.model_validate(envelope.data)
    except ValidationError as exc:
        where, fault = first_fault(exc, envelope.data)
        raise MalformedError(f"no decision: {fault}", where=f"/data{where}") from exc


def evolve(registry: Registry, offset: int, value: bytes) -> Judged:
    """The fold of one decision: accepted, or ignored by every reader for the same reason.

    Raises: UnknownRulesError for a decision under rules of a later version: whoever reads it must not guess.
    """
    passed = replace(registry, offset=offset + 1)
    try:
        envelope, decision = read_decision(value)
    except MalformedError as exc:
        return Judged(offset, passed, exc, None, None)
    try:
        _refuse_repeated_key(registry, decision)
        after = apply(registry, decision, offset=offset, time_us=instants.from_text(envelope.time or ""))
    except (ConflictError, ContractError) as exc:
        return Judged(offset, passed, exc, envelope, decision)
    after = replace(_with_key(after, decision, offset), offset=offset + 1)
    return Judged(offset, after, None, envelope, decision)


def _refuse_repeated_key(registry: Registry, decision: DecisionData) -> None:
    key = decision.idempotency_key
    if key is not None and key.key in registry.applied:
        raise IdempotencyError("this idempotency key was used before", where="/data/idempotency_key")


def _with_key(registry: Registry, decision: DecisionData, offset: int) -> Registry:
    key, subject = decision.idempotency_key, decision.subject
    if key is None or subject.kind == "log":
        return registry
    of_kind = registry.workloads if subject.kind == "workload" else registry.experiments
    return replace(
        registry, applied=registry.applied.with_item(key.key, Applied(key.body, offset, of_kind[subject.id]))
    )


class DecisionHistory:
    """The state at every offset of the decisions read so far. Append-only; holds one snapshot per decision."""

    def __init__(self) -> None:
        self._registries: list[Registry] = [Registry()]
        self._digests: list[bytes] = [ZERO_DIGEST]
        self._judged: list[Judged] = []

    @property
    def end(self) -> int:
        """How far the decisions are read, exclusive."""
        return len(self._judged)

    @property
    def newest(self) -> Registry:
        """The state after all that is read."""
        return self._registries[-1]

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Every decision read, in order."""
        return tuple(self._judged)

    def judged_at(self, offset: int) -> Judged:
        """What became of the decision at `offset`. Raises: ContractError where it is not read yet."""
        self._expect_read(offset + 1)
        return self._judged[offset]

    def at(self, offset: int) -> Registry:
        """The state that the decisions below `offset` make. Raises: ContractError where they are not read yet."""
        self._expect_read(offset)
        return self._registries[offset]

    def digest_at(self, offset: int) -> bytes:
        """The running digest of the decisions below `offset`. Raises: as `at`."""
        self._expect_read(offset)
        return self._digests[offset]

    def extend(self, records: Iterable[tuple[int, bytes]]) -> list[Judged]:
        """Read further: (offset, value) in order. Offsets read before are passed over.

        Raises: LogDamagedError where an offset is missing; UnknownRulesError as `evolve`.
        """
        new: list[Judged] = []
        for offset, value in records:
            if offset < self.end:
                continue
            if offset > self.end:
                raise LogDamagedError(
                    f"the decision at offset {self.end} is missing",
                    where=f"{DECISIONS.name}/0/{self.end}",
                    remedy="Restore the log from an export or a backup: nothing after it can be judged",
                )
            judged = evolve(self.newest, offset, value)
            self._digests.append(chain(self._digests[-1], offset, value))
            self._registries.append(judged.registry)
            self._judged.append(judged)
            new.append(judged)
        return new

    def _expect_read(self, offset: int) -> None:
        if offset > self.end:
            raise ContractError(
                f"the decisions are read up to {self.end}, not to {offset}", where=f"{DECISIONS.name}/0/{offset}"
            )
