"""A log that is read from its archive: what is appended has been archived when `append` returns."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from plain_fold import events_in
from splitgauge.archiver import Archiver
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Bounds, EventLog, GroupMember, Record, StoredRecord
from splitgauge.eventlog.postgres_archive import PostgresArchive
from splitgauge.eventlog.postgres_archive_writer import ARCHIVED, ArchiveWriter
from waiting import until

__all__ = ["ArchivedLog", "archive_once", "expect_archived"]


async def archive_once(log: EventLog, address: str) -> int:
    """One round of an archiver. Returns how many events it copied."""
    writer = await ArchiveWriter.open(address)
    try:
        return await Archiver(log, writer).round()
    finally:
        await writer.close()


async def expect_archived(log: EventLog, address: str) -> None:
    """Once an archiver has come to the end of the log: all that is kept stands there, byte for byte."""
    archive = await PostgresArchive.open(address)

    async def complete() -> bool:
        return all([await archive.bounds(topic) == await log.bounds(topic) for topic in ARCHIVED])

    try:
        await until(complete, what="everything is archived", every_s=0.3)
        for topic in ARCHIVED:
            assert await events_in(archive, topic) == await events_in(log, topic)
    finally:
        await archive.close()


class ArchivedLog:
    """The writing half of the port from a log in memory, the reading half from the archive."""

    def __init__(self, source: EventLog, writer: ArchiveWriter, archive: PostgresArchive) -> None:
        self._source = source
        self._writer = writer
        self._archive = archive
        self._archiver = Archiver(source, writer)
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def open(cls, address: str) -> Self:
        source = MemoryEventLog(observation_partitions=4)
        await archive_once(source, address)
        return cls(source, await ArchiveWriter.open(address), await PostgresArchive.open(address))

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        places = await self._source.append(topic, records)
        async with self._one_at_a_time:
            await self._archiver.round()
        return places

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        return await self._archive.read(topic, partition, start, limit=limit)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        return await self._archive.bounds(topic)

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        return self._archive.follow(topic, positions, limit=limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        return self._archive.join(topic, group)

    async def close(self) -> None:
        await self._source.close()
        await self._archive.close()
        await self._writer.close()
