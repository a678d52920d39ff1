"""`splitgauge check` on a real broker that is made wrong in one way after the other."""

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli_harness import CommandLine
from kafka_broker import broker, delete, fresh_settings, plan
from kafka_cluster import free_ports
from postgres_server import PostgresServer
from splitgauge.aggregator.changelog import CHANGELOG, make_changelog
from splitgauge.cluster.finding import Finding, Outcome
from splitgauge.cluster.kafka_checks import absent_findings, broker_finding, check_kafka, topic_finding
from splitgauge.cluster.log_checks import check_log
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_admin import Broker, configured
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import FoundTopic, TopicPlan
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import Record
from splitgauge.router.service import Router
from splitgauge.router.settings import RouterSettings
from splitgauge.schemas.decision import RULES
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, OBSERVATIONS, REPORTS, REQUESTS, WINDOWS
from waiting import until


async def wrong(
    settings: KafkaSettings, chosen: TopicPlan | None = None, *, ahead_s: float = 0.0
) -> dict[str, tuple[Outcome, str]]:
    """Subject -> outcome and message, of all that is not ok. `ahead_s`: by which our clock is wrong."""
    findings = await check_kafka(settings, chosen or plan(), lambda: time.time() + ahead_s)
    assert all(finding.remedy for finding in findings if finding.outcome is not Outcome.OK)
    return {told(finding, settings): (finding.outcome, finding.message) for finding in findings if _is_wrong(finding)}


def told(finding: Finding, settings: KafkaSettings) -> str:
    return finding.subject.removeprefix(settings.topic_prefix)


def _is_wrong(finding: Finding) -> bool:
    return finding.outcome is not Outcome.OK


async def sound() -> KafkaSettings:
    settings = fresh_settings()
    await init_topics(settings, plan())
    await make_changelog(settings)
    return settings


async def alter(settings: KafkaSettings, topics: dict[str, dict[str, str]]) -> None:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), chosen) for name, chosen in topics.items()]
    )
    called = {settings.topic(name): chosen for name, chosen in topics.items()}

    async def in_force() -> bool:
        found = await configured(admin, list(called))
        return all(chosen.items() <= found.get(name, {}).items() for name, chosen in called.items())

    await until(in_force, what="brokers show what was set")
    await admin.close()


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


