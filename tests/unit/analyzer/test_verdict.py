"""The decision rule: each step with the neighbours that it wins over and loses to."""

import pytest

from look_stories import EXPERIMENT, HOUR_S, PERSON, Story, Units, cell, cohort, mean, rate, window
from splitgauge.experiments.commands import (
    pause_experiment,
    ramp_experiment,
    resume_experiment,
    reweight_experiment,
    roll_back_variant,
)
from splitgauge.schemas.analysis import Verdict
from splitgauge.schemas.tables import Cell, WindowData

DAY_S = 24 * HOUR_S
FINE = 3  # of 1,000 units: failures that no margin minds

LATENCY = {"metric": "latency_ms", "margin": 0.05}
SUCCESS = {"metric": "success", "margin": 0.02}


def arm(
    units: int = 3000, *, wrong: int = 900, failures: int | None = None, missing_units: int = 0, **changes: Units
) -> Cell:
    """A healthy arm; 30 % wrong answers."""
    failed = units * FINE // 1000 if failures is None else failures
    metrics: dict[str, Units] = {"success": rate(units, failed), "correct": rate(units, min(units, wrong))}
    return cohort(units, {**metrics, **changes}, missing_units=missing_units)


def seen(control: Cell | None = None, *, as_of_s: float = 48 * HOUR_S, **challengers: Cell) -> WindowData:
    return window({"control": control or arm(), **challengers}, as_of_s=as_of_s)


BETTER = arm(wrong=300)
WORSE = arm(wrong=1500)
SAME = arm()


def verdict(story: Story, data: WindowData, *, at_s: float = 48 * HOUR_S) -> Verdict:
    return story.look(data, at_s=at_s).data.verdict


def gist(found: Verdict) -> tuple[int, str | None, str | None]:
    return found.step, found.proposal.action if found.proposal is not None else None, found.variant


# 1. Operational harm.


def test_1_failures_roll_back_at_once_without_minimum_duration_or_units() -> None:
    harmed = seen(arm(50, failures=0), challenger=arm(50, failures=12))
    found = verdict(Story(), harmed, at_s=10)

    assert gist(found) == (1, "roll_back", "challenger")
    assert found.winner == "control"
    assert found.proposal is not None
    assert found.proposal.consent == "act"
    assert "12 of 12 units with a failure are challenger's" in found.reason


def test_1_needs_ten_first_failures() -> None:
    harmed = seen(arm(50, failures=0), challenger=arm(50, failures=9))

    assert verdict(Story(), harmed, at_s=10).step == 5


def test_1_is_of_the_arm_that_fails_more() -> None:
    assert verdict(Story(), seen(arm(50, failures=12), challenger=arm(50, failures=0)), at_s=10).step == 5


def test_1_goes_by_the_shares_of_the_split() -> None:
    failing = seen(arm(50, failures=0), challenger=arm(50, failures=12))

    assert verdict(Story(weights=[1.0, 9.0]), failing, at_s=10).step != 1


def test_1_needs_no_valid_sample() -> None:
    harmed = seen(arm(300, failures=0), challenger=arm(50, failures=12))
    look = Story().look(harmed, at_s=10).data

    assert (look.health.state, look.verdict.step) == ("invalid", 1)


def test_1_alpha_is_divided_over_guardrails_and_challengers() -> None:
    # 12 failures, all the challenger's: a Bayes factor of 2^12 / 13 = 315; with 8 pairs it takes 320.
    harmed = seen(arm(50, failures=0), a=arm(50, failures=12), b=arm(50, failures=0), c=arm(50, failures=0))
    names = ("a", "b", "c")

    three = Story(challengers=names, guardrails=[SUCCESS, LATENCY])
    assert verdict(three, harmed, at_s=10).step == 1
    four = Story(challengers=names, guardrails=[SUCCESS, LATENCY, {"metric": "ttft_ms", "margin": 0.1}])
    assert verdict(four, harmed, at_s=10).step == 5


