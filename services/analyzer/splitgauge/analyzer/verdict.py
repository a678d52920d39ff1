"""The decision rule: one pure function, ten steps, the first that holds (statistics.md, "Decision rule").

Owns the order and the gates of time and numbers. It reads what a look records and nothing else, so that whoever has
the record can follow it. What is done about a verdict is `proposals`'.
"""

import math
from collections.abc import Callable

from splitgauge.analyzer.comparisons import in_the_running, lacking
from splitgauge.analyzer.findings import Findings, goals
from splitgauge.analyzer.judgement import futile_because, goal_result, goal_sentence, no_look_is_left
from splitgauge.analyzer.promotion import Promotion, judge_promotion
from splitgauge.analyzer.wording import amount, percent, units_and_jobs
from splitgauge.experiments import SLOTS, ExperimentState, coverage_slots
from splitgauge.schemas.analysis import Proposal, Verdict
from splitgauge.schemas.instants import SECOND_US

__all__ = ["decide", "judge_promotable"]


def decide(findings: Findings) -> Verdict:
    """The verdict of a look. While the experiment is paused it proposes nothing."""
    verdict = next(verdict for step in _STEPS if (verdict := step(findings)) is not None)
    promotion = judge_promotable(findings)
    return verdict.model_copy(
        update={
            "proposal": verdict.proposal if findings.state.status == "active" else None,
            "promotable": promotion.variant,
            "not_promotable_because": promotion.reason if promotion.variant is None else None,
        }
    )


def judge_promotable(findings: Findings) -> Promotion:
    """What a person may promote without naming it: step 8, neither 4 nor 5, the minimum duration waived."""
    for gate in (_invalid, _hold):
        stopped = gate(findings)
        if stopped is not None:
            return Promotion(None, stopped.reason)
    return judge_promotion(findings)


def _operational_harm(findings: Findings) -> Verdict | None:
    """1. No other gate."""
    for finding in findings.guardrails:
        if finding.operational_harm:
            return _roll_back(findings, 1, finding.variant, reason=finding.reason)
    return None


def _harm(findings: Findings) -> Verdict | None:
    """2. Also while invalid: going back to control is always safe."""
    for finding in findings.guardrails:
        if finding.state == "harm":
            return _roll_back(findings, 2, finding.variant, reason=finding.reason)
    return None


def _roll_back(findings: Findings, step: int, variant: str, *, reason: str) -> Verdict:
    return Verdict(
        step=step,
        kind="roll_back",
        variant=variant,
        winner=_control_if_last(findings.state, variant),
        reason=reason,
        proposal=Proposal(action="roll_back", consent=findings.state.specification.policy.roll_back, variant=variant),
    )


def _maximum_duration(findings: Findings) -> Verdict | None:
    """3. Promote or keep control, but end."""
    state = findings.state
    limit_s = state.specification.maximum_duration_s
    if limit_s is None or state.running_us(findings.looked_at_us) < limit_s * SECOND_US:
        return None
    promoted = None
    if _invalid(findings) is None and _hold(findings) is None:
        promoted = _promote(findings)
    said = f"the maximum duration of {_duration(limit_s)} is over"
    if promoted is not None:
        return promoted.model_copy(
            update={"step": 3, "kind": "maximum_duration", "reason": f"{said}: {promoted.reason}"}
        )
    promotion = judge_promotable(findings)
    because = promotion.reason if promotion.variant is None else "the minimum duration is not over"
    return Verdict(
        step=3,
        kind="maximum_duration",
        reason=f"{said}, and nobody has won: {because}",
        proposal=Proposal(action="complete", consent=state.specification.policy.stop),
    )


def _invalid(findings: Findings) -> Verdict | None:
    """4. Never promotes; alerts."""
    if findings.health.state != "invalid":
        return None
    return Verdict(step=4, kind="invalid", reason="; ".join(findings.health.problems))


