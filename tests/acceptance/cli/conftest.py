"""A command line alone, and one with a real `splitgauge up` in a process of its own."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_harness import CommandLine


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    """Without a server."""
    return CommandLine(tmp_path)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """With one server for the whole module; its data folder is `data`."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "splitgauge.toml").write_text('data_folder = "data"\nport = 0\n')
    process = CommandLine(folder).start("up")
    assert process.stdout is not None
    found = re.search(r"http://[\d.:]+", process.stdout.readline())
    assert found is not None, process.communicate()
    yield CommandLine(folder, found[0])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in out + err) == (0, False)