def test_1_counts_hits_of_a_safety_flag() -> None:
    flag = {"name": "unsafe", "kind": "proportion", "direction": "down", "scale": 1, "operational": True}
    correct = {"name": "correct", "kind": "proportion", "scale": 1}
    story = Story(metrics=[correct, flag], guardrails=[{"metric": "unsafe", "margin": 0.01}])
    none, often = [(0, 1)] * 50, [(1, 1)] * 12 + [(0, 1)] * 38

    assert verdict(story, seen(arm(50, unsafe=none), challenger=arm(50, unsafe=often)), at_s=10).step == 1


# 2. Harm by the one-sided sequence.


def slow(units: int) -> WindowData:
    return seen(arm(units, latency_ms=mean(units, 100, 10)), challenger=arm(units, latency_ms=mean(units, 200, 10)))


def test_2_rolls_back_before_the_minimum_duration() -> None:
    found = verdict(Story(guardrails=[LATENCY]), slow(100), at_s=10)

    assert gist(found) == (2, "roll_back", "challenger")
    assert "latency_ms: worse by 100 %" in found.reason


def test_2_needs_100_units_an_arm() -> None:
    assert verdict(Story(guardrails=[LATENCY]), slow(99), at_s=10).step == 5


def test_2_holds_also_while_invalid() -> None:
    data = seen(arm(1000, latency_ms=mean(1000, 100, 10)), challenger=arm(500, latency_ms=mean(500, 200, 10)))
    look = Story(guardrails=[LATENCY]).look(data, at_s=10).data

    assert (look.health.state, look.verdict.step) == ("invalid", 2)


def test_2_may_wait_for_harm_above_the_margin() -> None:
    units = 2000
    data = seen(arm(units, latency_ms=mean(units, 100, 10)), challenger=arm(units, latency_ms=mean(units, 110, 10)))

    assert verdict(Story(guardrails=[{**LATENCY, "margin": 0.2}]), data).step == 2
    above = {**LATENCY, "margin": 0.2, "roll_back_above": "margin"}
    assert verdict(Story(guardrails=[above]), data).step != 2


@pytest.mark.parametrize("consent", ["act", "recommend", "off"])
def test_2_follows_the_policy(consent: str) -> None:
    found = verdict(Story(guardrails=[LATENCY], policy={"roll_back": consent}), slow(100))

    assert found.proposal is not None
    assert found.proposal.consent == consent


def test_2_last_of_several_arms_completes_and_others_go_on() -> None:
    units = 500
    data = seen(
        arm(units, latency_ms=mean(units, 100, 10)),
        a=arm(units, latency_ms=mean(units, 200, 10)),
        b=arm(units, latency_ms=mean(units, 100, 10)),
    )
    story = Story(challengers=("a", "b"), guardrails=[LATENCY])
    first = verdict(story, data)
    assert (gist(first), first.winner) == ((2, "roll_back", "a"), "inconclusive")

    story.decide(lambda registry: roll_back_variant(registry, EXPERIMENT, "a", PERSON))
    assert verdict(story, data).step > 2


# 3. Maximum duration.


def test_3_completes_without_a_winner() -> None:
    found = verdict(Story(maximum_duration_s=DAY_S), seen(challenger=SAME), at_s=DAY_S)

    assert gist(found) == (3, "complete", None)
    assert found.winner == "inconclusive"


def test_3_is_not_over_a_moment_before() -> None:
    assert verdict(Story(maximum_duration_s=DAY_S), seen(challenger=SAME), at_s=DAY_S - 1).step == 10


def test_3_promotes_who_has_won() -> None:
    found = verdict(Story(maximum_duration_s=DAY_S), seen(challenger=BETTER), at_s=DAY_S)

    assert gist(found) == (3, "promote", "challenger")


def test_3_promotes_nobody_while_invalid() -> None:
    data = seen(arm(6000, wrong=1800), challenger=BETTER)
    found = verdict(Story(maximum_duration_s=DAY_S), data, at_s=DAY_S)

    assert gist(found) == (3, "complete", None)
    assert "shares of the split" in found.reason


