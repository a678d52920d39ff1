"""What came of the demo: the facts, whether every promise held, in plain words and as one JSON document. Pure."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from splitgauge.demo.evidence import Written
from splitgauge.demo.experiments import DemoExperiment

__all__ = [
    "Check",
    "Decided",
    "ExperimentSummary",
    "Quality",
    "Replayed",
    "Summary",
    "Traffic",
    "checks",
    "plain_words",
    "to_json",
]

REQUESTS_PROMISED = 10_000


@dataclass(frozen=True, slots=True)
class Decided:
    """The automatic decision of an experiment.

    Attributes:
        seconds_to_applied: from the newest observation that the deciding look stands on to the change of traffic.
    """

    action: str
    variant: str | None
    reason: str
    after_s: float
    seconds_to_applied: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares of some answers, as the application saw them: successful ones of all, right ones of the successful."""

    success: float
    correct: float


@dataclass(frozen=True, slots=True)
class ExperimentSummary:
    """One experiment at its deciding look, or at its newest where nothing was decided.

    Attributes:
        step: of the decision rule.
        units, requests: by variant.
        goal_decidable: whether the goal could have been won or lost there: minimum units and minimum duration reached.
        served_now: who answered the requests that were sent after the decision was applied (or all of them), by model.
        before, after: how the answers were to the requests sent until then, and since.
    """

    experiment: DemoExperiment
    verdict: str
    step: int
    winner: str
    units: dict[str, int]
    requests: dict[str, int]
    goal_decidable: bool
    decided: Decided | None
    served_now: Counter[str]
    before: Quality
    after: Quality


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the upstream application did."""

    requests: int
    by_event: int
    users: int
    failed: int
    reports: int
    late: int
    twice: int
    out_of_order: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the replay found."""

    events: int
    analyses: int
    analyses_reproduced: int
    decisions: int
    automatic: int
    automatic_reproduced: int
    mismatches: int
    sound: bool
    seconds: float
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the demo."""

    promise: str
    held: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything."""

    seed: int
    seconds: float
    experiments: tuple[ExperimentSummary, ...]
    traffic: Traffic
    written: Written
    replayed: Replayed

    @property
    def held(self) -> bool:
        """Whether every promise was kept."""
        return all(check.held for check in checks(self))


def checks(summary: Summary) -> list[Check]:
    """Every promise, and whether it was kept."""
    traffic, written, replayed = summary.traffic, summary.written, summary.replayed
    return [
        *(check for experiment in summary.experiments for check in _of_experiment(experiment)),
        Check(f"at least {REQUESTS_PROMISED:,} requests", traffic.requests >= REQUESTS_PROMISED),
        Check(
            "one assignment and one outcome for every request, none missing",
            traffic.requests == written.assignments == written.outcomes and written.missing == 0,
        ),
        Check(
            "every report counted, and none twice",
            traffic.reports - traffic.twice == written.reports and traffic.twice == written.duplicates,
        ),
        Check(
            "the replay makes every analysis and every automatic decision again",
            replayed.sound
            and replayed.mismatches == 0
            and 0 < replayed.analyses == replayed.analyses_reproduced
            and replayed.automatic
            == replayed.automatic_reproduced
            == sum(e.decided is not None for e in summary.experiments),
        ),
    ]


def to_json(summary: Summary) -> dict[str, Any]:
    """One document."""
    traffic, written, replayed = summary.traffic, summary.written, summary.replayed
    return {
        "held": summary.held,
        "seed": summary.seed,
        "seconds": round(summary.seconds, 1),
        "experiments": [_experiment_json(experiment) for experiment in summary.experiments],
        "totals": {
            "requests": traffic.requests,
            "assignments": written.assignments,
            "outcomes": written.outcomes,
            "reports": written.reports,
            "missing": written.missing,
            "duplicates_dropped": written.duplicates,
        },
        "traffic": {
            "users": traffic.users,
            "by_request_event": traffic.by_event,
            "failed": traffic.failed,
            "reports_sent": traffic.reports,
            "reports_late": traffic.late,
            "reports_twice": traffic.twice,
            "reports_out_of_order": traffic.out_of_order,
        },
        "replay": {
            "events": replayed.events,
            "analyses": replayed.analyses,
            "analyses_reproduced": replayed.analyses_reproduced,
            "decisions": replayed.decisions,
            "automatic_decisions": replayed.automatic,
            "mismatches": replayed.mismatches,
            "findings": list(replayed.findings),
            "seconds": round(replayed.seconds, 2),
        },
        "promises": [{"promise": check.promise, "held": check.held} for check in checks(summary)],
    }


