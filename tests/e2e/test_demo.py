"""`splitgauge demo` as a newcomer runs it: every promise, the exit status, Ctrl-C at several moments, nothing left."""

import os
import re
import signal
import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest

from demo_harness import STOP_S, Finished, alive, demo, read_until

pytestmark = pytest.mark.timeout(420)

RUN_S = 400


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    temporary, mark = tmp_path_factory.mktemp("demo"), uuid4().hex
    with demo(temporary, mark, "--json") as process:
        out, err = process.communicate(timeout=RUN_S)
    return Finished(process.returncode, out.decode(), err.decode(), temporary, mark)


def test_everything_that_the_demo_promises_holds(finished: Finished) -> None:
    assert finished.broken == [], finished.out
    assert finished.status == (0 if finished.document["held"] else 1)


def test_the_better_model_is_promoted_and_serves(finished: Finished) -> None:
    better = finished.experiment("better-model")
    assert (better["verdict"], better["winner"], better["decision"]) == ("promote", "svm", "promote")
    assert set(better["served_now"]) == {"svm"}
    assert all(variant["units"] >= 100 for variant in better["variants"].values())
    assert better["units"] == sum(variant["units"] for variant in better["variants"].values())
    assert better["requests"] == sum(variant["requests"] for variant in better["variants"].values())
    assert better["seconds_to_applied"] > 0


def test_the_faulty_model_is_rolled_back_long_before_the_goal_could_decide(finished: Finished) -> None:
    faulty = finished.experiment("faulty-model")
    assert (faulty["verdict"], faulty["decision"]) == ("roll_back", "roll_back")
    assert "success" in faulty["reason"]
    assert any(variant["units"] < 100 for variant in faulty["variants"].values())
    assert set(faulty["served_now"]) == {"tree"}
    assert faulty["seconds_to_applied"] > 0


def test_the_same_model_on_both_sides_is_never_promoted(finished: Finished) -> None:
    same = finished.experiment("same-model")
    assert same["decision"] != "promote"
    assert set(same["served_now"]) == {"tree"}


def test_totals_agree_with_each_other(finished: Finished) -> None:
    totals, traffic = finished.document["totals"], finished.document["traffic"]
    assert totals["requests"] >= 10_000
    assert totals["assignments"] == totals["outcomes"] == totals["requests"]
    assert totals["missing"] == 0
    assert totals["duplicates_dropped"] == traffic["reports_twice"] > 0
    assert totals["reports"] == traffic["reports_sent"] - traffic["reports_twice"]
    assert 550 <= traffic["users"] <= 650
    assert 0 < traffic["by_request_event"] < totals["requests"] / 2
    assert traffic["reports_late"] > 0
    assert traffic["reports_out_of_order"] > 0
    assert traffic["failed"] > 0


def test_the_replay_makes_everything_again(finished: Finished) -> None:
    replay = finished.document["replay"]
    assert replay["mismatches"] == 0
    assert replay["findings"] == []
    assert replay["analyses_reproduced"] == replay["analyses"] > 0
    assert replay["automatic_decisions"] == 2
    assert replay["decisions"] > replay["automatic_decisions"]
    assert replay["events"] > 3 * finished.document["totals"]["requests"]


def test_progress_is_plain_lines_without_control_characters(finished: Finished) -> None:
    lines = finished.err.splitlines()
    assert all(line.isprintable() for line in lines)
    assert any("promote svm, by itself" in line for line in lines)
    assert any("better-model / svm" in line and "users" in line and "correct" in line for line in lines)


def test_no_process_and_no_file_is_left(finished: Finished) -> None:
    assert alive(finished.mark) == {}
    assert list(finished.temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("moment", "number", "times"),
    [
        ("Splitgauge demo", signal.SIGINT, 1),
        ("Three experiments run", signal.SIGINT, 2),
        ("by itself", signal.SIGINT, 1),
        ("requests from", signal.SIGTERM, 1),
    ],
    ids=["while it starts", "twice at the first request", "after a decision", "terminated under traffic"],
)
def test_an_interrupt_ends_it_cleanly(moment: str, number: int, times: int, tmp_path: Path) -> None:
    mark = uuid4().hex
    with demo(tmp_path, mark, "--json") as process:
        read_until(process.stderr, moment)
        for _ in range(times):
            process.send_signal(number)
        out, err = process.communicate(timeout=STOP_S)
    assert process.returncode == 130, err.decode()
    assert out == b""
    assert "Traceback" not in err.decode()
    assert alive(mark) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("part", "name"), [("splitgauge.cli up", "splitgauge"), ("demo.endpoints", "endpoints")])
def test_a_part_that_dies_is_named_and_ends_the_demo(part: str, name: str, tmp_path: Path) -> None:
    mark = uuid4().hex
    with demo(tmp_path, mark) as process:
        read_until(process.stdout, "requests from")
        first = min(pid for pid, command in alive(mark).items() if part in command)
        os.kill(first, signal.SIGKILL)
        _, err = process.communicate(timeout=STOP_S)
    assert process.returncode == 1
    assert f"{name} ended with status -9" in err.decode()
    assert alive(mark) == {}
    assert list(tmp_path.iterdir()) == []


def test_too_short_a_run_says_what_it_broke_and_keeps_serving_until_it_is_interrupted(tmp_path: Path) -> None:
    mark = uuid4().hex
    with demo(tmp_path, mark, "--keep", "--requests", "500", "--seed", "3") as process:
        said = read_until(process.stdout, "Goes on serving")
        assert all(line.isprintable() for line in said.splitlines())
        assert "BROKEN  at least 10,000 requests" in said
        assert "NOT all of it held" in said
        address = re.findall(r"Goes on serving at (http://[^ ]+)", said)[0]
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:  # noqa: S310 - http, on this machine
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=STOP_S)
    assert process.returncode == 1
    assert alive(mark) == {}
    assert list(tmp_path.iterdir()) == []
