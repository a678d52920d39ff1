"""Whatever is given up while it starts leaves no connection behind."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from aiokafka.conn import AIOKafkaConnection

from kafka_broker import OpenLog, fresh_settings
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_admin import administration
from splitgauge.eventlog.port import Record
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import DECISIONS

STEPS_S = [step * 0.0005 for step in range(30)]
"""A start takes some ms: at each of these times it is somewhere else."""
Use = Callable[[KafkaEventLog], Awaitable[object]]


def open_connections() -> list[AIOKafkaConnection]:
    return [found for found in gc.get_objects() if isinstance(found, AIOKafkaConnection) and found.connected()]


async def appending(log: KafkaEventLog) -> None:
    await log.append(DECISIONS.name, [Record(b"{}")])


async def asking(log: KafkaEventLog) -> None:
    await log.bounds(DECISIONS.name)


async def reading(log: KafkaEventLog) -> None:
    await log.read(DECISIONS.name, 0, 0)


async def following(log: KafkaEventLog) -> None:
    async for _ in log.follow(DECISIONS.name, {0: 0}):
        pass


async def joining(log: KafkaEventLog) -> None:
    async with log.join(DECISIONS.name, "test") as member:
        async for _ in member.batches():
            pass


USES = pytest.mark.parametrize("use", [appending, asking, reading, following, joining])


@USES
@pytest.mark.parametrize("way", ["cancelled", "closed"])
async def test_log_that_is_given_up_while_it_connects_has_no_connection_left(
    use: Use, way: str, open_log: OpenLog
) -> None:
    settings = fresh_settings()
    await (await open_log(settings)).append(DECISIONS.name, [Record(b"{}")])
    before = set(map(id, open_connections()))
    for step_s in STEPS_S:
        log = await KafkaEventLog.connect(settings)
        task = asyncio.ensure_future(use(log))
        await asyncio.sleep(step_s)
        if way == "cancelled":
            task.cancel()
        else:
            await log.close()
        with suppress(asyncio.CancelledError, LogUnavailableError):
            await task
        await log.close()
        assert [found for found in open_connections() if id(found) not in before] == []


async def test_administration_that_is_given_up_has_no_connection_left() -> None:
    settings = fresh_settings()

    async def administer() -> None:
        async with administration(settings):
            pass

    before = set(map(id, open_connections()))
    for step_s in STEPS_S:
        task = asyncio.ensure_future(administer())
        await asyncio.sleep(step_s)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert [found for found in open_connections() if id(found) not in before] == []
