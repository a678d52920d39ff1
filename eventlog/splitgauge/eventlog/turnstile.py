"""Fairness between two processes that write the same SQLite file.

SQLite lets whoever asks at the right moment write. A process that commits without a pause asks again microseconds after
each commit, so that another one, which looks every few milliseconds, could wait for seconds and then give up (measured:
1.2 s beside a busy writer). Whoever waits for SQLite therefore stands in the turnstile, and the one that has just
written waits behind it: they take turns. The system frees the turnstile when a process dies.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from splitgauge.schemas.errors import LogUnavailableError

__all__ = ["FILE_NAME", "Turnstile"]

FILE_NAME = "writing.lock"
LOOK_EVERY_S = 0.001
"""While somebody else stands in it."""
PATIENCE_S = 5.0
"""As long as SQLite's own wait for a writer: who stands in the turnstile does not wait for longer either."""


class Turnstile:
    """The turnstile of a data folder, as one of its writers sees it."""

    def __init__(self, folder: Path) -> None:
        """Raises: LogUnavailableError where the folder cannot be used."""
        self._path = folder / FILE_NAME
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise LogUnavailableError(
                f"it cannot be used: {exc.strerror}",
                where=str(self._path),
                remedy="Name a folder that this user may write to",
            ) from exc

    @contextmanager
    def stand(self) -> Generator[None]:
        """Alone in it for the block: until SQLite has let this process write.

        Raises: LogUnavailableError where another process stands in it for `PATIENCE_S`.
        """
        give_up = time.monotonic() + PATIENCE_S
        while not self._taken():
            if time.monotonic() > give_up:
                raise LogUnavailableError(
                    f"another process has waited to write for over {PATIENCE_S:g} s", where=str(self._path)
                )
            time.sleep(LOOK_EVERY_S)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go. The file stays."""
        os.close(self._file)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise LogUnavailableError(f"it cannot be locked: {exc.strerror}", where=str(self._path)) from exc
        return True
