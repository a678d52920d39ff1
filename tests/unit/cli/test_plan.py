"""`splitgauge plan`: the numbers, the document, the picture, and what cannot be planned for."""

import importlib.util
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from cli_harness import CommandLine

RATE = ("--metric-kind", "proportion", "--baseline", "0.9", "--effect", "0.02")
MEAN = ("--metric-kind", "mean", "--variance", "25", "--effect", "0.5")

FOLDER = str(Path(__file__).parent)

SPECIFICATION = """
kind: workload
id: base
provider: openai
url: http://127.0.0.1:9001/v1
---
kind: experiment
id: planned
name: Planned
base_workload_id: base
variants:
  - {{name: challenger, workload_id: base, weight: 10, overrides: {{parameters: {{temperature: 0.1}}}}}}
  - {{name: control, workload_id: base, weight: 60}}
  - {{name: other, workload_id: base, weight: 30, overrides: {{parameters: {{temperature: 0.9}}}}}}
control: control
unit: "header:x-user-id"
traffic: {{start: 0.0, end: 0.5}}
holdout: 0.2
{rest}
"""


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def document(alone: CommandLine, *arguments: str) -> dict[str, Any]:
    run = alone.run("plan", *arguments, "--json")
    assert run.status == 0, run.err
    return dict(run.json)


def written(alone: CommandLine, rest: str) -> str:
    (alone.folder / "experiment.yaml").write_text(SPECIFICATION.format(rest=rest), encoding="utf-8")
    return "experiment.yaml"


def test_the_table(alone: CommandLine) -> None:
    run = alone.run("plan", *RATE, "--units-per-day", "1000", "--split", "80/20")
    assert (run.status, run.err) == (0, "")
    assert run.out == (
        "a proportion that moves from 0.9 to 0.92 (+0.02)\n"
        "split 80/20, alpha 0.05, power 0.8\n"
        "nothing is decided before 1,000 units in control and one challenger\n"
        "\n"
        "units at the end, and how long it takes:\n"
        "test                       control  challenger  in all  time       on average         without effect"
        "     finds by 9,429 units\n"
        "fixed                      7,544    1,886       9,429   9.5 days   9,429, 9.5 days    9,429, 9.5 days"
        "    +0.02\n"
        "sequential                 13,719   3,430       17,148  17.2 days  10,375, 10.4 days  16,883, 16.9 days"
        "  +0.0268\n"
        "group sequential, 5 looks  8,510    2,128       10,637  10.7 days  8,658, 8.7 days    10,568, 10.6 days"
        "  +0.0212\n"
        "\n"
        "planned_units: 9429\n"
        "The sequential test is narrowest there; for power 0.8 it may have to go on to 17,148 units in all, "
        "17.2 days.\n"
    )


def test_the_document_is_one_and_has_the_same_numbers(alone: CommandLine) -> None:
    found = document(alone, *RATE, "--units-per-day", "1000", "--split", "80/20")
    fixed, sequential, group = found["tests"]
    assert [test["engine"] for test in found["tests"]] == ["fixed", "asymptotic", "group_sequential"]
    assert (fixed["units"], sequential["units"], group["units"]) == (9429, 17148, 10637)
    assert (sequential["units_control"], sequential["units_challenger"]) == (13719, 3430)
    assert (sequential["days"], sequential["expected_days"]) == (17.148, pytest.approx(10.3746, rel=2e-5))
    assert (fixed["planned_units"], sequential["planned_units"], group["planned_units"]) == (9429, 9429, 10637)
    assert found["recommended"] == {"engine": "asymptotic", "planned_units": 9429}
    assert found["earliest_units"] == 1000
    assert found["assumptions"]["shares"] == [0.8, 0.2]


def test_the_curves_meet_the_plan(alone: CommandLine) -> None:
    found = document(alone, *MEAN)
    for test, power, effect in zip(found["tests"], found["power_curves"], found["detectable_curves"], strict=True):
        assert test["engine"] == power["engine"] == effect["engine"]
        assert all(before <= after for before, after in zip(power["power"], power["power"][1:], strict=False))
        beyond = [units for units, size in zip(effect["units"], effect["effects"], strict=True) if size < 0.5]
        within = [units for units, size in zip(effect["units"], effect["effects"], strict=True) if size > 0.5]
        assert max(within) < test["units"] < min(beyond)
    assert found["power_curves"][0]["power"][0] == 0.05