def _hold(findings: Findings) -> Verdict | None:
    """5. "No data" is never good or bad."""
    because = _too_little(findings)
    if because is None:
        return None
    units, jobs = _needed(findings)
    return Verdict(step=5, kind="hold", reason=because, units_needed=units, jobs_needed=jobs)


def _too_little(findings: Findings) -> str | None:
    minimum = findings.state.specification.minimum
    compared = [goal for goal in goals(findings) if in_the_running(findings.state, goal)]
    if not compared:
        return "no challenger gets traffic"
    for name in (findings.state.control, *(goal.variant for goal in compared)):
        numbers = findings.variants[name]
        if numbers.units < minimum.units:
            return f"{name} has {numbers.units} units of at least {minimum.units}"
        if numbers.requests < minimum.requests:
            return f"{name} has {numbers.requests} requests of at least {minimum.requests}"
    return next((because for goal in compared if (because := lacking(findings.state, goal)) is not None), None)


def _control_wins(findings: Findings) -> Verdict | None:
    """6. That arm goes; the last one completes."""
    state = findings.state
    if not _minimum_duration_over(findings):
        return None
    for goal in goals(findings):
        if goal_result(findings, goal) == "worse":
            return Verdict(
                step=6,
                kind="control_wins",
                variant=goal.variant,
                winner=_control_if_last(state, goal.variant),
                reason=goal_sentence(findings, goal),
                proposal=Proposal(action="roll_back", consent=state.specification.policy.stop, variant=goal.variant),
            )
    return None


def _ramp(findings: Findings) -> Verdict | None:
    """7. The analyzer only raises. Where the policy leaves ramping to people this step never holds: it would keep the
    later ones from being reached."""
    state = findings.state
    step = _ready_step(findings)
    if step is None or state.specification.policy.ramp == "off":
        return None
    share = state.ramp_shares[step]
    return Verdict(
        step=7,
        kind="ramp",
        reason=f"{_step_sentence(state)}, and no guardrail shows harm: on to {percent(share)} of the traffic",
        proposal=Proposal(action="ramp", consent=state.specification.policy.ramp, step=step),
    )


def _step_sentence(state: ExperimentState) -> str:
    ramp, number = state.specification.ramp, state.step or 0
    step = f"the ramp's step of {percent(state.ramp_shares[number])}"
    if ramp is None or number >= len(ramp.steps):
        return f"{step} is over"
    current = ramp.steps[number]
    return f"{step} has had its {_duration(current.duration_s)} and its {current.units} units an arm"


def _ready_step(findings: Findings) -> int | None:
    """The ramp step to go to now. Harm has been found by the steps before."""
    state = findings.state
    ramp, shares = state.specification.ramp, state.ramp_shares
    if ramp is None or state.step is None or state.step >= len(shares) - 1:
        return None
    current = ramp.steps[state.step]
    slots_of = state.table.counts()
    arms = [name for name in (state.control, *state.challengers) if slots_of[name]]
    if state.step_running_us(findings.looked_at_us) < current.duration_s * SECOND_US:
        return None
    if any(findings.variants[name].units < current.units for name in arms):
        return None
    for step in range(state.step + 1, len(shares)):
        slots = SLOTS if step == len(shares) - 1 else coverage_slots(shares[step], state.joint_weight)
        if slots > state.coverage_slots:
            return step
    return None


def _promote(findings: Findings) -> Verdict | None:
    """8. Better on the goal, and shown not worse on every guardrail."""
    if not _minimum_duration_over(findings):
        return None
    promotion = judge_promotion(findings)
    if promotion.variant is None:
        return None
    state = findings.state
    return Verdict(
        step=8,
        kind="promote",
        variant=promotion.variant,
        winner=promotion.variant,
        reason=promotion.reason,
        proposal=Proposal(action="promote", consent=state.specification.policy.promote, variant=promotion.variant),
    )


