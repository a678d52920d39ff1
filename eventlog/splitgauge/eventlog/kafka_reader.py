"""Single reads and bounds on Kafka, through two consumers that stay open.

One answers reads, one at a time: it is assigned every partition and has all but the one being read paused, so that a
read that goes on where the last one ended finds its events fetched already. The other asks for bounds, and never waits
behind a fetch. Owns both; joins no group.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from splitgauge.eventlog import kafka_consumer
from splitgauge.eventlog.kafka_errors import FOREIGN, closed_error, mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.partitions import Layout
from splitgauge.eventlog.port import Bounds, StoredRecord
from splitgauge.schemas.errors import LogUnavailableError

__all__ = ["KafkaReader"]

_BATCH_BYTES = 32 * 1024 * 1024
"""What callers sent can be large: 500 requests with a picture each may not fill the memory."""
_FETCH_WAIT_MS = 10
"""Reads never wait for events to come; and a fetch that does is in the way of the next read."""
_POLL_MS = 200


class KafkaReader:
    """Reads of one log."""

    def __init__(self, settings: KafkaSettings, layout: Layout) -> None:
        self._settings = settings
        self._places = {
            (topic, partition): TopicPartition(settings.topic(topic), partition)
            for topic, count in layout.items()
            for partition in range(count)
        }
        self._layout = layout
        self._fetching: AIOKafkaConsumer | None = None
        self._asking: AIOKafkaConsumer | None = None
        self._reading = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        """As far as is known: a read that goes on below it need not ask."""
        self._last: TopicPartition | None = None
        self._limits: set[asyncio.Timeout] = set()
        """Of the calls under way: a consumer that is stopped under a call may leave it waiting."""
        self._closed = False

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Raises: LogUnavailableError."""
        places = [self._places[topic, partition] for partition in range(self._layout[topic])]
        return {place.partition: bounds for place, bounds in (await self._bounds(topic, places)).items()}

    async def read(self, topic: str, partition: int, start: int, limit: int) -> list[StoredRecord]:
        """As the port's `read`; fewer before the end only where they fill `_BATCH_BYTES`."""
        place = self._places[topic, partition]
        if self._positions.get(place) != start or start >= self._ends.get(place, 0):
            bounds = (await self._bounds(topic, [place]))[place]
            start, self._ends[place] = max(start, bounds.start), bounds.end
        if start >= self._ends[place]:
            return []
        async with self._reading:
            try:
                with mapped(f"{topic}, partition {partition}"):
                    async with self._limited():
                        records = await self._read(topic, place, start, limit=limit, end=self._ends[place])
            except LogUnavailableError as exc:
                await self._give_up_fetching()
                if self._closed:
                    raise closed_error(topic) from exc
                raise
        return kafka_consumer.stored(topic, partition, records)

    async def close(self) -> None:
        """Let go of both consumers; who reads meets an error, at once."""
        self._closed = True
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
        for consumer in (self._fetching, self._asking):
            if consumer is not None:
                await kafka_consumer.stop(consumer)

    @asynccontextmanager
    async def _limited(self) -> AsyncGenerator[None]:
        async with asyncio.timeout(self._settings.append_timeout_s) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    async def _bounds(self, topic: str, places: list[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        consumer = await self._asker()
        try:
            async with self._limited():
                starts = await consumer.beginning_offsets(places)
                ends = await consumer.end_offsets(places)
        except FOREIGN as exc:
            if self._asking is consumer:
                self._asking = None
                await kafka_consumer.stop(consumer)
            if self._closed:
                raise closed_error(topic) from exc
            raise translate(exc, where=topic) from exc
        return {place: Bounds(starts[place], ends[place]) for place in places}

    async def _read(
        self, topic: str, place: TopicPartition, position: int, *, limit: int, end: int
    ) -> list[ConsumerRecord]:
        consumer = await self._fetcher()
        records: list[ConsumerRecord] = []
        self._turn_to(consumer, place, position)
        consumer.resume(place)
        try:
            size = 0
            while len(records) < limit and position < end and size < _BATCH_BYTES:
                part = await self._part(consumer, topic, place, limit - len(records))
                if not part:
                    # What is not there is not waited for: the mark of a transaction, or what compaction took.
                    position = await consumer.position(place)
                    continue
                kafka_consumer.check_complete(topic, place.partition, part, expected=position)
                records += part
                size += sum(len(record.value or b"") for record in part)
                position = part[-1].offset + 1
            self._positions[place] = records[-1].offset + 1 if records else position
        except BaseException:
            self._positions.pop(place, None)
            raise
        finally:
            if not self._closed and consumer is self._fetching:
                consumer.pause(place)
        return records

    def _turn_to(self, consumer: AIOKafkaConsumer, place: TopicPartition, position: int) -> None:
        last, self._last = self._last, place
        if last is not None and last != place:
            # What is left of another partition would hold up the fetch of this one.
            consumer.seek(last, self._positions.get(last, 0))
        if self._positions.get(place) != position:
            consumer.seek(place, position)

    async def _part(
        self, consumer: AIOKafkaConsumer, topic: str, place: TopicPartition, limit: int
    ) -> list[ConsumerRecord]:
        with mapped(f"{topic}, partition {place.partition}"):
            try:
                found = await kafka_consumer.poll(consumer, place, timeout_ms=_POLL_MS, limit=limit)
            except OffsetOutOfRangeError as exc:
                raise LogUnavailableError(
                    "its bounds have just moved", where=f"{topic}, partition {place.partition}", remedy="Read it again"
                ) from exc
        if self._closed:
            raise closed_error(topic)
        return found.get(place, [])

    async def _fetcher(self) -> AIOKafkaConsumer:
        async with self._opening:
            if self._fetching is None:
                consumer = await self._start(fetch_max_wait_ms=_FETCH_WAIT_MS)
                consumer.assign(list(self._places.values()))
                for place in self._places.values():
                    consumer.seek(place, 0)
                    consumer.pause(place)
                self._fetching = consumer
            return self._fetching

    async def _asker(self) -> AIOKafkaConsumer:
        async with self._opening:
            if self._asking is None:
                self._asking = await self._start()
            return self._asking

    async def _give_up_fetching(self) -> None:
        """A consumer can hang after a broker's restart, without a sign (aiokafka#1154): the next read begins anew."""
        consumer, self._fetching = self._fetching, None
        self._positions.clear()
        self._last = None
        if consumer is not None:
            await kafka_consumer.stop(consumer)

    async def _start(self, **settings: object) -> AIOKafkaConsumer:
        if self._closed:
            raise closed_error(self._settings.bootstrap)
        consumer = await kafka_consumer.start(
            AIOKafkaConsumer(**(self._settings.consumer() | settings)),
            where=self._settings.bootstrap,
            timeout_s=self._settings.connect_timeout_s,
        )
        if self._closed:
            await kafka_consumer.stop(consumer)
            raise closed_error(self._settings.bootstrap)
        return consumer
