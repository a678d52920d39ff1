"""The event log on a Kafka of three nodes: any one of them may die."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from kafka_broker import LIBS, fresh_settings, plan
from kafka_cluster import KafkaCluster
from splitgauge.cluster.finding import Finding, Outcome
from splitgauge.cluster.kafka_checks import check_kafka
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.schemas.errors import LogUnavailableError, UnknownSubjectError
from splitgauge.schemas.topics import DECISIONS

pytestmark = pytest.mark.timeout(400)
PATIENCE_S = 60.0
"""Only a failing test waits that long."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(LIBS, nodes=3) as cluster:
        yield cluster


async def connected(settings: KafkaSettings) -> KafkaEventLog:
    """Once each node has heard of the topics."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await KafkaEventLog.connect(settings)
            except UnknownSubjectError:
                await asyncio.sleep(0.05)


async def leader_of_decisions(settings: KafkaSettings) -> int:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    topics = await admin.describe_topics([settings.topic(DECISIONS.name)])
    await admin.close()
    return int(topics[0]["partitions"][0]["leader"])


class Story:
    """One writer that appends numbers, one after the other, and a reader that follows."""

    def __init__(self, log: KafkaEventLog) -> None:
        self.written: list[tuple[int, int]] = []
        self.read: list[tuple[int, int]] = []
        self._log = log
        self._stopping = False
        self._writing = asyncio.create_task(self._write())
        self._reading = asyncio.create_task(self._follow())

    async def goes_on(self, count: int) -> None:
        """Until so many more are written, and read."""
        wanted = len(self.written) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.written) < wanted or len(self.read) < wanted:  # noqa: ASYNC110 - it counts what two tasks do
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        self._stopping = True
        await self._writing
        async with asyncio.timeout(PATIENCE_S):
            while len(self.read) < len(self.written):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        self._reading.cancel()
        await asyncio.wait((self._reading,))

    async def _write(self) -> None:
        while not self._stopping:
            number = len(self.written)
            ((_, offset),) = await self._log.append(DECISIONS.name, [Record(b"%d" % number)])
            self.written.append((offset, number))

    async def _follow(self) -> None:
        batches = cast("AsyncGenerator[list[StoredRecord]]", self._log.follow(DECISIONS.name, {0: 0}))
        async with aclosing(batches):
            async for batch in batches:
                self.read += [(event.offset, int(event.value)) for event in batch]


async def test_killing_the_leader_of_decisions_loses_nothing_doubles_nothing_and_keeps_the_order(
    cluster: KafkaCluster,
) -> None:
    settings = fresh_settings(cluster, append_timeout_s=PATIENCE_S)
    await init_topics(settings, plan(replication=3, min_isr=2))
    log = await connected(settings)
    try:
        story = Story(log)
        await story.goes_on(50)
        leader = cluster.nodes[await leader_of_decisions(settings) - 1]
        await asyncio.to_thread(cluster.stop_node, leader, number=signal.SIGKILL)
        await story.goes_on(50)
        assert cluster.nodes[await leader_of_decisions(settings) - 1] is not leader
        cluster.launch(leader)
        await asyncio.to_thread(cluster.await_ready, leader)
        await story.goes_on(50)
        await story.end()
        assert story.written == [(number, number) for number in range(len(story.written))]
        assert story.read == story.written
    finally:
        await log.close()


async def test_too_few_copies_are_no_acknowledgement(cluster: KafkaCluster) -> None:
    settings = fresh_settings(cluster, append_timeout_s=1.0)
    await init_topics(settings, plan(replication=3, min_isr=3))
    log = await connected(settings)
    try:
        await appended_once_all_have_it(log)
        leader = await leader_of_decisions(settings)
        other = cluster.nodes[leader % 3]
        await asyncio.to_thread(cluster.stop_node, other, number=signal.SIGKILL)
        with pytest.raises(LogUnavailableError):
            await appended_until_refused(log)
        await told_by_check(settings, down=other.number)
        cluster.launch(other)
        await asyncio.to_thread(cluster.await_ready, other)
    finally:
        await log.close()
    log = await connected(replace(settings, append_timeout_s=PATIENCE_S))
    try:
        assert (await log.read(DECISIONS.name, 0, 0))[0].value == b"by all three"
    finally:
        await log.close()


async def told_by_check(settings: KafkaSettings, *, down: int) -> None:
    """Once the other brokers have noticed, too, each in its own time: the one that is asked may still count it in."""
    decisions, node = settings.topic(DECISIONS.name), f"node {down}"
    wanted = {decisions: Outcome.FAILED, node: Outcome.WARNING}
    told = dict[str, Finding]()
    async with asyncio.timeout(PATIENCE_S):
        while {subject: told[subject].outcome for subject in wanted if subject in told} != wanted:
            findings = await check_kafka(settings, plan(replication=3, min_isr=3), time.time)
            told = {finding.subject: finding for finding in findings}
    assert told[decisions].message.startswith("partitions 0 take no events")
    assert [subject for subject in told if subject.startswith("node ")] == [node]


async def appended_once_all_have_it(log: KafkaEventLog) -> None:
    """A node that has just come back may take a while."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await log.append(DECISIONS.name, [Record(b"by all three")])
            except LogUnavailableError:
                continue
            return


async def appended_until_refused(log: KafkaEventLog) -> None:
    """A broker that died counts as a copy until the others have noticed."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await log.append(DECISIONS.name, [Record(b"by two")])
