"""Reading the log for an audit: to the end that stood when it began, past damage, and with every bad place named.

Engines name a bad place in words of their own; here it becomes topic, partition and offsets, for all engines the same.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from splitgauge.audit.report import Finding, FindingKind
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, OBSERVATIONS

__all__ = ["AuditBounds", "Batch", "catch_bounds", "records_of"]

_BATCH = 500
"""Events read at once: no more than some megabytes in memory."""


class AuditBounds(NamedTuple):
    """By topic and partition, what is audited: everything that an event within them stands on is within them too."""

    decisions: Bounds
    observations: dict[int, Bounds]
    analyses: dict[int, Bounds]
    dead_letters: dict[int, Bounds]


class Batch(NamedTuple):
    """Records in order, and the damage right behind them, if there is any. Reading goes on behind the damage."""

    records: list[StoredRecord]
    damage: Finding | None = None


async def catch_bounds(log: EventLog) -> AuditBounds:
    """The bounds now, though the log is being written.

    Decisions stand on analyses, these on observations and decisions, observations on decisions: what stands on
    something is caught before it, and all of it again if a decision came meanwhile (decisions are rare). Analyses are
    caught before dead letters, since those that a look's numbers leave out are durable before it; these before the
    observations that they name.
    """
    while True:
        decisions = (await log.bounds(DECISIONS.name))[0]
        analyses = await log.bounds(ANALYSES.name)
        dead_letters = await log.bounds(DEAD_LETTERS.name)
        observations = await log.bounds(OBSERVATIONS.name)
        if (await log.bounds(DECISIONS.name))[0] == decisions:
            return AuditBounds(decisions, observations, analyses, dead_letters)


async def records_of(
    log: EventLog, topic: str, partition: int, *, bounds: Bounds, end: int | None = None
) -> AsyncIterator[Batch]:
    """All records within the bounds. `end`: of the partition, where that is later; damage is named up to there.

    Raises: LogUnavailableError.
    """
    last = bounds.end if end is None else end
    position = bounds.start
    while position < bounds.end:
        limit = min(_BATCH, bounds.end - position)
        why = "the event is missing"
        try:
            records = _without_gap(await log.read(topic, partition, position, limit=limit), position)
            whole = bool(records)
        except LogDamagedError as exc:
            records = await _one_by_one(log, topic, partition, range(position, position + limit))
            whole = len(records) == limit
            why = exc.message
        position += len(records)
        if whole:
            yield Batch(records)
            continue
        behind = await _behind_damage(log, topic, partition, range(position + 1, last))
        yield Batch(records, Finding(FindingKind.DAMAGED, topic, partition, position, behind, why))
        position = behind


def _without_gap(records: list[StoredRecord], position: int) -> list[StoredRecord]:
    """Those before the first offset that is not there."""
    if not records or records[-1].offset == position + len(records) - 1:
        return records
    return [record for offset, record in enumerate(records, position) if record.offset == offset]


async def _one_by_one(log: EventLog, topic: str, partition: int, offsets: range) -> list[StoredRecord]:
    """What can be read before the first bad place: an engine names it in words, and refuses the whole batch."""
    readable: list[StoredRecord] = []
    for offset in offsets:
        try:
            readable += _without_gap(await log.read(topic, partition, offset, limit=1), offset)
        except LogDamagedError:
            break
        if not readable or readable[-1].offset != offset:
            break
    return readable


async def _behind_damage(log: EventLog, topic: str, partition: int, offsets: range) -> int:
    """The first of the offsets that can be read, or their end."""
    for offset in offsets:
        try:
            found = await log.read(topic, partition, offset, limit=1)
        except LogDamagedError:
            continue
        if found:
            return min(found[0].offset, offsets.stop)
    return offsets.stop
