"""Splitgauge as real processes under traffic: `splitgauge up`, the endpoints behind it, and an application before it.

Endpoints and application live in the test's process, so that they remember what they were asked and answered while the
process under test is killed, starved of disk or stopped. Nothing here judges what happened.
"""

import asyncio
import os
import random
import re
import resource
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson

from router_world import serve
from waiting import until

__all__ = ["EXPERIMENTS", "OUTCOMES", "Answer", "Application", "Endpoints", "Up", "experiment"]

_ADDRESS = re.compile(rb"http://[^ ]+")
_DEADLINE_S = 120.0
"""For whatever is polled: far longer than it takes, on a machine however busy."""

Json = dict[str, Any]


class Up:
    """A running `splitgauge up`. Its errors are in the file `errors`."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        """For `running` and `start`."""
        self.process = process
        self.errors = errors
        self.url = ""

    @classmethod
    async def start(cls, folder: Path, *, command: Sequence[str] = ("up",), **settings: object) -> Self:
        """Start it, ready or not. `command`: another one that serves. `settings`: as in the settings file."""
        given = {f"SPLITGAUGE_{key.upper()}": str(value) for key, value in settings.items()}
        errors = folder.with_name(f"{folder.name}.errors")
        with errors.open("ab") as written:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "splitgauge.cli", *command, "--data", str(folder)),
                env=os.environ | {"SPLITGAUGE_PORT": "0", "SPLITGAUGE_INSTANCE": "test"} | given,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=written,
                cwd=folder.parent,
            )
        return cls(process, errors)

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, *, command: Sequence[str] = ("up",), **settings: object
    ) -> AsyncGenerator[Self]:
        """Ready; dead after the block, whatever happens."""
        up = await cls.start(folder, command=command, **settings)
        try:
            await up.ready()
            yield up
        finally:
            await up.kill()

    async def ready(self) -> None:
        """Wait until every part says that it is ready."""
        await self.listening()

        async def all_ready() -> bool:
            return bool((await self.get("/readyz"))["ready"])

        await until(all_ready, what="splitgauge up is ready")

    async def listening(self) -> None:
        """Wait until it says where it answers."""
        assert self.process.stdout is not None
        address = _ADDRESS.search(await self.process.stdout.readline())
        assert address is not None, self.said()
        self.url = address[0].decode()

    async def get(self, path: str) -> Json:
        """A JSON object, whatever the status."""
        async with aiohttp.ClientSession(self.url) as session, session.get(path) as response:
            document: Json = await response.json()
            return document

    async def kill(self) -> None:
        """At once, unless it has ended."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask it to stop, and wait. Returns its exit status."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end. Returns its exit status."""
        async with asyncio.timeout(_DEADLINE_S):
            return await self.process.wait()

    def limit_files(self, size_bytes: int | None) -> None:
        """As a full disk: no file grows beyond this size; None: as large as they like."""
        for pid in (self.process.pid, *self.children()):
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            soft = most if size_bytes is None else size_bytes
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, most))

    def children(self) -> list[int]:
        """Processes that it has started and that live."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in listed.split()]

    def said(self) -> str:
        """What it has written to its standard error."""
        return self.errors.read_text(encoding="utf-8", errors="replace")


class Endpoints:
    """The models: `good` is usually right, `poor` seldom, `broken` fails two times in three."""

    RIGHT = {"good": 0.9, "poor": 0.2, "broken": 0.9}

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.url = ""
        self.delay_s = 0.005

    @classmethod
    @asynccontextmanager
    async def running(cls, seed: int = 1) -> AsyncGenerator[Self]:
        endpoints = cls(seed)
        async with serve(endpoints) as url:
            endpoints.url = url
            yield endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body", False):
            pass
        await asyncio.sleep(self.delay_s)
        model = scope["path"].strip("/")
        status = 500 if model == "broken" and self._chance.random() < 2 / 3 else 200
        body = orjson.dumps({"model": model, "right": self._chance.random() < self.RIGHT[model]})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def workloads(self) -> list[Json]:
        """`main` and `side` serve the poor model; the others are what challengers run."""
        models = {"main": "poor", "side": "poor", "good": "good", "broken": "broken"}
        return [
            {"id": key, "provider": "webhook", "url": f"{self.url}/{model}", "timeout_s": 10}
            for key, model in models.items()
        ]


EXPERIMENTS: dict[str, tuple[str, str]] = {"winning": ("main", "good"), "failing": ("side", "broken")}
"""Experiment -> what it runs on, and the challenger."""

OUTCOMES = {"winning": ("completed", "challenger"), "failing": ("completed", "control")}
"""Experiment -> status and winner, in the end."""


