"""The two chains that an audit stands on: the decisions, and the analyses that each name the one before.

Reads both topics whole and says what in them cannot be read, does not fit, or has other bytes than its successor says.
"""

from dataclasses import dataclass, field

from pydantic import ValidationError

from splitgauge.audit.reading import damaged, records_of
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.looks import AcceptedLook, Looks
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.envelope import data_bytes, parse
from splitgauge.schemas.errors import LogDamagedError, MalformedError
from splitgauge.schemas.topics import ANALYSES, DECISIONS

__all__ = ["AuditedLooks", "read_decisions", "read_looks"]


@dataclass(slots=True)
class AuditedLooks:
    """The accepted looks in the order of the log, with their recorded bytes.

    Attributes:
        recorded: id -> bytes of `data` as they stand in the log.
        places: id -> where it stands.
        previous: id -> the accepted look before it of the same experiment.
    """

    accepted: list[AcceptedLook] = field(default_factory=list[AcceptedLook])
    recorded: dict[str, bytes] = field(default_factory=dict[str, bytes])
    places: dict[str, str] = field(default_factory=dict[str, str])
    previous: dict[str, AcceptedLook | None] = field(default_factory=dict[str, AcceptedLook | None])

    by_id: dict[str, AcceptedLook] = field(default_factory=dict[str, AcceptedLook])


async def read_looks(log: EventLog, report: ReplayReport) -> AuditedLooks:
    """The chain of analyses of every experiment."""
    audited, looks = AuditedLooks(), Looks()
    for partition, bounds in (await log.bounds(ANALYSES.name)).items():
        try:
            async for batch in records_of(log, ANALYSES.name, partition, bounds=bounds):
                report.events[ANALYSES.name] = report.events.get(ANALYSES.name, 0) + len(batch)
                for record in batch:
                    _take(record, looks, audited, report)
        except LogDamagedError as exc:
            report.findings.append(damaged(exc))
    report.analyses = len(audited.accepted)
    return audited


def _take(record: StoredRecord, looks: Looks, audited: AuditedLooks, report: ReplayReport) -> None:
    place = f"{record.topic}/{record.partition}/{record.offset}"
    try:
        data = AnalysisData.model_validate(parse(record.value).data)
    except (MalformedError, ValidationError) as exc:
        report.findings.append(Finding(FindingKind.ANALYSIS_UNREADABLE, place, f"no analysis: {exc}"))
        return
    previous = looks.last(data.experiment_id)
    look = looks.take(record.offset, record.value)
    if look is None:
        _explain_refusal(data, previous, place, report)
        return
    audited.accepted.append(look)
    audited.by_id[look.id] = look
    audited.recorded[look.id] = data_bytes(record.value)
    audited.places[look.id] = place
    audited.previous[look.id] = previous


def _explain_refusal(data: AnalysisData, previous: AcceptedLook | None, place: str, report: ReplayReport) -> None:
    named = data.previous
    if named is None or previous is None or named.id != previous.id or named.sha256 == previous.sha256:
        report.forks += 1
        return
    report.findings.append(
        Finding(
            FindingKind.ALTERED,
            f"{ANALYSES.name}/{previous.offset}",
            f"the look at {place} stands on analysis {previous.id} with sha256 {named.sha256}; "
            f"the one in the log has {previous.sha256}",
        )
    )


async def read_decisions(log: EventLog, report: ReplayReport) -> DecisionHistory:
    """All decisions, folded. Raises: UnknownRulesError."""
    history = DecisionHistory()
    bounds = (await log.bounds(DECISIONS.name))[0]
    try:
        async for batch in records_of(log, DECISIONS.name, 0, bounds=bounds):
            history.extend((record.offset, record.value) for record in batch)
    except LogDamagedError as exc:
        report.findings.append(damaged(exc))
    report.events[DECISIONS.name] = history.end
    report.decisions = sum(judged.accepted for judged in history.judged)
    report.ignored_decisions = history.end - report.decisions
    return history
