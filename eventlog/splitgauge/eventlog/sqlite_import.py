"""Making a `log.db` from events that have their places already.

Owns the new file, which takes the name of the log only when it is whole; knows nothing of where the events come from.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from splitgauge.eventlog.export_format import Header
from splitgauge.eventlog.folder_lock import FolderLock
from splitgauge.eventlog.partitions import layout
from splitgauge.eventlog.port import StoredRecord
from splitgauge.eventlog.sqlite_append import insert
from splitgauge.eventlog.sqlite_checkpoints import CHECKPOINTS_FILE_NAME
from splitgauge.eventlog.sqlite_connection import Connection, open_writer
from splitgauge.eventlog.sqlite_errors import mapped
from splitgauge.eventlog.sqlite_schema import FILE_NAME, Table, define, tables
from splitgauge.schemas.errors import ConflictError

__all__ = ["importing"]

UNFINISHED_NAME = "import.unfinished.db"


class Target:
    """The log being made."""

    def __init__(self, connection: Connection, by_place: dict[tuple[str, int], Table]) -> None:
        self._connection = connection
        self._tables = by_place

    def add(self, events: Sequence[StoredRecord]) -> None:
        """Events of one partition with consecutive offsets."""
        first = events[0]
        table = self._tables[first.topic, first.partition]
        with mapped(table.name):
            insert(self._connection, table, [(event.key, event.value) for event in events], first=first.offset)


@contextmanager
def importing(folder: Path, header: Header) -> Generator[Target]:
    """A log with the header's partitions and bounds; it replaces the folder's empty log at the end of the block.

    Raises: ConflictError where the folder's log holds events; LogInUseError; LogUnavailableError. After any error in
        the block, the folder is as it was.
    """
    lock = FolderLock(folder)
    unfinished = folder / UNFINISHED_NAME
    try:
        _check_empty(folder)
        _remove(unfinished)
        with _new_log(unfinished, header) as target:
            yield target
        # Of an older, empty log: its checkpoints know nothing of these events.
        _remove(folder / CHECKPOINTS_FILE_NAME)
        _remove(folder / FILE_NAME)
        unfinished.replace(folder / FILE_NAME)
        _flush(folder)
    finally:
        _remove(unfinished)
        lock.release()


def _check_empty(folder: Path) -> None:
    path = folder / FILE_NAME
    if not path.exists():
        return
    connection = open_writer(path)
    try:
        with mapped(str(path)):
            used = connection.pragma("user_version") and connection.rows(
                "SELECT name FROM sqlite_sequence WHERE seq >= 0"
            )
    finally:
        connection.close()
    if used:
        raise ConflictError(
            "the log of this folder holds events already", where=str(folder), remedy="Import into a new folder"
        )


@contextmanager
def _new_log(path: Path, header: Header) -> Generator[Target]:
    counts = {topic: len(partitions) for topic, partitions in header.topics.items()}
    by_place = tables(layout(header.observation_partitions) | counts)
    connection = open_writer(path)
    try:
        with mapped(str(path)):
            # One transaction would fill the write-ahead log with a second copy; a file without its name needs none.
            connection.pragma("journal_mode", "off")
            connection.pragma("synchronous", "off")
            connection.execute("BEGIN")
            define(connection, list(by_place.values()))
        yield Target(connection, by_place)
        with mapped(str(path)):
            for (topic, partition), table in by_place.items():
                if topic in header.topics:
                    _set_bounds(connection, table, *header.topics[topic][partition])
            connection.execute("COMMIT")
            connection.pragma("journal_mode", "wal")
    finally:
        connection.close()
    _flush(path)


def _set_bounds(connection: Connection, table: Table, start: int, end: int) -> None:
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (end - 1, table.name))
    connection.execute(
        "UPDATE partitions SET start = ? WHERE topic = ? AND partition = ?", (start, table.topic, table.partition)
    )


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