def test_3_ends_an_experiment_without_data() -> None:
    found = verdict(Story(maximum_duration_s=DAY_S), window(), at_s=DAY_S)

    assert gist(found) == (3, "complete", None)


def test_3_leaves_pauses_out() -> None:
    story = Story(maximum_duration_s=DAY_S)
    story.decide(lambda registry: pause_experiment(registry, EXPERIMENT, PERSON), at_s=HOUR_S)
    story.decide(lambda registry: resume_experiment(registry, EXPERIMENT, PERSON), at_s=2 * HOUR_S)

    assert verdict(story, seen(challenger=SAME), at_s=DAY_S + HOUR_S - 1).step != 3
    assert verdict(story, seen(challenger=SAME), at_s=DAY_S + HOUR_S).step == 3


# 4. Invalid.


def test_4_sample_ratio_stops_a_promotion() -> None:
    found = verdict(Story(), seen(arm(3500, wrong=1050), challenger=BETTER))

    assert (found.step, found.kind, found.proposal) == (4, "invalid", None)
    assert found.promotable is None


def test_4_sample_ratio_latches() -> None:
    story = Story()
    story.accepted(seen(arm(1000), challenger=arm(700, wrong=0)), at_s=10)
    mended = seen(arm(3000), challenger=arm(3000, wrong=300))
    assert story.look(mended).data.verdict.step == 8

    look = story.accepted(mended).data
    assert (look.verdict.step, look.health.sample_ratio_latched) == (4, True)


@pytest.mark.parametrize(("crossovers", "step"), [(9, 8), (31, 8), (61, 4)])
def test_4_crossovers_over_one_percent_and_at_least_ten(crossovers: int, step: int) -> None:
    crossed = cell(3000, crossovers=crossovers, success=rate(3000, 9), correct=rate(3000, 300))

    assert verdict(
        Story(), seen(cell(3000, success=rate(3000, 9), correct=rate(3000, 900)), challenger=crossed)
    ).step == (step)


def test_4_few_crossovers_among_few_units_do_not_count() -> None:
    crossed = cell(100, crossovers=9, success=rate(100, 0), correct=rate(100, 50))

    assert Story().look(seen(arm(100, wrong=50), challenger=crossed)).data.health.state == "healthy"


@pytest.mark.parametrize(("control", "challenger"), [(0, 20), (20, 0)])
def test_4_outcomes_missing_more_often_in_one_arm(control: int, challenger: int) -> None:
    data = seen(arm(wrong=900, missing_units=control), challenger=arm(wrong=300, missing_units=challenger))

    assert verdict(Story(), data).step == 4


def test_4_outcomes_missing_alike_are_no_problem() -> None:
    data = seen(arm(wrong=900, missing_units=40), challenger=arm(wrong=300, missing_units=41))

    assert verdict(Story(), data).step == 8


# 5. Hold.


def test_5_no_data_is_neither_good_nor_bad() -> None:
    look = Story().look(window(as_of_s=0)).data

    assert (look.verdict.step, look.verdict.proposal) == (5, None)
    assert look.verdict.reason == "control has 0 units of at least 100"
    assert [finding.state for finding in look.guardrails] == ["undecided"]
    assert {comparison.reason for comparison in look.comparisons} == {"no epoch has two units with data in both arms"}


@pytest.mark.parametrize(("units", "step"), [(99, 5), (100, 6)])
def test_5_units_an_arm(units: int, step: int) -> None:
    """Always right against never right: arms without variance differ, too."""
    assert verdict(Story(), seen(arm(units, wrong=0), challenger=arm(units, wrong=units))).step == step


def test_5_jobs_an_arm() -> None:
    story = Story(minimum={"requests": 500})

    assert verdict(story, seen(arm(499, wrong=0), challenger=arm(499, wrong=400))).step == 5
    assert verdict(story, seen(arm(500, wrong=0), challenger=arm(500, wrong=400))).step == 6


