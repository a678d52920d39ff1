"""Every automatic decision held against the look that it names (events.md, rule 3)."""

from collections.abc import Iterator

from splitgauge.analyzer.proposals import propose
from splitgauge.audit.chain import Chains
from splitgauge.audit.decisions import AuditedDecisions
from splitgauge.audit.difference import first_difference
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.audit.reproduction import Reproduction
from splitgauge.experiments.history import DecisionHistory, Judged
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.decision import DecisionData, Evidence
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.topics import DECISIONS

__all__ = ["compare_decisions", "evidence_of"]

_Automatic = tuple[Judged, DecisionData]


def evidence_of(history: DecisionHistory) -> set[str]:
    """The ids of the looks that automatic decisions name."""
    return {decision.evidence.id for _, decision in _automatic(history) if decision.evidence is not None}


def compare_decisions(
    decisions: AuditedDecisions, chains: Chains, reproduction: Reproduction, report: ReplayReport
) -> list[Finding]:
    """Make each accepted decision of the analyzer again from its evidence; name those that come out otherwise."""
    findings: list[Finding] = []
    altered_from = decisions.findings[0].end if decisions.findings else decisions.history.end
    for judged, decision in _automatic(decisions.history):
        report.automatic += 1
        named = _look_named(decision.evidence, chains, reproduction)
        found = _difference(judged, decision, named, decisions.history) if isinstance(named, AcceptedLook) else named
        if found is None:
            report.automatic_reproduced += 1
        elif isinstance(found, Finding):
            found.decisions += 1
        elif judged.offset >= altered_from:
            decisions.findings[0].decisions += 1
        else:
            message = f"the {decision.action} of experiment {decision.subject.id!r} {found}"
            offset = judged.offset
            findings.append(
                Finding(FindingKind.DECISION_WITHOUT_EVIDENCE, DECISIONS.name, 0, offset, offset + 1, message)
            )
    return findings


def _automatic(history: DecisionHistory) -> Iterator[_Automatic]:
    for judged in history.judged:
        if judged.accepted and judged.decision is not None and judged.decision.actor.kind == "analyzer":
            yield judged, judged.decision


def _look_named(evidence: Evidence | None, chains: Chains, reproduction: Reproduction) -> AcceptedLook | Finding | str:
    """The look; else why it cannot be had, or what is wrong with the decision."""
    if evidence is None:
        return "names no analysis"
    if evidence.id in chains.forks:
        return f"names analysis {evidence.id}, a fork that every reader ignores"
    versions = reproduction.kept.get(evidence.id)
    if versions is None:
        return chains.cut_that_hides(evidence.id) or f"names analysis {evidence.id}, which is not in the log"
    look = versions.with_sha256(evidence.sha256)
    if look is not None:
        return look
    return reproduction.causes.get(evidence.id) or (
        f"names analysis {evidence.id} with sha256 {evidence.sha256}; in the log it has {versions.recorded.sha256}"
    )


def _difference(judged: Judged, decision: DecisionData, look: AcceptedLook, history: DecisionHistory) -> str | None:
    try:
        made = propose(history.at(judged.offset), look, name=decision.actor.name)
    except SplitgaugeError as exc:
        return f"is refused when it is made again from analysis {look.id}: {exc}"
    if made is None:
        return f"names analysis {look.id}, from which nothing follows: its verdict is {look.data.verdict.kind!r}"
    difference = first_difference(decision.model_dump(mode="json"), made.decision.model_dump(mode="json"))
    if difference is not None:
        return f"is not what follows from analysis {look.id}: {difference}"
    if judged.envelope is not None and judged.envelope.id != made.id:
        return f"has id {judged.envelope.id}, and {made.id} is the one that follows from analysis {look.id}"
    return None
