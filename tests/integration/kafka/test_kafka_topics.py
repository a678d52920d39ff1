"""`init_topics`, `check_topics` and `splitgauge init` on a real broker."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli_harness import CommandLine
from kafka_broker import broker, fresh_settings, plan
from postgres_server import PostgresServer
from splitgauge.aggregator.changelog import make_changelog
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicMisfitError
from splitgauge.eventlog.kafka_topics import check_topics, cluster_layout, init_topics
from splitgauge.eventlog.postgres_migrations import migrations, open_migrated
from splitgauge.schemas.errors import LogUnavailableError, UnknownSubjectError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS, REQUESTS, TOPICS


async def made(settings: KafkaSettings, topic: str, *, partitions: int = 1, configs: dict[str, str]) -> None:
    """A topic as somebody else made it."""
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    await admin.create_topics([NewTopic(settings.topic(topic), partitions, 1, topic_configs=configs)])
    while settings.topic(topic) not in [seen["topic"] for seen in await admin.describe_topics()]:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await admin.close()


async def configured(settings: KafkaSettings, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(topic))])
    await admin.close()
    return {str(entry[0]): str(entry[1]) for entry in answer.resources[0][4]}


async def test_topics_are_created_as_the_contract_has_them_and_a_second_run_changes_nothing() -> None:
    settings = fresh_settings()
    wanted = cluster_layout(observations=8, others=3)
    first = await init_topics(settings, plan(wanted))
    assert set(first.created) == {settings.topic(name) for name in TOPICS}
    assert await check_topics(settings) == wanted
    second = await init_topics(settings, plan(wanted))
    assert (second.created, second.counted_up) == ((), {})
    assert set(second.unchanged) == set(first.created)


async def test_decisions_have_one_partition_and_never_expire() -> None:
    settings = fresh_settings()
    await init_topics(settings, plan(cluster_layout()))
    assert (await check_topics(settings))[DECISIONS.name] == 1
    found = await configured(settings, DECISIONS.name)
    assert {name: found[name] for name in ("cleanup.policy", "retention.ms", "retention.bytes")} == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
    }
    assert found["unclean.leader.election.enable"] == "false"
    assert (await configured(settings, PARTIALS.name))["cleanup.policy"] == "compact"


@pytest.mark.parametrize(
    ("topic", "partitions", "configs", "said"),
    [
        (DECISIONS, 3, {"retention.ms": "-1"}, "decisions: partitions is 3, wanted 1"),
        (DECISIONS, 1, {"retention.ms": "604800000"}, "decisions: retention.ms is 604800000, wanted -1"),
        (OBSERVATIONS, 2, {"retention.ms": "-1"}, "observations: partitions is 2, wanted 4 (fixed when"),
        (PARTIALS, 1, {"cleanup.policy": "delete"}, "partials: cleanup.policy is delete, wanted compact"),
        (REQUESTS, 2, {"retention.ms": "-1"}, "requests: retention.ms is -1, wanted a limit"),
        (REQUESTS, 2, {"max.message.bytes": "1000"}, "requests: max.message.bytes is 1000, wanted at least"),
    ],
)
async def test_a_topic_that_does_not_fit_is_refused_and_nothing_is_changed(
    topic: Any, partitions: int, configs: dict[str, str], said: str
) -> None:
    settings = fresh_settings()
    await made(settings, topic.name, partitions=partitions, configs={"max.message.bytes": "40000000"} | configs)
    with pytest.raises(TopicMisfitError) as refused:
        await init_topics(settings, plan())
    assert settings.topic("splitgauge.") + said in str(refused.value)
    with pytest.raises(UnknownSubjectError, match="splitgauge init"):
        await check_topics(settings)


async def test_partitions_are_counted_up_where_the_contract_allows_it_and_never_down() -> None:
    settings = fresh_settings()
    await init_topics(settings, plan(cluster_layout(others=2)))
    grown = await init_topics(settings, plan(cluster_layout(others=3)))
    assert grown.counted_up[settings.topic(REQUESTS.name)] == (2, 3)
    assert settings.topic(OBSERVATIONS.name) in grown.unchanged
    fewer = await init_topics(settings, plan(cluster_layout(others=2)))
    assert fewer.partitions[settings.topic(REQUESTS.name)] == 3
    with pytest.raises(TopicMisfitError, match="observations: partitions is 4, wanted 6"):
        await init_topics(settings, plan(cluster_layout(observations=6, others=4)))
    assert (await check_topics(settings))[REQUESTS.name] == 3


async def test_a_log_on_topics_that_do_not_fit_is_not_opened() -> None:
    settings = fresh_settings()
    with pytest.raises(UnknownSubjectError, match="splitgauge init"):
        await KafkaEventLog.connect(settings)
    await made(settings, DECISIONS.name, partitions=2, configs={"max.message.bytes": "40000000"})
    for name in TOPICS.keys() - {DECISIONS.name}:
        await made(settings, name, configs={"max.message.bytes": "40000000"})
    with pytest.raises(TopicMisfitError, match="decisions: partitions is 2, wanted 1"):
        await KafkaEventLog.connect(settings)


async def test_two_who_make_the_topics_at_once_both_succeed() -> None:
    settings = fresh_settings()
    await asyncio.gather(init_topics(settings, plan()), init_topics(settings, plan()))
    await check_topics(settings)


async def test_more_copies_than_brokers_are_refused_with_what_kafka_says() -> None:
    with pytest.raises(LogUnavailableError, match="replication factor of 3"):
        await init_topics(fresh_settings(), plan(replication=3))


class TestCommand:
    """`splitgauge init`."""

    def test_makes_the_topics_and_says_so_as_a_document(self, tmp_path: Path) -> None:
        settings = fresh_settings()
        line = CommandLine(tmp_path)
        arguments = (
            *("init", "--json", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix),
            *("--replication", "1", "--min-isr", "1", "--observation-partitions", "2", "--partitions", "3"),
        )
        first = line.run(*arguments)
        assert first.status == 0, first.err
        assert first.json["partitions"][settings.topic(OBSERVATIONS.name)] == 2
        assert len(first.json["created"]) == len(TOPICS)
        second = line.run(*arguments)
        assert (second.json["created"], second.json["counted_up"]) == ([], {})

    async def test_makes_what_stage_2_and_the_database_need_as_well(
        self, tmp_path: Path, postgres: PostgresServer
    ) -> None:
        settings, address = fresh_settings(), await postgres.make_database(migrated=False)
        (tmp_path / "splitgauge.toml").write_text(f'postgres = "{address}"\n', encoding="utf-8")
        arguments = (
            *("init", "--json", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix),
            *("--replication", "1", "--min-isr", "1"),
        )
        first = await asyncio.to_thread(CommandLine(tmp_path).run, *arguments)
        assert first.status == 0, first.err
        assert first.json["migrations"] == [migration.name for migration in migrations()]
        assert await make_changelog(settings) == first.json["partitions"][settings.topic(PARTIALS.name)]
        await (await open_migrated(address)).close()
        second = await asyncio.to_thread(CommandLine(tmp_path).run, *arguments)
        assert second.json["migrations"] == []

    def test_without_a_number_the_partitions_stay_as_they_were_made(self, tmp_path: Path) -> None:
        settings, line = fresh_settings(), CommandLine(tmp_path)
        arguments = (
            *("init", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix),
            *("--replication", "1", "--min-isr", "1", "--partitions", "1"),
        )
        assert line.run(*arguments, "--observation-partitions", "2").status == 0
        again = line.run(*arguments)
        assert again.status == 0, again.err
        assert f"unchanged  {settings.topic(OBSERVATIONS.name)}, partitions: 2\n" in again.out
        assert again.out.endswith("no database: the setting `postgres` names none; aggregator and archiver need one\n")
        other = line.run(*arguments, "--observation-partitions", "3")
        assert other.status == 1
        assert "wanted 3 (fixed when the topic was made)" in other.err
        assert "set `observation_partitions` to what is there" in other.err

    async def test_a_database_that_is_away_is_said_after_the_topics_are_made(self, tmp_path: Path) -> None:
        settings = fresh_settings()
        arguments = (
            *("init", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix),
            *("--replication", "1", "--min-isr", "1"),
        )
        (tmp_path / "splitgauge.toml").write_text('postgres = "nonsense"\n', encoding="utf-8")
        run = await asyncio.to_thread(CommandLine(tmp_path).run, *arguments)
        assert (run.status, "no address of a PostgreSQL database" in run.err) == (1, True)
        with pytest.raises(UnknownSubjectError):
            await check_topics(settings)
        (tmp_path / "splitgauge.toml").write_text('postgres = "postgresql://127.0.0.1:1/x"\n', encoding="utf-8")
        run = await asyncio.to_thread(CommandLine(tmp_path).run, *arguments)
        assert (run.status, "Check host and port" in run.err) == (4, True)
        await check_topics(settings)

    def test_names_what_does_not_fit(self, tmp_path: Path) -> None:
        settings = fresh_settings()
        asyncio.run(made(settings, DECISIONS.name, partitions=2, configs={"retention.ms": "-1"}))
        run = CommandLine(tmp_path).run(
            *("init", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix),
            *("--replication", "1", "--min-isr", "1"),
        )
        assert run.status == 1
        assert f"{settings.topic(DECISIONS.name)}: partitions is 2, wanted 1" in run.err
        assert "needs a new log, under another `kafka_topic_prefix`" in run.err

    def test_says_where_no_broker_answers(self, tmp_path: Path) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{nobody.getsockname()[1]}"
            run = CommandLine(tmp_path).run("init", "--bootstrap", address)
        assert run.status == 4
        assert address in run.err

    def test_asks_for_an_address(self, tmp_path: Path) -> None:
        run = CommandLine(tmp_path).run("init")
        assert run.status == 1
        assert "kafka_bootstrap" in run.err
