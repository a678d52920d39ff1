"""Writing to the archive: each (topic, partition, offset) once, in order and without gaps, whoever writes.

Owns the tables `archive` and `archive_positions`. Every batch is a transaction that first moves the partition's
position from the batch's first offset to behind its last one: where it does not stand there, another writer was
quicker, or this batch was written before a crash, and nothing happens.
"""

from collections.abc import Mapping, Sequence
from typing import Self

from splitgauge.eventlog.port import Bounds, StoredRecord
from splitgauge.eventlog.postgres_database import Database, PostgresSettings
from splitgauge.eventlog.postgres_migrations import open_migrated
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.topics import TOPICS, Retention

__all__ = ["ARCHIVED", "ArchiveWriter"]

ARCHIVED = tuple(topic.name for topic in TOPICS.values() if topic.retention in (Retention.FOREVER, Retention.LONG))
"""What is kept: not what callers sent, and not what is folded from the rest. The tables are made for these."""

_COLUMNS = ("topic", "partition", "offset", "key", "value")


class ArchiveWriter:
    """Several may write at the same time, to no purpose but safety. Used in one event loop."""

    def __init__(self, database: Database) -> None:
        """For `open`."""
        self._database = database

    @classmethod
    async def open(cls, address: str, settings: PostgresSettings | None = None) -> Self:
        """Raises: LogUnavailableError where the database is not there, or is not migrated; ContractError."""
        return cls(await open_migrated(address, settings))

    @property
    def where(self) -> str:
        """The database, as messages name it."""
        return self._database.where

    async def begin(self, snapshot: Mapping[str, Sequence[Bounds]]) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the offset that is archived next.

        A partition that the archive has not seen begins at 0, so that what was dropped before is missed; in a topic
        that is not kept for ever it begins where the source begins.

        Raises: LogDamagedError where the archive has other partitions than the source and these cannot be added.
        """
        async with self._database.transaction() as connection:
            known = {(row["topic"], row["partition"]): row["copied"] for row in await connection.fetch(_POSITIONS)}
            new = [
                (topic, partition, bounds.start if TOPICS[topic].retention is Retention.LONG else 0)
                for topic, partitions in snapshot.items()
                for partition, bounds in enumerate(partitions)
                if (topic, partition) not in known
            ]
            for topic, partitions in snapshot.items():
                self._check_count(topic, sum(name == topic for name, _ in known), len(partitions))
            await connection.executemany(_BEGIN, new)
        return known | {(topic, partition): first for topic, partition, first in new}

    async def add(self, records: Sequence[StoredRecord]) -> bool:
        """Archive consecutive events of one partition: all of them, or nothing.

        Returns: False, and nothing written, where the partition does not stand at the first of them.
        Raises: LogDamagedError naming the offset that is missing between them; LogUnavailableError.
        """
        topic, partition, first = records[0][:3]
        for offset, record in enumerate(records, first):
            if record.offset != offset:
                place = f"{topic}, partition {partition}, offset {offset}"
                raise LogDamagedError("the event is missing", where=place, remedy="Restore the log from a backup")
        async with self._database.transaction() as connection:
            if await connection.fetchval(_MOVE, topic, partition, first, first + len(records)) is None:
                return False
            # A StoredRecord has the columns of a row: nothing is done to it on the way.
            await connection.copy_records_to_table(
                "archive", schema_name="splitgauge", columns=_COLUMNS, records=records
            )
        return True

    async def publish(self, snapshot: Mapping[str, Sequence[Bounds]]) -> None:
        """Show readers all up to the ends of the snapshot, which has been copied: at once, for all topics."""
        ends = [
            (topic, partition, bounds.end)
            for topic, partitions in snapshot.items()
            for partition, bounds in enumerate(partitions)
        ]
        async with self._database.transaction() as connection:
            await connection.executemany(_PUBLISH, ends)

    async def position(self, topic: str, partition: int) -> int:
        """The offset that is archived next."""
        (row,) = await self._database.fetch(_POSITION, topic, partition)
        return int(row["copied"])

    async def newest(self, topic: str, partition: int) -> StoredRecord | None:
        """The last event archived of a partition, also before it is published."""
        rows = await self._database.fetch(_NEWEST, topic, partition)
        return StoredRecord(topic, partition, *rows[0]) if rows else None

    async def close(self) -> None:
        """End all connections; a batch that is under way is undone."""
        await self._database.close()

    def _check_count(self, topic: str, archived: int, there: int) -> None:
        if archived in (0, there) or (archived < there and TOPICS[topic].counts_up):
            return
        raise LogDamagedError(
            f"{topic} has {there} partitions, and {archived} in the archive: this is the archive of another log",
            where=self.where,
            remedy="Name an empty database, or the one that this log was archived to",
        )


_POSITIONS = "SELECT topic, partition, copied FROM splitgauge.archive_positions"
_POSITION = "SELECT copied FROM splitgauge.archive_positions WHERE topic = $1 AND partition = $2"
_BEGIN = """
INSERT INTO splitgauge.archive_positions (topic, partition, first, copied, complete) VALUES ($1, $2, $3, $3, $3)
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE splitgauge.archive_positions SET copied = $4 WHERE topic = $1 AND partition = $2 AND copied = $3 RETURNING true
"""
# Two writers may have caught different moments: both are consistent, and so is what either has seen.
_PUBLISH = """
UPDATE splitgauge.archive_positions SET complete = $3 WHERE topic = $1 AND partition = $2 AND complete < $3
"""
_NEWEST = """
SELECT "offset", key, value FROM splitgauge.archive WHERE topic = $1 AND partition = $2 ORDER BY "offset" DESC LIMIT 1
"""