@pytest.mark.parametrize(("wrong", "step"), [(24, 5), (25, 6)])
def test_5_goal_rate_needs_25_of_its_rarer_outcome(wrong: int, step: int) -> None:
    assert verdict(Story(), seen(arm(300, wrong=0), challenger=arm(300, wrong=wrong))).step == step


def test_5_goal_without_reports_holds() -> None:
    def silent() -> Cell:
        return cell(3000, success=rate(3000, 9))

    found = verdict(Story(), seen(silent(), challenger=silent()))

    assert (found.step, found.reason) == (5, "0 units of control have correct, of at least 100")


def test_5_arm_without_traffic_holds_nobody_up() -> None:
    story = Story(challengers=("a", "b"))
    first = {"control": arm(50, wrong=15), "a": arm(50, wrong=15), "b": arm(50, wrong=15)}
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, {"control": 1, "a": 1, "b": 0}, PERSON))

    assert verdict(story, window(first, {"control": arm(), "a": BETTER})).step == 8


def test_5_arm_with_traffic_has_to_have_its_units() -> None:
    story = Story(challengers=("a", "b"), minimum={"units": 60, "requests": 1})
    data = seen(arm(70, wrong=20), a=arm(60, wrong=20), b=arm(59, wrong=20))

    assert verdict(story, data).reason == "b has 59 units of at least 60"


# 6. Control wins.


def test_6_worse_on_the_goal_goes() -> None:
    found = verdict(Story(), seen(challenger=WORSE))

    assert gist(found) == (6, "roll_back", "challenger")
    assert (found.kind, found.winner) == ("control_wins", "control")
    assert found.reason.startswith(
        "challenger's correct is 20.0 points lower than control's (50 % against 70 %); with 95 % confidence at any "
    )


def test_6_waits_for_the_minimum_duration_by_the_wall_clock() -> None:
    data = seen(challenger=WORSE)

    assert verdict(Story(), data, at_s=DAY_S - 1).step == 10
    assert verdict(Story(), data, at_s=DAY_S).step == 6


def test_6_waits_for_the_minimum_duration_by_the_latest_assignment() -> None:
    assert verdict(Story(), seen(challenger=WORSE, as_of_s=DAY_S - 1)).step == 10
    assert verdict(Story(), seen(challenger=WORSE, as_of_s=DAY_S)).step == 6


def test_6_of_a_metric_where_less_is_better() -> None:
    story = Story(goal={"metric": "latency_ms"})
    fast, slower = (arm(3000, latency_ms=mean(3000, value, 10)) for value in (100, 120))

    assert verdict(story, seen(fast, challenger=slower)).step == 6
    assert verdict(story, seen(slower, challenger=fast)).step == 8


# 7. Ramp.

RAMP = {"steps": [{"share": 0.1, "duration_s": HOUR_S, "units": 500}, {"share": 0.25, "units": 500}]}


def test_7_goes_on_when_time_and_units_are_there() -> None:
    found = verdict(Story(ramp=RAMP), seen(arm(500, wrong=150), challenger=arm(500, wrong=150)), at_s=HOUR_S)

    assert (found.step, found.kind) == (7, "ramp")
    assert found.proposal is not None
    assert (found.proposal.action, found.proposal.step) == ("ramp", 1)


def test_7_waits_for_the_steps_own_time_and_units() -> None:
    story = Story(ramp=RAMP)

    def of(units: int) -> WindowData:
        return seen(arm(500, wrong=150), challenger=arm(units, wrong=150))

    assert verdict(story, of(500), at_s=HOUR_S - 1).step == 10
    assert verdict(story, of(499), at_s=HOUR_S).step == 10


