"""Two writers of one file take turns, however fast one of them comes back; each with its own open files."""

import fcntl
import threading
from pathlib import Path

import pytest

from splitgauge.eventlog import turnstile
from splitgauge.eventlog.sqlite_connection import Connection, open_writer
from splitgauge.eventlog.turnstile import Turnstile
from splitgauge.schemas.errors import LogUnavailableError


def begin(connection: Connection, gate: Turnstile) -> None:
    with gate.stand():
        connection.execute("BEGIN IMMEDIATE")


def taken(folder: Path) -> bool:
    """Whether somebody stands in the folder's turnstile."""
    with (folder / turnstile.FILE_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_has_just_written_waits_behind_the_one_that_waits(tmp_path: Path) -> None:
    order: list[str] = []
    started = open_writer(tmp_path / "file.db")
    begin(started, Turnstile(tmp_path))
    begun = threading.Event()

    def other() -> None:
        connection = open_writer(tmp_path / "file.db")
        begin(connection, Turnstile(tmp_path))
        order.append("the other")
        begun.set()
        connection.execute("COMMIT")
        connection.close()

    waiting = threading.Thread(target=other)
    waiting.start()
    while not taken(tmp_path):
        assert not begun.is_set()
    started.execute("COMMIT")
    begin(started, Turnstile(tmp_path))
    order.append("who has just written")
    started.execute("COMMIT")
    started.close()
    waiting.join()
    assert order == ["the other", "who has just written"]


def test_nobody_waits_for_ever_behind_one_that_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnstile, "PATIENCE_S", 0.02)
    first, second = Turnstile(tmp_path), Turnstile(tmp_path)
    with first.stand(), pytest.raises(LogUnavailableError, match="has waited to write"), second.stand():
        pass
    with second.stand():
        pass


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailableError, match="it cannot be used"):
        Turnstile(tmp_path / "nowhere")
