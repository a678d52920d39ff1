"""The one seam where errors of SQLite become errors of Splitgauge.

Knows apsw's error classes and nothing of tables or events.
"""

from collections.abc import Generator
from contextlib import contextmanager

import apsw

from splitgauge.schemas.errors import ContractError, LogDamagedError, LogUnavailableError, SplitgaugeError

__all__ = ["mapped", "translate"]

_UNAVAILABLE = (
    apsw.AuthError,
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.ConnectionClosedError,
    apsw.FullError,
    apsw.IOError,
    apsw.InterruptError,
    apsw.LockedError,
    apsw.NoLFSError,
    apsw.NoMemError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)
_DAMAGED = (
    apsw.CorruptError,
    apsw.FormatError,
    apsw.MismatchError,
    apsw.NotADBError,
    apsw.SQLError,
    apsw.SchemaChangeError,
)
"""SQLError among them: our statements are fixed, so a table that is not there was taken away from the file."""

_REMEDIES: dict[type[apsw.Error], str] = {
    apsw.FullError: "Make room on the disk: the log goes on by itself",
    apsw.ReadOnlyError: "Give this user the right to write to the data folder",
    apsw.CantOpenError: "Check that the data folder exists and that this user may read and write it",
    apsw.PermissionsError: "Check that this user may read and write the data folder",
}


def translate(error: apsw.Error, *, where: str) -> SplitgaugeError | None:
    """The error of Splitgauge that says the same; None for an error that only a bug of ours can cause."""
    if isinstance(error, _UNAVAILABLE):
        return LogUnavailableError(str(error), where=where, remedy=_REMEDIES.get(type(error), ""))
    if isinstance(error, _DAMAGED):
        return LogDamagedError(
            f"the file cannot be read: {error}", where=where, remedy="Restore it from an export or a backup"
        )
    if isinstance(error, apsw.TooBigError):
        return ContractError("the event is larger than the log can hold (1 GB)", where=where, code="too-large")
    return None


@contextmanager
def mapped(where: str) -> Generator[None]:
    """Raise what SQLite raises inside as errors of Splitgauge, naming the place."""
    try:
        yield
    except apsw.Error as exc:
        error = translate(exc, where=where)
        if error is None:
            raise
        raise error from exc
