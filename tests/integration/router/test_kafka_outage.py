"""Routers that lose Kafka: its only broker hangs, dies, or comes and goes, while callers go on asking."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kafka_broker import LIBS, OpenLog, fresh_settings
from kafka_cluster import KafkaCluster
from router_world import Endpoint, Gate, Reply, events_of, observations, produce, routing, splitting
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.router.token import TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.identifiers import request_id_from_log
from splitgauge.schemas.topics import REQUESTS, RESPONSES
from waiting import until

pytestmark = pytest.mark.timeout(180)

KEY = "07" * 32
TOKENS = TokenSigner(UnitKey(bytes.fromhex(KEY)).derive("token"))
SENDERS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """A broker of our own: it does not outlive these tests unharmed."""
    with KafkaCluster(LIBS) as cluster:
        yield cluster


class Callers:
    """They ask one after the other, and keep what they were answered."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.replies: list[Reply] = []
        self.reported: list[str] = []
        """Tokens of the answers for whose report there was a 202."""
        self.refused_reports = 0
        self._stopping = False

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[None]:
        """Until the block ends; every request is waited for."""
        async with asyncio.TaskGroup() as tasks:
            for sender in range(SENDERS):
                tasks.create_task(self._ask(sender))
            try:
                yield
            finally:
                self._stopping = True

    async def answered(self, more: int, *, holds: Callable[[Reply], bool] = lambda _: True) -> None:
        """Until so many more answers of that kind are there."""
        from_here = len(self.replies)

        async def enough() -> bool:
            return sum(map(holds, self.replies[from_here:])) >= more

        await until(enough)

    def taken(self) -> list[str]:
        """Tokens of the answers that were 200."""
        return [reply.token for reply in self.replies if reply.status == 200]

    async def _ask(self, sender: int) -> None:
        number = 0
        while not self._stopping:
            number += 1
            reply = await self.gate.ask(f"user {sender}.{number}")
            self.replies.append(reply)
            if number % 3 == 0 and reply.status == 200:
                report = {"token": reply.token, "metrics": {"stars": number}}
                if (await self.gate.post("/api/v1/reports", [report])).status == 202:
                    self.reported.append(reply.token)
                else:
                    self.refused_reports += 1
            await asyncio.sleep(0.005)


class World:
    """A log on Kafka that can be taken away, with an experiment that splits every unit."""

    def __init__(self, node: KafkaCluster, log: KafkaEventLog, eyes: KafkaEventLog, endpoint: Endpoint) -> None:
        """`eyes`: the same log for us, with more patience than the router has."""
        self.log = log
        self.eyes = eyes
        self.endpoint = endpoint
        self._cluster = node

    def hang(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def die(self) -> None:
        await asyncio.to_thread(self._cluster.stop_node, self._cluster.nodes[0], number=signal.SIGKILL)

    async def start(self) -> None:
        self._cluster.launch(self._cluster.nodes[0])
        await asyncio.to_thread(self._cluster.await_ready, self._cluster.nodes[0])

    async def expect_nothing_lost(self, callers: Callers) -> None:
        """Every request that was answered 200 has one assignment and one outcome, by their ids, and every report that
        was taken stands; in time."""
        taken = callers.taken()
        assert len(set(taken)) == len(taken) > 0
        for kind, tokens in {"assignment": taken, "outcome": taken, "report": callers.reported}.items():
            wanted = {TOKENS.verify(token).request_id for token in tokens}

            async def all_there(kind: str = kind, wanted: set[str] = wanted) -> bool:
                return wanted <= {event.data["request_id"] for event in await observations(self.eyes, kind)}

            await until(all_there)
            events = {event.id: event.data["request_id"] for event in await observations(self.eyes, kind)}
            assert max(Counter(events.values()).values()) == 1

    def _signal(self, number: int) -> None:
        process = self._cluster.nodes[0].process
        assert process is not None
        process.send_signal(number)


@pytest.fixture
async def world(cluster: KafkaCluster, open_log: OpenLog) -> AsyncGenerator[World]:
    settings = fresh_settings(cluster, request_timeout_s=1.0, append_timeout_s=2.0, connect_timeout_s=2.0)
    log, endpoint = await open_log(settings), Endpoint({"n": 1}, delay_s=0.02)
    eyes = await open_log(replace(settings, request_timeout_s=10.0, append_timeout_s=60.0, connect_timeout_s=10.0))
    async with splitting(eyes, endpoint):
        world = World(cluster, log, eyes, endpoint)
        try:
            yield world
        finally:
            if cluster.nodes[0].runs:
                world.go_on()
            else:
                await world.start()


@asynccontextmanager
async def router(world: World, folder: Path, **settings: object) -> AsyncGenerator[Callers]:
    async with routing(world.log, folder, unit_key=KEY, log_patience_s=0.25, **settings) as gate:
        await gate.up_to_date()
        yield Callers(gate)


async def away(gate: Gate, *, is_so: bool) -> None:
    async def as_said() -> bool:
        return gate.router.status()["log_away"] is is_so

    await until(as_said)


async def settled(gate: Gate) -> bool:
    said = gate.router.status()
    return said["log_away"] is False and said["spool_bytes"] == 0


def measured(reply: Reply) -> bool:
    return reply.status == 200 and reply.variant is not None


def unmeasured(reply: Reply) -> bool:
    return reply.status == 200 and reply.variant is None


async def hanging(world: World, callers: Callers) -> None:
    """Twice in a row."""
    for _ in range(2):
        world.hang()
        await callers.answered(40, holds=unmeasured)
        world.go_on()
        await callers.answered(10, holds=measured)


async def dying(world: World, callers: Callers) -> None:
    await world.die()
    await callers.answered(40, holds=unmeasured)
    await world.start()
    await callers.answered(10, holds=measured)


async def coming_and_going(world: World, callers: Callers) -> None:
    """Back for moments, in the middle of what is spooled or brought back."""
    for moment in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2):
        world.hang()
        await away(callers.gate, is_so=True)
        await callers.answered(20)
        world.go_on()
        await asyncio.sleep(moment)
    await callers.answered(10, holds=measured)


