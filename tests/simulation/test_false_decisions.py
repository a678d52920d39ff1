"""Two arms that are the same: how often is one promoted, or rolled back, over all looks?

The full figures: `SPLITGAUGE_SIMULATION_RUNS=500 pytest tests/simulation -s` (some ten minutes on one core).
"""

import os
from functools import cache

import pytest
from scipy import stats

from false_decisions import Outcome, Scenario, run

RUNS = int(os.environ.get("SPLITGAUGE_SIMULATION_RUNS", "8"))
ALPHA = 0.05
"""Of a promotion over all looks, and of a rollback by a guardrail."""

SCENARIOS = [
    Scenario("sticky users"),
    Scenario("two re-weightings and returning users", reweights=((1_300, 4.0, 1.0), (2_600, 1.0, 1.0))),
]


@cache
def outcomes_of(scenario: Scenario) -> list[Outcome]:
    """Of the seeds 0, 1, ... : the same in every session."""
    return [run(scenario, seed) for seed in range(RUNS)]


def most(rate: float) -> int:
    """As many of RUNS as chance brings about once in 1,000 times where each has this rate."""
    return int(stats.binom.ppf(0.999, RUNS, rate))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_same_models_are_seldom_told_apart(scenario: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = outcomes_of(scenario)
    with capsys.disabled():
        print(f"\n{scenario.name}: {_summary(outcomes)}")  # noqa: T201 - the figures are what this test is for

    # Neither held nor invalid: nothing but the numbers kept them from a decision.
    assert {outcome.last_step for outcome in outcomes if outcome.decision is None} <= {10}
    assert _count(outcomes, "promote") <= most(ALPHA)
    assert _count(outcomes, "roll_back") <= most(ALPHA)
    assert sum(outcome.goal_excluded_0 for outcome in outcomes) <= most(ALPHA)


@pytest.mark.timeout(3_600)
def test_requests_taken_as_independent_would_tell_them_apart_often() -> None:
    """The runs are ones that mislead: users differ far more than their requests do, and there are 80 looks."""
    outcomes = [outcome for scenario in SCENARIOS for outcome in outcomes_of(scenario)]

    assert sum(outcome.naive_z_over_2 for outcome in outcomes) > 2 * ALPHA * len(outcomes)


def test_better_model_is_found_in_the_same_traffic() -> None:
    outcomes = [run(Scenario("a real difference", better=0.9), seed) for seed in range(3)]

    assert [outcome.decision for outcome in outcomes] == ["promote"] * 3


def _count(outcomes: list[Outcome], kind: str) -> int:
    return sum(outcome.decision == kind for outcome in outcomes)


def _summary(outcomes: list[Outcome]) -> str:
    counts = {kind: _count(outcomes, kind) for kind in ("promote", "roll_back", "control_wins")}
    excluded = sum(outcome.goal_excluded_0 for outcome in outcomes)
    naive = sum(outcome.naive_z_over_2 for outcome in outcomes)
    return f"{len(outcomes)} runs, {counts}, goal excluded 0: {excluded}, stopped by a naive z: {naive}"
