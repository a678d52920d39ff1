"""What all readers of Kafka have in common: a consumer's life, the way from its records to ours, and what may not be
missing among them. Owns no position.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from splitgauge.eventlog.kafka_clients import let_go, settled, started
from splitgauge.eventlog.kafka_errors import mapped
from splitgauge.eventlog.port import Bounds, StoredRecord
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.topics import TOPICS, Retention

__all__ = ["bounds_of", "check_complete", "damaged", "is_gapless", "poll", "start", "stop", "stored"]

_STOP_S = 10.0
_logger = logging.getLogger(__name__)


async def start(consumer: AIOKafkaConsumer, *, where: str, timeout_s: float) -> AIOKafkaConsumer:
    """Raises: LogUnavailableError where no broker answers in time; the consumer is stopped then."""
    with mapped(where):
        try:
            await started(consumer.start(), timeout_s=timeout_s)
        except BaseException:
            await stop(consumer)
            raise
    return consumer


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close the connections, as far as brokers answer."""
    await settled(asyncio.create_task(_end(consumer), name="end of a consumer"), timeout_s=2 * _STOP_S)


async def _end(consumer: AIOKafkaConsumer) -> None:
    # In a task of its own: aiokafka 0.14 cancels its fetches and awaits them, and a cancelled one that was waiting to
    # try again passes its cancellation on, as if whoever stops the consumer had been cancelled.
    stopping = asyncio.create_task(consumer.stop(), name="stop of a consumer")
    if not await settled(stopping, timeout_s=_STOP_S):
        error = stopping.exception() if stopping.done() and not stopping.cancelled() else None
        _logger.info("a consumer did not end cleanly: %s", error)
    async with asyncio.timeout(_STOP_S):
        await let_go(consumer._client)  # noqa: SLF001 - also where `stop` was broken off, or somebody still asks


async def poll(
    consumer: AIOKafkaConsumer, *places: TopicPartition, timeout_ms: int, limit: int
) -> dict[TopicPartition, list[ConsumerRecord]]:
    """`getmany`. Raises: as that; ConsumerStoppedError where one of its own tasks has ended under it."""
    try:
        return await consumer.getmany(*places, timeout_ms=timeout_ms, max_records=limit)
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConsumerStoppedError from exc


async def bounds_of(consumer: AIOKafkaConsumer, place: TopicPartition) -> Bounds:
    """Raises: as aiokafka does."""
    starts, ends = await consumer.beginning_offsets([place]), await consumer.end_offsets([place])
    return Bounds(starts[place], ends[place])


def stored(topic: str, partition: int, records: Sequence[ConsumerRecord]) -> list[StoredRecord]:
    """The records as the port has them, under the topic's own name."""
    # A record without value (null) is not JSON, and is refused by whoever reads it as any other that is not.
    make = cast("Any", tuple).__new__
    return [
        make(StoredRecord, (topic, partition, record.offset, record.key, record.value or b"")) for record in records
    ]


def is_gapless(topic: str) -> bool:
    """Whether every offset of the topic has an event.

    Not where the topic is compacted, nor where others write it: the marks of their transactions take offsets.
    """
    return TOPICS[topic].retention is Retention.FOREVER


def check_complete(topic: str, partition: int, records: Sequence[ConsumerRecord], *, expected: int) -> None:
    """Raises: LogDamagedError naming the first missing offset of a topic that has no gaps."""
    if not is_gapless(topic):
        return
    if records[0].offset == expected and records[-1].offset - expected + 1 == len(records):
        return
    present = {record.offset for record in records}
    missing = next(offset for offset in range(expected, records[-1].offset + 1) if offset not in present)
    raise damaged(topic, partition, missing, "the event is missing")


def damaged(topic: str, partition: int, offset: int, what: str) -> LogDamagedError:
    """What to raise about a place in the log."""
    return LogDamagedError(
        what,
        where=f"{topic}, partition {partition}, offset {offset}",
        remedy="Restore the topic from the archive or an export",
    )