@pytest.mark.parametrize("outage", [hanging, dying, coming_and_going])
async def test_while_kafka_is_away_everyone_is_answered_and_nothing_is_lost(
    world: World, tmp_path: Path, outage: Callable[[World, Callers], Awaitable[None]]
) -> None:
    async with router(world, tmp_path) as callers:
        async with callers.asking():
            await callers.answered(10, holds=measured)
            await outage(world, callers)
        await until(lambda: settled(callers.gate), what="the log is back, and has all that was spooled")
        assert {reply.status for reply in callers.replies} == {200}
        status = callers.gate.router.status()
        assert status["refused_events_total"] == status["refused_requests_total"] == 0
        assert status["unmeasured_requests_total"] == sum(map(unmeasured, callers.replies))
        await world.expect_nothing_lost(callers)
    reasons = Counter(event.data["reason"] for event in await observations(world.eyes, "assignment"))
    assert reasons.keys() == {"split", "default"}


POLICIES: dict[str, dict[str, object]] = {"closed": {"fail_closed": True}, "full": {"spool_bytes": 4_000}, "open": {}}


async def test_what_routers_do_without_kafka_is_as_they_are_set(world: World, tmp_path: Path) -> None:
    """One outage, three routers: one that refuses, one whose spool is full soon, one that goes on."""
    async with AsyncExitStack() as stack:
        closed, full, open_ = [
            await stack.enter_async_context(router(world, tmp_path / name, **settings))
            for name, settings in POLICIES.items()
        ]
        async with closed.asking(), full.asking(), open_.asking():
            for callers in (closed, full, open_):
                await callers.answered(10, holds=measured)
            world.hang()
            await closed.answered(10, holds=lambda reply: reply.status == 503)
            await full.answered(10, holds=lambda reply: reply.status == 503)
            await open_.answered(10, holds=unmeasured)

            async def as_set() -> bool:
                return [callers.gate.router.ready for callers in (closed, full, open_)] == [False, False, True]

            await until(as_set)
            world.go_on()
            for callers in (closed, full, open_):
                await callers.answered(10, holds=measured)
                await away(callers.gate, is_so=False)
        for callers, code in ((closed, {"log-unavailable"}), (full, {"spool-full"}), (open_, set[str]())):
            assert {reply.json["code"] for reply in callers.replies if reply.status != 200} == code
        for callers in (closed, full, open_):
            n_refused = sum(reply.status == 503 for reply in callers.replies) + callers.refused_reports
            assert callers.gate.router.status()["refused_requests_total"] == n_refused
            await world.expect_nothing_lost(callers)
        for callers in (closed, open_):
            assert callers.gate.router.status()["refused_events_total"] == 0

        async def none_missing() -> bool:
            assigned, ended = [
                {event.data["request_id"] for event in await observations(world.eyes, kind)}
                for kind in ("assignment", "outcome")
            ]
            return assigned == ended

        await until(none_missing)  # of those who were refused neither


async def test_request_events_under_way_when_kafka_goes_are_answered_once_when_it_is_back(
    world: World, tmp_path: Path
) -> None:
    world.endpoint.delay_s = 3.0
    async with router(world, tmp_path) as callers:
        for number in range(40):
            await produce(
                world.eyes,
                REQUESTS.name,
                "splitgauge.request.v1",
                {"workload": "a", "unit": f"u{number}", "body": {"q": 1}},
                event_id=f"r{number}",
            )

        async def under_way() -> bool:
            return len(world.endpoint.asked) >= 20

        await until(under_way)
        world.hang()
        await away(callers.gate, is_so=True)
        world.go_on()

        made = {request_id_from_log("/app", f"r{number}") for number in range(40)}

        async def all_answered() -> bool:
            return {event.data["request_id"] for event in await events_of(world.eyes, RESPONSES.name)} == made

        await until(all_answered)
        await away(callers.gate, is_so=False)
        for kind in ("assignment", "outcome"):
            ids = {event.id: event.data["request_id"] for event in await observations(world.eyes, kind)}
            assert Counter(ids.values()) == Counter(made)
