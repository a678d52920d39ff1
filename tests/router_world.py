"""What tests of the router share: a log with something decided in it, endpoints to forward to, and servers for both.

Nothing here is a mock: endpoints are ASGI applications on uvicorn, decisions go through the log.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import orjson
import uvicorn

from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import EventLog
from splitgauge.experiments import commands
from splitgauge.experiments.commands import By
from splitgauge.experiments.history import Judged
from splitgauge.experiments.state import Registry
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import Envelope, parse
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.topics import OBSERVATIONS
from splitgauge.schemas.workload import Workload

__all__ = ["BY", "Decider", "Endpoint", "observations", "serve", "specification", "workload"]

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
    """The application on uvicorn, on a free port of this machine; its URL."""
    # Said to be TCP outright: asyncio turns Nagle's delay off for such sockets only.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, lifespan="off", log_level="critical", access_log=False, server_header=False, date_header=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await running
        listening.close()


async def observations(log: EventLog, kind: str | None = None) -> list[Envelope]:
    """All observations, partition by partition; `kind`: only of this type."""
    found: list[Envelope] = []
    for partition, bounds in (await log.bounds(OBSERVATIONS.name)).items():
        stored = await log.read(OBSERVATIONS.name, partition, bounds.start, limit=1_000_000)
        found += [parse(record.value) for record in stored]
    return [event for event in found if kind is None or event.type == f"splitgauge.{kind}.v1"]
