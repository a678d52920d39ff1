"""The tables of `log.db`: how they are made, named and opened.

Owns names, data definition and pragmas; knows nothing of threads and loops. A table per (topic, partition), with the
offset as row id: the fastest to read in order. AUTOINCREMENT keeps the highest offset ever given in `sqlite_sequence`,
within the transaction that gives it, so that neither retention nor compaction can make an offset appear twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitgauge.eventlog.partitions import DEFAULT_OBSERVATION_PARTITIONS, Layout, layout
from splitgauge.eventlog.sqlite_connection import Connection
from splitgauge.eventlog.sqlite_errors import mapped
from splitgauge.schemas.errors import ContractError, LogDamagedError, LogUnavailableError
from splitgauge.schemas.topics import OBSERVATIONS, TOPICS, Retention

__all__ = ["FILE_NAME", "Table", "create", "define", "stored_layout", "tables"]

FILE_NAME = "log.db"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One partition of one topic. Each log makes its own once, so that they compare and hash by identity: fast keys."""

    topic: str
    partition: int
    compacted: bool

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.partition}"

    def sql(self, template: str) -> str:
        """The statement with the table's name in place of @table. Names come from `splitgauge.schemas.topics` only."""
        return template.replace("@table", f'"{self.name}"')


def tables(layout: Layout) -> dict[tuple[str, int], Table]:
    """All tables of a log by topic and partition."""
    return {
        (topic, partition): Table(topic, partition, TOPICS[topic].retention is Retention.NEWEST_PER_KEY)
        for topic, partitions in layout.items()
        for partition in range(partitions)
    }


def create(connection: Connection, path: Path, *, observation_partitions: int | None) -> Layout:
    """Make the tables of an empty file; of one that has them, return its layout.

    Raises: ContractError where another number of partitions is wished than the log was made with.
    """
    wished = layout(DEFAULT_OBSERVATION_PARTITIONS if observation_partitions is None else observation_partitions)
    with mapped(str(path)):
        if not connection.pragma("user_version"):
            connection.execute("BEGIN IMMEDIATE")
            define(connection, list(tables(wished).values()))
            connection.execute("COMMIT")
    stored = stored_layout(connection, path)
    if observation_partitions is not None and observation_partitions != stored[OBSERVATIONS.name]:
        raise ContractError(
            f"the log has {stored[OBSERVATIONS.name]} partitions of observations, not {observation_partitions}",
            where=str(path),
            remedy="Their number is part of what the events mean: leave it out, or make a new log in another folder",
        )
    return stored


def stored_layout(connection: Connection, path: Path) -> Layout:
    """The layout that the file was made with. Raises: LogUnavailableError for no log, or one of a newer version."""
    with mapped(str(path)):
        version = connection.pragma("user_version")
        if version != SCHEMA_VERSION:
            raise LogUnavailableError(
                f"the log has version {version}, this program reads version {SCHEMA_VERSION}",
                where=str(path),
                remedy="Use the version of splitgauge that made it, or a newer one",
            )
        found: dict[str, int] = dict(connection.rows(_STORED_PARTITIONS))
    missing = [topic for topic in TOPICS if topic not in found]
    if missing:
        raise LogDamagedError(f"topics are missing: {', '.join(missing)}", where=str(path))
    return {topic: found[topic] for topic in TOPICS}


def define(connection: Connection, partitions: Sequence[Table]) -> None:
    """Make the tables of a log, within the caller's transaction."""
    connection.execute(_DEFINITION)
    for table in partitions:
        connection.execute(
            table.sql("CREATE TABLE @table (offset INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB, value BLOB NOT NULL)")
        )
        if table.compacted:
            connection.execute(table.sql(f'CREATE UNIQUE INDEX "{table.name}/key" ON @table (key)'))
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, -1)", (table.name,))
        connection.execute(
            "INSERT INTO partitions (topic, partition, start) VALUES (?, ?, 0)", (table.topic, table.partition)
        )
    connection.pragma("user_version", SCHEMA_VERSION)


# The join leaves out a partition whose highest offset is lost: appending to it could use an offset again.
_STORED_PARTITIONS = """
SELECT topic, count(*) FROM partitions JOIN sqlite_sequence ON name = topic || '/' || partition GROUP BY topic
"""

_DEFINITION = """
CREATE TABLE partitions (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, start INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE commits (
    topic TEXT NOT NULL, grp TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (topic, grp, partition)
) WITHOUT ROWID;
"""
