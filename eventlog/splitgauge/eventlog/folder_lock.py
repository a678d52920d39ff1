"""One writing process per data folder, and one child of it: lock files that the system releases when a process dies.

Owns `lock` and `child.lock`, which hold the owner's pid for people and for the error; what counts is the lock itself,
not the file.
"""

import fcntl
import os
from pathlib import Path

from splitgauge.schemas.errors import LogInUseError, LogUnavailableError

__all__ = ["CHILD", "OWNER", "FolderLock"]

OWNER = "lock"
"""Of the process that the folder belongs to."""
CHILD = "child.lock"
"""Of the one process that it lets write beside it."""


class FolderLock:
    """The lock of a data folder, held until `release` or the end of the process."""

    def __init__(self, folder: Path, name: str = OWNER) -> None:
        """Take it, and make the folder where there is none.

        Raises: LogInUseError naming the folder and the pid of its owner; LogUnavailableError for no usable folder.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise LogUnavailableError(
                f"the data folder cannot be used: {exc.strerror}",
                where=str(folder),
                remedy="Name a folder that this user may write to",
            ) from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            owner = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise LogInUseError(
                f"the data folder belongs to the running process with pid {owner}",
                where=str(folder),
                remedy="Stop that process, or choose another data folder",
            ) from exc
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; again does nothing. The file stays: removing it could take another opener's lock away."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
