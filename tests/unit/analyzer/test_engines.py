"""What each engine concludes from, and when. The asymptotic one is tested with the decision rule."""

import math
from typing import Any

import pytest

from look_stories import EXPERIMENT, HOUR_S, PERSON, Story, Units, cohort, mean, rate, window
from splitgauge.experiments.commands import reweight_experiment
from splitgauge.schemas.analysis import AnalysisData, Comparison
from splitgauge.schemas.tables import Cell, WindowData
from splitgauge.statistics import group_sequential_boundaries, rate_ratio_sequence


def arm(units: int = 3000, wrong: int = 900, **more: Units) -> Cell:
    return cohort(units, {"success": rate(units, 3), "correct": rate(units, wrong), **more})


def seen(control: Cell, **challengers: Cell) -> WindowData:
    return window({"control": control, **challengers})


def goal_of(engine: str, **changes: Any) -> dict[str, Any]:
    return {"metric": "correct", "engine": engine, **changes}


def goal(data: AnalysisData, variant: str = "challenger") -> Comparison:
    [found] = [one for one in data.comparisons if one.role == "goal" and one.variant == variant]
    return found


# rare


def rare(control: int, challenger: int, **changes: Any) -> AnalysisData:
    """Of 3,000 units an arm so many answer wrong."""
    story = Story(goal=goal_of("rare", **changes))
    return story.look(seen(arm(wrong=control), challenger=arm(wrong=challenger))).data


def test_rare_counts_the_outcome_that_both_arms_have_less_often() -> None:
    found, expected = goal(rare(90, 30)), rate_ratio_sequence([90], [30], 0.5, alpha=0.05)

    assert found.counted is not None
    assert (found.counted.outcome, found.counted.units, found.counted.units_against) == ("miss", 30, 90)
    assert found.counted.rate_ratio == pytest.approx(1 / 3)
    assert found.sequential_p == pytest.approx(float(expected.p_value))
    assert found.log_e_value == pytest.approx(float(expected.log_e_value))
    assert found.sequential_lower == pytest.approx(math.expm1(float(expected.lower)))
    assert found.sequential_upper == pytest.approx(math.expm1(float(expected.upper)))
    assert (found.engine, found.effect, found.adjusted_p) == ("rare", 0.02, found.sequential_p)


@pytest.mark.parametrize(
    ("control", "challenger", "step"),
    [(90, 30, 8), (30, 90, 6), (30, 30, 10), (40, 0, 8), (0, 40, 6), (0, 0, 10), (2910, 2970, 6), (2970, 2910, 8)],
)
def test_rare_fewer_misses_and_more_hits_are_better(control: int, challenger: int, step: int) -> None:
    """Of 3,000 wrong: with 2,910 and 2,970 of them the hits are the rarer outcome."""
    assert rare(control, challenger).verdict.step == step


def test_rare_less_is_better_where_down_is_good() -> None:
    flag = {"name": "refused", "kind": "proportion", "direction": "down", "scale": 1, "engine": "rare"}
    story = Story(metrics=[flag], goal={"metric": "refused"})
    fewer, more = ([(int(unit < hits), 1) for unit in range(3000)] for hits in (20, 90))

    assert story.look(seen(arm(refused=more), challenger=arm(refused=fewer))).data.verdict.step == 8
    assert story.look(seen(arm(refused=fewer), challenger=arm(refused=more))).data.verdict.step == 6


def test_rare_needs_no_25_outcomes() -> None:
    assert rare(22, 0).verdict.step == 10
    asymptotic = Story().look(seen(arm(wrong=22), challenger=arm(wrong=0))).data
    assert asymptotic.verdict.step == 5


def test_rare_p_and_interval_agree() -> None:
    for fewer in range(40, 90, 3):
        found = goal(rare(90, fewer))
        assert found.sequential_p is not None
        assert found.sequential_upper is not None
        assert (found.sequential_p < 0.05) == (found.sequential_upper < 0)


