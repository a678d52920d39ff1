"""Checkpoints embedded in the process: `checkpoints.db` beside the log, written by a thread of its own.

Owns that file, knows nothing of events. A file of its own because SQLite has one writer per file: a save may take some
hundred milliseconds, and appends must not wait for it. Nothing is lost by that: a checkpoint names the log
position it stands for, and one that a power failure takes back (synchronous=normal) only means folding on from further
back. A table per owner, so that loading one is a scan and dropping one is quick.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.sqlite_batch import FIRST, REST, columns, pack, unpack
from splitgauge.eventlog.sqlite_connection import Connection, Connections, array, open_writer
from splitgauge.eventlog.sqlite_errors import mapped
from splitgauge.eventlog.sqlite_writer import Writer
from splitgauge.schemas.errors import LogUnavailableError

__all__ = ["CHECKPOINTS_FILE_NAME", "SqliteCheckpoints"]

CHECKPOINTS_FILE_NAME = "checkpoints.db"
SCHEMA_VERSION = 1
ROWS_AT_ONCE = 100
"""Read in one step: of units some 10 MB, and the interpreter is free meanwhile."""


@dataclass(frozen=True, slots=True)
class _Job:
    rows: int
    call: Callable[[Connection], object]


class SqliteCheckpoints:
    """Checkpoints of a data folder. Usable from several threads and event loops of the writing process."""

    def __init__(self, path: Path, writer: Writer[_Job]) -> None:
        """For `open`."""
        self._path = path
        self._writer = writer
        self._connections = Connections(path)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open or make the file; the caller holds the folder's lock."""
        path = folder / CHECKPOINTS_FILE_NAME
        connection = open_writer(path, synchronous="normal")
        with mapped(str(path)):
            _define(connection, path)
        return cls(path, Writer[_Job](connection, where=str(path), apply=_apply, weigh=_weigh, committed=_ignore))

    async def load(self, owner: str) -> Checkpoint | None:
        return await asyncio.to_thread(self._load, owner)

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        replaced = [(key, row) for key, row in changed.items() if row is not None]
        removed = [key for key, row in changed.items() if row is None]

        def work(connection: Connection) -> bool:
            table = _moved(connection, owner, expected=expected, position=position)
            if table is None:
                return False
            if replaced:
                connection.execute(_REPLACE.replace("@table", table), (pack(replaced),))
            if removed:
                connection.execute(_REMOVE.replace("@table", table), (array(removed),))
            return True

        return bool(await self._writer.submit(_Job(len(changed) + 1, work)))

    async def drop(self, owner: str) -> None:
        def work(connection: Connection) -> None:
            for (number,) in connection.rows("DELETE FROM owners WHERE owner = ? RETURNING number", (owner,)):
                connection.execute(f"DROP TABLE {_table(number)}")

        await self._writer.submit(_Job(1, work))

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self._writer.close()
        self._connections.close()

    def _load(self, owner: str) -> Checkpoint | None:
        with mapped(str(self._path)), self._connections.use() as connection, connection.snapshot():
            found = connection.rows("SELECT number, position FROM owners WHERE owner = ?", (owner,))
            if not found:
                return None
            number, position = found[0]
            return Checkpoint(position, _rows(connection, _table(number)))


def _define(connection: Connection, path: Path) -> None:
    version = connection.pragma("user_version")
    if version not in (0, SCHEMA_VERSION):
        raise LogUnavailableError(
            f"the checkpoints have version {version}, this program reads version {SCHEMA_VERSION}",
            where=str(path),
            remedy="Remove the file: the state is then folded again from the log",
        )
    connection.execute(_DEFINITION)
    connection.pragma("user_version", SCHEMA_VERSION)


def _apply(connection: Connection, jobs: Sequence[_Job]) -> list[Any]:
    return [job.call(connection) for job in jobs]


def _weigh(job: _Job) -> int:
    return job.rows


def _ignore(jobs: Sequence[_Job]) -> None:
    """Nobody waits for checkpoints."""


def _moved(connection: Connection, owner: str, *, expected: int | None, position: int) -> str | None:
    """The owner's table, after its position moved from `expected`; None if it was not there."""
    if expected is None:
        made = connection.rows(_FIRST_POSITION, (owner, position))
        for (number,) in made:
            connection.execute(_ROWS.replace("@table", _table(number)))
    else:
        made = connection.rows(_NEXT_POSITION, (position, owner, expected))
    return _table(made[0][0]) if made else None


def _table(number: int) -> str:
    return f'"rows/{number:d}"'


def _rows(connection: Connection, table: str) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    last: int | None = 0
    while last is not None:
        last, *packed = connection.only_row(_SELECT.replace("@table", table), (last, ROWS_AT_ONCE))
        keys, values = unpack(packed)
        rows.update((key or b"", value) for key, value in zip(keys, values, strict=True))
    return rows


_DEFINITION = """
CREATE TABLE IF NOT EXISTS owners (
    number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL UNIQUE, position INTEGER NOT NULL
);
"""
_ROWS = "CREATE TABLE @table (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)"
_FIRST_POSITION = "INSERT INTO owners (owner, position) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING number"
_NEXT_POSITION = "UPDATE owners SET position = ? WHERE owner = ? AND position = ? RETURNING number"
_REPLACE = """
INSERT INTO @table (key, value) SELECT @first, @rest FROM carray(?) WHERE true
ON CONFLICT (key) DO UPDATE SET value = excluded.value
""".replace("@first", FIRST).replace("@rest", REST)
_REMOVE = "DELETE FROM @table WHERE key IN (SELECT value FROM carray(?))"
_SELECT = """
SELECT max(number), @columns FROM (SELECT number, key, value FROM @table WHERE number > ? ORDER BY number LIMIT ?)
""".replace("@columns", columns("key", "value"))
