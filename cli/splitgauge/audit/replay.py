"""Replay of a log: the decisions folded, the observations folded to every position that an analysis names, every
analysis made again, every automatic decision held against its evidence.

Uses the functions of the live path and none of its own. Reads through the event-log port, so that a live folder, an
archive and an export are all the same to it.
"""

from splitgauge.audit.chain import Chains, read_chains
from splitgauge.audit.dead_letters import compare_dead_letters
from splitgauge.audit.decisions import AuditedDecisions
from splitgauge.audit.evidence import compare_decisions, evidence_of
from splitgauge.audit.partition import AuditedPartition
from splitgauge.audit.reading import AuditBounds, catch_bounds
from splitgauge.audit.report import Finding, ReplayReport
from splitgauge.audit.reproduction import Progress, Reproduction
from splitgauge.audit.witness import Witnessed
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["Progress", "replay"]


async def replay(log: EventLog, *, progress: Progress | None = None) -> ReplayReport:
    """Make everything again and compare.

    What the log holds when the replay begins is looked at; what is appended meanwhile is not.

    Raises: UnknownRulesError where the log was judged by a later version; LogUnavailableError.
    """
    report = ReplayReport()
    bounds = await catch_bounds(log)
    chains = await read_chains(log, bounds.analyses, report)
    decisions = AuditedDecisions(bounds.decisions)
    await decisions.read(log, report)
    partitions = _partitions(log, bounds, chains, decisions)
    reproduction = Reproduction(chains, decisions, partitions, keep=evidence_of(decisions.history))
    await reproduction.run(log, bounds.analyses, report, progress=progress)
    for partition in partitions.values():
        await partition.finish()
    witnessed: list[Witnessed] = [decisions, *partitions.values()]
    for source in witnessed:
        source.conclude()
    reproduction.conclude()
    automatic = compare_decisions(decisions, chains, reproduction, report)
    sources = [finding for source in witnessed for finding in source.findings]
    _add(report, sources, chains.cuts, reproduction.findings, automatic)
    if not decisions.findings:
        _add(report, await compare_dead_letters(log, bounds.dead_letters, partitions, report))
    _add(report, [one for one in chains.detours if not _told(one, report)])
    report.sort()
    report.events[OBSERVATIONS.name] = sum(within.end - within.start for within in bounds.observations.values())
    report.unprotected = [gap for source in witnessed if (gap := source.unprotected()) is not None]
    return report


def _partitions(
    log: EventLog, bounds: AuditBounds, chains: Chains, decisions: AuditedDecisions
) -> dict[int, AuditedPartition]:
    stops = chains.stops()
    return {
        number: AuditedPartition(log, number, bounds=within, decisions=decisions, stops=stops.get(number, {}))
        for number, within in bounds.observations.items()
    }


def _add(report: ReplayReport, *findings: list[Finding]) -> None:
    """Each once: a partition may be broken by the very thing that the decisions are."""
    for finding in (one for several in findings for one in several):
        if not any(finding is known for known in report.findings):
            report.findings.append(finding)


def _told(detour: Finding, report: ReplayReport) -> bool:
    """Whether something else is named within it already."""
    offsets = range(detour.start, detour.end)
    return any(
        (one.topic, one.partition) == (detour.topic, detour.partition) and one.start in offsets
        for one in report.findings
    )