async def produce(settings: KafkaSettings, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(**settings.producer())
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(settings.topic(topic), b"%d" % number)
    await producer.stop()


async def test_nothing_is_wrong_after_init() -> None:
    assert await wrong(await sound()) == {}


async def test_each_way_in_which_a_topic_is_unfit_is_named() -> None:
    settings = await sound()
    large = {"max.message.bytes": "40000000"}
    await alter(
        settings,
        {
            DECISIONS.name: large | {"retention.ms": "3600000"},
            ANALYSES.name: large | {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "compact"},
            WINDOWS.name: large | {"cleanup.policy": "delete"},
            REQUESTS.name: large | {"retention.ms": "-1"},
            REPORTS.name: large | {"retention.ms": "1000"},
            DEAD_LETTERS.name: {"max.message.bytes": "1000", "retention.ms": str(plan().long_ms)},
            OBSERVATIONS.name: large | {"retention.ms": "-1", "retention.bytes": "-1", "min.insync.replicas": "2"},
            CHANGELOG: {"cleanup.policy": "delete"},
        },
    )
    found = await wrong(settings)
    assert found.pop(DEAD_LETTERS.name)[1].startswith("max.message.bytes is 1000, wanted at least ")
    assert found == {
        DECISIONS.name: (Outcome.FAILED, "retention.ms is 3600000, wanted -1"),
        ANALYSES.name: (Outcome.FAILED, "cleanup.policy is compact, wanted delete"),
        WINDOWS.name: (Outcome.FAILED, "cleanup.policy is delete, wanted compact"),
        REQUESTS.name: (Outcome.FAILED, "retention.ms is -1, wanted a limit"),
        REPORTS.name: (Outcome.WARNING, f"retention.ms is 1000, wanted {plan().short_ms}"),
        OBSERVATIONS.name: (
            Outcome.FAILED,
            "partitions 0, 1, 2, 3 take no events, as fewer than min.insync.replicas are complete",
        ),
        CHANGELOG: (Outcome.FAILED, "it has 1 partitions and cleanup.policy delete, wanted 1 and compact"),
    }


async def test_topics_that_are_gone_are_named() -> None:
    settings = await sound()
    await delete(settings, DECISIONS.name)
    await delete(settings, CHANGELOG)
    found = await wrong(settings)
    assert found == {
        DECISIONS.name: (Outcome.FAILED, "it is not there"),
        CHANGELOG: (Outcome.WARNING, "the changelog of stage 2 is not there"),
    }


async def test_what_only_the_plan_wants_otherwise_is_a_warning() -> None:
    found = await wrong(await sound(), plan(replication=3))
    assert found[DECISIONS.name] == (Outcome.WARNING, "replication is 1, wanted at least 3")
    assert {outcome for outcome, _ in found.values()} == {Outcome.WARNING}


async def test_events_that_nobody_reads_and_dead_letters_are_told() -> None:
    settings = await sound()
    await produce(settings, REQUESTS.name, 3)
    await produce(settings, DEAD_LETTERS.name, 2)
    found = await wrong(settings)
    assert found.pop(DEAD_LETTERS.name) == (Outcome.WARNING, "2 events could not be used")
    ((outcome, message),) = found.values()
    assert outcome is Outcome.WARNING
    assert message == f"nobody reads {settings.topic(REQUESTS.name)}, where 3 events wait"


@pytest.mark.parametrize(
    ("ahead_s", "outcome", "said"),
    [(30.0, Outcome.WARNING, "behind"), (-30.0, Outcome.WARNING, "ahead of"), (90.0, Outcome.FAILED, "behind")],
)
async def test_a_clock_that_differs_is_told(ahead_s: float, outcome: Outcome, said: str) -> None:
    found = await wrong(await sound(), ahead_s=ahead_s)
    assert found["Kafka"][0] is outcome
    assert f" s {said} this machine's" in found["Kafka"][1]


async def test_a_unit_key_that_is_not_the_logs_and_decisions_of_a_newer_version_are_findings(tmp_path: Path) -> None:
    settings, key = await sound(), "07" * 32
    for setting, outcome in ((None, Outcome.WARNING), (key, Outcome.OK), ("short", Outcome.FAILED)):
        assert (await check_log(settings, tmp_path, setting))[1].outcome is outcome
    assert is_empty(tmp_path)
    log = await KafkaEventLog.connect(settings)
    async with Router(log, RouterSettings(data_folder=tmp_path / "router", unit_key=key)):
        decision = (await log.read(DECISIONS.name, 0, 0))[0].value
    for setting, outcome in ((key, Outcome.OK), ("08" * 32, Outcome.FAILED)):
        assert (await check_log(settings, tmp_path, setting))[1].outcome is outcome
    await log.append(DECISIONS.name, [Record(decision.replace(b'"rules":%d' % RULES, b'"rules":%d' % (RULES + 1)))])
    await log.close()
    (found,) = await check_log(settings, tmp_path, key)
    assert (found.check, found.outcome) == ("decisions", Outcome.FAILED)
    assert "Upgrade" in found.remedy


async def test_a_broker_that_is_away_is_a_finding() -> None:
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{free_ports(1)[0]}")
    ((subject, (outcome, message)),) = (await wrong(settings)).items()
    assert (subject, outcome) == (settings.bootstrap, Outcome.FAILED)
    assert "Connect call failed" in message


def test_a_broker_that_clients_are_sent_to_in_vain_is_named() -> None:
    away = LogUnavailableError("Kafka: no answer in time", remedy="Check the address")
    found = broker_finding(Broker(2, "inside:9092", error=away))
    assert (found.outcome, found.subject) == (Outcome.FAILED, "inside:9092 (node 2)")
    assert "advertised.listeners" in found.remedy


@pytest.mark.parametrize(("version", "outcome"), [(18, Outcome.OK), (13, Outcome.OK), (12, Outcome.FAILED)])
def test_brokers_that_are_too_old_are_named(version: int, outcome: Outcome) -> None:
    assert broker_finding(Broker(1, "one:9092", fetch_version=version)).outcome is outcome


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (FoundTopic(1, 3, {}, leaderless=(0,), short=(0,), behind=(0,)), Outcome.FAILED),
        (FoundTopic(1, 3, {}, behind=(0,)), Outcome.WARNING),
        (FoundTopic(1, 3, {}), Outcome.OK),
    ],
)
def test_partitions_whose_brokers_are_down_are_named(found: FoundTopic, outcome: Outcome) -> None:
    settings = KafkaSettings(bootstrap="one:9092")
    assert topic_finding(DECISIONS.name, found, settings, plan(replication=3)).outcome is outcome


