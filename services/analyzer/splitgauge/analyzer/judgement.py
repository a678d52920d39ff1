"""What the goal's engine concludes of a challenger: better, worse, open, or not worth waiting for; and in words.

Owns the one place where engines differ in what they conclude from. Must not know gates, guardrails or the order of the
steps (`verdict`).
"""

import math
from typing import Literal

from splitgauge.analyzer.beliefs import direction_of
from splitgauge.analyzer.comparisons import level_of
from splitgauge.analyzer.findings import Findings
from splitgauge.analyzer.wording import (
    amount,
    average_sentence,
    between,
    chance,
    effect_of,
    effect_sentence,
    factor,
    p_value,
    percent,
)
from splitgauge.schemas.analysis import Comparison, PlannedLook
from splitgauge.statistics import bayes_decision

__all__ = ["excludes_zero", "futile_because", "goal_result", "goal_sentence", "no_look_is_left", "values_of"]

Result = Literal["better", "worse", "open"]

_FUTILE_POWER = 0.1


def goal_result(findings: Findings, goal: Comparison) -> Result:
    """What the engine in force says of a challenger on the goal, at its alpha over all challengers."""
    if goal.engine in {"fixed", "group_sequential"}:
        decided = _deciding_look(findings, goal)
        return "open" if decided is None else _side(findings, goal, decided.results[goal.variant].effect)
    if goal.adjusted_p is None or goal.adjusted_p > findings.state.specification.alpha:
        return "open"
    return _bayes_result(findings, goal) if goal.engine == "bayes" else _side(findings, goal, _estimate(goal))


def excludes_zero(findings: Findings, one: Comparison) -> Result:
    """What the interval that holds at every look says of any comparison."""
    low, high = one.sequential_lower, one.sequential_upper
    if low is not None and low > 0:
        return _side(findings, one, 1.0)
    return _side(findings, one, -1.0) if high is not None and high < 0 else "open"


def goal_sentence(findings: Findings, goal: Comparison) -> str:
    """What the engine in force says of the goal, in words."""
    metric = findings.state.specification.all_metrics[goal.metric]
    if goal.engine in {"fixed", "group_sequential"}:
        return _planned_sentence(findings, goal)
    if goal.engine == "bayes":
        return f"{average_sentence(goal, metric, values=values_of(findings, goal))}{_belief(findings, goal)}"
    return effect_sentence(goal, metric, values=values_of(findings, goal), level=level_of(findings.state))


def futile_because(findings: Findings, goal: Comparison) -> str | None:
    """Why the minimum detectable effect will not be shown of a challenger; None: it may be, or none is declared."""
    declared = findings.state.specification.goal.minimum_detectable_effect
    if declared is None:
        return None
    if no_look_is_left(findings):
        return "no planned look is left" if goal_result(findings, goal) == "open" else None
    if goal.engine not in {"fixed", "group_sequential"} and _is_inside(findings, goal):
        return "the difference is shown to be smaller than that"
    power = goal.conditional_power
    if power is not None and power < _FUTILE_POWER:
        return f"even if it were that large, the chance to show it is {chance(power)}"
    return None


def no_look_is_left(findings: Findings) -> bool:
    """Whether the last of the planned looks is taken: more units change nothing then."""
    looks = findings.carried.planned_looks
    return bool(looks) and looks[-1].number == looks[-1].planned


def values_of(findings: Findings, one: Comparison) -> tuple[float | None, float | None]:
    """The metric of the one compared with, and of the challenger."""
    ours, theirs = (findings.variants[name].metrics[one.metric].value for name in (one.against, one.variant))
    return ours, theirs


def _deciding_look(findings: Findings, goal: Comparison) -> PlannedLook | None:
    """The first planned look that decided on the challenger: no later one takes it back."""
    alpha = findings.state.specification.alpha
    for taken in findings.carried.planned_looks:
        result = taken.results.get(goal.variant)
        if result is not None and result.adjusted_p is not None and result.adjusted_p <= alpha:
            return taken
    return None


def _side(findings: Findings, one: Comparison, estimate: float | None) -> Result:
    """Good or bad: more misses of a metric are less of it."""
    if not estimate:
        return "open"
    missed = one.counted is not None and one.counted.outcome == "miss"
    good = direction_of(findings.state, one.metric) * (-1 if missed else 1)
    return "better" if estimate * good > 0 else "worse"