def test_rare_interval_without_a_bound_is_null() -> None:
    found = goal(rare(0, 40))

    assert found.counted is not None
    assert (found.counted.rate_ratio, found.sequential_upper) == (None, None)
    assert found.sequential_lower is not None
    assert found.sequential_lower > 0


def test_rare_goes_by_the_shares_of_the_split() -> None:
    """As many failures in a tenth of the traffic."""
    control, challenger = arm(2700, 60), arm(300, 60)
    even = Story(goal=goal_of("rare"), weights=[9.0, 1.0]).look(seen(control, challenger=challenger)).data

    found = goal(even)
    assert found.counted is not None
    assert found.counted.rate_ratio == pytest.approx(9, rel=1e-3)
    assert even.verdict.step == 6


def test_rare_futility_by_a_minimum_effect_in_points_of_the_rate() -> None:
    """Control misses 1 %: an effect of one point is a ratio of 0 or 2, of half a point 0.5 or 1.5."""
    assert rare(30, 30, minimum_detectable_effect=0.01).verdict.step == 9
    assert rare(30, 30, minimum_detectable_effect=0.005).verdict.step == 10
    assert rare(30, 30, minimum_detectable_effect=0.5, effect="relative").verdict.step == 9


def test_rare_says_how_much_is_still_needed() -> None:
    little, more = (goal(rare(30, 30, minimum_detectable_effect=size)).units_needed for size in (0.0025, 0.005))

    assert little is not None
    assert more is not None
    # Half the effect takes about four times the units.
    assert 3 < (6000 + little) / (6000 + more) < 5


def test_rare_among_secondary_metrics() -> None:
    flag = {"name": "refused", "kind": "proportion", "direction": "down", "scale": 1, "engine": "rare"}
    correct = {"name": "correct", "kind": "proportion", "scale": 1}
    none, often = [(0, 1)] * 3000, [(1, 1)] * 40 + [(0, 1)] * 2960
    data = Story(metrics=[correct, flag]).look(seen(arm(refused=none), challenger=arm(refused=often))).data
    [found] = [one for one in data.comparisons if one.metric == "refused"]

    assert (found.engine, found.role, found.discovery) == ("rare", "secondary", True)


def test_rare_leader_beats_the_next_by_counts() -> None:
    story = Story(challengers=("a", "b"), goal=goal_of("rare"))
    alike = seen(arm(wrong=200), a=arm(wrong=40), b=arm(wrong=45))
    apart = seen(arm(wrong=200), a=arm(wrong=150), b=arm(wrong=40))

    assert story.look(alike).data.verdict.step == 10
    found = story.look(apart).data
    assert (found.verdict.step, found.verdict.variant) == (8, "b")


# bayes


def bayes(control: int, challenger: int, *, threshold: float = 0.01, **changes: Any) -> AnalysisData:
    story = Story(goal=goal_of("bayes", **changes), policy={"promote": "act", "expected_loss_threshold": threshold})
    return story.look(seen(arm(wrong=control), challenger=arm(wrong=challenger))).data


def test_bayes_decides_on_factor_and_loss_together() -> None:
    assert bayes(900, 700).verdict.step == 8
    assert bayes(700, 900).verdict.step == 6
    # The factor says that there is an effect, but not yet that choosing the challenger loses so little.
    assert bayes(900, 700, threshold=1e-12).verdict.step == 10


def test_bayes_probability_alone_decides_nothing() -> None:
    data = bayes(900, 840)
    found = goal(data)

    assert found.probability_to_beat_control is not None
    assert found.probability_to_beat_control > 0.95
    assert found.log_e_value is not None
    assert found.log_e_value < math.log(20)
    assert data.verdict.step == 10


def test_bayes_factor_is_corrected_over_challengers() -> None:
    story = Story(
        challengers=("a", "b", "c"),
        goal=goal_of("bayes"),
        policy={"promote": "act", "expected_loss_threshold": 0.01},
    )
    data = story.look(seen(arm(), a=arm(wrong=789), b=arm(), c=arm())).data
    found = goal(data, "a")

    assert found.log_e_value is not None
    assert math.log(20) < found.log_e_value < math.log(60)
    assert data.verdict.step == 10


