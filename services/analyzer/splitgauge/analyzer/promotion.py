"""Step 8 of the decision rule: who would be promoted, and what stands against it.

Owns the goal's result (sequential, or the one fixed test) and the conditions of a promotion, the minimum duration left
out: a person may waive that, and nothing else. Must not know the order of the steps (`verdict`).
"""

from dataclasses import dataclass
from typing import Literal

from splitgauge.analyzer.comparisons import direction_of, in_the_running, level_of
from splitgauge.analyzer.wording import amount, effect_sentence
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import Comparison, GuardrailFinding, Health, LookState, VariantNumbers

__all__ = ["Findings", "Promotion", "goal_result", "goal_sentence", "goals", "judge_promotion"]


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the decision rule reads of a look, every float as it is recorded.

    Attributes:
        looked_at_us: when the look was taken.
        as_of_us: the latest assignment time of the window; None: no assignment yet.
    """

    state: ExperimentState
    looked_at_us: int
    as_of_us: int | None
    variants: dict[str, VariantNumbers]
    comparisons: tuple[Comparison, ...]
    leader: Comparison | None
    guardrails: tuple[GuardrailFinding, ...]
    health: Health
    carried: LookState


@dataclass(frozen=True, slots=True)
class Promotion:
    """Who would be promoted, and why; or None, and what stands against it."""

    variant: str | None
    reason: str


def goals(findings: Findings) -> tuple[Comparison, ...]:
    """The goal's comparison of each challenger that is still in."""
    return tuple(one for one in findings.comparisons if one.role == "goal")


def goal_result(findings: Findings, goal: Comparison) -> Literal["better", "worse", "open"]:
    """What the engine in force says of a challenger on the goal, at its alpha over all challengers."""
    specification = findings.state.specification
    effect, p = goal.effect, goal.adjusted_p
    if specification.engine == "fixed":
        end = findings.carried.planned_end
        effect = end.effects.get(goal.variant) if end is not None else None
        p = end.adjusted_p.get(goal.variant) if end is not None else None
    if effect is None or p is None or p > specification.alpha or effect == 0:
        return "open"
    return "better" if effect * direction_of(findings.state, goal.metric) > 0 else "worse"


def goal_sentence(findings: Findings, goal: Comparison) -> str:
    """What the engine in force says of the goal, in words."""
    state = findings.state
    metric = state.specification.all_metrics[goal.metric]
    end = findings.carried.planned_end
    if end is None or goal.variant not in end.effects:
        return effect_sentence(goal, metric, level=level_of(state))
    effect = end.effects[goal.variant]
    better = "better" if effect * direction_of(state, goal.metric) > 0 else "worse"
    return (
        f"at the planned end, with {end.units[goal.variant]} units, {goal.variant}'s {goal.metric} was {better} than "
        f"{goal.against}'s by {amount(metric, abs(effect))} (p {end.adjusted_p[goal.variant]:.2g})"
    )


def judge_promotion(findings: Findings) -> Promotion:
    """Step 8 without the minimum duration. Steps 4 and 5 are the caller's."""
    state = findings.state
    if not state.fully_covered and not state.specification.policy.promote_from_partial_coverage:
        return Promotion(None, "the ramp has not reached full coverage")
    best = _best(findings)
    if best is None:
        return Promotion(None, "no challenger has data on the goal")
    said = goal_sentence(findings, best)
    if goal_result(findings, best) != "better":
        return Promotion(None, f"the goal is not decided: {said}")
    failing = [one for one in findings.guardrails if one.variant == best.variant and one.state != "pass"]
    if failing:
        return Promotion(None, f"guardrail {failing[0].metric} has not passed: {failing[0].reason}")
    behind = _not_ahead(findings, best)
    if behind is not None:
        return Promotion(None, behind)
    passed = ", ".join(one.metric for one in findings.guardrails if one.variant == best.variant)
    return Promotion(best.variant, f"{said}; guardrails passed: {passed}" if passed else said)


def _best(findings: Findings) -> Comparison | None:
    sign = direction_of(findings.state, findings.state.specification.goal.metric)
    effects = {
        one.variant: sign * one.effect
        for one in goals(findings)
        if one.effect is not None and in_the_running(findings.state, one)
    }
    best = max(effects, key=lambda name: effects[name], default=None)
    return next((one for one in goals(findings) if one.variant == best), None)


def _not_ahead(findings: Findings, best: Comparison) -> str | None:
    """With several challengers, why the leader is not ahead of the next; None: it is, or there is no other."""
    leader, specification = findings.leader, findings.state.specification
    if leader is None:
        return None
    lower, upper = leader.sequential_lower, leader.sequential_upper
    if lower is not None and upper is not None:
        nearest = lower if direction_of(findings.state, leader.metric) > 0 else -upper
        if nearest > 0:
            return None
    threshold = specification.policy.expected_loss_threshold
    losses = [one.expected_loss for one in (best, leader)]
    loss = max((one for one in losses if one is not None), default=None)
    if threshold is not None and loss is not None and None not in losses and loss < threshold:
        return None
    metric = specification.all_metrics[leader.metric]
    said = "" if loss is None else f" (expected loss {amount(metric, loss)})"
    return f"{leader.variant} leads, but is not shown to be better than {leader.against}{said}"