def test_without_a_rate_there_are_no_days(alone: CommandLine) -> None:
    run = alone.run("plan", *MEAN)
    assert run.status == 0
    assert "day" not in run.out
    found = document(alone, *MEAN)
    assert {test["days"] for test in found["tests"]} == {None}
    assert found["earliest_units"] == 200


def test_challengers_share_alpha_and_the_smallest_decides(alone: CommandLine) -> None:
    found = document(alone, *MEAN, "--split", "60/30/10", "--units-per-day", "100")
    assert found["assumptions"]["alpha_per_challenger"] == 0.025
    fixed = found["tests"][0]
    alone_at_half = document(alone, *MEAN, "--split", "60/10", "--alpha", "0.025", "--units-per-day", "70")["tests"][0]
    assert fixed["units"] == alone_at_half["units"]
    assert fixed["days"] == alone_at_half["days"]
    assert fixed["units_total"] == math.ceil(fixed["units"] / 0.7)
    even = document(alone, *MEAN, "--challengers", "3")
    assert even["assumptions"]["shares"] == [0.25] * 4


def test_a_relative_effect_is_a_fraction_of_the_baseline(alone: CommandLine) -> None:
    relative = document(
        alone, "--metric-kind", "mean", "--variance", "25", "--baseline", "-10", "--effect", "0.05", "--relative"
    )
    assert [test["units"] for test in relative["tests"]] == [test["units"] for test in document(alone, *MEAN)["tests"]]
    run = alone.run("plan", "--metric-kind", "proportion", "--baseline", "0.5", "--effect", "-0.1", "--relative")
    assert "from 0.5 to 0.45 (-10 %, -0.05)" in run.out
    # All the way: 0.9 and a ninth more is 1, but for a rounding.
    whole = alone.run(
        "plan", "--metric-kind", "proportion", "--baseline", "0.9", "--effect", "0.1111111111111111", "--relative"
    )
    assert whole.status == 0, whole.err


def test_requests_become_units(alone: CommandLine) -> None:
    by_requests = document(alone, *MEAN, "--requests-per-day", "4000", "--requests-per-unit", "8")
    assert by_requests == document(alone, *MEAN, "--units-per-day", "500")


def test_a_specification_says_what_options_leave_out(alone: CommandLine) -> None:
    file = written(
        alone,
        "metrics: [{name: solved, kind: proportion, level: unit, fold: any}]\n"
        "goal: {metric: solved, minimum_detectable_effect: 0.03, engine: group_sequential}\n"
        "group_sequential: {looks: [0.5, 1.0], spending: pocock}\n"
        "alpha: 0.1\npower: 0.9\nminimum: {units: 300, duration_s: 172800}\nattribution_window_s: 86400\n",
    )
    found = document(alone, file, "--baseline", "0.7", "--units-per-day", "1000")
    said = found["assumptions"]
    assert (said["metric"], said["effect"], said["alpha"], said["power"]) == ("solved", 0.03, 0.1, 0.9)
    assert said["shares"] == [0.6, 0.1, 0.3]
    assert said["units_per_day"] == 400  # half of the traffic, a fifth of it held out
    assert said["waiting_days"] == 1
    # 300 of 1 in 7; two days with one of waiting would be 280.
    assert found["earliest_units"] == 2100
    assert found["recommended"]["engine"] == "group_sequential"
    assert found["tests"][2]["label"] == "group sequential, 2 looks"
    fixed = found["tests"][0]
    assert fixed["days"] == pytest.approx(fixed["units"] / (400 * 0.7) + 1, rel=1e-5)
    over = document(alone, file, "--baseline", "0.7", "--effect", "0.05", "--alpha", "0.05", "--split", "1/1")
    assert (over["assumptions"]["effect"], over["assumptions"]["alpha"]) == (0.05, 0.05)
    assert over["assumptions"]["shares"] == [0.5, 0.5]


def test_a_metric_that_shall_go_down_is_planned_downwards(alone: CommandLine) -> None:
    file = written(
        alone,
        "goal: {metric: latency_ms, minimum_detectable_effect: 0.05, effect: relative}\n"
        "ramp: {steps: [{share: 0.1}]}\n",
    )
    run = alone.run("plan", file, "--baseline", "800", "--variance", "250000")
    assert run.status == 0, run.err
    assert "latency_ms, a mean that moves from 800 to 760 (-5 %, -40)" in run.out
    assert "note: a promotion waits until the guardrails (success, latency_ms) pass, too; they are not" in run.out
    assert "note: days are of full coverage; the steps of the ramp come on top" in run.out


