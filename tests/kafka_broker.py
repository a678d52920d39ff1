"""The Kafka broker of a test run: one node, started when the first test asks for it, stopped with the run."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition

from kafka_cluster import KafkaCluster
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicPlan
from splitgauge.eventlog.partitions import Layout, layout

__all__ = ["LIBS", "OpenLog", "broker", "delete", "forget", "fresh_settings", "plan", "stop_broker", "values_in"]

LIBS = Path(__file__).parents[1] / ".kafka" / "libs"
OpenLog = Callable[[KafkaSettings], Awaitable[KafkaEventLog]]
"""On the topics of the settings, which are made where they are missing; closed with the test."""
_started: list[KafkaCluster] = []
_numbers = itertools.count(1)


@cache
def broker() -> KafkaCluster:
    """Raises: FileNotFoundError saying what to do where its jars are not there."""
    # It is not killed; and a machine that stands still for a moment is no death.
    cluster = KafkaCluster(LIBS, properties={"broker.session.timeout.ms": "30000"}).start()
    _started.append(cluster)
    return cluster


def stop_broker() -> None:
    """Nothing of it is left."""
    while _started:
        _started.pop().close()
    broker.cache_clear()


def fresh_settings(cluster: KafkaCluster | None = None, **settings: object) -> KafkaSettings:
    """Topics of their own for whoever asks; groups that rebalance at once."""
    chosen: dict[str, object] = {
        "bootstrap": (cluster or broker()).bootstrap,
        "topic_prefix": f"t{next(_numbers)}.",
        "heartbeat_s": 0.1,
        "session_timeout_s": 3.0,
    }
    return KafkaSettings(**(chosen | settings))  # type: ignore[arg-type] # the values are those of the fields


def plan(partitions: Layout | None = None, *, replication: int = 1, min_isr: int = 1) -> TopicPlan:
    """The embedded layout with 4 partitions of observations, unless another is given."""
    return TopicPlan(partitions or layout(4), replication=replication, min_isr=min_isr)


async def delete(settings: KafkaSettings, topic: str) -> None:
    """One of our topics, behind our back; gone when it returns."""
    name = settings.topic(topic)
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        await admin.delete_topics([name])
        async with asyncio.timeout(60):
            while name in {there["topic"] for there in await admin.describe_topics()}:  # noqa: ASYNC110 - Kafka has no event for it
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def forget(settings: KafkaSettings, topic: str) -> None:
    """As if somebody had emptied a compacted topic, offsets going on. `topic`: as it is called on this Kafka."""
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        [described] = await admin.describe_topics([topic])
        everything = {TopicPartition(topic, one["partition"]): RecordsToDelete(-1) for one in described["partitions"]}
        # A broker deletes records of topics only that are not compacted.
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "delete"})])
        await admin.delete_records(everything)
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "compact"})])
    finally:
        await admin.close()


async def values_in(settings: KafkaSettings, topic: str) -> list[bytes | None]:
    """All that stands in a topic that may be none of ours. `topic`: as it is called on this Kafka."""
    consumer = AIOKafkaConsumer(topic, **settings.client(), auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        found: list[bytes | None] = []
        for place, end in (await consumer.end_offsets(list(consumer.assignment()))).items():
            while await consumer.position(place) < end:
                found += [record.value for record in (await consumer.getmany(place, timeout_ms=200)).get(place, [])]
        return found
    finally:
        await consumer.stop()
