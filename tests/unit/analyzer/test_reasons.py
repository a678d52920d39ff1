"""Every reason that the decision rule can give, word for word: people act on these, and have nothing else to read."""

from typing import Any

import pytest

from look_stories import EXPERIMENT, HOUR_S, PERSON, Story, Units, cell, cohort, mean, rate, window
from splitgauge.experiments.commands import reweight_experiment
from splitgauge.schemas.analysis import Verdict
from splitgauge.schemas.tables import Cell, WindowData

DAY_S = 24 * HOUR_S
LATENCY = {"metric": "latency_ms", "margin": 0.05}
SUCCESS = {"metric": "success", "margin": 0.02}


def arm(units: int = 3000, *, wrong: int = 900, failures: int | None = None, missing: int = 0, **more: Units) -> Cell:
    """Right in 70 %, and 3 failures in 1,000 units, unless said otherwise."""
    failed = units * 3 // 1000 if failures is None else failures
    return cohort(units, {"success": rate(units, failed), "correct": rate(units, wrong), **more}, missing_units=missing)


def seen(control: Cell | None = None, **challengers: Cell) -> WindowData:
    return window({"control": control or arm(), **challengers})


def verdict(data: WindowData, *, at_s: float = 48 * HOUR_S, **changes: Any) -> Verdict:
    return Story(**changes).look(data, at_s=at_s).data.verdict


def goal(**changes: Any) -> dict[str, Any]:
    return {"metric": "correct", **changes}


BETTER, WORSE, SAME = arm(wrong=300), arm(wrong=1500), arm()


# 1 and 2. Harm.


def test_failures() -> None:
    assert verdict(seen(arm(50, failures=0), challenger=arm(50, failures=12)), at_s=10).reason == (
        "challenger against control on success: 12 of 12 units with a failure are challenger's, where 6 would be "
        "by its share of the traffic; among equal arms chance does that in at most 1 of 315 experiments"
    )


def test_harm() -> None:
    data = seen(arm(100, latency_ms=mean(100, 100, 10)), challenger=arm(100, latency_ms=mean(100, 200, 10)))

    assert verdict(data, at_s=10, guardrails=[LATENCY]).reason == (
        "challenger against control on latency_ms: worse by 100 %; with 95 % confidence at any look by at least 92.93 %"
    )


# 3. The maximum duration.


def test_maximum_duration_without_a_winner() -> None:
    assert verdict(seen(challenger=SAME), maximum_duration_s=DAY_S).reason == (
        "the maximum duration of 24 h is over, and nobody has won: the goal is not decided: challenger's correct "
        "is 0.0 points higher than control's (70 % against 70 %); with 95 % confidence at any look it is between "
        "3.6 points lower and 3.6 points higher"
    )


def test_maximum_duration_with_a_winner() -> None:
    assert verdict(seen(challenger=BETTER), maximum_duration_s=DAY_S).reason == (
        "the maximum duration of 24 h is over: challenger's correct is 20.0 points higher than control's (90 % "
        "against 70 %); with 95 % confidence at any look it is 16.7 to 23.3 points higher; guardrails passed: "
        "success"
    )


# 4. Invalid. (Covariates: test_covariates.)


def test_sample_ratio() -> None:
    assert verdict(seen(arm(3350, wrong=1005), challenger=arm(3000, wrong=300))).reason == (
        "units do not arrive in the shares of the split: control 3350, challenger 3000, where control 3175, "
        "challenger 3175 were expected; chance alone does that in at most 1 of 848 experiments"
    )


def test_sample_ratio_at_an_earlier_look() -> None:
    story = Story()
    story.accepted(seen(arm(1000), challenger=arm(700, wrong=0)), at_s=10)

    assert story.accepted(seen(challenger=BETTER)).data.verdict.reason == (
        "units do not arrive in the shares of the split: control 3000, challenger 3000, where control 3000, "
        "challenger 3000 were expected; they did not at an earlier look, and that stays"
    )


def test_missing_outcomes() -> None:
    assert verdict(seen(challenger=arm(wrong=300, missing=20))).reason == (
        "outcomes are missing more often in one arm than in the other (units with a missing one: control 0, "
        "challenger 20); chance alone does that in at most 1 of 49932 experiments"
    )


def test_crossovers() -> None:
    crossed = cell(3000, crossovers=61, success=rate(3000, 9), correct=rate(3000, 300))

    assert verdict(seen(challenger=crossed)).reason == (
        "61 of 6061 units got two variants under one split (1.006 %; up to 1 % is harmless)"
    )