def test_7_time_counts_from_the_steps_decision() -> None:
    steps = [{"share": 0.1, "duration_s": HOUR_S}, {"share": 0.25, "duration_s": HOUR_S}]
    story = Story(ramp={"steps": steps})
    story.decide(lambda registry: ramp_experiment(registry, EXPERIMENT, 1, PERSON), at_s=10 * HOUR_S)
    data = seen(challenger=SAME)

    assert verdict(story, data, at_s=11 * HOUR_S - 1).step == 10
    found = verdict(story, data, at_s=11 * HOUR_S)
    assert found.proposal is not None
    assert found.proposal.step == 2


def test_7_comes_before_a_promotion_until_coverage_is_full() -> None:
    story = Story(ramp={"steps": [{"share": 0.1}]})
    assert verdict(story, seen(challenger=BETTER)).step == 7

    story.decide(lambda registry: ramp_experiment(registry, EXPERIMENT, 1, PERSON))
    assert verdict(story, seen(challenger=BETTER)).step == 8


def test_7_left_to_people_is_said_and_does_not_bar_the_way() -> None:
    off = Story(ramp={"steps": [{"share": 0.1}]}, policy={"ramp": "off", "promote": "act"})
    found = verdict(off, seen(challenger=BETTER))
    assert (found.step, found.proposal) == (10, None)
    assert "the ramp is ready for 50 %" in found.reason

    partial = {"ramp": "off", "promote": "act", "promote_from_partial_coverage": True}
    assert verdict(Story(ramp={"steps": [{"share": 0.1}]}, policy=partial), seen(challenger=BETTER)).step == 8


# 8. Promote.


def test_8_better_and_not_worse_on_any_guardrail() -> None:
    found = verdict(Story(), seen(challenger=BETTER))

    assert gist(found) == (8, "promote", "challenger")
    assert (found.winner, found.promotable, found.not_promotable_because) == ("challenger", "challenger", None)
    assert found.reason.startswith(
        "challenger's correct is 20.0 points higher than control's (90 % against 70 %); with 95 % confidence at any "
    )
    assert found.reason.endswith("guardrails passed: success")


def test_8_undecided_guardrail_stops_it() -> None:
    found = verdict(Story(guardrails=[{"metric": "success", "margin": 0.001}]), seen(challenger=BETTER))

    assert found.step == 10
    assert found.promotable is None
    assert found.not_promotable_because is not None
    assert found.not_promotable_because.startswith("guardrail success has not passed")


def test_8_guardrail_without_data_never_passes() -> None:
    story = Story(guardrails=[SUCCESS, LATENCY])

    assert verdict(story, seen(challenger=BETTER)).step == 10


def test_8_minimum_duration_is_all_that_a_person_may_waive() -> None:
    found = verdict(Story(), seen(challenger=BETTER), at_s=10)

    assert (found.step, found.proposal, found.promotable) == (10, None, "challenger")


def test_8_is_recommended_by_default() -> None:
    found = verdict(Story(policy={}), seen(challenger=BETTER))

    assert found.proposal is not None
    assert found.proposal.consent == "recommend"


def test_8_while_paused_proposes_nothing() -> None:
    story = Story()
    story.decide(lambda registry: pause_experiment(registry, EXPERIMENT, PERSON), at_s=47 * HOUR_S)

    assert gist(verdict(story, seen(challenger=BETTER))) == (8, None, "challenger")


def test_8_leader_has_to_beat_the_next() -> None:
    story = Story(challengers=("a", "b"))
    alike = seen(arm(), a=arm(wrong=300), b=arm(wrong=310))
    found = verdict(story, alike)
    assert found.step == 10
    assert found.not_promotable_because is not None
    assert found.not_promotable_because.startswith("a leads, but is not shown to be better than b")

    apart = seen(arm(), a=arm(wrong=600), b=arm(wrong=300))
    assert gist(verdict(story, apart)) == (8, "promote", "b")


def test_8_or_its_expected_loss_is_small() -> None:
    policy = {"promote": "act", "expected_loss_threshold": 0.01}
    story = Story(challengers=("a", "b"), policy=policy)

    assert gist(verdict(story, seen(arm(), a=arm(wrong=300), b=arm(wrong=310)))) == (8, "promote", "a")


