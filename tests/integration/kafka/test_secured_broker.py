"""Brokers that let in only who proves who it is: every role's clients do, and whoever cannot is told why."""

import gc
import time
from asyncio.trsock import TransportSocket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from cli_harness import CommandLine
from cluster_harness import Cluster
from kafka_broker import LIBS, fresh_settings, plan
from kafka_cluster import KafkaCluster
from kafka_rights import Kind, Right, allow
from pipeline_harness import Application, Endpoints, experiment
from postgres_server import PostgresServer
from secured_listeners import SecuredListeners
from splitgauge.aggregator.changelog import make_changelog
from splitgauge.cluster.finding import Outcome
from splitgauge.cluster.kafka_checks import check_kafka
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_admin import reach
from splitgauge.eventlog.kafka_settings import KafkaSecurity, KafkaSettings
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.eventlog.port import Record
from splitgauge.schemas.errors import LogUnavailableError, UnknownSubjectError
from splitgauge.schemas.topics import DECISIONS
from waiting import until

USERS = {"ada": "right and proper", "guest": "let me in"}
RIGHTS = [
    *((Kind.TOPIC, right) for right in (Right.READ, Right.WRITE, Right.DESCRIBE, Right.DESCRIBE_CONFIGS)),
    (Kind.GROUP, Right.READ),
]
"""As docs/operating.md has them."""
PROPERTIES = {"auto.create.topics.enable": "true", "broker.session.timeout.ms": "30000"}
ROLES = ("router", "console", "aggregator", "tables", "analyzer", "archiver")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates"), "stranger")


@pytest.fixture(scope="module")
def secured(
    authority: Authority,
    no_process_left_behind: None,  # noqa: ARG001 - ends before that one looks
) -> Iterator[KafkaCluster]:
    listeners = SecuredListeners(
        authority.certify("broker"), authority.file, users=USERS, masters=("ada", "CN=application")
    )
    with KafkaCluster(LIBS, secured=listeners, properties=PROPERTIES) as cluster:
        yield cluster


def by_user(authority: Authority, **chosen: object) -> KafkaSecurity:
    """With TLS and a user; `chosen`: what is different."""
    usual: dict[str, object] = {
        "protocol": "SASL_SSL",
        "ca_file": authority.file,
        "mechanism": "SCRAM-SHA-512",
        "username": "ada",
        "password": USERS["ada"],
    }
    return KafkaSecurity(**(usual | chosen))  # type: ignore[arg-type] # the values are those of the fields


def settings_of(cluster: KafkaCluster, security: KafkaSecurity) -> KafkaSettings:
    return fresh_settings(cluster, bootstrap=cluster.nodes[0].secured_address, security=security)


async def refusal(address: str, security: KafkaSecurity) -> LogUnavailableError:
    before = open_sockets()
    with pytest.raises(LogUnavailableError) as refused:
        await reach(KafkaSettings(address, security=security))
    assert [sock for sock in open_sockets() if sock not in before] == []
    return refused.value


def open_sockets() -> list[TransportSocket]:
    """Of connections, which have to be closed before the loop ends."""
    return [found for found in gc.get_objects() if isinstance(found, TransportSocket) and found.fileno() != -1]


@pytest.fixture(autouse=True)
async def none_left_open() -> AsyncGenerator[None]:
    """aiokafka waits for no connection that it closes before its end: TLS takes leave of the broker as long."""
    before = open_sockets()
    yield

    async def gone() -> bool:
        return all(sock in before for sock in open_sockets())

    await until(gone, what="all connections have ended")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_user_gets_in(secured: KafkaCluster, authority: Authority, mechanism: str) -> None:
    settings = settings_of(secured, by_user(authority, mechanism=mechanism))
    await init_topics(settings, plan())
    log = await KafkaEventLog.connect(settings)
    await log.append(DECISIONS.name, [Record(b"decided")])
    assert [record.value for record in await log.read(DECISIONS.name, 0, 0)] == [b"decided"]
    await log.close()


async def test_a_certificate_gets_in(secured: KafkaCluster, authority: Authority, stranger: Authority) -> None:
    address = secured.nodes[0].mutual_address
    ours = KafkaSecurity("SSL", authority.file, certificate_file=authority.certify("application"))
    await init_topics(fresh_settings(secured, bootstrap=address, security=ours), plan())
    for theirs in (None, stranger.certify("application")):
        refused = await refusal(address, KafkaSecurity("SSL", authority.file, certificate_file=theirs))
        assert "a certificate of ours" in refused.remedy


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said(secured: KafkaCluster, authority: Authority, mechanism: str) -> None:
    security = by_user(authority, mechanism=mechanism, password="wrong")
    refused = await refusal(secured.nodes[0].secured_address, security)
    assert "SaslAuthenticationFailed" in refused.message
    assert "`kafka_password`" in refused.remedy
    assert "wrong" not in str(refused)