# 5. Hold.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (window(as_of_s=0), "control has 0 units of at least 100"),
        (
            window({"control": cell(3000, success=rate(3000, 9)), "challenger": cell(3000, success=rate(3000, 9))}),
            "0 units of control have correct, of at least 100",
        ),
        (
            seen(arm(300, wrong=0), challenger=arm(300, wrong=24)),
            (
                "correct of challenger and control: only 24 units have its rarer outcome, of at least 25; before "
                "that its rates cannot be compared"
            ),
        ),
    ],
)
def test_hold(data: WindowData, reason: str) -> None:
    assert verdict(data).reason == reason


def test_hold_by_requests() -> None:
    assert verdict(seen(challenger=SAME), minimum={"requests": 5000}).reason == (
        "control has 3000 requests of at least 5000"
    )


# 6 and 8. Decided, by each engine.


def test_control_wins() -> None:
    assert verdict(seen(challenger=WORSE)).reason == (
        "challenger's correct is 20.0 points lower than control's (50 % against 70 %); with 95 % confidence at "
        "any look it is 16.2 to 23.8 points lower"
    )


def test_promote() -> None:
    assert verdict(seen(challenger=BETTER)).reason == (
        "challenger's correct is 20.0 points higher than control's (90 % against 70 %); with 95 % confidence at "
        "any look it is 16.7 to 23.3 points higher; guardrails passed: success"
    )


def test_promote_by_a_metric_in_its_own_unit() -> None:
    fast, slow = (arm(latency_ms=mean(3000, value, 10)) for value in (100, 120))

    assert verdict(seen(slow, challenger=fast), goal={"metric": "latency_ms"}).reason == (
        "challenger's latency_ms is 20 ms lower than control's (100 ms against 120 ms); with 95 % confidence at "
        "any look it is 19.22 to 20.78 ms lower; guardrails passed: success"
    )


@pytest.mark.parametrize(
    ("control", "challenger", "reason"),
    [
        (
            90,
            30,
            (
                "30 of 3000 units of challenger missed correct at least once, 90 of 3000 units of control (0.333 "
                "times the rate); with 95 % confidence at any look it is 0.113 to 0.835 times the rate of control; "
                "guardrails passed: success"
            ),
        ),
        (
            0,
            40,
            (
                "40 of 3000 units of challenger missed correct at least once, 0 of 3000 units of control; with 95 % "
                "confidence at any look it is at least 1.15 times the rate of control"
            ),
        ),
        (
            2970,
            2900,
            (
                "100 of 3000 units of challenger had correct at least once, 30 of 3000 units of control (3.33 times "
                "the rate); with 95 % confidence at any look it is 1.27 to 10.7 times the rate of control; "
                "guardrails passed: success"
            ),
        ),
    ],
)
def test_decided_by_rare(control: int, challenger: int, reason: str) -> None:
    data = seen(arm(wrong=control), challenger=arm(wrong=challenger))

    assert verdict(data, goal=goal(engine="rare")).reason == reason


def test_promote_by_bayes() -> None:
    data = seen(challenger=arm(wrong=760))
    policy = {"promote": "act", "expected_loss_threshold": 0.01}

    assert verdict(data, goal=goal(engine="bayes"), policy=policy).reason == (
        "challenger's correct is 4.7 points higher than control's (74.67 % against 70 %); it is better with "
        "probability over 99.99 %, choosing it loses 0.0 points on average and staying 4.7 points (at most 1.0 "
        "points is needed), and the data speak 419 to 1 for a difference (the Bayes factor; 20 to 1 is needed); "
        "guardrails passed: success"
    )


def test_promote_by_fixed() -> None:
    assert verdict(seen(challenger=arm(wrong=810)), goal=goal(engine="fixed"), planned_units=6000).reason == (
        "at the planned end, with 6000 units, challenger's correct was 3.0 points higher than control's, with 95 "
        "% confidence 0.72 to 5.3 points higher; equal arms would differ that much with a chance of 0.01, and "
        "0.05 or less decides; guardrails passed: success"
    )


def test_promote_by_group_sequential() -> None:
    assert verdict(
        seen(challenger=arm(wrong=700)), goal=goal(engine="group_sequential"), planned_units=10000
    ).reason == (
        "at planned look 3 of 5, with 6000 units, challenger's correct was 6.7 points higher than control's, "
        "with 95 % confidence 3.6 to 9.8 points higher; equal arms would differ that much with a chance of under "
        "0.0001, and 0.05 or less decides; planned look 4 of 5 is at 8000 units, of which 6000 are there; "
        "guardrails passed: success"
    )


