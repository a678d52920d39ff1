"""When a look is worth an event in the log."""

from look_stories import EXPERIMENT, HOUR_S, PERSON, Story, cell, rate, window
from splitgauge.analyzer import is_worth_logging
from splitgauge.experiments.commands import pause_experiment
from splitgauge.schemas.tables import WindowData

LATER = 48 * HOUR_S


def same(units: int, upto: int, *, failures: int = 0) -> WindowData:
    arms = ("control", "challenger")
    cells = {name: cell(units, success=rate(units, failures), correct=rate(units, units // 2)) for name in arms}
    return window(cells, positions={0: upto})


def test_first_look_is_logged() -> None:
    assert is_worth_logging(Story().look(same(1000, 1)).data, None)


def test_nothing_new_is_not_logged() -> None:
    story = Story()
    before = story.accepted(same(1000, 1))

    assert not is_worth_logging(story.look(same(1000, 2), at_s=LATER + 59, previous=before).data, before.data)


def test_sixty_seconds_are_enough() -> None:
    story = Story()
    before = story.accepted(same(1000, 1))

    assert is_worth_logging(story.look(same(1000, 1), at_s=LATER + 60, previous=before).data, before.data)


def test_two_percent_more_units_are_enough() -> None:
    story = Story()
    before = story.accepted(same(1000, 1))

    assert not is_worth_logging(story.look(same(1019, 2), previous=before).data, before.data)
    assert is_worth_logging(story.look(same(1020, 2), previous=before).data, before.data)


def test_reports_of_units_that_were_there_before_are_enough() -> None:
    """People send feedback after the traffic: the goal's units grow while nobody new comes."""
    story = Story()
    arms = ("control", "challenger")

    def reported(units: int, upto: int) -> WindowData:
        cells = {name: cell(1000, success=rate(1000, 0), correct=rate(units, units // 2)) for name in arms}
        return window(cells, positions={0: upto})

    before = story.accepted(reported(500, 1))

    assert not is_worth_logging(story.look(reported(508, 2), previous=before).data, before.data)
    assert is_worth_logging(story.look(reported(510, 2), previous=before).data, before.data)


def test_no_units_are_no_growth() -> None:
    story = Story()
    before = story.accepted(window(positions={}))

    assert not is_worth_logging(story.look(window(positions={}), previous=before).data, before.data)


def test_another_verdict_is_enough() -> None:
    story = Story()
    before = story.accepted(same(1000, 1))
    worse = window(
        {
            "control": cell(1000, success=rate(1000, 0), correct=rate(1000, 500)),
            "challenger": cell(1000, success=rate(1000, 0), correct=rate(1000, 700)),
        },
        positions={0: 2},
    )

    assert is_worth_logging(story.look(worse, previous=before).data, before.data)


def test_another_revision_is_enough() -> None:
    """A decision has to stand on a look at the state as it is."""
    story = Story()
    before = story.accepted(same(1000, 1))
    story.decide(lambda registry: pause_experiment(registry, EXPERIMENT, PERSON), at_s=LATER)

    assert is_worth_logging(story.look(same(1000, 1), previous=before).data, before.data)