def test_a_rate_of_requests_says_that_it_counts_units(alone: CommandLine) -> None:
    file = written(alone, "goal: {minimum_detectable_effect: 0.01}\nguardrails: []\n")
    (note,) = document(alone, file, "--baseline", "0.97")["notes"]
    assert note.startswith("success is of requests and planned with one of each unit")
    assert document(alone, file, "--metric-kind", "ratio", "--variance", "0.1")["notes"] == []


def test_the_example_of_the_readme(alone: CommandLine) -> None:
    example = Path(__file__).parents[3] / "examples" / "two-models.yaml"
    run = alone.run("plan", str(example), "--baseline", "0.7", "--units-per-day", "1000")
    assert run.status == 0, run.err
    assert "split 80/20, alpha 0.05, power 0.8" in run.out


def test_planned_looks_that_come_too_early_are_taken_as_one(alone: CommandLine) -> None:
    # 25 units with the rarer outcome, which 1 in 50 has, are 1,250 units: of some 1,380 only the last look comes later.
    found = document(alone, "--metric-kind", "proportion", "--baseline", "0.02", "--effect", "0.03")
    assert found["earliest_units"] == 1250
    assert found["tests"][2]["label"] == "group sequential, 2 looks"
    # A minimum duration lets looks be taken and only keeps the decision waiting.
    waiting = document(alone, *MEAN, "--units-per-day", "3000")["tests"][2]
    assert waiting["label"] == "group sequential, 5 looks"
    assert 3000 < waiting["expected_units"] < waiting["units"]


def test_a_huge_effect_is_found_at_the_first_look(alone: CommandLine) -> None:
    run = alone.run("plan", "--metric-kind", "proportion", "--baseline", "0.4", "--effect", "0.5", "--png", "p.png")
    assert run.status == 0, run.err
    assert "has the power as soon as anything is decided, at 200 units in all." in run.out
    assert (alone.folder / "p.png").stat().st_size > 10_000


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_picture_is_whole_and_the_same_every_time(alone: CommandLine, form: str) -> None:
    kept, link = alone.folder / f"kept.{form}", alone.folder / f"link.{form}"
    kept.write_text("from before", encoding="utf-8")
    link.symlink_to(kept)
    first = alone.run("plan", *RATE, "--units-per-day", "1000", f"--{form}", kept.name)
    assert first.status == 0, first.err
    drawn = kept.read_bytes()
    assert drawn.startswith(b"\x89PNG\r\n" if form == "png" else b"<?xml")
    assert f"picture: {kept.name}" in first.out
    again = document(alone, *RATE, "--units-per-day", "1000", f"--{form}", link.name)
    assert again["pictures"] == {form: link.name}
    assert link.is_symlink()
    assert kept.read_bytes() == drawn
    assert sorted(path.name for path in alone.folder.iterdir()) == [kept.name, link.name]


def test_the_svg_names_axes_and_tests(alone: CommandLine) -> None:
    assert alone.run("plan", *RATE, "--units-per-day", "1000", "--svg", "p.svg").status == 0
    text = (alone.folder / "p.svg").read_text(encoding="utf-8")
    ET.fromstring(text)  # noqa: S314 - drawn here
    for words in (
        "true effect, challenger minus control (percentage points)",
        "probability of finding it (%)",
        "days of full traffic",
        "increase (percentage points)",
        "group sequential, 5 looks",
        "10.9 days",
    ):
        assert f"<!-- {words} -->" in text