def plain_words(summary: Summary) -> list[str]:
    """For people, line by line."""
    lines = ["", "What happened"]
    for experiment in summary.experiments:
        lines += ["", f"  {experiment.experiment.title}", *(f"    {line}" for line in _experiment_words(experiment))]
    lines += ["", *(f"  {line}" for line in _log_words(summary)), ""]
    lines += [f"  {'kept  ' if check.held else 'BROKEN'}  {check.promise}" for check in checks(summary)]
    return [*lines, "", f"  {'All of it held' if summary.held else 'NOT all of it held'}, in {summary.seconds:.0f} s."]


def _of_experiment(summary: ExperimentSummary) -> list[Check]:
    experiment, decided = summary.experiment, summary.decided
    action = (decided.action, decided.variant) if decided else None
    if experiment.promise == "promote":
        return [
            Check(
                f"{experiment.id}: {experiment.challenger} is promoted", action == ("promote", experiment.challenger)
            ),
            Check(f"{experiment.id}: from then on it serves everybody", set(summary.served_now) == {experiment.model}),
        ]
    if experiment.promise == "roll_back":
        by_guardrail = action == ("roll_back", experiment.challenger) and summary.step in (1, 2)
        return [
            Check(
                f"{experiment.id}: {experiment.challenger} is rolled back by a guardrail, before the goal could decide",
                by_guardrail and not summary.goal_decidable,
            ),
            Check(f"{experiment.id}: from then on nobody meets it", set(summary.served_now) == {"tree"}),
        ]
    return [Check(f"{experiment.id}: neither side is promoted", decided is None or decided.action != "promote")]


def _experiment_json(summary: ExperimentSummary) -> dict[str, Any]:
    decided = summary.decided
    return {
        "id": summary.experiment.id,
        "verdict": summary.verdict,
        "winner": summary.winner,
        "units": sum(summary.units.values()),
        "requests": sum(summary.requests.values()),
        "variants": {
            name: {"units": units, "requests": summary.requests[name]} for name, units in summary.units.items()
        },
        "decision": decided and decided.action,
        "reason": decided and decided.reason,
        "seconds_to_applied": decided and round(decided.seconds_to_applied, 3),
        "served_now": dict(summary.served_now),
    }


def _experiment_words(summary: ExperimentSummary) -> list[str]:
    decided = summary.decided
    seen = f"{sum(summary.units.values()):,} users and {sum(summary.requests.values()):,} requests"
    if decided is None:
        return [f"Nothing was decided: after {seen} the verdict is '{summary.verdict}'. Both sides go on serving."]
    verb = {"promote": "promoted", "roll_back": "rolled back"}.get(decided.action, decided.action)
    lines = [
        f"{decided.variant} was {verb} {decided.after_s:.1f} s after the start, after {seen}: {decided.reason}",
        f"Traffic changed {decided.seconds_to_applied:.2f} s after the newest observation that this look stands on.",
    ]
    served = ", ".join(f"{model} {count:,}" for model, count in summary.served_now.most_common())
    before, after = summary.before, summary.after
    what = (
        f"Correct before {100 * before.correct:.1f} %, now {100 * after.correct:.1f} %."
        if decided.action == "promote"
        else f"Success before {100 * before.success:.1f} %, now {100 * after.success:.1f} %."
    )
    return [*lines, f"Requests since then were answered by: {served or 'nobody'}. {what}"]


def _log_words(summary: Summary) -> list[str]:
    traffic, written, replayed = summary.traffic, summary.written, summary.replayed
    sent = (
        f"{traffic.requests:,} requests from {traffic.users} users, {traffic.by_event:,} of them as events in the log"
    )
    reports = f"{traffic.late:,} came late, {traffic.out_of_order:,} out of order, {traffic.twice:,} twice"
    counts = f"{written.assignments:,} assignments, {written.outcomes:,} outcomes ({written.missing:,} missing)"
    again = (
        f"{replayed.analyses_reproduced:,} of {replayed.analyses:,} analyses and "
        f"{replayed.automatic_reproduced} of {replayed.automatic} automatic decisions came out the same"
    )
    replay = f"Replay of the whole log in {replayed.seconds:.1f} s: {replayed.events:,} events; {again}"
    return [
        f"Traffic: {sent}; {traffic.failed:,} failed at the faulty endpoint.",
        f"Reports: {traffic.reports:,} sent; {reports}.",
        f"Log: {counts}, {written.reports:,} reports ({written.duplicates:,} duplicates dropped).",
        f"{replay} ({replayed.decisions} decisions in all, {replayed.mismatches} mismatches).",
        *(f"Mismatch at {finding}" for finding in replayed.findings),
    ]
