"""A replay's report in plain words, for a terminal. Pure: the report in, lines out."""

from splitgauge.audit.report import Finding, FindingKind, ReplayReport, Unprotected

__all__ = ["lines_of"]

_HEADLINES = {
    FindingKind.DAMAGED: "MISSING OR UNREADABLE",
    FindingKind.ALTERED: "ALTERED",
    FindingKind.ANALYSIS_DIFFERS: "ANALYSIS DIFFERS",
    FindingKind.DECISION_WITHOUT_EVIDENCE: "DECISION WITHOUT EVIDENCE",
    FindingKind.DEAD_LETTERS_DIFFER: "DEAD LETTERS DIFFER",
}
_SHOWN = 20
"""Findings written out; the document of `--json` has them all."""


def lines_of(report: ReplayReport) -> list[str]:
    """What was read, what came out the same, what did not and why, what nothing protects; the verdict stands last."""
    lines = [*_counts(report)]
    for finding in report.findings[:_SHOWN]:
        lines += _finding(finding)
    if len(report.findings) > _SHOWN:
        lines.append(f"... and {len(report.findings) - _SHOWN:,} more findings (--json has them all)")
    lines += [_unprotected(gap) for gap in report.unprotected]
    lines.append(_verdict(report))
    return lines


def _counts(report: ReplayReport) -> list[str]:
    events = ", ".join(f"{number:,} {topic.removeprefix('splitgauge.')}" for topic, number in report.events.items())
    made = report.reproduced + report.nearly
    forks = f"; {_many(report.forks, 'fork')} ignored, as by every reader" if report.forks else ""
    ignored = f"; {report.ignored_decisions:,} ignored, as by every reader" if report.ignored_decisions else ""
    lines = [
        f"Read {sum(report.events.values()):,} events: {events}.",
        f"Analyses: {made:,} of {report.analyses:,} made again with the same result{forks}.",
        f"Decisions: {report.decisions:,} accepted{ignored}.",
        f"Automatic decisions: {report.automatic_reproduced:,} of {report.automatic:,} follow from their analysis.",
    ]
    if report.nearly:
        lines.append(
            f"  Of the analyses {report.nearly:,} differ in floating-point numbers by less than 1e-9, as on another "
            f"processor. The first: {report.nearly_example}."
        )
    return lines


def _finding(finding: Finding) -> list[str]:
    lines = [f"{_HEADLINES[finding.kind]} {finding.where}", f"  {finding.message}."]
    if finding.analyses:
        lines.append(f"  {_stand(finding.analyses, 'analysis', 'analyses')} on it and could not be made again.")
    if finding.decisions:
        lines.append(f"  {_stand(finding.decisions, 'automatic decision')} on it and could not be judged.")
    return lines


def _unprotected(gap: Unprotected) -> str:
    place = f"{gap.topic}/{gap.partition} from offset {gap.start} on"
    return f"Unprotected: {_many(gap.events, 'event')} of {place}, behind the last digest that is recorded."


def _verdict(report: ReplayReport) -> str:
    if report.sound:
        return "Sound: everything came out as it was recorded."
    return f"NOT SOUND: {_many(len(report.findings), 'finding')}, the first cause first."


def _stand(number: int, one: str, several: str | None = None) -> str:
    return f"{_many(number, one, several)} {'stands' if number == 1 else 'stand'}"


def _many(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
