"""What is particular to the event log on Kafka: sizes, numbering, transactions of others, retention."""

import asyncio
import logging

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError

from kafka_broker import OpenLog, fresh_settings
from splitgauge.eventlog import kafka_consumer, kafka_producer
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.port import Bounds, Record
from splitgauge.schemas.errors import ContractError, LogDamagedError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS, REQUESTS
from waiting import until

PATIENCE_S = 30.0


async def all_values(log: KafkaEventLog, topic: str, partition: int = 0) -> list[bytes]:
    values, position = list[bytes](), 0
    while batch := await log.read(topic, partition, position):
        values += [event.value for event in batch]
        position = batch[-1].offset + 1
    return values


async def test_an_append_larger_than_a_batch_keeps_its_order(open_log: OpenLog) -> None:
    log = await open_log(fresh_settings(batch_bytes=2_000))
    values = [b"%03d" % index * 50 for index in range(100)]
    places = await log.append(DECISIONS.name, [Record(value) for value in values])
    assert [offset for _, offset in places] == list(range(100))
    assert await all_values(log, DECISIONS.name) == values


async def test_an_event_of_megabytes_comes_back_and_a_larger_one_is_refused_before_anything_is_sent(
    open_log: OpenLog,
) -> None:
    log = await open_log(fresh_settings(event_bytes=3_000_000))
    large = bytes(range(256)) * 10_000
    await log.append(OBSERVATIONS.name, [Record(b"small", partition=0), Record(large, partition=1)])
    assert await all_values(log, OBSERVATIONS.name, 1) == [large]
    with pytest.raises(ContractError, match=r"records\[1\]"):
        await log.append(OBSERVATIONS.name, [Record(b"small", partition=0), Record(bytes(3_000_001), partition=1)])
    assert await all_values(log, OBSERVATIONS.name, 0) == [b"small"]


async def test_an_event_that_the_broker_refuses_takes_no_others_with_it(
    caplog: pytest.LogCaptureFixture, open_log: OpenLog
) -> None:
    caplog.set_level(logging.CRITICAL)
    settings = fresh_settings(linger_s=0.05)
    log = await open_log(settings)
    await configure(settings, DECISIONS.name, {"max.message.bytes": "2000"})
    answers = await asyncio.gather(
        *(log.append(DECISIONS.name, [Record(value)]) for value in (b"a", bytes(3_000), b"b")), return_exceptions=True
    )
    assert isinstance(answers[1], ContractError)
    assert answers[0] == [(0, 0)]
    assert answers[2] == [(0, 1)]
    assert await log.append(DECISIONS.name, [Record(b"c")]) == [(0, 2)]


async def configure(settings: KafkaSettings, topic: str, configs: dict[str, str]) -> None:
    """Change a topic behind our back, and wait until the broker goes by it."""
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, settings.topic(topic), configs)
    await admin.alter_configs([resource])
    async with asyncio.timeout(PATIENCE_S):
        while await configured(admin, resource) != configs:  # noqa: ASYNC110 - Kafka has no event for it
            await asyncio.sleep(0.02)
    await admin.close()


async def configured(admin: AIOKafkaAdminClient, resource: ConfigResource) -> dict[str, str]:
    (answer,) = await admin.describe_configs([resource])
    return {str(entry[0]): str(entry[1]) for entry in answer.resources[0][4]}


async def test_numbering_that_runs_out_begins_anew_and_nobody_notices(
    monkeypatch: pytest.MonkeyPatch, open_log: OpenLog
) -> None:
    monkeypatch.setattr(kafka_producer, "MOST_RECORDS", 5)
    log = await open_log(fresh_settings())
    for index in range(12):
        assert await log.append(DECISIONS.name, [Record(b"%d" % index)]) == [(0, index)]
    assert await all_values(log, DECISIONS.name) == [b"%d" % index for index in range(12)]


async def test_what_others_take_back_is_not_read_and_their_marks_are_no_gaps(open_log: OpenLog) -> None:
    settings = fresh_settings()
    log = await open_log(settings)
    producer = AIOKafkaProducer(**settings.client(), transactional_id=f"{settings.topic_prefix}app")
    await producer.start()
    for value, kept in ((b"a", True), (b"b", False), (b"c", True)):
        await producer.begin_transaction()
        await producer.send_and_wait(settings.topic(REQUESTS.name), value, partition=0)
        await (producer.commit_transaction() if kept else producer.abort_transaction())
    await producer.stop()

    async def marked() -> bool:
        return (await log.bounds(REQUESTS.name))[0].end == 6

    await until(marked, what="the marks, which follow the answer, are written")
    assert await all_values(log, REQUESTS.name) == [b"a", b"c"]
    assert await log.append(REQUESTS.name, [Record(b"d", partition=0)]) == [(0, 6)]