# 7. Ramp.

RAMP = {"steps": [{"share": 0.1, "duration_s": HOUR_S, "units": 500}, {"share": 0.25, "units": 500}]}


def test_ramp() -> None:
    found = verdict(seen(challenger=SAME), ramp=RAMP)

    assert found.reason == (
        "the ramp's step of 10 % has had its 1 h and its 500 units an arm, and no guardrail shows harm: on to 25 "
        "% of the traffic"
    )
    assert (
        found.not_promotable_because == "the ramp lets 20 % of the traffic in so far; a promotion waits for all of it"
    )


# 9. Futility.


def test_futile_as_it_is_smaller() -> None:
    assert verdict(seen(challenger=SAME), goal=goal(minimum_detectable_effect=0.08)).reason == (
        "an effect of 8.0 points, the least worth knowing of, will not be shown: challenger's correct is 0.0 "
        "points higher than control's (70 % against 70 %); with 95 % confidence at any look it is between 3.6 "
        "points lower and 3.6 points higher; the difference is shown to be smaller than that"
    )


def test_futile_as_it_would_not_be_found() -> None:
    data = seen(arm(2000, wrong=600), challenger=arm(2000, wrong=620))

    assert verdict(data, goal=goal(minimum_detectable_effect=0.05)).reason == (
        "an effect of 5.0 points, the least worth knowing of, will not be shown: challenger's correct is 1.0 "
        "points lower than control's (69 % against 70 %); with 95 % confidence at any look it is between 5.4 "
        "points lower and 3.4 points higher; even if it were that large, the chance to show it is under 0.01 %"
    )


def test_futile_after_the_planned_end() -> None:
    spec: dict[str, Any] = {"goal": goal(engine="fixed", minimum_detectable_effect=0.05), "planned_units": 6000}

    assert verdict(seen(challenger=SAME), **spec).reason == (
        "an effect of 5.0 points, the least worth knowing of, will not be shown: at the planned end, with 6000 "
        "units, challenger's correct was 0.0 points higher than control's, with 95 % confidence between 2.3 "
        "points lower and 2.3 points higher; equal arms would differ that much with a chance of 1, and 0.05 or "
        "less decides; no planned look is left"
    )


# 10. Continue.


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({}, "about 32871 more units (32871 requests) to show a difference as large as it is now"),
        (
            {"goal": goal(minimum_detectable_effect=0.05)},
            "about 4010 more units (4010 requests) to show a difference of 5.0 points with a probability of 80 %",
        ),
    ],
)
def test_continue_says_what_more_units_are_for(changes: dict[str, Any], still: str) -> None:
    assert verdict(seen(arm(500, wrong=150), challenger=arm(500, wrong=140)), **changes).reason == (
        "the goal is not decided: challenger's correct is 2.0 points higher than control's (72 % against 70 %); "
        f"with 95 % confidence at any look it is between 7.7 points lower and 11.7 points higher; {still}"
    )


def test_continue_to_the_first_planned_look() -> None:
    data = seen(arm(500, wrong=150), challenger=arm(500, wrong=140))

    assert verdict(data, goal=goal(engine="group_sequential"), planned_units=6000).reason == (
        "the goal is not decided: challenger's correct is 2.0 points higher than control's (72 % against 70 %); "
        "planned look 1 of 5 is at 1200 units, of which 1000 are there; about 5000 more units (5000 requests) to "
        "the last planned look"
    )


def test_continue_for_the_minimum_duration() -> None:
    assert verdict(seen(challenger=BETTER), at_s=10).reason == (
        "the minimum duration of 24 h is not over; the goal has units enough"
    )


def test_continue_for_a_guardrail() -> None:
    assert verdict(seen(challenger=BETTER), guardrails=[{"metric": "success", "margin": 0.001}]).reason == (
        "guardrail success has not passed: challenger against control on success: no difference; with 95 % "
        "confidence at any look worse by at most 0.78 points, where worse by under 0.1 points is a pass; the goal has "
        "units enough"
    )


def test_continue_for_a_guardrail_without_data() -> None:
    assert verdict(seen(challenger=BETTER), guardrails=[SUCCESS, LATENCY]).reason == (
        "guardrail latency_ms has not passed: challenger against control on latency_ms: no data in both arms "
        "yet; the goal has units enough"
    )


