"""What came of the demo: the facts, whether every promise held, and all of it as one JSON document. Pure."""

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
    "replays",
    "to_json",
]

REQUESTS_PROMISED = 10_000
APPLIED_WITHIN_S = 2.0
"""From an observation that makes the difference until no router goes on as before."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The automatic decision of an experiment.

    Attributes:
        seconds_to_applied: from the newest observation that the deciding look stands on to the change of traffic at
            the last of the routers.
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
        outside: requests that met no variant while it ran, since their router did without its log for a moment.
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
    outside: int
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
    """One promise of the demo. `timed`: on a machine that is busy with other things, it may be broken for that."""

    promise: str
    held: bool
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything.

    Attributes:
        stage: `embedded` or `cluster`.
        replayed, archived: what the replay of the log found, and that of its archive where there is one.
    """

    stage: str
    routers: int
    seed: int
    seconds: float
    experiments: tuple[ExperimentSummary, ...]
    traffic: Traffic
    written: Written
    replayed: Replayed
    archived: Replayed | None = None

    @property
    def held(self) -> bool:
        """Whether every promise was kept."""
        return all(check.held for check in checks(self))


def checks(summary: Summary) -> list[Check]:
    """Every promise, and whether it was kept."""
    traffic, written = summary.traffic, summary.written
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
        *(
            Check(
                f"the replay of {what} makes every analysis and every automatic decision again",
                _made_again(again, decided=sum(e.decided is not None for e in summary.experiments)),
            )
            for what, again in replays(summary)
        ),
    ]


def to_json(summary: Summary) -> dict[str, Any]:
    """One document."""
    traffic, written = summary.traffic, summary.written
    return {
        "held": summary.held,
        "stage": summary.stage,
        "routers": summary.routers,
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
        "replay": _replay_json(summary.replayed),
        "replay_of_archive": summary.archived and _replay_json(summary.archived),
        "promises": [{"promise": check.promise, "held": check.held, "timed": check.timed} for check in checks(summary)],
    }


def _of_experiment(summary: ExperimentSummary) -> list[Check]:
    experiment, decided = summary.experiment, summary.decided
    action = (decided.action, decided.variant) if decided else None
    if experiment.promise == "promote":
        return [
            Check(
                f"{experiment.id}: {experiment.challenger} is promoted", action == ("promote", experiment.challenger)
            ),
            _in_time(summary),
            Check(f"{experiment.id}: from then on it serves everybody", set(summary.served_now) == {experiment.model}),
        ]
    if experiment.promise == "roll_back":
        by_guardrail = action == ("roll_back", experiment.challenger) and summary.step in (1, 2)
        return [
            Check(
                f"{experiment.id}: {experiment.challenger} is rolled back by a guardrail, before the goal could decide",
                by_guardrail and not summary.goal_decidable,
            ),
            _in_time(summary),
            Check(f"{experiment.id}: from then on nobody meets it", set(summary.served_now) == {"tree"}),
        ]
    return [Check(f"{experiment.id}: neither side is promoted", decided is None or decided.action != "promote")]


def _in_time(summary: ExperimentSummary) -> Check:
    decided = summary.decided
    return Check(
        f"{summary.experiment.id}: traffic changes within {APPLIED_WITHIN_S:g} s",
        decided is not None and decided.seconds_to_applied <= APPLIED_WITHIN_S,
        timed=True,
    )


def replays(summary: Summary) -> list[tuple[str, Replayed]]:
    """By what was replayed."""
    archive = [] if summary.archived is None else [("the archive", summary.archived)]
    return [("the log", summary.replayed), *archive]


def _made_again(replayed: Replayed, *, decided: int) -> bool:
    return (
        replayed.sound
        and replayed.mismatches == 0
        and 0 < replayed.analyses == replayed.analyses_reproduced
        and replayed.automatic == replayed.automatic_reproduced == decided
    )


def _replay_json(replayed: Replayed) -> dict[str, Any]:
    return {
        "events": replayed.events,
        "analyses": replayed.analyses,
        "analyses_reproduced": replayed.analyses_reproduced,
        "decisions": replayed.decisions,
        "automatic_decisions": replayed.automatic,
        "mismatches": replayed.mismatches,
        "findings": list(replayed.findings),
        "seconds": round(replayed.seconds, 2),
    }


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
        "requests_outside": summary.outside,
        "seconds_to_applied": decided and round(decided.seconds_to_applied, 3),
        "served_now": dict(summary.served_now),
    }
