"""A process whose Kafka is away when it starts: it says so, and its roles begin when Kafka comes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError

from router_world import Endpoint
from router_world import serve as served
from splitgauge.cluster import arrival
from splitgauge.cluster.arrival import serve_roles
from splitgauge.cluster.role import Role
from splitgauge.console.last_answer import ASGIApp
from splitgauge.eventlog.kafka_errors import mapped
from splitgauge.schemas.errors import LogUnavailableError, UnknownSubjectError
from waiting import until


class Process:
    """Roles whose start may fail, and a server that may be asked to end."""

    def __init__(self) -> None:
        self.failing: Exception | None = KafkaConnectionError("connection refused")
        self.url = ""
        self.told_to_end = asyncio.Event()
        self.said: list[str] = []
        self._serving = asyncio.Event()

    async def start(self, stack: AsyncExitStack) -> ASGIApp:
        stack.callback(self.said.append, "log closed")
        if self.failing is not None:
            with mapped("broker:9092"):
                raise self.failing
        self.said.append("roles run")
        return Endpoint({"here": True})

    async def serve(self, app: ASGIApp) -> None:
        async with served(app) as self.url:
            self._serving.set()
            await self.told_to_end.wait()
        self.said.append("served")

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["asyncio.Task[None]"]:
        """Serving; after the block it has ended."""
        running = asyncio.create_task(serve_roles(self.start, [Role.ROUTER, Role.CONSOLE], self.serve))
        await self._serving.wait()
        yield running
        self.told_to_end.set()
        await running

    async def ask(self, path: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession(self.url) as session, session.get(path) as response:
            return response.status, await response.json(content_type=None)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setattr(arrival, "RETRY_S", 0.01)
    return Process()


async def test_while_kafka_is_away_it_says_why_it_is_not_ready_and_serves_nobody(process: Process) -> None:
    async with process.running():
        status, readiness = await process.ask("/readyz")
        reason = "broker:9092: Kafka: KafkaConnectionError: connection refused."
        assert (status, readiness["ready"], set(readiness["parts"])) == (503, False, {"log", "router", "console"})
        assert {part["reason"].split(" Check")[0] for part in readiness["parts"].values()} == {reason}
        assert (await process.ask("/healthz"))[0] == 200
        for path, has_error in (("/w/a", False), ("/v1/chat/completions", True), ("/api/v1/ab-tests", False)):
            status, problem = await process.ask(path)
            assert (status, problem["code"], "error" in problem) == (503, "log-unavailable", has_error)
            assert "broker" not in problem["detail"]
    assert "roles run" not in process.said


async def test_its_roles_begin_when_kafka_comes_and_end_after_the_server(process: Process) -> None:
    async with process.running():
        assert (await process.ask("/w/a"))[0] == 503
        process.said.clear()
        process.failing = None

        async def there() -> bool:
            return await process.ask("/w/a") == (200, {"here": True})

        await until(there)
    assert process.said[-3:] == ["roles run", "served", "log closed"]


async def test_where_kafka_is_there_nobody_is_answered_before_the_roles_run(process: Process) -> None:
    process.failing = None
    async with process.running():
        assert await process.ask("/readyz") == (200, {"here": True})
    assert process.said == ["roles run", "served", "log closed"]


async def test_what_does_not_pass_by_itself_ends_it_at_once(process: Process) -> None:
    process.failing = AuthenticationFailedError("who are you?")
    with pytest.raises(LogUnavailableError, match="who are you"):
        await serve_roles(process.start, [Role.ROUTER], process.serve)
    assert process.said == ["log closed"]


async def test_what_shows_only_when_kafka_comes_ends_it_too(process: Process) -> None:
    running = asyncio.create_task(serve_roles(process.start, [Role.ROUTER], process.serve))

    async def answers() -> bool:
        return bool(process.url)

    await until(answers)
    process.failing = UnknownSubjectError("there is no topic")
    with pytest.raises(UnknownSubjectError):
        await running
