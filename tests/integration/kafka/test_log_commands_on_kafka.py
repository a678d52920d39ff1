"""`replay`, `export` and `tail` from Kafka: the same as from the data folder that has the same events."""

import asyncio
from pathlib import Path

import pytest

from cli_harness import CommandLine
from kafka_broker import fresh_settings, plan
from plain_fold import events_in
from splitgauge.eventlog.jsonl import EXPORTED
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog


@pytest.fixture(scope="module")
def kafka(recorded_folder: Path) -> KafkaSettings:
    """Topics with the same events at the same places."""
    settings = fresh_settings()
    asyncio.run(copied(recorded_folder, settings))
    return settings


async def copied(folder: Path, settings: KafkaSettings) -> None:
    source = SqliteEventLog.open_readonly(folder)
    try:
        await init_topics(settings, plan(source.layout))
        log = await KafkaEventLog.connect(settings)
        try:
            for topic in EXPORTED:
                events = await events_in(source, topic)
                await log.append(topic, [Record(event.value, event.key, event.partition) for event in events])
        finally:
            await log.close()
    finally:
        await source.close()


@pytest.fixture
def alone(tmp_path: Path, kafka: KafkaSettings) -> CommandLine:
    """Where the settings name the Kafka."""
    settings = f'kafka_bootstrap = "{kafka.bootstrap}"\nkafka_topic_prefix = "{kafka.topic_prefix}"\n'
    (tmp_path / "splitgauge.toml").write_text(settings, encoding="utf-8")
    return CommandLine(tmp_path)


def test_a_replay_of_the_settings_kafka_comes_to_what_a_replay_of_the_folder_does(
    alone: CommandLine, recorded_folder: Path
) -> None:
    from_folder, from_kafka = alone.run("replay", str(recorded_folder), "--json"), alone.run("replay", "--json")

    assert (from_kafka.status, from_kafka.err) == (0, "")
    assert from_kafka.json == from_folder.json
    assert from_kafka.json["sound"] is True


def test_an_export_of_kafka_is_that_of_the_folder_byte_for_byte(alone: CommandLine, recorded_folder: Path) -> None:
    assert alone.run("export", "folder.jsonl", "--data", str(recorded_folder)).status == 0
    done = alone.run("export", "kafka.jsonl")

    assert (done.status, done.err) == (0, "")
    assert (alone.folder / "kafka.jsonl").read_bytes() == (alone.folder / "folder.jsonl").read_bytes()


def test_the_newest_events_of_kafka_are_those_of_the_folder(alone: CommandLine, recorded_folder: Path) -> None:
    from_folder, from_kafka = (
        alone.run("tail", "observations", "-n", "7", "--json", "--data", source)
        for source in (str(recorded_folder), "kafka")
    )
    assert (from_kafka.status, from_kafka.err) == (0, "")
    assert from_kafka.out == from_folder.out != ""


def test_kafka_without_an_address_of_it_is_refused(tmp_path: Path) -> None:
    run = CommandLine(tmp_path).run("replay", "kafka")
    assert run.status == 1
    assert "kafka_bootstrap" in run.err
