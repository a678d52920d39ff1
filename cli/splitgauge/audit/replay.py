"""Replay of a log: the decisions folded, the observations folded to every position that an analysis names, every
analysis made again, every automatic decision held against its evidence.

Uses the functions of the live path and none of its own. Reads through the event-log port, so that a live folder, an
archive and an export are all the same to it.
"""

from collections.abc import Callable

from splitgauge.aggregator.tables import window_of
from splitgauge.analyzer.analysis import empty_window
from splitgauge.analyzer.analysis import look as look_again
from splitgauge.audit.chain import AuditedLooks, read_decisions, read_looks
from splitgauge.audit.difference import first_difference
from splitgauge.audit.evidence import compare_decisions
from splitgauge.audit.partition import AuditedPartition, stops_of
from splitgauge.audit.reading import damaged, records_of
from splitgauge.audit.report import Finding, FindingKind, ReplayReport, Unprotected
from splitgauge.eventlog.port import EventLog
from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.codec import decode
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import DEAD_LETTERS, DECISIONS, OBSERVATIONS

__all__ = ["Progress", "replay"]

Progress = Callable[[int, int], None]
"""Called with how many analyses are compared, and how many there are."""


async def replay(log: EventLog, *, progress: Progress | None = None) -> ReplayReport:
    """Make everything again and compare.

    What the log holds when the replay begins is looked at; what is appended meanwhile is not.

    Raises: UnknownRulesError where the log was judged by a later version; LogUnavailableError.
    """
    report = ReplayReport()
    looks = await read_looks(log, report)
    history = await read_decisions(log, report)
    partitions = await _partitions(log, history, looks.accepted)
    for number, look in enumerate(looks.accepted, start=1):
        await _compare_look(look, looks, history=history, partitions=partitions, report=report)
        if progress is not None:
            progress(number, len(looks.accepted))
    compare_decisions(history, looks, report)
    await _close(log, report, partitions, history=history, looks=looks)
    return report


async def _partitions(
    log: EventLog, history: DecisionHistory, looks: list[AcceptedLook]
) -> dict[int, AuditedPartition]:
    stops = stops_of(looks)
    return {
        number: AuditedPartition(log, number, bounds=bounds, history=history, stops=stops.get(number, {}))
        for number, bounds in (await log.bounds(OBSERVATIONS.name)).items()
    }


async def _compare_look(
    look: AcceptedLook,
    looks: AuditedLooks,
    *,
    history: DecisionHistory,
    partitions: dict[int, AuditedPartition],
    report: ReplayReport,
) -> None:
    place = looks.places[look.id]
    obstacle = _decisions_obstacle(look, history)
    partials: dict[int, PartialData] = {}
    for number, upto in look.data.positions.items():
        partition = partitions.get(number)
        if partition is None:
            obstacle = f"there is no partition {number} of {OBSERVATIONS.name}"
            continue
        await partition.advance(upto)
        partial = partition.take_partial(look.data.experiment_id, upto)
        if partial is None:
            obstacle = str(partition.broken)
        else:
            partials[number] = partial
    if obstacle is not None:
        report.findings.append(Finding(FindingKind.ANALYSIS_NOT_REACHED, place, obstacle))
        return
    _make_again(look, looks, history=history, partials=partials, report=report)


def _decisions_obstacle(look: AcceptedLook, history: DecisionHistory) -> str | None:
    read = look.data.decisions
    if read.upto > history.end:
        return f"it stands on the decisions below {read.upto}, and they can be read up to {history.end} only"
    if history.digest_at(read.upto).hex() != read.digest:
        return f"a decision below offset {read.upto} is not the one it was made from"
    if look.data.experiment_id not in history.at(read.upto).experiments:
        return f"experiment {look.data.experiment_id!r} is not defined below offset {read.upto}"
    return None


def _make_again(
    look: AcceptedLook,
    looks: AuditedLooks,
    *,
    history: DecisionHistory,
    partials: dict[int, PartialData],
    report: ReplayReport,
) -> None:
    experiment_id = look.data.experiment_id
    made = look_again(
        history.at(look.data.decisions.upto).experiments[experiment_id],
        window_of(partials) if partials else empty_window(experiment_id),
        looked_at=look.data.looked_at,
        previous=looks.previous[look.id],
        decisions=look.data.decisions,
    )
    recorded = looks.recorded[look.id]
    if made.value == recorded and made.id == look.id:
        report.reproduced += 1
        return
    difference = first_difference(
        {"id": look.id, "data": decode(recorded)}, {"id": made.id, "data": decode(made.value)}
    )
    if difference is not None and difference.floats_only:
        report.nearly += 1
        return
    message = str(difference) if difference is not None else "the same values in other bytes"
    report.findings.append(Finding(FindingKind.ANALYSIS_DIFFERS, looks.places[look.id], message))


async def _close(
    log: EventLog,
    report: ReplayReport,
    partitions: dict[int, AuditedPartition],
    *,
    history: DecisionHistory,
    looks: AuditedLooks,
) -> None:
    report.findings[:0] = [partition.broken for partition in partitions.values() if partition.broken is not None]
    report.events[OBSERVATIONS.name] = sum(partition.events for partition in partitions.values())
    report.unprotected = [gap for partition in partitions.values() if (gap := partition.unprotected) is not None]
    protected = max((look.data.decisions.upto for look in looks.accepted), default=0)
    if protected < history.end:
        report.unprotected.append(Unprotected(DECISIONS.name, 0, protected, history.end))
    await _compare_dead_letters(log, report, partitions)


async def _compare_dead_letters(log: EventLog, report: ReplayReport, partitions: dict[int, AuditedPartition]) -> None:
    recorded: set[tuple[int, int, str]] = set()
    for letters, bounds in (await log.bounds(DEAD_LETTERS.name)).items():
        try:
            async for batch in records_of(log, DEAD_LETTERS.name, letters, bounds=bounds):
                for record in batch:
                    data = decode(record.value).get("data", {})
                    if data.get("topic") == OBSERVATIONS.name:
                        recorded.add((data["partition"], data["offset"], data["code"]))
        except LogDamagedError as exc:
            report.findings.append(damaged(exc))
    report.dead_letters = len(recorded)
    for number, partition in partitions.items():
        ours = {(number, offset, code) for offset, code in partition.dead_letters.items()}
        theirs = {letter for letter in recorded if letter[0] == number and letter[1] < partition.position}
        for _, offset, code in sorted(ours ^ theirs):
            side = "was not put aside" if (number, offset, code) in ours else "was put aside"
            report.findings.append(
                Finding(
                    FindingKind.DEAD_LETTERS_DIFFER,
                    f"{OBSERVATIONS.name}/{number}/{offset}",
                    f"the event {side} as {code!r}; the fold made again finds otherwise",
                )
            )
