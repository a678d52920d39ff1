"""The event log on Apache Kafka, through aiokafka: for many processes on many machines.

What is particular to it:

- *All or none.* An append is checked as a whole before anything is sent. What goes to one partition goes in one batch,
  which Kafka writes whole or not at all; an append to several partitions, or one larger than `batch_bytes`, may be
  written in part when a broker fails in the middle.
- *Unavailable.* After a LogUnavailableError an append may be in the log all the same, or come later: whether an answer
  was lost or never made cannot be told. Append it again; the same ids count once.
- *Following* waits as long as brokers are away, and goes on when they are back. `status()` shows it.
- *Offsets* of a topic that applications write, too, may have gaps: their transactions leave marks.

Owns the adapter of the port; what the topics have to be says `kafka_topics`. A log belongs to one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Self

from splitgauge.eventlog.kafka_errors import closed_error
from splitgauge.eventlog.kafka_follower import Follower
from splitgauge.eventlog.kafka_member import KafkaMember
from splitgauge.eventlog.kafka_reader import KafkaReader
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import check_topics
from splitgauge.eventlog.kafka_writer import Headers, KafkaWriter, KeyValue
from splitgauge.eventlog.partitions import Layout, by_partition, partition_in, partitions_of
from splitgauge.eventlog.port import Bounds, GroupMember, Record, StoredRecord
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, RESPONSES

__all__ = ["KafkaEventLog"]

_CONTENT_TYPE: Headers = [("content-type", b"application/cloudevents+json")]
_FOR_OTHERS = (RESPONSES, ANALYSES, DECISIONS, DEAD_LETTERS)
"""Read by others with libraries that ask for the header. Elsewhere it would cost every reader a fifth of its speed."""


class KafkaEventLog:
    """The event log on one Kafka. Partitions that are added to a topic are written to after a restart."""

    def __init__(self, settings: KafkaSettings, layout: Layout) -> None:
        """For `connect`."""
        self._settings = settings
        self._layout = layout
        self._writer = KafkaWriter(settings, {settings.topic(topic.name): _CONTENT_TYPE for topic in _FOR_OTHERS})
        self._reader = KafkaReader(settings, layout)
        self._followers: set[Follower] = set()
        self._members: set[KafkaMember] = set()
        self._closed = False

    @classmethod
    async def connect(cls, settings: KafkaSettings) -> Self:
        """The log, once a broker answers and its topics fit the contract.

        Raises: LogUnavailableError; UnknownSubjectError where topics are missing; TopicMisfitError naming topic,
        setting, found and wanted; ContractError for certificates that cannot be used.
        """
        return cls(settings, await check_topics(settings))

    @property
    def layout(self) -> Layout:
        """Topic -> number of its partitions."""
        return dict(self._layout)

    def status(self) -> dict[str, object]:
        """For operators: what waits to be written, and how long ago each consumer last polled, and the longest."""
        n_bytes, n_records = self._writer.waiting
        reading: list[Follower | KafkaMember] = [*self._followers, *self._members]
        return {
            "unacknowledged_events": n_records,
            "unacknowledged_bytes": n_bytes,
            "last_poll_s": max((each.watchdog.last_poll_s for each in reading), default=0.0),
            "followers": [follower.status() for follower in self._followers],
            "members": [member.status() for member in self._members],
        }

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        places = by_partition(topic, records, partitions=partitions_of(self._layout, topic))
        self._check_open()
        if not records:
            return []
        self._check_sizes(topic, records)
        parts: dict[int, Sequence[KeyValue]] = {
            partition: [(records[index].key, records[index].value) for index in indices]
            for partition, indices in places.items()
        }
        offsets = await self._writer.append(self._settings.topic(topic), parts)
        result = [(0, 0)] * len(records)
        for partition, indices in places.items():
            for index, offset in zip(indices, offsets[partition], strict=True):
                result[index] = (partition, offset)
        return result

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        partition_in(self._layout, topic, partition)
        return await self._reader.read(topic, partition, start, limit)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        partitions_of(self._layout, topic)
        return await self._reader.bounds(topic)

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        for partition in positions:
            partition_in(self._layout, topic, partition)
        partitions_of(self._layout, topic)
        return self._follow(Follower(self._settings, topic, positions), limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        return self._join(topic, group)

    async def close(self) -> None:
        """Write what was appended, end followers and members, and let go of all connections."""
        self._closed = True
        await asyncio.gather(
            *(follower.close() for follower in self._followers),
            *(member.close() for member in self._members),
            self._reader.close(),
        )
        await self._writer.close()

    async def _follow(self, follower: Follower, limit: int) -> AsyncGenerator[list[StoredRecord]]:
        self._check_open()
        self._followers.add(follower)
        try:
            async with aclosing(follower.batches(limit)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._followers.discard(follower)

    @asynccontextmanager
    async def _join(self, topic: str, group: str) -> AsyncGenerator[GroupMember]:
        self._check_open()
        partitions_of(self._layout, topic)
        member = KafkaMember(self._settings, topic, group)
        await member.open()
        self._members.add(member)
        try:
            self._check_open()
            yield member
        finally:
            self._members.discard(member)
            await member.close()

    def _check_open(self) -> None:
        if self._closed:
            raise closed_error(self._settings.bootstrap)

    def _check_sizes(self, topic: str, records: Sequence[Record]) -> None:
        """Before anything is sent: a batch that a broker refuses would fail others with it."""
        largest = self._settings.largest(topic)
        for index, record in enumerate(records):
            if len(record.value) > largest:
                raise ContractError(
                    f"an event of {len(record.value)} bytes, and the log takes {largest}",
                    where=f"records[{index}]",
                    remedy="Send less, or raise `event_bytes` and the topics' `max.message.bytes`",
                    code="too-large",
                )
