"""Which engine judges what, and which combinations cannot hold."""

from typing import Any

import pytest
from pydantic import ValidationError

from look_stories import specification
from splitgauge.schemas.goal import Goal, GroupSequential
from splitgauge.schemas.metric import Metric

RARE = {"name": "converted", "kind": "proportion", "scale": 1, "engine": "rare"}


def test_left_out_the_engine_is_the_metrics_own() -> None:
    made = specification(metrics=[RARE], goal={"metric": "converted"})

    assert made.engine_of("converted") == "rare"
    assert made.engine_of("success") == "asymptotic"


def test_goals_engine_is_of_the_goal_only() -> None:
    made = specification(metrics=[RARE], goal={"metric": "success", "engine": "fixed"})

    assert (made.engine_of("success"), made.engine_of("converted")) == ("fixed", "rare")


def test_five_equal_looks_unless_planned() -> None:
    made = specification(goal={"metric": "correct", "engine": "group_sequential"})

    assert made.planned_looks == GroupSequential(looks=(0.2, 0.4, 0.6, 0.8, 1.0), spending="obrien_fleming")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"goal": {"metric": "latency_ms", "engine": "rare"}}, "goal 'latency_ms' is a mean"),
        ({"goal": {"metric": "correct", "engine": "bayes"}}, "policy.expected_loss_threshold"),
        ({"group_sequential": {}}, "the goal's engine is `asymptotic`"),
        ({"goal": {"metric": "correct", "engine": "fixed"}, "group_sequential": {}}, "the goal's engine is `fixed`"),
        ({"engine": "fixed"}, "Extra inputs are not permitted"),
    ],
)
def test_combinations_that_cannot_hold_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        specification(**changes)


def test_prior_mean_needs_a_width() -> None:
    with pytest.raises(ValidationError, match="prior_mean needs prior_sd"):
        Goal(prior_mean=0.1)


def test_only_rates_are_rare() -> None:
    with pytest.raises(ValidationError, match="a mean takes `asymptotic`"):
        Metric(name="revenue", engine="rare")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"looks": [0.5, 0.4, 1.0]}, "looks rise from above 0"),
        ({"looks": [0.5, 0.5, 1.0]}, "looks rise from above 0"),
        ({"looks": [0.0, 1.0]}, "looks rise from above 0"),
        ({"looks": [0.5, 0.9]}, "the last look is at 1"),
        ({"looks": [0.5, 1.5]}, "the last look is at 1"),
        ({"looks": []}, "at least 1 item"),
        ({"looks": [number / 21 for number in range(1, 22)]}, "at most 20 items"),
        ({"spending": "power"}, "and no other, takes phi"),
        ({"phi": 2.0}, "and no other, takes phi"),
    ],
)
def test_looks_that_cannot_be_planned_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GroupSequential.model_validate(settings)
