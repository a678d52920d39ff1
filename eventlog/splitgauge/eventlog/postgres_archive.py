"""The archive in PostgreSQL as an event log to read: what was kept stays readable after its source has dropped it.

Owns the reading half of the port over the tables that `postgres_archive_writer` fills. Readers see each partition up to
where the archive is complete: as of one moment of the source, for all topics.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Self

from splitgauge.eventlog.partitions import Layout, layout, partition_in, partitions_of
from splitgauge.eventlog.port import Bounds, GroupMember, Record, StoredRecord
from splitgauge.eventlog.postgres_database import Database, PostgresSettings
from splitgauge.eventlog.postgres_migrations import open_migrated
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["PostgresArchive"]

LOOK_EVERY_S = 0.25
"""How soon a follower notices what was archived; archivers publish about once a second."""


class PostgresArchive:
    """An archive. Topics that are not archived are empty. Used in one event loop."""

    def __init__(self, database: Database, counts: Mapping[str, int]) -> None:
        """For `open`."""
        self._database = database
        self._layout = {**layout(counts[OBSERVATIONS.name]), **counts}
        self._closed = asyncio.Event()

    @classmethod
    async def open(cls, address: str, settings: PostgresSettings | None = None) -> Self:
        """Raises: LogUnavailableError where the database is not there, or holds no archive; ContractError."""
        database = await open_migrated(address, settings)
        try:
            return cls(database, await _counts(database))
        except BaseException:
            await database.close()
            raise

    @property
    def layout(self) -> Layout:
        """Topic -> number of its partitions."""
        return dict(self._layout)

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        self._refuse(topic, f"the {len(records)} events cannot be appended")

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        partition_in(self._layout, topic, partition)
        self._check_open()
        rows = await self._database.fetch(_READ, topic, partition, start, limit)
        if not rows:  # a topic that is not archived
            return []
        first, complete = rows[0][0], rows[0][1]
        found = [StoredRecord(topic, partition, row[2], row[3], row[4]) for row in rows if row[2] is not None]
        self._check_whole(topic, partition, range(max(start, first), min(max(start, first) + limit, complete)), found)
        return found

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        partitions_of(self._layout, topic)
        self._check_open()
        rows = await self._database.fetch(_BOUNDS, topic)
        if rows:  # partitions may have been added
            self._layout[topic] = len(rows)
            return {row["partition"]: Bounds(row["first"], row["complete"]) for row in rows}
        return {partition: Bounds(0, 0) for partition in range(self._layout[topic])}

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        partitions_of(self._layout, topic)
        for partition in positions:
            partition_in(self._layout, topic, partition)
        return self._follow(topic, dict(positions), limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        self._refuse(topic, f"the group {group} cannot commit")

    async def close(self) -> None:
        self._closed.set()
        await self._database.close()

    async def _follow(self, topic: str, at: dict[int, int], limit: int) -> AsyncGenerator[list[StoredRecord]]:
        while True:
            idle = True
            for partition, position in at.items():
                batch = await self.read(topic, partition, position, limit=limit)
                if batch:
                    at[partition] = batch[-1].offset + 1
                    idle = False
                    yield batch
            if idle:
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._closed.wait()
        except TimeoutError:
            return

    def _check_whole(self, topic: str, partition: int, wanted: range, found: Sequence[StoredRecord]) -> None:
        """Whether these are the offsets wanted, without a gap: nothing may be taken out of an archive."""
        if len(found) == len(wanted) and (not wanted or (found[0].offset, found[-1].offset) == (wanted[0], wanted[-1])):
            return
        present = {event.offset for event in found}
        missing = next(offset for offset in wanted if offset not in present)
        raise LogDamagedError(
            "the event is missing",
            where=f"{topic}, partition {partition}, offset {missing} in {self._database.where}",
            remedy="Restore the database from a backup",
        )

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise LogUnavailableError("it has been closed", where=self._database.where)

    def _refuse(self, topic: str, what: str) -> NoReturn:
        partitions_of(self._layout, topic)
        raise LogUnavailableError(f"an archive is for reading only: {what}", where=self._database.where)


async def _counts(database: Database) -> dict[str, int]:
    """Topic -> partitions, of all that is archived."""
    counts: dict[str, int] = {row["topic"]: row["count"] for row in await database.fetch(_COUNTS)}
    if OBSERVATIONS.name not in counts:
        raise LogUnavailableError(
            "nothing has been archived here", where=database.where, remedy="Let an archiver run on it first"
        )
    return counts


_COUNTS = "SELECT topic, count(*) FROM splitgauge.archive_positions GROUP BY topic"
_BOUNDS = "SELECT partition, first, complete FROM splitgauge.archive_positions WHERE topic = $1 ORDER BY partition"
# In one statement, hence of one snapshot: the events, and the bounds that they have to fill.
_READ = """
SELECT position.first, position.complete, event."offset", event.key, event.value
FROM splitgauge.archive_positions AS position
LEFT JOIN LATERAL (
    SELECT "offset", key, value FROM splitgauge.archive
    WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < position.complete
    ORDER BY "offset" LIMIT $4
) AS event ON true
WHERE position.topic = $1 AND position.partition = $2
ORDER BY event."offset"
"""
