"""What the writing thread does to `log.db`: appends, a statement per partition, and other work.

Owns the jobs; knows nothing of threads and event loops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from splitgauge.eventlog.sqlite_batch import FIRST, REST, pack
from splitgauge.eventlog.sqlite_connection import Connection
from splitgauge.eventlog.sqlite_schema import Table

__all__ = ["Append", "Job", "Work", "apply", "insert", "weigh"]

Pair = tuple[bytes | None, bytes]
"""Key and value."""


@dataclass(frozen=True, slots=True)
class Append:
    """Events of one topic. Its result: table -> offset of its first."""

    topic: str
    rows: dict[Table, list[Pair]]


@dataclass(frozen=True, slots=True)
class Work:
    """Anything else within the transaction. Its result: what `call` returns."""

    call: Callable[[Connection], object]


Job = Append | Work


def weigh(job: Job) -> int:
    """How many rows the job writes, roughly."""
    return sum(map(len, job.rows.values())) if isinstance(job, Append) else 1


def apply(connection: Connection, jobs: Sequence[Job]) -> list[object]:
    """Write all jobs, the appends first; a result for each. Raises: apsw.Error, after which all has to be undone."""
    together: dict[Table, list[Pair]] = {}
    places: list[dict[Table, int]] = []
    for job in jobs:
        places.append({})
        if isinstance(job, Append):
            for table, rows in job.rows.items():
                tail = together.setdefault(table, [])
                places[-1][table] = len(tail)
                tail.extend(rows)
    firsts = {table: _insert(connection, table, rows) for table, rows in together.items()}
    return [
        {table: firsts[table] + place for table, place in mine.items()}
        if isinstance(job, Append)
        else job.call(connection)
        for job, mine in zip(jobs, places, strict=True)
    ]


def insert(connection: Connection, table: Table, rows: Sequence[Pair], *, first: int) -> None:
    """Write events whose offsets are given already, from `first` on."""
    connection.execute(table.sql(_INSERT_AT), (first - 1, pack(rows)))


# seq is the highest offset ever given (-1 at first) and carray's row id counts from 1: no gap, and no offset twice.
_INSERT = """
INSERT INTO @table (offset, key, value)
SELECT (SELECT seq FROM sqlite_sequence WHERE name = ?1) + rowid, @first, @rest FROM carray(?2)
""".replace("@first", FIRST).replace("@rest", REST)
# The key is unique there, so the older event with the same key goes in the same statement.
_INSERT_COMPACTED = _INSERT.replace("INSERT INTO", "INSERT OR REPLACE INTO")


_INSERT_AT = _INSERT.replace("(SELECT seq FROM sqlite_sequence WHERE name = ?1)", "?1")


def _insert(connection: Connection, table: Table, rows: Sequence[Pair]) -> int:
    """The offset of the first."""
    connection.execute(table.sql(_INSERT_COMPACTED if table.compacted else _INSERT), (table.name, pack(rows)))
    return connection.last_row_id - len(rows) + 1
