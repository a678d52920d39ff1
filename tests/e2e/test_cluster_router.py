"""What callers see of routers as processes: none of them is failed by a restart, and what they were told holds."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest

from cluster_harness import UNIT_KEY, Cluster
from kafka_broker import LIBS, fresh_settings
from kafka_cluster import KafkaCluster
from pipeline_harness import EXPERIMENTS, Application, Endpoints, experiment
from plain_fold import events_in
from postgres_server import PostgresServer
from promises import all_answered, expect_promises_kept
from router_world import Decider, specification, workload
from splitgauge.router.spool import FILE_NAME as SPOOL
from splitgauge.router.token import TokenSigner
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.topics import OBSERVATIONS, RESPONSES
from waiting import until

EDGE = ("router", "console")
INNER = ("aggregator", "tables", "analyzer", "archiver")


@asynccontextmanager
async def seldom(address: str) -> AsyncGenerator[list[int]]:
    """Statuses of a caller that asks once in a while, each time on the connection that it has kept."""
    statuses: list[int] = []
    ended = asyncio.Event()

    async def ask() -> None:
        async with aiohttp.ClientSession(address) as session:
            while not ended.is_set():
                try:
                    async with session.post("/w/main", json={}) as response:
                        statuses.append(response.status)
                except aiohttp.ClientConnectorError as exc:
                    if not isinstance(exc.os_error, ConnectionRefusedError):
                        raise
                await asyncio.sleep(0.7)

    asking = asyncio.create_task(ask())
    try:
        yield statuses
    finally:
        ended.set()
        await asking


@pytest.mark.timeout(600)
async def test_a_rolling_restart_of_every_role_fails_no_request_and_misses_no_event(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    kafka, database = fresh_settings(), await postgres.make_database()
    processes = {"edge-1": EDGE, "edge-2": EDGE, "inner-1": INNER, "inner-2": INNER}
    application = Application(2)
    async with Endpoints.running(2) as endpoints, Cluster.running(tmp_path, kafka, database, processes) as cluster:
        least = {"units": 100, "requests": 400, "duration_s": 0}
        experiments = {name: experiment(name, minimum=least) for name in EXPERIMENTS}
        edges = [cluster.up["edge-1"], cluster.up["edge-2"]]
        await application.define(edges[0], endpoints, experiments=experiments)
        async with seldom(edges[0].url) as statuses:
            async with application.sending(*edges, senders=3):
                for name in processes:
                    await cluster.stop(name)
                    await cluster.start(name)
                await until(cluster.decided, what="both experiments are decided", every_s=0.3)
            answered = len(statuses)
            await until(lambda: _more(statuses, answered), what="the seldom caller is answered after all restarts")
        await until(lambda: all_answered(cluster.log, application), what="every request event is answered")
        await until(cluster.folded, what="everything is folded", every_s=0.3)
        await cluster.expect_sound()
        await expect_promises_kept(cluster.log, application, UNIT_KEY, strict=True)
        responses = [parse(record.value) for record in await events_in(cluster.log, RESPONSES.name)]
    assert application.broken_off == 0
    assert {(answer.status, answer.model == "broken") for answer in application.answers} <= {
        (200, False),
        (200, True),
        (500, True),  # the endpoint's own
    }
    assert set(statuses) == {200}
    said = Counter(event.data["caller_request_id"] for event in {event.id: event for event in responses}.values())
    assert set(said.values()) == {1}


async def _more(statuses: list[int], than: int) -> bool:
    return len(statuses) > than


@pytest.fixture(scope="module")
def lonely_broker() -> Iterator[KafkaCluster]:
    """One that hangs, and dies."""
    with KafkaCluster(LIBS) as cluster:
        yield cluster


@pytest.mark.timeout(300)
async def test_a_router_that_ends_without_kafka_brings_what_it_kept_when_it_starts_again(
    tmp_path: Path, lonely_broker: KafkaCluster
) -> None:
    """Killed, and asked to stop."""
    kafka = fresh_settings(lonely_broker)
    process = lonely_broker.nodes[0].process
    assert process is not None
    replies: list[tuple[int, str | None, str]] = []
    async with (
        Endpoints.running(3) as endpoints,
        Cluster.running(tmp_path, kafka, None, {"router": ("router",)}, log_patience_s=0.25) as cluster,
    ):
        await _begin(cluster, endpoints)
        for end in (cluster.kill, cluster.stop):
            replies += await _ask(cluster, 20)
            process.send_signal(signal.SIGSTOP)
            replies += await _ask(cluster, 40)
            assert (await _metrics(cluster))["splitgauge_router_log_away"] == 1
            assert (tmp_path / "router" / SPOOL).stat().st_size > 0
            await end("router")
            process.send_signal(signal.SIGCONT)
            await cluster.start("router")
            await until(lambda: _back(cluster), what="what was kept is in the log")
        await _expect_in_log(cluster, replies)


@pytest.mark.timeout(300)
async def test_a_router_that_starts_without_kafka_says_so_and_keeps_its_spool_until_kafka_comes(
    tmp_path: Path, lonely_broker: KafkaCluster
) -> None:
    kafka, [node] = fresh_settings(lonely_broker), lonely_broker.nodes
    async with (
        Endpoints.running(4) as endpoints,
        Cluster.running(tmp_path, kafka, None, {"router": ("router",)}, log_patience_s=0.25) as cluster,
    ):
        await _begin(cluster, endpoints)
        replies = await _ask(cluster, 10)
        await asyncio.to_thread(lonely_broker.stop_node, node, number=signal.SIGKILL)
        replies += await _ask(cluster, 20)
        kept = (tmp_path / "router" / SPOOL).stat().st_size
        await cluster.kill("router")

        starting = asyncio.create_task(cluster.start("router"))
        await until(lambda: _waits(cluster), what="the router says that it waits for Kafka")
        async with aiohttp.ClientSession(cluster.up["router"].url) as session:
            async with session.get("/readyz") as response:
                assert (response.status, (await response.json())["parts"]["router"]["ready"]) == (503, False)
            async with session.post("/w/a", json={}) as response:
                assert (response.status, response.content_type) == (503, "application/problem+json")
                assert (await response.json())["code"] == "log-unavailable"
        assert (tmp_path / "router" / SPOOL).stat().st_size >= kept > 0

        lonely_broker.launch(node)
        await starting
        await until(lambda: _back(cluster), what="what was kept is in the log")
        replies += await _ask(cluster, 10)
        await _expect_in_log(cluster, replies)


async def _begin(cluster: Cluster, endpoints: Endpoints) -> None:
    """An experiment that splits every unit, applied by the router."""
    decider = Decider(cluster.log)
    await decider.define(workload("a", f"{endpoints.url}/good"), workload("b", f"{endpoints.url}/poor"))
    await decider.start("e1", specification("a", "b"))
    await until(lambda: cluster.applied("router"), what="the router has applied all decisions")


async def _waits(cluster: Cluster) -> bool:
    up = cluster.up["router"]
    if up.process.returncode is not None or not up.url:
        return False  # it is the old one still, or has not begun to answer
    return "refused" in (await up.get("/readyz"))["parts"]["log"].get("reason", "")


async def _expect_in_log(cluster: Cluster, replies: list[tuple[int, str | None, str]]) -> None:
    """Every request was answered, and is in the log as it was answered."""
    assert {status for status, _, _ in replies} == {200}
    signer = TokenSigner(UNIT_KEY.derive("token"))
    told = {signer.verify(token).request_id: variant for _, variant, token in replies}
    events = [parse(record.value) for record in await events_in(cluster.log, OBSERVATIONS.name)]
    assigned = {event.data["request_id"]: event.data.get("variant") for event in events if "assignment" in event.type}
    assert assigned == told
    assert None in told.values()
    ended = {event.data["request_id"] for event in events if "outcome" in event.type}
    assert len(ended) >= len(told) - 1  # the last one's may have died with its router, a few milliseconds old


async def _ask(cluster: Cluster, times: int) -> list[tuple[int, str | None, str]]:
    """Status, variant and token of the answers to requests, one after the other."""
    found: list[tuple[int, str | None, str]] = []
    async with aiohttp.ClientSession(cluster.up["router"].url) as session:
        for _ in range(times):
            async with session.post("/w/a", data=orjson.dumps({})) as response:
                headers = response.headers
                found.append((response.status, headers.get("x-ab-variant-name"), headers["x-splitgauge-request-id"]))
    return found


async def _metrics(cluster: Cluster) -> dict[str, float]:
    async with aiohttp.ClientSession(cluster.up["router"].url) as session, session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


async def _back(cluster: Cluster) -> bool:
    metrics = await _metrics(cluster)
    return (metrics["splitgauge_router_log_away"], metrics["splitgauge_router_spool_bytes"]) == (0, 0)