def _futility(findings: Findings) -> Verdict | None:
    """9. Needs a minimum detectable effect: without one nothing says what would be futile."""
    state, compared = findings.state, goals(findings)
    size = state.specification.goal.minimum_detectable_effect
    if size is None or not compared or not _minimum_duration_over(findings):
        return None
    reasons = [futile_because(findings, goal) for goal in compared]
    if None in reasons:
        return None
    metric = state.specification.all_metrics[compared[0].metric]
    worth = amount(metric, size, relative=state.specification.goal.effect == "relative")
    said = [f"{goal_sentence(findings, goal)}; {why}" for goal, why in zip(compared, reasons, strict=True)]
    return Verdict(
        step=9,
        kind="futility",
        reason=f"an effect of {worth}, the least worth knowing of, will not be shown: {'; '.join(said)}",
        proposal=Proposal(action="complete", consent=state.specification.policy.stop),
    )


def _continue(findings: Findings) -> Verdict:
    """10. With the units, and the jobs, still needed."""
    units, jobs = _needed(findings)
    if not _minimum_duration_over(findings):
        because = f"the minimum duration of {_duration(findings.state.specification.minimum.duration_s)} is not over"
    else:
        because = judge_promotion(findings).reason
    text = f"{because}; {_still_needed(findings, units, jobs)}"
    step = _ready_step(findings)
    if step is not None:
        text += f"; the ramp is ready for {percent(findings.state.ramp_shares[step])}"
    return Verdict(step=10, kind="continue", reason=text, units_needed=units, jobs_needed=jobs)


_STEPS: tuple[Callable[[Findings], Verdict | None], ...] = (
    _operational_harm,
    _harm,
    _maximum_duration,
    _invalid,
    _hold,
    _control_wins,
    _ramp,
    _promote,
    _futility,
    _continue,
)


def _minimum_duration_over(findings: Findings) -> bool:
    """By the wall clock and by the latest assignment, paused time left out: no application's times move either."""
    needed_us = findings.state.specification.minimum.duration_s * SECOND_US
    if needed_us == 0:
        return True
    if findings.as_of_us is None:
        return False
    return min(findings.state.running_us(at) for at in (findings.looked_at_us, findings.as_of_us)) >= needed_us


def _needed(findings: Findings) -> tuple[int | None, int | None]:
    """Of the challenger that needs the fewest units, or of the leader where it has won and only lacks its lead; and
    requests, at what a unit has made so far."""
    leader = findings.leader
    ahead = leader is not None and any(
        goal.variant == leader.variant and goal_result(findings, goal) == "better" for goal in goals(findings)
    )
    lacking_units = (leader,) if leader is not None and ahead else goals(findings)
    known = [one.units_needed for one in lacking_units if one.units_needed is not None]
    if not known:
        return None, None
    units = sum(one.units for one in findings.variants.values())
    requests = sum(one.requests for one in findings.variants.values())
    return min(known), math.ceil(min(known) * requests / units) if units else None


def _still_needed(findings: Findings, units: int | None, jobs: int | None) -> str:
    """The units and what they are for."""
    specification = findings.state.specification
    if no_look_is_left(findings):
        return "no planned look is left"
    text = units_and_jobs(units, jobs)
    if not text.startswith("about"):
        return text
    goal = specification.goal
    if specification.engine_of(goal.metric) in {"fixed", "group_sequential"}:
        return f"{text} to the last planned look"
    if goal.minimum_detectable_effect is None:
        return f"{text} to show a difference as large as it is now"
    metric = specification.all_metrics[goal.metric]
    worth = amount(metric, goal.minimum_detectable_effect, relative=goal.effect == "relative")
    return f"{text} to show a difference of {worth} with a probability of {percent(specification.power)}"


def _control_if_last(state: ExperimentState, variant: str) -> str:
    return state.control if state.challengers == (variant,) else "inconclusive"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.4g} h" if seconds >= 3600 else f"{seconds:.4g} s"
