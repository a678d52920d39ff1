"""Reading `log.db` from any thread: one step of SQLite for each batch, and nothing missing in it.

Owns the reads and the check that nothing is missing; knows nothing of event loops.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import apsw

from splitgauge.eventlog.port import Bounds, StoredRecord
from splitgauge.eventlog.sqlite_batch import SQLValue, columns, unpack
from splitgauge.eventlog.sqlite_connection import Connections
from splitgauge.eventlog.sqlite_errors import mapped
from splitgauge.eventlog.sqlite_schema import Table
from splitgauge.schemas.errors import LogDamagedError

__all__ = ["Reader"]

BATCH_BYTES = 32 * 1024 * 1024
"""What callers sent can be large: 500 requests with a picture each may not fill the memory."""
QUICK_EVENTS = 500
QUICK_BYTES = 512 * 1024
"""Some 0.5 ms together."""
FIRST_EVENTS = 64
"""Read while nothing is known of their size."""


class Reader:
    """Reads of one file, from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections = Connections(path)
        self._ends: dict[Table, int] = {}
        self._sizes: dict[Table, int] = {}

    def read(self, table: Table, start: int, limit: int) -> list[StoredRecord]:
        """Up to `limit` events from `start` on; fewer before the end only where they fill `BATCH_BYTES`.

        Raises: LogDamagedError naming the first offset that is missing or cannot be read; LogUnavailableError.
        """
        batch: list[StoredRecord] = []
        size = 0
        while len(batch) < limit and size < BATCH_BYTES:
            wanted = min(limit - len(batch), self._affordable(table, BATCH_BYTES - size))
            part, part_size = self._part(table, start, wanted)
            batch += part
            if len(part) < wanted:
                break
            start = part[-1].offset + 1
            size += part_size
            self._sizes[table] = size // len(batch)
        return batch

    def is_quick(self, table: Table, start: int, limit: int) -> bool:
        """Whether reading takes less than a millisecond, as far as is known: there may be more by now."""
        backlog = self._ends.get(table, 0) - start
        return limit <= QUICK_EVENTS and min(limit, backlog) * self._sizes.get(table, 0) <= QUICK_BYTES

    def bounds(self, topic: str) -> dict[int, Bounds]:
        """Of the topic's partitions."""
        with mapped(topic), self._connections.use() as connection:
            rows = connection.rows(_BOUNDS, (topic,))
        return {partition: Bounds(start, end) for partition, start, end in rows}

    def committed(self, topic: str, group: str, partition: int) -> int | None:
        """What the group has finished; None if it never committed."""
        with mapped(topic), self._connections.use() as connection:
            rows = connection.rows(_COMMITTED, (topic, group, partition))
        return int(rows[0][0]) if rows else None

    def version(self) -> int:
        """A number that changes when another connection has committed. Only compares within one thread."""
        with mapped(str(self._path)), self._connections.use() as connection:
            return int(connection.pragma("data_version"))

    def close(self) -> None:
        """Close all connections, once nobody reads from them. Reading afterwards is a LogUnavailableError."""
        self._connections.close()

    def _affordable(self, table: Table, size: int) -> int:
        """How many events to read at once, by the size of those before: a packed batch stands in memory three times."""
        known = self._sizes.get(table)
        return FIRST_EVENTS if known is None else max(1, size // max(1, known))

    def _part(self, table: Table, start: int, limit: int) -> tuple[list[StoredRecord], int]:
        """Events and the bytes of their values."""
        try:
            with mapped(f"{table.topic}, partition {table.partition}"), self._connections.use() as connection:
                row = connection.only_row(_read_sql(table), (start, limit, table.name, table.topic, table.partition))
        except LogDamagedError as exc:
            raise self._first_damaged(table, start, limit) or exc from exc
        lowest, highest, offsets, begin, end, *packed = row
        self._ends[table] = end
        keys, values = unpack(packed)
        places = _places(table, lowest=lowest, highest=highest, offsets=offsets)
        complete = table.compacted or _is_complete(places, values, start=max(start, begin), end=end, limit=limit)
        if not complete:
            raise self._first_missing(table, max(start, begin), end)
        rows = zip(repeat(table.topic), repeat(table.partition), places, keys, values, strict=False)
        return list(map(_stored, rows)), len(packed[-1] or b"")

    def _first_damaged(self, table: Table, start: int, limit: int) -> LogDamagedError | None:
        """The first offset that cannot be read: a packed read knows only that there is one."""
        for offset in range(start, start + limit):
            try:
                with self._connections.use() as connection:
                    connection.rows(table.sql("SELECT key, value FROM @table WHERE offset = ?"), (offset,))
            except apsw.CorruptError:
                return _damaged(table, offset, "cannot be read")
            except apsw.SQLError:  # not a matter of one offset: the first error has said it
                break
        return None

    def _first_missing(self, table: Table, start: int, end: int) -> LogDamagedError:
        with mapped(table.name), self._connections.use() as connection:
            # The offset after the first run of consecutive ones, where that run begins at the start.
            rows = connection.rows(table.sql(_AFTER_FIRST_RUN), (start,))
        missing = start if not rows else int(rows[0][0])
        if missing < end:
            return _damaged(table, missing, "is missing")
        return _damaged(table, end, f"stands after the recorded end {end}")


_stored = cast("Callable[[Iterable[object]], StoredRecord]", partial(cast("Any", tuple).__new__, StoredRecord))
"""A StoredRecord from its five parts, at half the price of calling the class: half a read is this."""


def _damaged(table: Table, offset: int, what: str) -> LogDamagedError:
    return LogDamagedError(
        f"the event {what}",
        where=f"{table.topic}, partition {table.partition}, offset {offset}",
        remedy="Restore the log from an export or a backup",
    )


def _places(table: Table, *, lowest: SQLValue, highest: SQLValue, offsets: SQLValue) -> Sequence[int]:
    """The offsets of the rows, in order; a range where they have to be one, which `_is_complete` checks."""
    if not isinstance(lowest, int) or not isinstance(highest, int):
        return ()
    if table.compacted:
        return [int(offset) for offset in str(offsets).split(",")]
    return range(lowest, highest + 1)


def _is_complete(places: Sequence[int], values: Sequence[object], *, start: int, end: int, limit: int) -> bool:
    """Whether these are the next events from `start` on, without a gap up to the limit or the end."""
    if not places:
        return start >= end
    whole = places[0] == start and len(places) == len(values)
    return whole and (places[-1] + 1 == end or (places[-1] < end and len(places) == limit))


# In one step, hence of one snapshot: the rows, and the bounds that they have to fill.
_READ = """
SELECT min(offset), max(offset), OFFSETS,
       (SELECT start FROM partitions WHERE topic = ?4 AND partition = ?5),
       (SELECT seq + 1 FROM sqlite_sequence WHERE name = ?3), COLUMNS
FROM (SELECT offset, key, value FROM @table WHERE offset >= ?1 ORDER BY offset LIMIT ?2)
"""
_READ_CONTIGUOUS = _READ.replace("OFFSETS", "NULL").replace("COLUMNS", columns("key", "value"))
_READ_COMPACTED = _READ.replace("OFFSETS", "group_concat(offset)").replace("COLUMNS", columns("key", "value"))
_BOUNDS = """
SELECT partition, start, max(start, seq + 1) FROM partitions JOIN sqlite_sequence ON name = topic || '/' || partition
WHERE topic = ? ORDER BY partition
"""
_AFTER_FIRST_RUN = """
SELECT offset + 1 FROM @table AS this
WHERE offset >= ?1 AND EXISTS (SELECT 1 FROM @table WHERE offset = ?1)
      AND NOT EXISTS (SELECT 1 FROM @table WHERE offset = this.offset + 1)
ORDER BY offset LIMIT 1
"""
_COMMITTED = "SELECT offset FROM commits WHERE topic = ? AND grp = ? AND partition = ?"


def _read_sql(table: Table) -> str:
    return table.sql(_READ_COMPACTED if table.compacted else _READ_CONTIGUOUS)