def _estimate(goal: Comparison) -> float | None:
    if goal.counted is None:
        return goal.effect
    return math.inf if goal.counted.rate_ratio is None else goal.counted.rate_ratio - 1


def _bayes_result(findings: Findings, goal: Comparison) -> Result:
    """Of a Bayes factor, corrected over the challengers, and the expected losses together."""
    specification = findings.state.specification
    threshold, choosing, staying = (
        specification.policy.expected_loss_threshold,
        goal.expected_loss,
        goal.expected_loss_of_staying,
    )
    if threshold is None or choosing is None or staying is None or goal.adjusted_p is None:
        return "open"
    found = bayes_decision(
        -math.log(goal.adjusted_p), choosing, staying, alpha=specification.alpha, loss_threshold=threshold
    )
    return "better" if found.choose else "worse" if found.stay else "open"


def _is_inside(findings: Findings, goal: Comparison) -> bool:
    """Whether the sequence lies inside +- the minimum detectable effect."""
    declared = findings.state.specification.goal
    size, low, high = declared.minimum_detectable_effect, goal.sequential_lower, goal.sequential_upper
    base, _ = values_of(findings, goal)
    if size is None or low is None or high is None or base is None:
        return False
    if declared.effect == "relative":
        size *= abs(base)
    if goal.counted is not None:
        rate = base if goal.counted.outcome == "hit" else 1 - base
        size = size / rate if rate > 0 else 0.0
    return -size < low and high < size


def _belief(findings: Findings, goal: Comparison) -> str:
    """Of the engine `bayes`: what it decides from, each number with what it has to be."""
    specification = findings.state.specification
    metric, threshold = specification.all_metrics[goal.metric], specification.policy.expected_loss_threshold
    better, loss, staying = goal.probability_to_beat_control, goal.expected_loss, goal.expected_loss_of_staying
    if better is None or loss is None or staying is None or threshold is None or goal.log_e_value is None:
        return "; nothing varies yet, so that nothing can be said"
    needed = len(specification.challenger_names) / specification.alpha
    return (
        f"; it is better with probability {chance(better)}, choosing it loses {amount(metric, loss)} on average and "
        f"staying {amount(metric, staying)} (at most {amount(metric, threshold)} is needed), and the data speak "
        f"{factor(goal.log_e_value)} to 1 for a difference (the Bayes factor; {needed:.4g} to 1 is needed)"
    )


def _planned_sentence(findings: Findings, goal: Comparison) -> str:
    state = findings.state
    metric = state.specification.all_metrics[goal.metric]
    taken = _deciding_look(findings, goal) or next(
        (one for one in reversed(findings.carried.planned_looks) if goal.variant in one.results), None
    )
    if taken is None:
        return f"{average_sentence(goal, metric, values=values_of(findings, goal))}; {_next_look(findings, goal)}"
    result = taken.results[goal.variant]
    which = "the planned end" if taken.planned == 1 else f"planned look {taken.number} of {taken.planned}"
    text = f"at {which}, with {result.units} units, {goal.variant}'s {goal.metric} was "
    if result.effect is None or result.adjusted_p is None:
        return f"{text}not to be compared with {goal.against}'s"
    text += f"{effect_of(metric, result.effect)} than {goal.against}'s"
    if result.lower is not None and result.upper is not None:
        text += f", with {percent(1 - level_of(state))} confidence {between(metric, result.lower, result.upper)}"
    text += (
        f"; equal arms would differ that much with a chance of {p_value(result.adjusted_p)}, and "
        f"{state.specification.alpha:g} or less decides"
    )
    return text if no_look_is_left(findings) else f"{text}; {_next_look(findings, goal)}"


def _next_look(findings: Findings, goal: Comparison) -> str:
    if no_look_is_left(findings):
        return "no planned look is left"
    specification = findings.state.specification
    taken = findings.carried.planned_looks[-1].number if findings.carried.planned_looks else 0
    planned = specification.planned_looks.looks if goal.engine == "group_sequential" else (1.0,)
    units = math.ceil(planned[taken] * specification.planned_units)
    which = "the planned end" if len(planned) == 1 else f"planned look {taken + 1} of {len(planned)}"
    return f"{which} is at {units} units, of which {goal.units + goal.units_against} are there"
