"""What Kafka's retention drops stays readable in the archive, at the same offsets, byte for byte."""

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from archived_log import archive_once
from kafka_broker import fresh_settings, plan
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import Bounds, EventLog, Record, StoredRecord
from splitgauge.eventlog.postgres_archive import PostgresArchive
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS


async def drop(settings: KafkaSettings, topic: str, partition: int, before: int) -> None:
    """As retention does, at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        place = TopicPartition(settings.topic_prefix + topic, partition)
        await admin.delete_records({place: RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def append(log: EventLog, name: bytes) -> None:
    odd = [Record(b"%b %d\x00\xff" % (name, number), key=b"k%d" % number) for number in range(50)]
    await log.append(OBSERVATIONS.name, odd)
    await log.append(DECISIONS.name, odd[:7])


async def everything(log: EventLog) -> dict[tuple[str, int], list[StoredRecord]]:
    return {
        (topic, partition): await log.read(topic, partition, bounds.start, limit=1_000)
        for topic in (OBSERVATIONS.name, DECISIONS.name)
        for partition, bounds in (await log.bounds(topic)).items()
    }


async def test_what_retention_drops_stays_readable_and_what_it_drops_too_early_is_named(database: str) -> None:
    settings = fresh_settings()
    await init_topics(settings, plan())
    log = await KafkaEventLog.connect(settings)
    try:
        await append(log, b"first")
        await archive_once(log, database)
        whole = await everything(log)
        ends = await log.bounds(OBSERVATIONS.name)

        await drop(settings, OBSERVATIONS.name, 2, ends[2].end)
        await drop(settings, DECISIONS.name, 0, 5)
        await append(log, b"second")
        assert (await log.bounds(OBSERVATIONS.name))[2].start == ends[2].end
        await archive_once(log, database)

        archive = await PostgresArchive.open(database)
        found = await everything(archive)
        later = await everything(log)
        for place, events in whole.items():
            assert found[place][: len(events)] == events
            assert found[place][len(events) :] == [event for event in later[place] if event.offset >= len(events)]
        assert await archive.bounds(DECISIONS.name) == {0: Bounds(0, 14)}
        await archive.close()

        await append(log, b"third")
        await drop(settings, DECISIONS.name, 0, 16)
        with pytest.raises(LogDamagedError, match="decisions, partition 0: offsets 14 to 15 were dropped"):
            await archive_once(log, database)
    finally:
        await log.close()
