"""How far the demo is, as somebody watching it wants to know: per variant what was seen, per experiment what follows.

Owns the words and the plain lines; `screen` makes a live picture of the same views.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from splitgauge.demo.client import Json
from splitgauge.demo.experiments import GOAL, DemoExperiment

__all__ = ["ExperimentView", "RunView", "VariantView", "decision_text", "experiment_view", "plain_lines"]

_TWO_SIDED_95 = 1.96
_DASH = "-"


@dataclass(frozen=True, slots=True)
class VariantView:
    """One row. Shares are fractions; None where there is nothing yet.

    Attributes:
        goal, goal_half_width: the share that was right, and half of its 95 % interval at this moment.
        effect, lower, upper: against control, with the interval that is valid at every look; None for control.
    """

    name: str
    traffic_percent: float
    units: int
    requests: int
    success: float | None
    latency_ms: float | None
    goal: float | None
    goal_half_width: float | None
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """As text, in the order of `COLUMNS`."""
        goal = _percent(self.goal)
        if self.goal is not None and self.goal_half_width is not None:
            goal += f" ± {100 * self.goal_half_width:.1f}"
        difference = _DASH
        if self.effect is not None and self.lower is not None and self.upper is not None:
            difference = f"{100 * self.effect:+.1f} [{100 * self.lower:+.1f}, {100 * self.upper:+.1f}]"
        return (
            self.name,
            f"{self.traffic_percent:g} %",
            f"{self.units:,}",
            f"{self.requests:,}",
            _percent(self.success),
            f"{self.latency_ms:.1f} ms" if self.latency_ms is not None else _DASH,
            goal,
            difference,
        )


COLUMNS = ("variant", "traffic", "users", "requests", "success", "latency", GOAL, "difference, points [always valid]")


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """One experiment as it stands.

    Attributes:
        reason: of the last decision; empty where it is known from who made it.
        answering: which models answered the newest requests.
    """

    id: str
    title: str
    status: str
    variants: tuple[VariantView, ...]
    health: str
    verdict: str
    last_decision: str
    reason: str
    answering: str


@dataclass(frozen=True, slots=True)
class RunView:
    """All of the demo at a moment."""

    elapsed_s: float
    requests: int
    planned: int
    users: int
    reports: int
    experiments: tuple[ExperimentView, ...]
    step: str

    @property
    def headline(self) -> str:
        """One line on the traffic."""
        requests = f"{self.requests:,} of {max(self.planned, self.requests):,} requests from {self.users} users"
        return f"{self.elapsed_s:3.0f} s   {requests}, {self.reports:,} reports; {self.step}"


def experiment_view(
    experiment: DemoExperiment, results: Json, decisions: Sequence[Json], *, models: Sequence[str] = ()
) -> ExperimentView:
    """What `results` and `decisions` of the HTTP API say; `models`: who answered the newest requests."""
    health, verdict = results["health"], results["verdict"]
    effects = {item["variant"]: item for item in results["comparisons"] if item["metric"] == GOAL}
    last = next((decision for decision in reversed(decisions) if decision["accepted"]), None)
    return ExperimentView(
        id=experiment.id,
        title=experiment.title,
        status=results["status"],
        variants=tuple(_variant_view(variant, effects.get(variant["name"])) for variant in results["variants"]),
        health="; ".join([health["state"], *health["problems"]]) if health else "not looked at yet",
        verdict=f"{verdict['kind'].replace('_', ' ')}: {verdict['reason']}" if verdict else "none yet",
        last_decision=_decision_words(last) if last else "none",
        reason=_reason(last) if last else "",
        answering=_shares(models),
    )


def decision_text(decision: Json) -> str:
    """A decision with its reason, where it has more of one than that somebody wanted it."""
    return ": ".join(part for part in (_decision_words(decision), _reason(decision)) if part)


def plain_lines(view: RunView) -> list[str]:
    """For everything that is no terminal: a line for the traffic and one for every variant, no control characters."""
    lines = [view.headline]
    for experiment in view.experiments:
        if experiment.status == "completed":
            lines.append(f"      {experiment.id}: completed; {experiment.last_decision}; now {experiment.answering}")
            continue
        for variant in experiment.variants:
            named = [
                f"{label} {cell}" for label, cell in zip(COLUMNS[1:], variant.cells[1:], strict=True) if cell != _DASH
            ]
            lines.append(f"      {experiment.id} / {variant.name}: {', '.join(named)}")
        lines.append(f"      {experiment.id}: {experiment.status}, health {experiment.health}; {experiment.verdict}")
    return lines


def _decision_words(decision: Json) -> str:
    what = " ".join([decision["action"].replace("_", " "), *([decision["variant"]] if decision.get("variant") else [])])
    by = "by itself" if decision["actor"]["kind"] == "analyzer" else f"by {decision['actor']['name']}"
    return f"{what}, {by}"


def _reason(decision: Json) -> str:
    return str(decision["reason"]) if decision["actor"]["kind"] == "analyzer" else ""


def _variant_view(variant: dict[str, Any], comparison: dict[str, Any] | None) -> VariantView:
    goal: dict[str, float | None] = variant["metrics"].get(GOAL, {})
    error = goal.get("standard_error")
    against = comparison or {"effect": None, "sequential_lower": None, "sequential_upper": None}
    success = variant["success_rate"]
    return VariantView(
        name=variant["name"],
        traffic_percent=variant["traffic_percent"],
        units=variant["units"],
        requests=variant["job_count"],
        success=None if success is None else success / 100,
        latency_ms=variant["avg_latency_ms"],
        goal=goal.get("value"),
        goal_half_width=None if error is None else _TWO_SIDED_95 * error,
        effect=against["effect"],
        lower=against["sequential_lower"],
        upper=against["sequential_upper"],
    )


def _shares(models: Sequence[str]) -> str:
    counts = Counter(models)
    named = [
        f"{model or 'no model (failed)'} {100 * count / len(models):.0f} %" for model, count in sorted(counts.items())
    ]
    return f"answered by {', '.join(named)}" if named else "no answer yet"


def _percent(share: float | None) -> str:
    return _DASH if share is None else f"{100 * share:.1f} %"