def test_bayes_prior_draws_the_posterior_to_itself() -> None:
    flat, narrow, sure = (
        bayes(900, 840),
        bayes(900, 840, prior_sd=0.01),
        bayes(900, 840, prior_mean=0.5, prior_sd=0.001),
    )
    chances = [goal(data).probability_to_beat_control or 0.0 for data in (narrow, flat, sure)]

    assert chances[0] < chances[1] < chances[2] == 1.0
    # A prior is no evidence: the factor is the same.
    assert {goal(data).log_e_value for data in (flat, narrow, sure)} == {goal(flat).log_e_value}


def test_relative_prior_is_a_fraction_of_control() -> None:
    """Control is right in 70 %."""
    absolute, relative = bayes(900, 840, prior_sd=0.07), bayes(900, 840, prior_sd=0.1, effect="relative")

    assert goal(absolute).expected_loss == goal(relative).expected_loss


# group_sequential


def planned(**changes: Any) -> Story:
    guardrails = [{"metric": "success", "margin": 0.1}]
    return Story(goal=goal_of("group_sequential"), planned_units=6000, guardrails=guardrails, **changes)


def at_size(units: int, share: float) -> WindowData:
    """Control is wrong in 30 %."""
    return seen(arm(units, units * 3 // 10), challenger=arm(units, round(units * share)))


def test_group_sequential_decides_at_planned_looks_only() -> None:
    story = planned()

    assert story.look(at_size(599, 0.1)).data.verdict.step == 10
    assert story.look(at_size(600, 0.1)).data.verdict.step == 8


def test_group_sequential_boundaries_are_those_of_the_plan() -> None:
    story = planned()
    for units in (600, 1200, 1800, 2400, 3000):
        story.accepted(at_size(units, 0.3))
    taken = story.looks.last("e1")
    assert taken is not None
    looks = taken.data.state.planned_looks
    expected = group_sequential_boundaries([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05).boundary

    assert [look.boundary for look in looks] == pytest.approx(expected.tolist())
    assert [look.fraction for look in looks] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert looks[-1].alpha_spent == pytest.approx(0.05)


def test_group_sequential_look_counts_once() -> None:
    story = planned()
    story.accepted(at_size(600, 0.3))
    before = story.looks.last("e1")
    assert before is not None

    # More data of the same fifth: nothing is decided before the next look.
    again = story.look(at_size(700, 0.05), previous=before).data
    assert again.state == before.data.state
    assert again.verdict.step == 10
    assert story.look(at_size(1200, 0.05), previous=before).data.verdict.step == 8


def test_group_sequential_looks_that_are_passed_over_keep_their_error() -> None:
    looks = planned().look(at_size(1900, 0.3)).data.state.planned_looks
    expected = group_sequential_boundaries([3800 / 6000, 1.0], alpha=0.05)

    assert [(look.number, look.planned) for look in looks] == [(3, 5)]
    assert looks[0].boundary == pytest.approx(float(expected.boundary[0]))


def test_group_sequential_stays_decided() -> None:
    story = planned()
    assert story.accepted(at_size(600, 0.1), at_s=10).data.verdict.step == 10
    later = story.accepted(at_size(1200, 0.29)).data

    assert later.verdict.step == 8
    assert "at planned look 1 of 5, with 1200 units" in later.verdict.reason


def test_group_sequential_is_narrower_at_the_end_than_a_sequence() -> None:
    story = planned()
    data = story.accepted(at_size(3000, 0.27)).data
    [result] = data.state.planned_looks[-1].results.values()
    found = goal(data)

    assert result.lower is not None
    assert found.sequential_lower is not None
    assert result.lower > 0 > found.sequential_lower
    assert data.verdict.step == 8


def test_group_sequential_look_waits_for_what_the_rule_waits_for() -> None:
    """Too few of the rarer outcome: a normal limit would mean nothing, and what it decided would stay."""
    story = planned(minimum={"units": 1, "requests": 1})
    few = seen(arm(600, 20), challenger=arm(600, 0))

    assert story.look(few).data.state.planned_looks == []


def test_group_sequential_alpha_holds_over_the_challengers() -> None:
    story = Story(challengers=("a", "b"), goal=goal_of("group_sequential"), planned_units=6000)
    data = story.look(seen(arm(3000), a=arm(3000, 830), b=arm(3000, 900))).data
    result = data.state.planned_looks[0].results["a"]

    assert result.p_value is not None
    assert result.adjusted_p is not None
    assert 0.025 < result.p_value < 0.05 < result.adjusted_p
    assert data.state.planned_looks[0].alpha_spent == pytest.approx(0.025)
    assert data.verdict.step == 10


def test_group_sequential_is_futile_after_its_last_look() -> None:
    story = Story(goal=goal_of("group_sequential", minimum_detectable_effect=0.02), planned_units=6000)
    assert story.accepted(at_size(2700, 0.28)).data.verdict.step == 10

    assert story.accepted(at_size(3000, 0.28)).data.verdict.step == 9


def test_group_sequential_needs_what_is_missing_to_its_end() -> None:
    assert planned().look(at_size(1000, 0.29)).data.verdict.units_needed == 4000


def test_power_spending_takes_its_exponent() -> None:
    story = planned(group_sequential={"looks": [0.5, 1.0], "spending": "power", "phi": 3.0})
    [look] = story.look(at_size(1500, 0.3)).data.state.planned_looks

    assert look.alpha_spent == pytest.approx(0.05 * 0.5**3)


def test_units_that_leave_take_no_look_back() -> None:
    story = planned()
    first = story.accepted(at_size(610, 0.3)).data
    fewer = story.accepted(at_size(590, 0.3)).data

    assert fewer.state == first.state


@pytest.mark.parametrize("engine", ["fixed", "group_sequential"])
def test_arm_without_traffic_takes_no_part_in_planned_looks(engine: str) -> None:
    """b has no traffic any more, and fewer units than are planned: it holds no look up, and stays undecided."""
    story = Story(challengers=("a", "b"), goal=goal_of(engine), planned_units=6000)
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, {"control": 1, "a": 1, "b": 0}, PERSON))
    early = {name: arm(200, 60) for name in ("control", "a", "b")}
    data = story.look(window(early, {"control": arm(2800, 840), "a": arm(2800, 560)})).data

    assert [list(look.results) for look in data.state.planned_looks] == [["a"]]
    assert (data.verdict.step, data.verdict.variant) == (10, None)
    assert data.verdict.not_promotable_because is not None
    assert data.verdict.not_promotable_because.startswith("a leads, but is not shown to be better than b")


# fixed


def test_fixed_result_is_recorded_with_its_interval() -> None:
    story = Story(goal=goal_of("fixed"), planned_units=6000)
    [look] = story.look(at_size(3000, 0.2)).data.state.planned_looks
    result = look.results["challenger"]

    assert (look.number, look.planned, look.fraction) == (1, 1, 1.0)
    assert (result.units, result.effect, result.p_value) == (6000, 0.1, result.adjusted_p)
    assert result.lower is not None
    assert 0 < result.lower < 0.1


def test_fixed_conditional_power_is_of_the_planned_end() -> None:
    story = Story(goal=goal_of("fixed", minimum_detectable_effect=0.1), planned_units=2000)
    hopeless = story.look(seen(arm(900, 270), challenger=arm(900, 285))).data

    assert hopeless.state.planned_looks == []
    assert hopeless.verdict.step == 9


def test_minimum_duration_holds_planned_looks_up_too() -> None:
    story = Story(goal=goal_of("fixed"), planned_units=2000)

    assert story.look(at_size(1000, 0.2), at_s=HOUR_S).data.verdict.step == 10


def test_metric_without_an_engine_of_its_own_is_asymptotic() -> None:
    data = Story(goal=goal_of("fixed")).look(
        seen(arm(latency_ms=mean(3000, 100, 10)), challenger=arm(latency_ms=mean(3000, 100, 10)))
    )

    assert {one.metric: one.engine for one in data.data.comparisons} == {
        "success": "asymptotic",
        "latency_ms": "asymptotic",
        "correct": "fixed",
    }