def test_8_alpha_holds_over_the_challengers() -> None:
    one = Story().look(seen(arm(1000, wrong=300), challenger=arm(1000, wrong=235))).data
    assert one.verdict.step == 8
    same = arm(1000, wrong=300)
    many = Story(challengers=("challenger", "b", "c", "d")).look(
        seen(arm(1000, wrong=300), challenger=arm(1000, wrong=235), b=same, c=same, d=same)
    )
    assert many.data.verdict.step == 10


# 9. Futility.


def test_9_interval_inside_the_minimum_effect() -> None:
    story = Story(goal={"metric": "correct", "minimum_detectable_effect": 0.08})
    found = verdict(story, seen(challenger=SAME))

    assert gist(found) == (9, "complete", None)
    assert found.winner == "inconclusive"


def test_9_does_not_hold_without_a_minimum_effect() -> None:
    assert verdict(Story(), seen(challenger=SAME)).step == 10


def test_9_waits_for_the_minimum_duration() -> None:
    story = Story(goal={"metric": "correct", "minimum_detectable_effect": 0.08})

    assert verdict(story, seen(challenger=SAME), at_s=10).step == 10


def test_9_conditional_power_under_ten_percent() -> None:
    story = Story(goal={"metric": "correct", "minimum_detectable_effect": 0.05})
    data = seen(arm(2000, wrong=600), challenger=arm(2000, wrong=620))
    look = story.look(data).data
    [goal] = [one for one in look.comparisons if one.role == "goal"]

    assert goal.sequential_lower is not None
    assert goal.sequential_lower < -0.05
    assert goal.conditional_power is not None
    assert goal.conditional_power < 0.1
    assert look.verdict.step == 9


def test_9_relative_minimum_effect() -> None:
    goal = {"metric": "correct", "minimum_detectable_effect": 0.12, "effect": "relative"}

    assert verdict(Story(goal=goal), seen(challenger=SAME)).step == 9


# 10. Continue.


def test_10_says_how_much_is_still_needed() -> None:
    found = verdict(Story(), seen(arm(500, wrong=150), challenger=arm(500, wrong=140)))

    assert (found.step, found.kind) == (10, "continue")
    assert found.units_needed is not None
    assert found.jobs_needed == found.units_needed
    assert f"about {found.units_needed} more units" in found.reason


# The engine `fixed`.


def test_fixed_engine_waits_for_the_planned_units() -> None:
    story = Story(goal={"metric": "correct", "engine": "fixed"}, planned_units=6000)

    assert verdict(story, seen(arm(2999), challenger=arm(3000, wrong=300))).step == 10
    found = verdict(story, seen(arm(3000), challenger=arm(3000, wrong=300)))
    assert found.step == 8
    assert "at the planned end, with 6000 units" in found.reason


def test_fixed_engine_decides_once() -> None:
    story = Story(goal={"metric": "correct", "engine": "fixed"}, planned_units=2000)
    story.accepted(seen(arm(1000, wrong=300), challenger=arm(1000, wrong=290)))
    later = seen(arm(3000), challenger=arm(3000, wrong=300))
    assert story.look(later).data.verdict.step == 8

    assert story.accepted(later).data.verdict.step == 10


def test_fixed_engine_result_stands_until_the_other_gates_open() -> None:
    story = Story(goal={"metric": "correct", "engine": "fixed"}, planned_units=2000)
    early = story.accepted(seen(arm(1000, wrong=300), challenger=arm(1000, wrong=200)), at_s=10)
    assert early.data.verdict.step == 10

    assert story.accepted(seen(arm(3000), challenger=arm(3000, wrong=890))).data.verdict.step == 8


def test_fixed_engine_is_futile_after_an_open_end() -> None:
    goal = {"metric": "correct", "minimum_detectable_effect": 0.02, "engine": "fixed"}
    story = Story(planned_units=2000, goal=goal)

    assert verdict(story, seen(arm(1000, wrong=300), challenger=arm(1000, wrong=290))).step == 9
