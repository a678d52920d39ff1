"""What was put aside as unusable, held against what the fold cannot use (events.md, rule 7).

The aggregator makes dead letters durable before any numbers that leave the events out, and after a crash it may write
some again. So below the last look every one has to be there, once or more; behind it one may still be on its way.
"""

import binascii
from base64 import b64decode
from hashlib import sha256

from pydantic import ValidationError

from splitgauge.audit.partition import AuditedPartition, PutAside
from splitgauge.audit.reading import records_of
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.schemas.analysis import DeadLetterData
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.topics import DEAD_LETTERS, OBSERVATIONS

__all__ = ["compare_dead_letters"]

_Letters = dict[tuple[int, int], list[tuple[StoredRecord, PutAside]]]
"""By partition and offset of the observation."""


async def compare_dead_letters(
    log: EventLog, bounds: dict[int, Bounds], partitions: dict[int, AuditedPartition], report: ReplayReport
) -> list[Finding]:
    """Name every observation that was put aside and need not have been, or the other way round.

    Only partitions whose fold can be trusted are compared, as far as it can.
    """
    recorded, findings = await _recorded(log, bounds)
    report.events[DEAD_LETTERS.name] = sum(within.end - within.start for within in bounds.values())
    report.dead_letters = len(recorded)
    for (number, offset), letters in sorted(recorded.items()):
        partition = partitions.get(number)
        made = partition.dead_letters.get(offset) if partition is not None else None
        if partition is not None and partition.findings and offset >= partition.trusted_upto:
            continue
        findings += [_differs(record, letter, made) for record, letter in letters if letter != made]
    missing = [
        (number, offset, made)
        for number, partition in sorted(partitions.items())
        for offset, made in sorted(partition.dead_letters.items())
        if offset < min(partition.recorded_upto, _trusted(partition)) and (number, offset) not in recorded
    ]
    if all(within.start == 0 for within in bounds.values()):
        # Else old ones have been dropped, as their retention has it.
        findings += _absent(missing, nothing_recorded=not any(within.end for within in bounds.values()))
    return findings


def _trusted(partition: AuditedPartition) -> int:
    """How far the fold's own findings stand (exclusive)."""
    return partition.trusted_upto if partition.findings else partition.position


async def _recorded(log: EventLog, bounds: dict[int, Bounds]) -> tuple[_Letters, list[Finding]]:
    letters: _Letters = {}
    findings: list[Finding] = []
    for number, within in bounds.items():
        async for batch in records_of(log, DEAD_LETTERS.name, number, bounds=within):
            findings += [batch.damage] if batch.damage is not None else []
            for record in batch.records:
                try:
                    data = DeadLetterData.model_validate(parse(record.value).data)
                    letter = PutAside(data.code, sha256(b64decode(data.value or "", validate=True)).hexdigest())
                except (MalformedError, ValidationError, binascii.Error) as exc:
                    findings.append(_at(record, FindingKind.DAMAGED, f"no dead letter that can be read: {exc}"))
                    continue
                if data.topic == OBSERVATIONS.name:
                    letters.setdefault((data.partition, data.offset), []).append((record, letter))
    return letters, findings


def _differs(record: StoredRecord, letter: PutAside, made: PutAside | None) -> Finding:
    place = parse(record.value).data
    where = f"{OBSERVATIONS.name}/{place['partition']}/{place['offset']}"
    if made is None:
        message = f"{where} is put aside as {letter.code!r}, and the fold made again can use it or does not find it"
    elif letter.code != made.code:
        message = f"{where} is put aside as {letter.code!r}, and the fold made again says {made.code!r}"
    else:
        message = f"{where} is put aside with other bytes than it has in the log"
    return _at(record, FindingKind.DEAD_LETTERS_DIFFER, message)


def _absent(missing: list[tuple[int, int, PutAside]], *, nothing_recorded: bool) -> list[Finding]:
    if nothing_recorded and missing:
        number, offset, made = missing[0]
        message = (
            f"the topic is empty; {len(missing)} observations had to be put aside, "
            f"the first {OBSERVATIONS.name}/{number}/{offset} as {made.code!r}"
        )
        return [Finding(FindingKind.DEAD_LETTERS_DIFFER, DEAD_LETTERS.name, 0, 0, 1, message)]
    return [
        Finding(
            FindingKind.DEAD_LETTERS_DIFFER,
            OBSERVATIONS.name,
            number,
            offset,
            offset + 1,
            f"the event was not put aside, and the fold made again cannot use it: {made.code!r}",
        )
        for number, offset, made in missing
    ]


def _at(record: StoredRecord, kind: FindingKind, message: str) -> Finding:
    return Finding(kind, record.topic, record.partition, record.offset, record.offset + 1, message)
