"""Several routers that share the request and report events of one Kafka: each has one effect, whoever is there."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from kafka_broker import OpenLog, fresh_settings
from router_world import Endpoint, Gate, events_of, observations, produce, routing, splitting
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.schemas.identifiers import report_id_from_log, request_id_from_log
from splitgauge.schemas.topics import REPORTS, REQUESTS, RESPONSES
from waiting import until

pytestmark = pytest.mark.timeout(180)

KEY = "07" * 32


class Uneven(Endpoint):
    """Some requests take long, so that later ones are finished before them; one of them for ever, until it is let."""

    def __init__(self) -> None:
        super().__init__({"n": 1})
        self.let = asyncio.Event()
        self.let.set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        message: MutableMapping[str, Any] = await receive()
        number = orjson.loads(message["body"])["q"]
        if number == 0:
            await self.let.wait()
        await asyncio.sleep(0.002 * (number * 7 % 23))

        async def again() -> MutableMapping[str, Any]:
            return message

        await super().__call__(scope, again, send)


class World:
    """An experiment on Kafka, and applications that produce."""

    def __init__(self, settings: KafkaSettings, log: KafkaEventLog, endpoint: Uneven, folder: Path) -> None:
        self.log = log
        self.endpoint = endpoint
        self._settings = settings
        self._folder = folder
        self.requested: list[str] = []
        self.reported: list[str] = []

    @asynccontextmanager
    async def router(self, name: str, **settings: object) -> AsyncGenerator[Gate]:
        """A member of the group, with connections of its own, as a process has them."""
        log = await KafkaEventLog.connect(self._settings)
        try:
            async with routing(log, self._folder / name, unit_key=KEY, instance=name, **settings) as gate:
                await gate.up_to_date()
                yield gate
        finally:
            await log.close()

    async def produce(self, requests: int) -> None:
        """Requests, and a report for every second unit."""
        for number in range(len(self.requested), len(self.requested) + requests):
            data = {"workload": "a", "unit": f"u{number}", "body": {"q": number}}
            event_id = f"r{number}"
            await produce(self.log, REQUESTS.name, "splitgauge.request.v1", data, event_id=event_id)
            self.requested.append(request_id_from_log("/app", event_id))
            if number % 2:
                report = {"unit": f"u{number}", "experiment_id": "e1", "metrics": {"stars": number}}
                await produce(self.log, REPORTS.name, "splitgauge.report.v1", report, event_id=event_id)
                self.reported.append(report_id_from_log("/app", event_id))

    async def answered(self) -> bool:
        responses = {event.data["request_id"] for event in await events_of(self.log, RESPONSES.name)}
        reports = {event.id for event in await observations(self.log, "report")}
        return responses >= set(self.requested) and reports >= set(self.reported)

    async def expect_one_effect_each(self) -> None:
        """Whatever was done twice was done under the same ids, and said the same."""
        for kind in ("assignment", "outcome"):
            events = {event.id: event.data["request_id"] for event in await observations(self.log, kind)}
            assert Counter(events.values()) == Counter(self.requested)
        said: dict[str, set[bytes]] = {}
        for event in await events_of(self.log, RESPONSES.name):
            said.setdefault(event.data["request_id"], set()).add(orjson.dumps(event.data))
        assert said.keys() == set(self.requested)
        assert all(len(bodies) == 1 for bodies in said.values())
        assert {event.id for event in await observations(self.log, "report")} == set(self.reported)


@pytest.fixture
async def world(tmp_path: Path, open_log: OpenLog) -> AsyncGenerator[World]:
    settings, endpoint = fresh_settings(), Uneven()
    log = await open_log(settings)
    async with splitting(log, endpoint, metrics=[{"name": "stars", "kind": "mean"}]):
        yield World(settings, log, endpoint, tmp_path)


async def test_routers_come_and_go_under_load_and_each_event_has_one_effect(world: World) -> None:
    async with asyncio.TaskGroup() as tasks:
        producing = tasks.create_task(world.produce(600))
        async with AsyncExitStack() as first:
            await first.enter_async_context(world.router("r1"))
            async with world.router("r2"), world.router("r3"):
                await until(lambda: _asked(world, 200))
                await first.aclose()
                await until(lambda: _asked(world, 300))
                async with world.router("r1"):
                    await until(lambda: _asked(world, 450))
                await producing
                await until(world.answered)
    await world.expect_one_effect_each()
    asked = len(world.endpoint.asked)
    async with world.router("r1"):
        await world.produce(10)
        await until(world.answered)
    assert len(world.endpoint.asked) == asked + 10, "all that was finished had been committed"


async def test_what_waits_behind_an_unfinished_request_is_not_committed(world: World) -> None:
    """It is done again by whoever takes over, with the same ids."""
    world.endpoint.let.clear()
    async with world.router("r1", stop_grace_s=0.05):
        await world.produce(40)
        await until(lambda: _answered(world, 39))
    world.endpoint.let.set()
    before = len(world.endpoint.asked)
    async with world.router("r2"):
        await until(world.answered)
        await world.produce(1)
        await until(world.answered)
    again = [body["q"] for body in world.endpoint.bodies[before:]]
    assert 0 in again
    await world.expect_one_effect_each()


async def _asked(world: World, times: int) -> bool:
    return len(world.endpoint.asked) >= times


async def _answered(world: World, responses: int) -> bool:
    return len(await events_of(world.log, RESPONSES.name)) >= responses
