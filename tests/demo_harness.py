"""`splitgauge demo` as a process of its own: started, watched, interrupted, and looked for afterwards."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from marked_processes import marked

__all__ = ["STOP_S", "Finished", "alive", "demo", "read_until"]

STOP_S = 60
"""For its end, once it is asked for, on a machine however busy."""
_MARK = "SPLITGAUGE_DEMO_TEST"


@dataclass(frozen=True)
class Finished:
    """A demo that ended by itself."""

    status: int
    out: str
    err: str
    temporary: Path
    mark: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.out, self.err[-2000:]
        document: dict[str, Any] = orjson.loads(self.out)
        return document

    @property
    def broken(self) -> list[str]:
        """Promises that were not kept, but for those about time: the machine may have other things to do."""
        return [item["promise"] for item in self.document["promises"] if not item["held"] and not item["timed"]]

    def experiment(self, key: str) -> dict[str, Any]:
        [found] = [item for item in self.document["experiments"] if item["id"] == key]
        return dict(found)


@contextmanager
def demo(temporary: Path, mark: str, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """A running demo whose temporary files are in `temporary`, and whose processes carry `mark`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "splitgauge.cli", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(temporary), _MARK: mark},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def alive(mark: str) -> dict[int, str]:
    """The command lines of all processes that carry the mark, by their ids."""
    return {pid: command.replace(b"\0", b" ").decode() for pid, command in marked(_MARK, mark).items()}


def read_until(stream: IO[bytes] | None, words: str) -> str:
    """Lines up to the one that has the words."""
    assert stream is not None
    said = ""
    while words not in said:
        line = stream.readline().decode()
        assert line, f"ended before it said {words!r}:\n{said}"
        said += line
    return said
