"""Whatever fails in a process, its callers get a problem document, over the server that the product runs on."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import orjson
import pytest
import uvicorn

from splitgauge.cluster.operators import operators_app
from splitgauge.console.last_answer import ASGIApp, LastAnswer
from splitgauge.console.service import Console, ConsoleSettings
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.router.exchange import Exchange
from splitgauge.router.service import Router
from splitgauge.router.settings import RouterSettings
from splitgauge.standalone.application import application
from splitgauge.standalone.connections import Connections
from splitgauge.standalone.listening import bound
from waiting import until

PROBLEM = "application/problem+json"
HEAD = [(b"content-type", b"text/plain"), (b"content-length", b"9")]


class Server:
    """An application on the product's own server."""

    def __init__(self, app: ASGIApp) -> None:
        listener = bound("127.0.0.1", 0)
        self.address = listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
        self.connections = Connections(config, listener)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncGenerator[Server]:
    server = Server(app)
    await server.connections.open()
    try:
        yield server
    finally:
        server.connections.break_off()
        await server.connections.close(patience_s=5)


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    status: int
    content_type: str
    body: Any


async def ask(url: str, method: str = "GET", body: bytes | None = None) -> Answer:
    async with aiohttp.ClientSession() as session, session.request(method, url, data=body) as response:
        return Answer(response.status, response.headers["content-type"], orjson.loads(await response.read()))


def console(log: MemoryEventLog) -> Console:
    return Console(log, ConsoleSettings(), clock=lambda: 0, ids=lambda: "x")


def ailing(*_: object, **__: object) -> NoReturn:
    raise TypeError("Integer exceeds 64-bit range")


async def test_a_defect_of_the_console_is_a_problem_and_its_traceback_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ill = console(MemoryEventLog())
    monkeypatch.setattr(ill.decisions.history, "_registries", [])
    async with served(ill.app) as server:
        answer = await ask(server.url + "/api/v1/ab-tests")
    assert (answer.status, answer.content_type, answer.body["code"]) == (500, PROBLEM, "internal")
    assert "list index" not in answer.body["detail"]
    assert [(record.message, record.exc_info is not None) for record in caplog.records] == [
        ("GET /api/v1/ab-tests has failed", True)
    ]


async def test_a_defect_of_a_part_is_a_problem_where_operators_ask(caplog: pytest.LogCaptureFixture) -> None:
    async with served(operators_app({"tables": ailing})) as server:
        answer = await ask(server.url + "/readyz")
        assert (await ask(server.url + "/healthz")).status == 200
    assert (answer.status, answer.content_type, answer.body["code"]) == (500, PROBLEM, "internal")
    assert [record.message for record in caplog.records] == ["GET /readyz has failed"]


@pytest.mark.parametrize(("path", "for_openai"), [("/v1/chat/completions", True), ("/w/a", False)])
async def test_a_defect_of_the_router_is_a_problem_and_an_error_to_openai_clients(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    path: str,
    for_openai: bool,
) -> None:
    monkeypatch.setattr(Exchange, "answer", ailing)
    log = MemoryEventLog()
    async with (
        Router(log, RouterSettings(tmp_path)) as router,
        served(application(router.app, console(log).app)) as server,
    ):
        answer = await ask(server.url + path, "POST", b'{"model": "a"}')
    assert (answer.status, answer.content_type, answer.body["code"]) == (500, PROBLEM, "internal")
    assert ("error" in answer.body) == for_openai
    assert [record.message for record in caplog.records] == [f"POST {path} has failed"]


async def test_a_request_that_a_stopping_server_breaks_off_is_told_so() -> None:
    asked = asyncio.Event()

    async def slow(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with served(LastAnswer(slow)) as server:
        waiting = asyncio.create_task(ask(server.url))
        await asked.wait()
        server.connections.break_off()
        answer = await waiting
    assert (answer.status, answer.content_type, answer.body["code"]) == (503, PROBLEM, "stopping")


async def test_an_answer_that_has_begun_is_broken_off() -> None:
    async def half(_scope: object, _receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEAD})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        ailing()

    async with served(LastAnswer(half)) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(server.url)


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    entered = asyncio.Event()
    app = console(MemoryEventLog()).app

    async def watched(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        entered.set()
        await app(dict(scope), receive, send)

    async with served(watched) as server:
        with socket.create_connection(server.address) as caller:
            caller.sendall(b"POST /api/v1/workloads HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{")
            await entered.wait()

        async def answered() -> bool:
            return not server.connections.state.tasks

        await until(answered)
    assert caplog.records == []


async def test_what_is_no_http_is_a_problem() -> None:
    async with served(LastAnswer(ailing)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"content-type: {PROBLEM}".encode() in head
    assert orjson.loads(body)["code"] == "malformed"


async def test_numbers_of_too_many_digits_are_refused() -> None:
    async with served(console(MemoryEventLog()).app) as server:
        answer = await ask(f"{server.url}/api/v1/ab-tests?limit={'9' * 5000}")
    assert (answer.status, answer.content_type) == (422, PROBLEM)
