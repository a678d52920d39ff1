"""What the servers of tests, benchmarks and the demo have in common: processes beside ours, and that nothing of them
is left.

Owns starting and ending such processes, and the end of ours: whoever has started a server leaves its blocks at SIGTERM
as at Ctrl-C. Knows no particular server.
"""

import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

__all__ = ["STOP_S", "Server", "User", "end", "last_words", "launch", "serve"]

STOP_S = 20.0
_SHOWN = 2_000


class User(TypedDict, total=False):
    """As whom a process runs, for `subprocess`; left out: as we do."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


class Server(ABC):
    """A context manager: nothing of it is left after the block."""

    @abstractmethod
    def start(self) -> Self:
        """Until it takes connections; with what it has on disk."""

    @abstractmethod
    def close(self) -> None:
        """End it, without care for what is in its files, and remove them."""

    def __enter__(self) -> Self:
        _leave_at_sigterm()
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def launch(command: Sequence[str | Path], output: Path, user: User | None = None) -> subprocess.Popen[bytes]:
    """A process in a session of its own, which is ours to end: Ctrl-C at the terminal is not for it. What it says goes
    to a file."""
    _leave_at_sigterm()
    with output.open("ab") as said:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, **(user or {})
        )


def end(process: subprocess.Popen[bytes], number: int) -> None:
    """Send the signal and wait for the end; SIGKILL where it does not come."""
    process.send_signal(number)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_words(output: Path) -> str:
    """Of what a process has said."""
    return output.read_text(encoding="utf-8", errors="replace")[-_SHOWN:]


def serve(server: Server, line: Callable[[], str]) -> int:
    """Run it until a signal comes; `line` is said when it takes connections. Returns the exit status."""
    try:
        with server:
            sys.stdout.write(line() + "\n")
            sys.stdout.flush()
            while True:
                time.sleep(1)  # not `signal.pause`, which a signal that comes a moment before it does not end
    except KeyboardInterrupt:
        return 0


def _leave_at_sigterm() -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
