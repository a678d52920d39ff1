"""The control plane as a caller sees it: a console on a real embedded log behind real HTTP, for tests."""

import asyncio
import io
import itertools
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvicorn
from multidict import CIMultiDictProxy

from splitgauge.console.service import Console, ConsoleSettings
from splitgauge.eventlog.sqlite import SqliteEventLog

START_US = 1_800_000_000_000_000


@dataclass
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: CIMultiDictProxy[str]

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


@dataclass
class Api:
    """The control plane as a caller sees it, and what stands behind it."""

    console: Console
    log: SqliteEventLog
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, "/api/v1" + path, headers=sent, data=None if body is None else io.BytesIO(data)
        ) as response:
            return Answer(response.status, await response.json(content_type=None), response.headers)

    async def get(self, path: str) -> Answer:
        return await self.call("GET", path)

    async def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return await self.call("POST", path, body, **headers)


def webhook(workload_id: int | str, **changes: object) -> dict[str, object]:
    return {"id": workload_id, "provider": "webhook", "url": f"http://127.0.0.1:9/{workload_id}", **changes}


EXPERIMENT: dict[str, Any] = {
    "name": "Mistral 7B vs Llama 8B",
    "base_workload_id": 42,
    "variants": [
        {"name": "control", "workload_id": 42, "traffic_percent": 80},
        {"name": "challenger", "workload_id": 57, "traffic_percent": 20},
    ],
}


@asynccontextmanager
async def serving(folder: Path, **parts: Any) -> AsyncGenerator[Api]:
    """A console on the folder's log. Its clock moves by a second a decision, its ids count."""
    log = SqliteEventLog.open(folder)
    moments, numbers = itertools.count(START_US, 1_000_000), itertools.count(1)
    console = Console(
        log,
        ConsoleSettings(),
        clock=lambda: next(moments),
        ids=lambda: f"{next(numbers):08x}-0000-4000-8000-000000000000",
        parts=parts,
    )
    await console.start()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(console.app, log_config=None, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])  # not `serve`, which looks only every 0.1 s whether it has to stop
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as session:
        yield Api(console, log, session)
    await asyncio.sleep(0)
    await server.shutdown(sockets=[listener])
    await console.stop()
    await log.close()