def test_continue_for_the_lead() -> None:
    data = seen(arm(), a=arm(wrong=300), b=arm(wrong=350))

    assert verdict(data, challengers=("a", "b")).reason == (
        "a leads, but is not shown to be better than b: a's correct is 1.7 points higher than b's (90 % against "
        "88.33 %); with 95 % confidence at any look it is between 0.81 points lower and 4.1 points higher; "
        "choosing it loses 0.0055 points on average; about 16814 more units (16814 requests) to show a "
        "difference as large as it is now"
    )


def test_missed_goal_is_no_promotion() -> None:
    assert verdict(seen(challenger=WORSE)).not_promotable_because == (
        "the goal is missed: challenger's correct is 20.0 points lower than control's (50 % against 70 %); with "
        "95 % confidence at any look it is 16.2 to 23.8 points lower"
    )


def test_continue_by_bayes() -> None:
    data = seen(arm(500, wrong=150), challenger=arm(500, wrong=120))
    policy = {"promote": "act", "expected_loss_threshold": 0.01}

    assert verdict(data, goal=goal(engine="bayes"), policy=policy).reason == (
        "the goal is not decided: challenger's correct is 6.0 points higher than control's (76 % against 70 %); it is "
        "better with probability 98.38 %, choosing it loses 0.016 points on average and staying 6.0 points (at most "
        "1.0 points is needed), and the data speak 2.4 to 1 for a difference (the Bayes factor; 20 to 1 is needed); "
        "about 2424 more units (2424 requests) to show a difference as large as it is now"
    )


def test_continue_by_rare_without_outcomes() -> None:
    assert verdict(seen(arm(wrong=0), challenger=arm(wrong=0)), goal=goal(engine="rare")).reason == (
        "the goal is not decided: no unit of challenger or control has the rarer outcome of correct yet; how much more "
        "is needed cannot be said yet"
    )


def test_continue_for_the_lead_with_a_threshold() -> None:
    data = seen(arm(), a=arm(wrong=300), b=arm(wrong=350))
    found = verdict(data, challengers=("a", "b"), policy={"expected_loss_threshold": 1e-5})

    assert found.reason.endswith(
        "choosing it loses 0.0055 points on average, where under 0.001 points would be enough; about 16814 more units "
        "(16814 requests) to show a difference as large as it is now"
    )


def test_continue_where_the_arms_look_the_same() -> None:
    found = verdict(seen(arm(200000, wrong=60000), challenger=arm(200000, wrong=60001)))

    assert found.reason.endswith(
        "it is between 0.51 points lower and 0.51 points higher; as things stand the goal is out of reach"
    )


def test_hold_where_nothing_varies() -> None:
    still = arm(latency_ms=mean(3000, 100, 0))

    assert verdict(seen(still, challenger=still), goal={"metric": "latency_ms"}).reason == (
        "latency_ms of challenger and control: nothing varies yet in either arm"
    )


def test_hold_without_traffic() -> None:
    story = Story()
    weights = {"control": 1.0, "challenger": 0.0}
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, weights, PERSON))

    assert story.look(window({}, {"control": arm()})).data.verdict.reason == "no challenger gets traffic"


# Guardrails that do not stand in a verdict.


@pytest.mark.parametrize(
    ("control", "challenger", "reason"),
    [
        (120, 100, "better by 16.67 %; {} better by at least 16.05 %"),
        (100, 100.2, "worse by 0.2 %; {} worse by at most 0.9358 %"),
    ],
)
def test_guardrail_that_passes(control: float, challenger: float, reason: str) -> None:
    cells = {name: arm(latency_ms=mean(3000, value, 10)) for name, value in (("c", control), ("t", challenger))}
    [found] = Story(guardrails=[LATENCY]).look(seen(cells["c"], challenger=cells["t"])).data.guardrails

    said = reason.format("with 95 % confidence at any look")
    assert found.reason == f"challenger against control on latency_ms: {said}, where worse by under 5 % is a pass"


def test_guardrail_where_nothing_varies() -> None:
    still = arm(latency_ms=mean(3000, 100, 0))
    [found] = Story(guardrails=[LATENCY]).look(seen(still, challenger=still)).data.guardrails

    assert found.reason == (
        "challenger against control on latency_ms: no difference; nothing varies yet, so that no bound can be given"
    )
