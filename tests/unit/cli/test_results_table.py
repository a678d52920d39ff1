"""The table of results: what the engine in force concludes from, in columns."""

from typing import Any

import pytest

from look_stories import EXPERIMENT, Story, cohort, rate, window
from splitgauge.cli.results_table import print_results
from splitgauge.console.results import results_json
from splitgauge.schemas.tables import WindowData


def seen(control: int, challenger: int) -> WindowData:
    wrong = {"control": control, "challenger": challenger}
    return window(
        {name: cohort(3000, {"success": rate(3000, 9), "correct": rate(3000, n)}) for name, n in wrong.items()}
    )


def goal_line(capsys: pytest.CaptureFixture[str], data: WindowData, **changes: Any) -> list[str]:
    story = Story(**changes)
    print_results(results_json(story.state, data, story.accepted(data)))
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("challenger  correct")]
    assert story.looks.last(EXPERIMENT) is not None
    return [cell for cell in line.split("  ") if cell]


def test_asymptotic_shows_the_interval_of_every_look(capsys: pytest.CaptureFixture[str]) -> None:
    line = goal_line(capsys, seen(900, 300))

    assert [cell.strip() for cell in line[:6]] == ["challenger", "correct", "goal", "asymptotic", "0.2", "0.166729"]


def test_rare_shows_how_many_times_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    line = [cell.strip() for cell in goal_line(capsys, seen(90, 30), goal={"metric": "correct", "engine": "rare"})]

    assert line[3:7] == ["rare", "0.02", "x 0.113", "x 0.835"]


def test_planned_engines_show_their_last_look(capsys: pytest.CaptureFixture[str]) -> None:
    goal = {"metric": "correct", "engine": "fixed"}
    taken = [cell.strip() for cell in goal_line(capsys, seen(900, 810), goal=goal, planned_units=6000)]
    before = [cell.strip() for cell in goal_line(capsys, seen(900, 810), goal=goal, planned_units=9000)]

    assert taken[3:7] == ["fixed", "0.03", "0.00716451", "0.0528355"]
    assert before[3:6] == ["fixed", "0.03", "-"]


def test_chance_to_be_best_stands_with_the_variants(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    data = seen(900, 880)
    print_results(results_json(story.state, data, story.accepted(data)))
    lines = capsys.readouterr().out.splitlines()

    assert lines[1].endswith("chance to be best")
    assert lines[2].split("  ")[-1] == "28.6 %"
