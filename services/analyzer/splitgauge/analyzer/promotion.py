"""Step 8 of the decision rule: who would be promoted, and what stands against it.

Owns the conditions of a promotion, the minimum duration left out: a person may waive that, and nothing else. Must not
know what an engine concludes from (`judgement`), nor the order of the steps (`verdict`).
"""

from dataclasses import dataclass

from splitgauge.analyzer.beliefs import direction_of
from splitgauge.analyzer.comparisons import in_the_running, leader_level_of
from splitgauge.analyzer.findings import Findings, goals
from splitgauge.analyzer.judgement import excludes_zero, goal_result, goal_sentence, values_of
from splitgauge.analyzer.wording import amount, effect_of, effect_sentence, p_value, percent
from splitgauge.experiments import SLOTS
from splitgauge.schemas.analysis import Comparison, Novelty

__all__ = ["Promotion", "judge_promotion"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """Who would be promoted, and why; or None, and what stands against it."""

    variant: str | None
    reason: str


def judge_promotion(findings: Findings) -> Promotion:
    """Step 8 without the minimum duration. Steps 4 and 5 are the caller's."""
    state = findings.state
    if not state.fully_covered and not state.specification.policy.promote_from_partial_coverage:
        covered = percent(state.coverage_slots / SLOTS)
        return Promotion(None, f"the ramp lets {covered} of the traffic in so far; a promotion waits for all of it")
    best = _best(findings)
    if best is None:
        return Promotion(None, "no challenger has data on the goal")
    said = goal_sentence(findings, best)
    result = goal_result(findings, best)
    if result != "better":
        return Promotion(None, f"the goal is {'not decided' if result == 'open' else 'missed'}: {said}")
    failing = [one for one in findings.guardrails if one.variant == best.variant and one.state != "pass"]
    if failing:
        return Promotion(None, f"guardrail {failing[0].metric} has not passed: {failing[0].reason}")
    behind = _not_ahead(findings, best)
    if behind is not None:
        return Promotion(None, behind)
    if findings.novelty is not None and findings.novelty.strong:
        return Promotion(None, _wears_off(findings, findings.novelty))
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
    if leader is None or excludes_zero(findings, leader) == "better":
        return None
    threshold = specification.policy.expected_loss_threshold
    loss = findings.variants[best.variant].expected_loss
    if threshold is not None and loss is not None and loss < threshold:
        return None
    metric = specification.all_metrics[leader.metric]
    said = effect_sentence(leader, metric, values=values_of(findings, leader), level=leader_level_of(findings.state))
    text = f"{leader.variant} leads, but is not shown to be better than {leader.against}: {said}"
    if loss is None:
        return text
    needed = "" if threshold is None else f", where under {amount(metric, threshold)} would be enough"
    return f"{text}; choosing it loses {amount(metric, loss)} on average{needed}"


def _wears_off(findings: Findings, found: Novelty) -> str:
    metric = findings.state.specification.all_metrics[findings.state.specification.goal.metric]
    early, late = (effect_of(metric, value or 0.0) for value in (found.early, found.late))
    control = findings.state.control
    return (
        f"the effect wears off: {found.variant}'s {metric.name} is {early} than {control}'s in the first "
        f"3 days of a unit and {late} after that; an effect that stays would differ that much with a chance of "
        f"{p_value(found.p_value or 0.0)}"
    )
