"""What somebody who watches the demo is told."""

import io
from typing import Any

import pytest

from splitgauge.demo.experiments import EXPERIMENTS
from splitgauge.demo.progress import RunView, experiment_view, plain_lines
from splitgauge.demo.screen import LiveScreen, PlainLines, screen_for

FIRST = EXPERIMENTS[0]


def variant(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "traffic_percent": 50,
        "units": 0,
        "job_count": 0,
        "success_rate": None,
        "avg_latency_ms": None,
        "metrics": {},
        **changes,
    }


def results(**changes: Any) -> dict[str, Any]:
    return {
        "status": "active",
        "variants": [variant("control"), variant("svm")],
        "comparisons": [],
        "health": None,
        "verdict": None,
        **changes,
    }


def measured() -> dict[str, Any]:
    goal = {"value": 0.9871, "standard_error": 0.005}
    return results(
        variants=[
            variant("control", units=120, job_count=1300, success_rate=100.0, avg_latency_ms=21.26),
            variant("svm", units=130, job_count=1250, success_rate=99.5, metrics={"correct": goal}),
        ],
        comparisons=[
            {"variant": "svm", "metric": "success", "effect": 0.0, "sequential_lower": -1, "sequential_upper": 1},
            {"variant": "svm", "metric": "correct", "effect": 0.25, "sequential_lower": 0.2, "sequential_upper": 0.3},
        ],
        health={"state": "warning", "problems": ["too little data"]},
        verdict={"kind": "continue", "reason": "80 more units needed"},
    )


DECISIONS: list[dict[str, Any]] = [
    {"accepted": True, "action": "activate", "actor": {"kind": "user", "name": "api"}, "reason": "activated"},
    {
        "accepted": True,
        "action": "roll_back",
        "variant": "svm",
        "actor": {"kind": "analyzer", "name": "analyzer"},
        "reason": "success is worse",
    },
    {"accepted": False, "action": "promote", "actor": {"kind": "user", "name": "api"}, "reason": "too late"},
]


def run_view(shown: dict[str, Any], *, elapsed_s: float = 12.0) -> RunView:
    experiments = (experiment_view(FIRST, shown, DECISIONS),)
    return RunView(elapsed_s, 2550, planned=10_500, users=250, reports=2400, experiments=experiments, step="sending")


def test_before_any_data_there_are_dashes() -> None:
    view = experiment_view(FIRST, results(), [])
    assert [row.cells for row in view.variants] == [
        ("control", "50 %", "0", "0", "-", "-", "-", "-"),
        ("svm", "50 %", "0", "0", "-", "-", "-", "-"),
    ]
    assert (view.health, view.verdict, view.last_decision) == ("not looked at yet", "none yet", "none")


def test_rows_show_units_requests_success_latency_and_the_goal_with_its_intervals() -> None:
    view = experiment_view(FIRST, measured(), DECISIONS)
    assert [row.cells for row in view.variants] == [
        ("control", "50 %", "120", "1,300", "100.0 %", "21.3 ms", "-", "-"),
        ("svm", "50 %", "130", "1,250", "99.5 %", "-", "98.7 % ± 1.0", "+25.0 [+20.0, +30.0]"),
    ]
    assert view.health == "warning; too little data"
    assert view.verdict == "continue: 80 more units needed"


def test_who_answers_now_is_said_in_shares() -> None:
    assert experiment_view(FIRST, results(), []).answering == "no answer yet"
    view = experiment_view(FIRST, results(), [], models=["svm", "tree", "svm", ""])
    assert view.answering == "answered by no model (failed) 25 %, svm 50 %, tree 25 %"


def test_a_completed_experiment_is_one_plain_line() -> None:
    lines = plain_lines(run_view({**measured(), "status": "completed"}))
    assert len(lines) == 2
    assert "completed; roll back svm, by itself; now no answer yet" in lines[1]


def test_the_last_decision_is_the_last_one_that_counts() -> None:
    view = experiment_view(FIRST, measured(), DECISIONS)
    assert (view.last_decision, view.reason) == ("roll back svm, by itself", "success is worse")


def test_plain_lines_have_no_control_characters_and_say_what_the_screen_says() -> None:
    lines = plain_lines(run_view(measured()))
    assert all(line.isprintable() for line in lines)
    assert "2,550 of 10,500 requests from 250 users" in lines[0]
    assert lines[2].strip().startswith("better-model / svm: traffic 50 %, users 130, requests 1,250")
    assert "health warning; too little data" in lines[3]


def test_plain_output_shows_progress_every_few_seconds_only() -> None:
    out = io.StringIO()
    screen = screen_for(out)
    assert isinstance(screen, PlainLines)
    with screen:
        screen.say("hello")
        for elapsed_s in (0.0, 1.0, 4.0, 5.5, 6.0):
            screen.show(run_view(measured(), elapsed_s=elapsed_s))
    text = out.getvalue()
    assert text.startswith("hello\n")
    assert text.count("requests from 250 users") == 2
    assert all(line.isprintable() for line in text.splitlines())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_small_terminal_shows_all_that_matters_uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with screen_for(out) as screen:
        screen.show(run_view(measured()))
    text = out.getvalue()
    for part in (
        "control",
        "130",
        "1,250",
        "100.0 %",
        "98.7 % ± 1.0",
        "+25.0 [+20.0, +30.0]",
        "health",
        "last decision",
    ):
        assert part in text
    assert "21.3 ms" not in text


def test_a_terminal_gets_a_live_screen_with_everything_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    screen = screen_for(out)
    assert isinstance(screen, LiveScreen)
    with screen:
        screen.say("hello [world]")
        screen.show(run_view(measured()))
    text = out.getvalue()
    for part in ("hello [world]", FIRST.title, "1,300", "+25.0 [+20.0, +30.0]", "too little data", "by itself"):
        assert part in text