async def test_brokers_that_are_not_trusted_are_said(
    secured: KafkaCluster, authority: Authority, stranger: Authority
) -> None:
    node = secured.nodes[0]
    unknown = await refusal(node.secured_address, by_user(authority, ca_file=stranger.file))
    assert "unable to get local issuer certificate" in unknown.message
    renamed = await refusal(f"localhost:{node.secured_port}", by_user(authority))
    assert "certificate is not valid for 'localhost'" in renamed.message
    assert "`kafka_ca_file`" in unknown.remedy
    assert unknown.remedy == renamed.remedy


async def test_another_protocol_than_the_listeners_is_said(secured: KafkaCluster, authority: Authority) -> None:
    node = secured.nodes[0]
    refusals = [
        await refusal(node.secured_address, KafkaSecurity()),
        await refusal(node.secured_address, by_user(authority, protocol="SASL_PLAINTEXT")),
        await refusal(node.secured_address, KafkaSecurity("SSL", authority.file)),
        await refusal(node.address, by_user(authority)),
        await refusal(node.address, by_user(authority, protocol="SASL_PLAINTEXT")),
    ]
    assert all("Check `kafka_security_protocol`" in refused.remedy for refused in refusals)
    assert "this listener takes no user name and password" in refusals[-1].message


async def test_a_user_without_rights_is_told_what_it_lacks(secured: KafkaCluster, authority: Authority) -> None:
    settings = settings_of(secured, by_user(authority, username="guest", password=USERS["guest"]))
    with pytest.raises(LogUnavailableError, match="for `init`, CREATE and ALTER"):
        await init_topics(settings, plan())
    with pytest.raises(UnknownSubjectError, match="let this user describe it"):
        await KafkaEventLog.connect(settings)
    findings = await check_kafka(settings, plan(), time.time)
    assert {(finding.check, finding.outcome) for finding in findings} >= {
        ("broker", Outcome.OK),
        ("clock", Outcome.WARNING),
        ("topic", Outcome.FAILED),
    }


def test_the_command_line_says_it_in_one_line(secured: KafkaCluster, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "splitgauge.toml").write_text(
        f"""
        kafka_bootstrap = "{secured.nodes[0].secured_address}"
        kafka_security_protocol = "SASL_SSL"
        kafka_ca_file = "{authority.file}"
        kafka_username = "ada"
        kafka_password = "wrong"
        """,
        encoding="utf-8",
    )
    for command in ("init", "run"):
        run = CommandLine(tmp_path).run(command, *(["router"] if command == "run" else []))
        assert (run.status, run.err.count("\n")) == (4, 1)
        assert "Invalid username or password" in run.err


async def test_topics_that_brokers_create_unasked_are_a_warning(secured: KafkaCluster, authority: Authority) -> None:
    findings = await check_kafka(settings_of(secured, by_user(authority)), plan(), time.time)
    (found,) = [finding for finding in findings if finding.subject == "settings"]
    assert (found.outcome, found.message.partition(":")[0]) == (
        Outcome.WARNING,
        "auto.create.topics.enable is true on node 1",
    )


@pytest.mark.timeout(300)
async def test_every_role_works_as_a_user_with_the_rights_that_are_documented(
    secured: KafkaCluster, authority: Authority, tmp_path: Path, postgres: PostgresServer
) -> None:
    security = by_user(authority, username="guest", password=USERS["guest"])
    kafka, master = settings_of(secured, security), settings_of(secured, by_user(authority))
    master = replace(master, topic_prefix=kafka.topic_prefix)
    await init_topics(master, plan(cluster_layout(others=2)))
    await make_changelog(master)
    await allow(master, "guest", kafka.topic_prefix, RIGHTS)
    given: dict[str, Any] = {
        "kafka_security_protocol": security.protocol,
        "kafka_ca_file": security.ca_file,
        "kafka_sasl_mechanism": security.mechanism,
        "kafka_username": security.username,
        "kafka_password": security.password,
    }
    database, application = await postgres.make_database(), Application(1)
    async with (
        Endpoints.running(1) as endpoints,
        Cluster.running(tmp_path, kafka, database, {"all": ROLES}, **given) as cluster,
    ):
        await application.define(
            cluster.up["all"], endpoints, experiments={"winning": experiment("winning", minimum={"units": 10_000})}
        )
        await application.send(cluster.up["all"], 40)
        await until(cluster.folded, what="everything is folded", every_s=0.3)
    found = await check_kafka(kafka, plan(cluster_layout(others=2)), time.time)
    assert {finding.outcome for finding in found if finding.check == "topic"} == {Outcome.OK}