def experiment(experiment_id: str, **fields: object) -> Json:
    """One that decides as soon as the numbers are there: minutes of traffic are seconds in a test."""
    base, challenger = EXPERIMENTS[experiment_id]
    return {
        "id": experiment_id,
        "name": experiment_id,
        "base_workload_id": base,
        "control": "control",
        "variants": [
            {"name": "control", "workload_id": base, "traffic_percent": 50},
            {"name": "challenger", "workload_id": challenger, "traffic_percent": 50},
        ],
        "metrics": [{"name": "right", "kind": "proportion", "level": "request", "denominator": "reports"}],
        "goal": {"metric": "right"},
        "guardrails": [{"metric": "success", "margin": 0.1}],
        "minimum": {"units": 100, "requests": 100, "duration_s": 0},
        "planned_units": 400,
        "policy": {"promote": "act"},
        **fields,
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that the application got."""

    workload: str
    user: str
    status: int
    token: str | None
    variant: str | None
    model: str | None


@dataclass(slots=True)
class Application:
    """An application with users. It goes on through whatever happens to Splitgauge, and keeps what it was answered.

    Attributes:
        answers: over HTTP, in the order in which they came.
        accepted: ids of request events for which Splitgauge said 202.
        reported: tokens of the answers for whose report it said 202.
        broken_off: requests that got no answer at all.
    """

    seed: int
    users: int = 400
    answers: list[Answer] = field(default_factory=list[Answer])
    accepted: list[str] = field(default_factory=list[str])
    reported: list[str] = field(default_factory=list[str])
    broken_off: int = 0
    _number: int = 0
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    async def define(self, up: Up, endpoints: Endpoints, *, experiments: Mapping[str, Json]) -> None:
        """All workloads, and the experiments, active."""
        async with aiohttp.ClientSession(up.url) as session:
            for workload in endpoints.workloads():
                await _expect(session, "/api/v1/workloads", workload)
            for experiment_id, document in experiments.items():
                await _expect(session, "/api/v1/ab-tests", document)
                await _expect(session, f"/api/v1/ab-tests/{experiment_id}/activate", {})

    @asynccontextmanager
    async def sending(
        self, *up: Up, console: Up | Sequence[Up] | None = None, senders: int = 8
    ) -> AsyncGenerator[None]:
        """Traffic in the background: requests over HTTP and as events, and reports for what was answered.

        Args:
            up: where senders ask. Of several each begins with another, and goes on to the next where it is refused.
            console: the process that takes events, where that is another one; several as above.
        """
        consoles = up if console is None else (console,) if isinstance(console, Up) else console
        async with aiohttp.ClientSession() as session:
            tasks = [
                asyncio.create_task(self._send(_Addresses(session, up, number), _Addresses(session, consoles, number)))
                for number in range(senders)
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def send(self, up: Up, requests: int, *, senders: int = 8) -> list[Answer]:
        """That many requests over HTTP; what was answered."""
        before = len(self.answers)
        async with aiohttp.ClientSession() as session:
            left = iter(range(requests))

            async def some() -> None:
                for _ in left:
                    await self._ask(_Addresses(session, (up,)))

            await asyncio.gather(*(some() for _ in range(senders)))
        return self.answers[before:]

    async def _ask(self, router: "_Addresses") -> None:
        """One request, and a report of what came of it."""
        workload, user = self._next()
        try:
            headers = {"x-splitgauge-unit": user}
            async with router.post(f"/w/{workload}", json={"number": self._number}, headers=headers) as response:
                body = await response.read()
                document: Json = orjson.loads(body) if body.startswith(b"{") else {}
                answer = Answer(
                    workload,
                    user,
                    response.status,
                    response.headers.get("x-splitgauge-request-id"),
                    response.headers.get("x-ab-variant-name"),
                    document.get("model"),
                )
            self.answers.append(answer)
            if answer.token is not None and answer.status == 200:
                report = {"token": answer.token, "metrics": {"right": document["right"]}}
                async with router.post("/api/v1/reports", json=[report]) as response:
                    if response.status == 202:
                        self.reported.append(answer.token)
                    await response.read()
        except (aiohttp.ClientError, ConnectionError):
            self.broken_off += 1
            await asyncio.sleep(0.02)

    async def _send(self, router: "_Addresses", console: "_Addresses") -> None:
        while True:
            if self._chance.random() < 0.1:
                await self._ask_by_event(console)
            else:
                await self._ask(router)

    async def _ask_by_event(self, console: "_Addresses") -> None:
        workload, user = self._next()
        event_id = f"event-{self._number}"
        data = {"request_id": event_id, "workload": workload, "unit": user, "body": {"number": self._number}}
        event = {"specversion": "1.0", "id": event_id, "source": "/test/app", "type": "splitgauge.request.v1"}
        headers = {"content-type": "application/cloudevents+json"}
        body = orjson.dumps({**event, "data": data})
        try:
            async with console.post("/api/v1/events", data=body, headers=headers) as response:
                if response.status == 202:
                    self.accepted.append(event_id)
        except (aiohttp.ClientError, ConnectionError):
            self.broken_off += 1
            await asyncio.sleep(0.02)

    def _next(self) -> tuple[str, str]:
        self._number += 1
        return self._chance.choice(("main", "side")), f"user-{self._chance.randrange(self.users)}"


class _Addresses:
    """Of processes that do the same: the next one is asked where one refuses a connection, and for no other reason."""

    def __init__(self, session: aiohttp.ClientSession, up: Sequence[Up], first: int = 0) -> None:
        self._session = session
        self._urls = [each.url for each in up]
        self._at = first % len(up)

    @asynccontextmanager
    async def post(self, path: str, **given: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        """As the session's."""
        async with await self._connected(path, given) as response:
            yield response

    async def _connected(self, path: str, given: Json) -> aiohttp.ClientResponse:
        for _ in self._urls[1:]:
            try:
                return await self._session.post(self._urls[self._at] + path, **given)
            except aiohttp.ClientConnectorError as exc:
                if not isinstance(exc.os_error, ConnectionRefusedError):
                    raise
                self._at = (self._at + 1) % len(self._urls)
        return await self._session.post(self._urls[self._at] + path, **given)


async def _expect(session: aiohttp.ClientSession, path: str, document: Json) -> None:
    async with session.post(path, json=document) as response:
        assert response.status < 300, await response.text()
