"""Which variant is best, as far as can be said: shown with every look, and with several arms part of a promotion."""

import pytest

from look_stories import EXPERIMENT, PERSON, Story, cohort, rate, window
from splitgauge.experiments.commands import reweight_experiment
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.tables import Cell
from splitgauge.statistics import best_arm


def arm(wrong: int, units: int = 3000) -> Cell:
    return cohort(units, {"success": rate(units, 9), "correct": rate(units, wrong)})


def best(data: AnalysisData) -> dict[str, float | None]:
    return {name: one.probability_to_be_best for name, one in data.variants.items()}


def test_with_one_challenger_it_is_the_probability_to_beat_control() -> None:
    for changes in ({}, {"goal": {"metric": "correct", "prior_sd": 0.01}}):
        data = Story(**changes).look(window({"control": arm(900), "challenger": arm(860)})).data
        [goal] = [one for one in data.comparisons if one.role == "goal"]
        beats = goal.probability_to_beat_control
        assert beats is not None

        assert best(data) == pytest.approx({"control": 1 - beats, "challenger": beats})
        assert data.variants["challenger"].expected_loss == pytest.approx(goal.expected_loss)
        assert data.variants["control"].expected_loss == pytest.approx(goal.expected_loss_of_staying)


def test_with_several_it_is_among_all_arms() -> None:
    wrong = {"control": 900, "a": 860, "b": 850, "c": 905}
    data = Story(challengers=("a", "b", "c")).look(window({name: arm(one) for name, one in wrong.items()})).data
    rates = [1 - one / 3000 for one in wrong.values()]
    found = best_arm(rates, [(p * (1 - p) / 2999) ** 0.5 for p in rates])

    assert list(best(data).values()) == pytest.approx(found.probability_best.tolist())
    assert [one.expected_loss for one in data.variants.values()] == pytest.approx(found.expected_loss.tolist())


def test_arms_that_were_there_at_different_times_are_compared_within_their_epochs() -> None:
    """Everything was worse when b had traffic; against control a and b are the same."""
    story = Story(challengers=("a", "b"))
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, {"control": 1, "a": 1, "b": 0}, PERSON))
    bad, good = {name: arm(1500) for name in ("control", "a", "b")}, {name: arm(300) for name in ("control", "a")}
    chances = best(story.look(window(bad, good)).data)

    assert chances["b"] == pytest.approx(1 / 3, abs=0.1)


def test_arm_without_data_does_not_take_part() -> None:
    data = Story(challengers=("a", "b")).look(window({"control": arm(900), "a": arm(860)})).data

    assert best(data)["b"] is None
    assert best(data)["a"] is not None


def test_without_data_nobody_is_best() -> None:
    assert set(best(Story().look(window()).data).values()) == {None}


def test_leaders_expected_loss_is_against_the_best_of_all_others() -> None:
    """Under the threshold against each of two, and not against both."""
    cells = window({"control": arm(900), "a": arm(300), "b": arm(303), "c": arm(303)})
    story = Story(challengers=("a", "b", "c"))
    loss = story.look(cells).data.variants["a"].expected_loss
    assert loss is not None

    def step(threshold: float) -> int:
        policy = {"promote": "act", "expected_loss_threshold": threshold}
        return Story(challengers=("a", "b", "c"), policy=policy).look(cells).data.verdict.step

    assert (step(loss * 0.99), step(loss * 1.01)) == (10, 8)
