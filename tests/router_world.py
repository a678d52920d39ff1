"""What tests of the router share: a log with something decided in it, endpoints to forward to, and servers for both.

Nothing here is a mock: endpoints are ASGI applications on uvicorn, decisions go through the log.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import Bounds, EventLog, GroupMember, Record, StoredRecord
from splitgauge.experiments import commands
from splitgauge.experiments.commands import By
from splitgauge.experiments.history import Judged
from splitgauge.experiments.state import Registry
from splitgauge.router.service import Router
from splitgauge.router.settings import RouterSettings
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import Envelope, EventType, parse, wrap
from splitgauge.schemas.errors import LogUnavailableError, SplitgaugeError
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS
from splitgauge.schemas.workload import Workload
from waiting import until

__all__ = [
    "BY",
    "AilingLog",
    "Decider",
    "Endpoint",
    "Gate",
    "Reply",
    "events_of",
    "observations",
    "produce",
    "routing",
    "serve",
    "specification",
    "splitting",
    "workload",
]

BY = By(Actor(kind="user", name="test"), "a test wants it")
NOW_US = 1_700_000_000_000_000

App = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


def workload(key: str | int, url: str, **fields: Any) -> Workload:
    """A webhook workload unless told otherwise."""
    return Workload.model_validate({"id": key, "url": url, "provider": "webhook", **fields})


def specification(
    base: str | int, challenger: str | int, *, weight: float = 50, **fields: Any
) -> ExperimentSpecification:
    """Control on the base and one challenger."""
    variants = [
        {"name": "control", "workload_id": base, "weight": 100 - weight},
        {"name": "challenger", "workload_id": challenger, "weight": weight},
    ]
    return ExperimentSpecification.model_validate(
        {"name": "test", "base_workload_id": base, "variants": variants, **fields}
    )


class Decider:
    """Decides as a person would."""

    def __init__(self, log: EventLog) -> None:
        self._decisions = DecisionLog(log, source="/splitgauge/console", instance="test")

    async def registry(self) -> Registry:
        """The present state."""
        return await self._decisions.catch_up()

    async def decide(self, command: Callable[[Registry], DecisionData]) -> Judged:
        """Propose what the command makes of the present state; it has to be accepted."""
        registry = await self._decisions.catch_up()
        judged = await self._decisions.propose(command(registry), event_id=str(uuid4()), time_us=NOW_US)
        assert judged.accepted, judged.refusal
        return judged

    async def define(self, *workloads: Workload) -> None:
        """Define workloads."""
        for each in workloads:
            await self.decide(partial(commands.define_workload, workload=each, by=BY))

    async def start(self, experiment_id: str, experiment: ExperimentSpecification) -> None:
        """Define and activate an experiment."""
        await self.decide(lambda r: commands.define_experiment(r, experiment_id, experiment, BY))
        await self.decide(lambda r: commands.activate_experiment(r, experiment_id, BY))


@asynccontextmanager
async def splitting(log: EventLog, endpoint: App, **experiment: Any) -> AsyncGenerator[str]:
    """The endpoint serves the workloads `a` and `b`, and experiment `e1` splits between them; where the endpoint is."""
    decider = Decider(log)
    async with serve(endpoint) as url:
        await decider.define(workload("a", url), workload("b", url))
        await decider.start("e1", specification("a", "b", **experiment))
        yield url


class Endpoint:
    """An endpoint that answers JSON, and keeps what it was asked."""

    def __init__(self, answer: object = None, *, status: int = 200, delay_s: float = 0.0) -> None:
        self.raw = orjson.dumps({"answer": 1} if answer is None else answer)
        self.status = status
        self.delay_s = delay_s
        self.headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
        self.asked: list[tuple[MutableMapping[str, Any], bytes]] = []
        self.left = 0

    @property
    def bodies(self) -> list[Any]:
        """The JSON bodies it got."""
        return [orjson.loads(body) for _, body in self.asked]

    def header(self, name: str) -> str | None:
        """A header of the last request."""
        return {key.decode(): value.decode() for key, value in self.asked[-1][0]["headers"]}.get(name)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.asked.append((scope, body))
        if self.delay_s:
            leaving = asyncio.ensure_future(receive())
            await asyncio.wait((leaving,), timeout=self.delay_s)
            if leaving.done():
                self.left += 1
                return
            leaving.cancel()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.raw})


@asynccontextmanager
async def serve(app: App) -> AsyncGenerator[str]:
    """The application on uvicorn's protocol, on a free port of this machine; its URL.

    Without uvicorn's own main loop, which looks ten times a second whether it should end: a test has several servers.
    """
    config = uvicorn.Config(
        app, lifespan="off", log_level="critical", access_log=False, server_header=False, date_header=False
    )
    config.load()
    state = ServerState()

    def protocol() -> asyncio.Protocol:
        return HttpToolsProtocol(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def observations(log: EventLog, kind: str | None = None) -> list[Envelope]:
    """All observations, partition by partition; `kind`: only of this type."""
    events = await events_of(log, OBSERVATIONS.name)
    return [event for event in events if kind is None or event.type == f"splitgauge.{kind}.v1"]


class AilingLog:
    """A log whose appends can be made to fail, or to hang until it is well again."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._well = asyncio.Event()
        self._well.set()
        self.failing = False
        self.refusing: set[str] = set()
        """Topics whose appends fail."""
        self.failing_with: SplitgaugeError | None = None
        self.joins_in_vain = 0
        """So many more fail."""
        self.appends = 0

    def hang(self) -> None:
        """Appends wait from now on, and go through when the log is well again."""
        self._well.clear()

    def recover(self) -> None:
        """From now on all is well."""
        self.failing = False
        self._well.set()

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        self.appends += 1
        if self.failing_with is not None:
            raise self.failing_with
        if self.failing or topic in self.refusing:
            raise LogUnavailableError("a test wants it", where=topic)
        await self._well.wait()
        return await self._log.append(topic, records)

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        return await self._log.read(topic, partition, start, limit=limit)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        return await self._log.bounds(topic)

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        return self._log.follow(topic, positions, limit=limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        if self.joins_in_vain:
            self.joins_in_vain -= 1
            raise LogUnavailableError("a test wants it", where=group)
        return self._log.join(topic, group)

    async def close(self) -> None:
        await self._log.close()


@asynccontextmanager
async def routing(log: EventLog, folder: Path, **settings: Any) -> AsyncGenerator["Gate"]:
    """A router on the log, served on uvicorn, with a caller for it."""
    patient = RouterSettings(folder, instance="test", log_patience_s=30.0)
    chosen = replace(patient, **settings)
    async with Router(log, chosen) as router, serve(router.app) as url, aiohttp.ClientSession() as session:
        yield Gate(router, url, session, log)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a caller got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def variant(self) -> str | None:
        return self.headers.get("x-ab-variant-name")

    @property
    def token(self) -> str:
        return self.headers["x-splitgauge-request-id"]


class Gate:
    """A caller's side of a router."""

    def __init__(self, router: Router, url: str, session: aiohttp.ClientSession, log: EventLog) -> None:
        self.router = router
        self.url = url
        self._session = session
        self._log = log

    async def post(
        self, path: str, document: object = None, *, body: bytes | None = None, method: str = "POST", **headers: Any
    ) -> Reply:
        """Underscores in names of headers become hyphens."""
        sent = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        data = orjson.dumps(document) if body is None else body
        async with self._session.request(method, self.url + path, data=data, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def ask(self, unit: str | None = None, *, workload: str = "a", document: object = None) -> Reply:
        """A webhook request of a unit."""
        asked = {"q": 1} if document is None else document
        if unit is None:
            return await self.post(f"/w/{workload}", asked)
        return await self.post(f"/w/{workload}", asked, x_splitgauge_unit=unit)

    async def up_to_date(self) -> None:
        """Until the router has applied all that is decided."""
        end = (await self._log.bounds(DECISIONS.name))[0].end

        async def applied() -> bool:
            return self.router.status()["decisions_offset"] == end

        await until(applied)


async def produce(log: EventLog, topic: str, kind: EventType, data: object, *, event_id: str) -> None:
    """An event as an application writes it."""
    event = wrap(encode(data), type=kind, id=event_id, source="/app", time="2026-11-22T10:00:00.000000Z", key=event_id)
    await log.append(topic, [Record(event, event_id.encode())])


async def events_of(log: EventLog, topic: str) -> list[Envelope]:
    """All events of a topic, partition by partition."""
    found: list[Envelope] = []
    for partition, bounds in (await log.bounds(topic)).items():
        stored = await log.read(topic, partition, bounds.start, limit=1_000_000)
        found += [parse(record.value) for record in stored]
    return found
