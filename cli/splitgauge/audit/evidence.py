"""Every automatic decision held against the look that it names (events.md, rule 3)."""

from splitgauge.analyzer.proposals import propose
from splitgauge.audit.chain import AuditedLooks
from splitgauge.audit.difference import first_difference
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.experiments.history import DecisionHistory, Judged
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.topics import DECISIONS

__all__ = ["compare_decisions"]


def compare_decisions(history: DecisionHistory, looks: AuditedLooks, report: ReplayReport) -> None:
    """Make each accepted decision of the analyzer again from its evidence; name those that come out otherwise."""
    for judged in history.judged:
        decision = judged.decision
        if decision is None or not judged.accepted or decision.actor.kind != "analyzer":
            continue
        report.automatic += 1
        reason = _disagreement(judged, decision, history=history, looks=looks)
        if reason is None:
            report.automatic_reproduced += 1
        else:
            place = f"{DECISIONS.name}/0/{judged.offset}"
            report.findings.append(Finding(FindingKind.DECISION_WITHOUT_EVIDENCE, place, reason))


def _disagreement(
    judged: Judged, decision: DecisionData, *, history: DecisionHistory, looks: AuditedLooks
) -> str | None:
    what = f"{decision.action} of experiment {decision.subject.id!r}"
    if decision.evidence is None:
        return f"{what} names no analysis"
    look = looks.by_id.get(decision.evidence.id)
    if look is None:
        return f"{what} names analysis {decision.evidence.id}, which is no accepted look"
    if look.sha256 != decision.evidence.sha256:
        return f"{what} names sha256 {decision.evidence.sha256} of analysis {look.id}, which has {look.sha256}"
    try:
        made = propose(history.at(judged.offset), look, name=decision.actor.name)
    except SplitgaugeError as exc:
        return f"{what}: made again from analysis {look.id} it is refused: {exc}"
    if made is None:
        return f"{what} names analysis {look.id}, from which nothing follows: its verdict is {look.data.verdict.kind}"
    difference = first_difference(decision.model_dump(mode="json"), made.decision.model_dump(mode="json"))
    if difference is not None:
        return f"{what} is not what follows from analysis {look.id}: {difference}"
    if judged.envelope is not None and judged.envelope.id != made.id:
        return f"{what} has id {judged.envelope.id}; from analysis {look.id} follows {made.id}"
    return None
