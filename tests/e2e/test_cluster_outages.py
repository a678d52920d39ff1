"""Kafka and PostgreSQL go away under traffic, and come back: in the end everything is as the plain fold says."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from archived_log import expect_archived
from cli_harness import CommandLine
from cluster_harness import UNIT_KEY, Cluster
from kafka_broker import LIBS, fresh_settings, plan
from kafka_cluster import KafkaCluster, Node
from pipeline_harness import EXPERIMENTS, Application, Endpoints, experiment
from plain_fold import ends_of, newest_windows, positions_of
from postgres_server import PostgresServer
from promises import all_answered, expect_promises_kept
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import cluster_layout
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import DECISIONS
from waiting import until

PROCESSES = {"edge": ("router", "console"), "inner": ("aggregator", "tables", "analyzer", "archiver")}
AWAY_S = 60.0
"""Of the database. Twelve checkpoints in a row cannot be saved."""
FEW_USERS, USERS = 150, 400
"""Of a few, no two arms have the 100 that a promotion asks for: `winning` goes on as long as outages take."""


@dataclass
class Outage:
    """A cluster under traffic, and what it stands on."""

    kafka: KafkaCluster
    postgres: PostgresServer
    cluster: Cluster

    async def goes_on(self) -> None:
        """Until what is observed from now on is folded, summed and published. The log may be away at first."""
        seen: int | None = None

        async def published() -> bool:
            nonlocal seen
            try:
                seen = sum((await ends_of(self.cluster.log)).values()) if seen is None else seen
                windows = await newest_windows(self.cluster.log)
            except LogUnavailableError:
                return False
            return max((sum(positions_of(window).values()) for window in windows.values()), default=0) > seen

        await until(published, what="windows of what was observed since", every_s=0.3)

    async def restart_broker(self, node: Node, number: signal.Signals) -> None:
        """End it, wait for what the others make of it, and start it again."""
        await asyncio.to_thread(self.kafka.stop_node, node, number=number)
        if len(self.kafka.nodes) > 1:
            await self.goes_on()
        self.kafka.launch(node)
        await asyncio.to_thread(self.kafka.await_ready, node)
        await self.goes_on()


@asynccontextmanager
async def under_traffic(folder: Path, *, nodes: int, copies: int) -> AsyncGenerator[Outage]:
    """Both experiments run, and users send. After the block all is decided, and sound."""
    application = Application(nodes, users=FEW_USERS)
    with KafkaCluster(LIBS, nodes=nodes) as kafka, PostgresServer() as postgres:
        settings, database = fresh_settings(kafka), await postgres.make_database()
        topics = plan(cluster_layout(observations=4, others=2), replication=copies, min_isr=max(1, copies - 1))
        async with (
            Endpoints.running() as endpoints,
            Cluster.running(folder, settings, database, PROCESSES, topics=topics) as cluster,
        ):
            experiments = {name: experiment(name) for name in EXPERIMENTS}
            await application.define(cluster.up["edge"], endpoints, experiments=experiments)
            async with application.sending(cluster.up["edge"], senders=4):
                outage = Outage(kafka, postgres, cluster)
                await outage.goes_on()
                yield outage
                application.users = USERS
                await until(cluster.decided, what="both experiments are decided", every_s=0.3)
            await application.send(cluster.up["edge"], 30)
            await until(lambda: all_answered(cluster.log, application), what="all request events are answered")
            await until(cluster.folded, what="everything is folded", every_s=0.3)
            await cluster.expect_sound()
            await expect_promises_kept(cluster.log, application, UNIT_KEY)
            await expect_archived(cluster.log, database)
            replayed = await asyncio.to_thread(CommandLine(folder).run, "replay", database, "--json")
            assert (replayed.status, replayed.json["sound"]) == (0, True), replayed


async def leader_of_decisions(settings: KafkaSettings) -> int:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        [topic] = await admin.describe_topics([settings.topic(DECISIONS.name)])
    finally:
        await admin.close()
    return int(topic["partitions"][0]["leader"])


@pytest.mark.timeout(900)
async def test_one_broker_is_restarted_and_killed(tmp_path: Path) -> None:
    async with under_traffic(tmp_path, nodes=1, copies=1) as outage:
        for number in (signal.SIGTERM, signal.SIGKILL):
            await outage.restart_broker(outage.kafka.nodes[0], number)


@pytest.mark.timeout(900)
async def test_the_database_is_killed_and_then_down_for_a_minute(tmp_path: Path) -> None:
    async with under_traffic(tmp_path, nodes=1, copies=1) as outage:
        outage.postgres.kill()
        outage.postgres.start()
        await outage.goes_on()
        outage.postgres.stop()
        await outage.goes_on()
        await asyncio.sleep(AWAY_S)
        outage.postgres.start()
        await outage.goes_on()


@pytest.mark.timeout(900)
async def test_of_three_brokers_the_leader_of_the_decisions_is_killed_and_another_stopped(tmp_path: Path) -> None:
    async with under_traffic(tmp_path, nodes=3, copies=3) as outage:
        leader = await leader_of_decisions(outage.cluster.settings)
        nodes = {node.number: node for node in outage.kafka.nodes}
        await outage.restart_broker(nodes.pop(leader), signal.SIGKILL)
        await outage.restart_broker(nodes.popitem()[1], signal.SIGTERM)
