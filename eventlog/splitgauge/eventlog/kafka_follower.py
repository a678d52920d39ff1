"""Following partitions of a topic on Kafka: every event from given positions on, once and in order, across restarts of
brokers and of the consumer itself. Owns the positions; joins no group.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaError, OffsetOutOfRangeError

from splitgauge.eventlog import kafka_consumer
from splitgauge.eventlog.believed_bounds import believed_bounds
from splitgauge.eventlog.kafka_errors import FOREIGN, closed_error, mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_watchdog import POLL_MS, Watchdog
from splitgauge.eventlog.port import StoredRecord
from splitgauge.schemas.errors import LogUnavailableError

__all__ = ["Follower"]

_PAUSE_S = 0.5
_logger = logging.getLogger(__name__)


class Follower:
    """One call of `follow`."""

    def __init__(self, settings: KafkaSettings, topic: str, positions: Mapping[int, int]) -> None:
        self._settings = settings
        self._topic = topic
        self._positions = dict(positions)
        self._begun: set[int] = set()
        """Partitions of which something was delivered: from then on nothing may be passed over."""
        self._consumer: AIOKafkaConsumer | None = None
        self._closed = asyncio.Event()
        self.watchdog = Watchdog(topic, stall_s=settings.stall_s)

    async def batches(self, limit: int) -> AsyncGenerator[list[StoredRecord]]:
        """For ever. Raises: LogUnavailableError where no broker answers at first, or when closed; LogDamagedError."""
        try:
            await self._open()
            self.watchdog.asks()
            while True:
                for place, records in (await self._poll(limit)).items():
                    batch = self._accept(place.partition, records)
                    if batch:
                        yield batch
                        self.watchdog.asks()
        finally:
            await self._leave()

    def status(self) -> dict[str, object]:
        """For operators."""
        return {
            "topic": self._topic,
            "positions": {str(partition): position for partition, position in self._positions.items()},
            "last_poll_s": self.watchdog.last_poll_s,
            "restarts": self.watchdog.restarts,
        }

    async def close(self) -> None:
        """End the iteration with an error, wherever it waits."""
        self._closed.set()
        await self._leave()

    async def _open(self) -> None:
        consumer = await kafka_consumer.start(
            AIOKafkaConsumer(**self._settings.consumer()),
            where=self._settings.bootstrap,
            timeout_s=self._settings.connect_timeout_s,
        )
        if self._closed.is_set():
            await kafka_consumer.stop(consumer)
            raise closed_error(self._topic)
        consumer.assign([self._place(partition) for partition in self._positions])
        for partition, position in self._positions.items():
            consumer.seek(self._place(partition), position)
        self._consumer = consumer
        self.watchdog.asks()

    async def _poll(self, limit: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What has come; nothing where it waited in vain."""
        consumer = await self._working()
        try:
            found = await kafka_consumer.poll(consumer, timeout_ms=POLL_MS, limit=limit)
        except OffsetOutOfRangeError as exc:
            await self._move_into_bounds(consumer, exc)
            return {}
        except CorruptRecordException as exc:
            places = ", ".join(f"{partition}/{offset}" for partition, offset in self._positions.items())
            raise translate(exc, where=f"{self._topic}, one of {places}") from exc
        except FOREIGN as exc:
            if self._closed.is_set():
                raise closed_error(self._topic) from exc
            if isinstance(exc, ConsumerStoppedError):
                await self._leave()
                return {}
            raise translate(exc, where=self._topic) from exc
        self.watchdog.polled()
        if self._closed.is_set():
            raise closed_error(self._topic)
        if not found and self.watchdog.hangs(consumer, map(self._place, self._positions)):
            await self._leave()
        return found

    async def _working(self) -> AIOKafkaConsumer:
        """The consumer; a new one, as soon as a broker answers, where there is none."""
        while self._consumer is None:
            try:
                await self._open()
            except LogUnavailableError as exc:
                if self._closed.is_set():
                    raise
                _logger.info("%s cannot be followed now: %s", self._topic, exc)
                await self._pause()
        return self._consumer

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await kafka_consumer.stop(consumer)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_PAUSE_S):
                await self._closed.wait()
        except TimeoutError:
            return
        raise closed_error(self._topic)

    def _accept(self, partition: int, records: Sequence[ConsumerRecord]) -> list[StoredRecord]:
        """The records as a batch; none where they were fetched before the position was moved."""
        expected = self._positions[partition]
        if records[0].offset < expected:
            if self._consumer is not None:
                self._consumer.seek(self._place(partition), expected)
            return []
        kafka_consumer.check_complete(self._topic, partition, records, expected=expected)
        self._positions[partition] = records[-1].offset + 1
        self._begun.add(partition)
        return kafka_consumer.stored(self._topic, partition, records)

    async def _move_into_bounds(self, consumer: AIOKafkaConsumer, error: KafkaError) -> None:
        """Where retention was faster than the reader. Where brokers are away it is found out of range once more.

        Raises: LogDamagedError where events are passed over that have to be there, or where the log has lost its end.
        """
        for partition, position in list(self._positions.items()):
            place = self._place(partition)
            try:
                with mapped(self._topic):
                    ask = partial(kafka_consumer.bounds_of, consumer, place)
                    start, end = await believed_bounds(ask, read=position)
            except LogUnavailableError as exc:
                _logger.info("%s cannot be followed now: %s", self._topic, exc)
                await self._pause()
                return
            if position > end:
                raise kafka_consumer.damaged(
                    self._topic, partition, end, f"events up to {position} were read, and the log ends here"
                ) from error
            if position < start:
                if partition in self._begun and kafka_consumer.is_gapless(self._topic):
                    raise kafka_consumer.damaged(
                        self._topic, partition, position, f"the events below {start} are gone"
                    ) from error
                self._positions[partition] = start
            consumer.seek(place, self._positions[partition])

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._settings.topic(self._topic), partition)