async def test_what_retention_has_dropped_is_passed_over_at_the_start_of_a_read(open_log: OpenLog) -> None:
    settings = fresh_settings()
    log = await open_log(settings)
    await log.append(OBSERVATIONS.name, [Record(b"%d" % index, partition=0) for index in range(5)])
    await drop(settings, OBSERVATIONS.name, before=3)
    assert (await log.bounds(OBSERVATIONS.name))[0] == (3, 5)
    assert [event.offset for event in await log.read(OBSERVATIONS.name, 0, 0)] == [3, 4]
    async with asyncio.timeout(PATIENCE_S):
        batch = await anext(log.follow(OBSERVATIONS.name, {0: 1}))
    assert [event.offset for event in batch] == [3, 4]


async def test_a_follower_that_is_out_of_range_while_brokers_are_away_waits_for_them(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = fresh_settings()
    log = await open_log(settings)
    await log.append(OBSERVATIONS.name, [Record(b"%d" % index, partition=0) for index in range(5)])
    await drop(settings, OBSERVATIONS.name, before=3)
    answers, failed = kafka_consumer.bounds_of, list[bool]()

    async def bounds_of(consumer: AIOKafkaConsumer, place: TopicPartition) -> Bounds:
        if len(failed) < 2:
            failed.append(True)
            raise KafkaConnectionError("away")
        return await answers(consumer, place)

    monkeypatch.setattr(kafka_consumer, "bounds_of", bounds_of)
    async with asyncio.timeout(PATIENCE_S):
        batch = await anext(log.follow(OBSERVATIONS.name, {0: 1}))
    assert ([event.offset for event in batch], failed) == ([3, 4], [True, True])


async def drop(settings: KafkaSettings, topic: str, *, before: int) -> None:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    await admin.delete_records({TopicPartition(settings.topic(topic), 0): RecordsToDelete(before_offset=before)})
    await admin.close()


async def test_following_from_beyond_the_end_says_that_the_log_has_lost_it(open_log: OpenLog) -> None:
    log = await open_log(fresh_settings())
    await log.append(OBSERVATIONS.name, [Record(b"a", partition=0)])
    with pytest.raises(LogDamagedError, match=r"partition 0, offset 1: events up to 7 were read"):
        async with asyncio.timeout(PATIENCE_S):
            await anext(log.follow(OBSERVATIONS.name, {0: 7}))


async def test_reads_that_take_turns_between_partitions_miss_nothing(open_log: OpenLog) -> None:
    log = await open_log(fresh_settings())
    await log.append(OBSERVATIONS.name, [Record(b"%d" % index, partition=index % 4) for index in range(400)])
    await log.append(PARTIALS.name, [Record(b"%d" % index, key=b"%d" % index) for index in range(50)])
    seen: dict[int, list[bytes]] = {partition: [] for partition in range(4)}
    for _ in range(10):
        for partition in range(4):
            batch = await log.read(OBSERVATIONS.name, partition, len(seen[partition]), limit=10)
            seen[partition] += [event.value for event in batch]
        assert len(await log.read(PARTIALS.name, 0, 0)) == 50
    assert seen == {partition: [b"%d" % index for index in range(partition, 400, 4)] for partition in range(4)}


async def test_several_logs_share_one_kafka_by_their_prefixes(open_log: OpenLog) -> None:
    one, other = await open_log(fresh_settings()), await open_log(fresh_settings())
    await one.append(DECISIONS.name, [Record(b"one")])
    assert (await other.bounds(DECISIONS.name))[0].end == 0
    async with one.join(DECISIONS.name, "g") as mine, other.join(DECISIONS.name, "g") as theirs:
        assert mine.partitions == theirs.partitions == frozenset({0})


async def test_events_for_others_say_what_they_are_and_those_that_only_we_read_carry_nothing(open_log: OpenLog) -> None:
    settings = fresh_settings()
    log = await open_log(settings)
    consumer = AIOKafkaConsumer(**settings.client())
    await consumer.start()
    for topic, headers in (
        (DECISIONS, (("content-type", b"application/cloudevents+json"),)),
        (OBSERVATIONS, ()),
    ):
        place = TopicPartition(settings.topic(topic.name), 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        await log.append(topic.name, [Record(b"{}", partition=0)])
        async with asyncio.timeout(PATIENCE_S):
            assert (await consumer.getone()).headers == headers
    await consumer.stop()