def test_without_matplotlib_it_says_what_to_install(alone: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    run = alone.run("plan", *RATE, "--png", "p.png")
    assert run.status == 1
    assert run.err == (
        "error: pictures need matplotlib, which is not installed. --png. "
        "Install the extra: pip install 'splitgauge[plot]'.\n"
    )
    assert alone.run("plan", *RATE).status == 0


@pytest.mark.parametrize(
    ("arguments", "where", "what"),
    [
        ((), "--metric-kind", "what is measured"),
        (("--metric-kind", "p99"), "--metric-kind", "no kind of metric"),
        (("--metric-kind", "proportion", "--baseline", "0.9"), "--effect", "smallest effect"),
        (("--metric-kind", "proportion", "--effect", "0.1"), "--baseline", "control's rate"),
        (("--metric-kind", "proportion", "--baseline", "1", "--effect", "-0.1"), "--baseline", "no rate"),
        (("--metric-kind", "proportion", "--baseline", "nan", "--effect", "-0.1"), "--baseline", "no rate"),
        (("--metric-kind", "proportion", "--baseline", "0.9", "--effect", "0.2"), "--effect", "make 1.1"),
        (("--metric-kind", "proportion", "--baseline", "0.1", "--effect", "-0.2"), "--effect", "make -0.1"),
        (("--metric-kind", "proportion", "--baseline", "0.9", "--effect", "0"), "--effect", "effect of 0"),
        (("--metric-kind", "proportion", "--baseline", "0.9", "--effect", "inf"), "--effect", "effect of inf"),
        ((*RATE, "--variance", "1"), "--variance", "the rates"),
        (("--metric-kind", "mean", "--effect", "1"), "--variance", "variance of one unit"),
        (("--metric-kind", "mean", "--effect", "1", "--variance", "0"), "--variance", "no variance"),
        (("--metric-kind", "mean", "--effect", "1", "--variance", "1", "--relative"), "--baseline", "control's mean"),
        ((*MEAN, "--relative", "--baseline", "0"), "--baseline", "relative to 0"),
        ((*RATE, "--alpha", "0.5"), "--alpha", "out of range"),
        ((*RATE, "--power", "1"), "--power", "out of range"),
        ((*RATE, "--power", "0.02"), "--power", "chance alone"),
        ((*RATE, "--split", "80-20"), "--split", "no split"),
        ((*RATE, "--split", "100"), "--split", "no split of control"),
        ((*RATE, "--split", "80/0"), "--split", "no split of control"),
        ((*RATE, "--split", "80/20", "--challengers", "2"), "--split", "has 1 challenger"),
        ((*RATE, "--challengers", "0"), "--challengers", "0 challengers"),
        ((*RATE, "--units-per-day", "0"), "--units-per-day", "nothing ends"),
        ((*RATE, "--units-per-day", "5", "--requests-per-day", "5"), "--requests-per-day", "say the same"),
        ((*RATE, "--requests-per-unit", "5"), "--requests-per-unit", "no requests"),
        ((*RATE, "--requests-per-day", "5", "--requests-per-unit", "0"), "--requests-per-unit", "0 requests"),
        ((*RATE, "--png", "missing/p.png"), "missing/p.png", "cannot be written"),
        ((*RATE, "--svg", FOLDER), FOLDER, "no regular file"),
        (("missing.yaml", "--baseline", "0.5"), "missing.yaml", "cannot be read"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    alone: CommandLine, arguments: tuple[str, ...], where: str, what: str
) -> None:
    run = alone.run("plan", *arguments)
    assert (run.status, run.out) == (1, "")
    assert what in run.err
    assert f". {where}. " in run.err
    assert run.err.count("\n") == 1
    assert list(alone.folder.iterdir()) == []


def test_files_that_say_too_little_are_refused(alone: CommandLine) -> None:
    no_effect = alone.run("plan", written(alone, ""), "--baseline", "0.9")
    assert "said neither by the file nor by --effect. experiment.yaml." in no_effect.err
    workload = SPECIFICATION.format(rest="").partition("---")[0]
    (alone.folder / "workload.yaml").write_text(workload, encoding="utf-8")
    assert "defines no experiment. workload.yaml." in alone.run("plan", "workload.yaml", "--baseline", "0.9").err
    switched_off = SPECIFICATION.format(rest="goal: {minimum_detectable_effect: 0.01}").replace(
        "weight: 60", "weight: 0"
    )
    (alone.folder / "off.yaml").write_text(switched_off, encoding="utf-8")
    assert "nothing is compared" in alone.run("plan", "off.yaml", "--baseline", "0.9").err


def test_json_errors_are_documents_too(alone: CommandLine) -> None:
    run = alone.run("plan", *RATE, "--alpha", "2", "--json")
    assert (run.status, run.out) == (1, "")
    assert '"where":"--alpha"' in run.err