def test_brokers_that_have_copies_and_are_not_in_the_cluster_are_named() -> None:
    topics = [FoundTopic(2, 2, {}, nodes=frozenset({1, 2, 3})), FoundTopic(1, 1, {}, nodes=frozenset({1, 4}))]
    away = LogUnavailableError("nobody answers", where="two:9092", remedy="Start the broker")
    found = absent_findings(topics, [Broker(1, "one:9092"), Broker(2, "two:9092", error=away)])
    assert [(one.outcome, one.subject) for one in found] == [(Outcome.WARNING, "node 3"), (Outcome.WARNING, "node 4")]


class TestCommand:
    """`splitgauge check`."""

    async def test_a_sound_cluster_ends_with_status_0_and_a_document(
        self, tmp_path: Path, postgres: PostgresServer
    ) -> None:
        settings, address = await sound(), await postgres.make_database()
        (tmp_path / "splitgauge.toml").write_text(
            f'postgres = "{address}"\nkafka_replication = 1\nkafka_min_isr = 1\nkafka_partitions = 1\n',
            encoding="utf-8",
        )
        arguments = ("check", "--json", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix)
        run = await asyncio.to_thread(CommandLine(tmp_path).run, *arguments)
        assert run.status == 0, run.out
        findings = run.json["findings"]
        assert {finding["check"] for finding in findings} == {
            *("version", "library", "broker", "clock", "topic", "group", "dead letters"),
            *("decisions", "unit key", "database", "schema", "rights"),
        }
        wrong = [(finding["check"], finding["outcome"]) for finding in findings if finding["outcome"] != "ok"]
        # No key is set here, and the server of tests does not wait for its disk.
        assert wrong == [("unit key", "warning"), ("database", "warning")], run.out

    def test_what_is_away_fails_and_the_rest_is_looked_at_all_the_same(self, tmp_path: Path) -> None:
        settings = fresh_settings()
        (tmp_path / "splitgauge.toml").write_text('postgres = "postgresql://127.0.0.1:1/x"\n', encoding="utf-8")
        arguments = ("check", "--bootstrap", broker().bootstrap, "--topic-prefix", settings.topic_prefix)
        run = CommandLine(tmp_path).run(*arguments)
        assert run.status == 1
        assert f"failed   topic        {settings.topic(DECISIONS.name)}: it is not there\n" in run.out
        assert "failed   database     postgresql://127.0.0.1:1/x: " in run.out
        assert "Create it with `splitgauge init`" in run.out

    def test_settings_that_are_wrong_are_findings(self, tmp_path: Path) -> None:
        run = CommandLine(tmp_path).run("check")
        assert run.status == 1
        assert "failed   settings     Kafka: setting 'kafka_bootstrap' is missing" in run.out
        assert "warning  settings     PostgreSQL: no database is named" in run.out
