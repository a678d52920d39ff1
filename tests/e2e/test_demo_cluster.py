"""`splitgauge demo --cluster` in a small form: real servers, real processes, the same promises, nothing left."""

import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest

from demo_harness import STOP_S, Finished, alive, demo, read_until

pytestmark = pytest.mark.timeout(600)

RUN_S = 500
REQUESTS = 3_000


@pytest.fixture(scope="module")
def temporary() -> Generator[Path]:
    """A short path that everybody may enter: PostgreSQL puts a socket there, and as root it runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def finished(temporary: Path) -> Finished:
    mark = uuid4().hex
    with demo(temporary, mark, "--cluster", "--json", "--requests", str(REQUESTS)) as process:
        out, err = process.communicate(timeout=RUN_S)
    return Finished(process.returncode, out.decode(), err.decode(), temporary, mark)


def test_everything_is_decided_as_in_one_process(finished: Finished) -> None:
    assert finished.broken == ["at least 10,000 requests"], finished.out
    assert finished.status == 1
    assert (finished.document["stage"], finished.document["routers"]) == ("cluster", 2)
    better, faulty, same = (finished.experiment(name) for name in ("better-model", "faulty-model", "same-model"))
    assert (better["decision"], better["winner"], set(better["served_now"])) == ("promote", "svm", {"svm"})
    assert (faulty["decision"], faulty["winner"], set(faulty["served_now"])) == ("roll_back", "control", {"tree"})
    assert (same["decision"], set(same["served_now"])) == (None, {"tree"})
    assert all(variant["units"] >= 100 for variant in better["variants"].values())
    assert any(variant["units"] < 100 for variant in faulty["variants"].values())


def test_nothing_is_lost_or_counted_twice_between_two_routers(finished: Finished) -> None:
    totals, traffic = finished.document["totals"], finished.document["traffic"]
    assert totals["requests"] >= REQUESTS
    assert totals["assignments"] == totals["outcomes"] == totals["requests"]
    assert totals["missing"] == 0
    assert totals["duplicates_dropped"] == traffic["reports_twice"] > 0
    assert totals["reports"] == traffic["reports_sent"] - traffic["reports_twice"]
    assert 0 < traffic["by_request_event"] < totals["requests"] / 2


def test_the_log_and_its_archive_replay_to_the_same(finished: Finished) -> None:
    replays = [finished.document[name] for name in ("replay", "replay_of_archive")]
    for replay in replays:
        assert (replay["mismatches"], replay["findings"], replay["automatic_decisions"]) == (0, [], 2)
        assert replay["analyses_reproduced"] == replay["analyses"] > 0
    log, archive = replays
    assert archive["analyses"] >= log["analyses"]
    assert archive["decisions"] == log["decisions"]


def test_it_says_where_everything_runs(finished: Finished) -> None:
    lines = finished.err.splitlines()
    assert all(line.isprintable() for line in lines)
    assert [words[2] for line in lines if (words := line.split())[3:6] == ["is", "up", "at"]] == [
        *("router-1", "router-2", "aggregator-1", "aggregator-2", "tables-1", "tables-2"),
        *("analyzer", "console", "archiver"),
    ]


def test_no_process_and_no_file_of_it_is_left(finished: Finished) -> None:
    assert alive(finished.mark) == {}
    assert list(finished.temporary.iterdir()) == []


def test_an_interrupt_while_its_processes_start_ends_all_of_them(temporary: Path) -> None:
    mark = uuid4().hex
    with demo(temporary, mark, "--cluster", "--json") as process:
        read_until(process.stderr, "Topics and tables are made")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=STOP_S)
    assert (process.returncode, out) == (130, b""), err.decode()
    assert "Traceback" not in err.decode()
    assert alive(mark) == {}
    assert list(temporary.iterdir()) == []
