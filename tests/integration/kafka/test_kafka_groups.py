"""Groups on Kafka: what members keep, lose and may commit when others come, go, or stop for too long."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from kafka_broker import OpenLog, fresh_settings, plan
from splitgauge.eventlog import kafka_member
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import GroupMember, Record, StoredRecord
from splitgauge.schemas.topics import OBSERVATIONS, REQUESTS

PATIENCE_S = 30.0
"""Only a failing test waits that long."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a rebalance has no event to wait for
            await asyncio.sleep(0.01)


class Worker:
    """Notes what a member delivers; commits nothing by itself."""

    def __init__(self, member: GroupMember) -> None:
        self.member = member
        self.events: list[StoredRecord] = []
        self._task = asyncio.create_task(self._work())

    def seen(self, partition: int) -> list[int]:
        return [event.offset for event in self.events if event.partition == partition]

    async def sees(self, offset: int) -> None:
        """Until that offset of all four partitions has come."""
        await until(lambda: all(offset in self.seen(partition) for partition in range(4)))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _work(self) -> None:
        batches = cast("AsyncGenerator[list[StoredRecord]]", self.member.batches())
        async with aclosing(batches):
            async for batch in batches:
                self.events += batch


async def test_a_partition_that_comes_back_at_once_goes_on_where_it_was(open_log: OpenLog) -> None:
    log = await open_log(fresh_settings())
    await log.append(OBSERVATIONS.name, [Record(b"1", partition=partition) for partition in range(4)])
    async with log.join(OBSERVATIONS.name, "g") as stays:
        working = Worker(stays)
        await until(lambda: len(working.events) == 4)
        async with log.join(OBSERVATIONS.name, "g") as comes:
            await until(lambda: bool(comes.partitions) and bool(stays.partitions))
            kept, lost = min(stays.partitions), min(comes.partitions)
            assert await stays.commit(kept, 1)
            assert not await stays.commit(lost, 1)
            other = Worker(comes)
            await until(lambda: bool(other.seen(lost)))
            assert other.seen(kept) == []
            await other.stop()
        await until(lambda: stays.partitions == frozenset(range(4)))
        await log.append(OBSERVATIONS.name, [Record(b"2", partition=partition) for partition in range(4)])
        await working.sees(1)
        assert working.seen(kept) == [0, 1]
        await working.stop()


async def test_finished_work_is_committed_by_whoever_still_owns_it_while_members_come_and_go(open_log: OpenLog) -> None:
    log = await open_log(fresh_settings())
    async with log.join(OBSERVATIONS.name, "g") as stays:
        working = Worker(stays)
        for index in range(3):
            await log.append(OBSERVATIONS.name, [Record(b"%d" % index, partition=place) for place in range(4)])
            async with log.join(OBSERVATIONS.name, "g") as comes:
                await until(lambda: bool(stays.partitions - comes.partitions))
            await until(lambda: stays.partitions == frozenset(range(4)))
            await working.sees(index)
            for place in range(4):
                await committed(stays, place, index + 1)
        await working.stop()
    async with log.join(OBSERVATIONS.name, "g") as later:
        working = Worker(later)
        await log.append(OBSERVATIONS.name, [Record(b"new", partition=place) for place in range(4)])
        await until(lambda: len(working.events) >= 4)
        assert [working.seen(place) for place in range(4)] == [[3]] * 4
        await working.stop()


async def committed(member: GroupMember, partition: int, offset: int) -> None:
    """A partition that went and came back is committed once it was delivered again."""
    async with asyncio.timeout(PATIENCE_S):
        while not await member.commit(partition, offset):  # noqa: ASYNC110 - a redelivery has no event to wait for
            await asyncio.sleep(0.01)


class OtherProcess(threading.Thread):
    """A member in an event loop of its own, which goes on while the test's stands still."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._done = threading.Event()
        self.finished: dict[int, int] = {}

    def run(self) -> None:
        asyncio.run(self._work())

    def end(self) -> None:
        self._done.set()
        self.join()

    async def _work(self) -> None:
        log = await KafkaEventLog.connect(self._settings)
        async with log.join(OBSERVATIONS.name, "g") as member:
            working = Worker(member)
            while not self._done.is_set():
                for partition in member.partitions:
                    seen = working.seen(partition)
                    if seen and await member.commit(partition, seen[-1] + 1):
                        self.finished[partition] = seen[-1] + 1
                await asyncio.sleep(0.02)
            await working.stop()
        await log.close()


async def test_who_stood_still_past_its_session_neither_commits_nor_takes_back_what_others_finished(
    open_log: OpenLog,
) -> None:
    settings = fresh_settings(session_timeout_s=1.0)
    log = await open_log(settings)
    await log.append(OBSERVATIONS.name, [Record(b"%d" % index, partition=0) for index in range(5)])
    async with log.join(OBSERVATIONS.name, "g") as member:
        working = Worker(member)
        await until(lambda: len(working.events) == 5)
        other = OtherProcess(settings)
        other.start()
        give_up = time.monotonic() + PATIENCE_S
        while other.finished.get(0) != 5 and time.monotonic() < give_up:
            # The loop stands still, heartbeats and all, as a process that was paused.
            time.sleep(1.5)  # noqa: ASYNC251 - that is the fault
            await asyncio.sleep(0)
        assert other.finished == {0: 5}
        committed = await member.commit(0, 2)
        await asyncio.to_thread(other.end)
        await until(lambda: member.partitions == frozenset(range(4)))
        await log.append(OBSERVATIONS.name, [Record(b"new", partition=0)])
        await until(lambda: 5 in working.seen(0))
        assert not committed
        assert working.seen(0) == [0, 1, 2, 3, 4, 5]
        await working.stop()


class ForgetsOnce(AIOKafkaConsumer):
    """Asked for the first time what its group has finished, after `fails` is set, it has no answer."""

    fails = threading.Event()

    async def committed(self, partition: TopicPartition) -> int | None:
        if self.fails.is_set():
            self.fails.clear()
            raise KafkaError("the coordinator is not there")
        return await super().committed(partition)


async def test_who_was_dealt_partitions_and_cannot_learn_where_they_begin_joins_again(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_member, "AIOKafkaConsumer", ForgetsOnce)
    log = await open_log(fresh_settings())
    async with log.join(OBSERVATIONS.name, "g") as stays:
        working = Worker(stays)
        async with log.join(OBSERVATIONS.name, "g") as comes:
            await until(lambda: bool(comes.partitions) and bool(stays.partitions))
            ForgetsOnce.fails.set()
        await until(lambda: stays.partitions == frozenset(range(4)))
        assert not ForgetsOnce.fails.is_set()
        await log.append(OBSERVATIONS.name, [Record(b"1", partition=partition) for partition in range(4)])
        await working.sees(0)
        assert [working.seen(partition) for partition in range(4)] == [[0]] * 4
        await working.stop()


async def test_added_partitions_reach_a_group_that_is_already_there(open_log: OpenLog) -> None:
    settings = fresh_settings(metadata_age_s=0.3)
    log = await open_log(settings)
    async with log.join(REQUESTS.name, "g") as member:
        assert member.partitions == frozenset(range(2))
        before = plan().partitions
        await init_topics(settings, plan(before | {REQUESTS.name: 3}))
        await until(lambda: member.partitions == frozenset(range(3)))
        newer = await open_log(settings)
        await newer.append(REQUESTS.name, [Record(b"a", partition=2)])
        working = Worker(member)
        await until(lambda: working.seen(2) == [0])
        await working.stop()
