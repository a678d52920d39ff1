"""What readers of Kafka rely on: a consumer that ends, whatever it does meanwhile, and gaps that are noticed."""

import asyncio
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import ConsumerStoppedError

from splitgauge.eventlog import kafka_consumer
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.topics import OBSERVATIONS, PARTIALS, REQUESTS


class Client:
    def __init__(self) -> None:
        self.closed = False
        self._get_conn_lock = asyncio.Lock()

    async def close(self) -> None:
        self.closed = True


class CancelsItself:
    """As aiokafka 0.14 where a fetch was waiting to be tried again."""

    def __init__(self) -> None:
        self.client = self._client = Client()

    async def stop(self) -> None:
        raise asyncio.CancelledError

    async def getmany(self, **_: object) -> None:
        raise asyncio.CancelledError


class WaitsForever(CancelsItself):
    async def getmany(self, **_: object) -> None:
        await asyncio.Event().wait()


class Record:
    key = None
    value = b"v"

    def __init__(self, offset: int) -> None:
        self.offset = offset


def records(*offsets: int) -> list[ConsumerRecord]:
    return [cast("ConsumerRecord", Record(offset)) for offset in offsets]


async def test_a_cancellation_inside_the_library_does_not_cancel_who_stops_it() -> None:
    consumer = CancelsItself()
    await kafka_consumer.stop(cast("AIOKafkaConsumer", consumer))
    assert consumer.client.closed


async def test_a_cancellation_inside_the_library_does_not_cancel_who_polls() -> None:
    with pytest.raises(ConsumerStoppedError):
        await kafka_consumer.poll(cast("AIOKafkaConsumer", CancelsItself()), timeout_ms=1, limit=1)


async def test_who_is_cancelled_while_polling_is_cancelled() -> None:
    polling = asyncio.create_task(kafka_consumer.poll(cast("AIOKafkaConsumer", WaitsForever()), timeout_ms=1, limit=1))
    await asyncio.sleep(0)
    polling.cancel()
    await asyncio.wait((polling,))
    assert polling.cancelled()


@pytest.mark.parametrize(("offsets", "missing"), [((6, 7), 5), ((5, 7), 6), ((5, 6, 8, 9, 11), 7)])
def test_the_first_missing_offset_is_named(offsets: tuple[int, ...], missing: int) -> None:
    with pytest.raises(LogDamagedError, match=rf"partition 2, offset {missing}: the event is missing"):
        kafka_consumer.check_complete(OBSERVATIONS.name, 2, records(*offsets), expected=5)


def test_nothing_is_missing_in_a_row_of_offsets() -> None:
    kafka_consumer.check_complete(OBSERVATIONS.name, 2, records(5, 6, 7), expected=5)


@pytest.mark.parametrize("topic", [PARTIALS.name, REQUESTS.name])
def test_compaction_and_the_marks_of_others_leave_gaps_that_mean_nothing(topic: str) -> None:
    kafka_consumer.check_complete(topic, 0, records(6, 9), expected=5)
