"""Everything that the demo needs running, whatever engine carries the log: what the play sees of it.

Owns what both stages have in common: a folder that is gone afterwards, endpoints, and clients of what
says that it is ready.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from splitgauge.demo.children import Child, Children
from splitgauge.demo.client import Client, Json
from splitgauge.demo.digits import Images, ModelName
from splitgauge.demo.readiness import expect_ready, unready_because
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas.errors import UpstreamError

__all__ = [
    "CLI",
    "FOLDER_PREFIX",
    "Models",
    "Say",
    "Stage",
    "StageOf",
    "answering",
    "empty_house",
    "models_of",
    "start_models",
]

FOLDER_PREFIX = "splitgauge-demo-"
CLI = "splitgauge.cli"

_ADDRESS = re.compile(r"http://[^ ]+")
_START_S = 180.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Models:
    """What the endpoints' process says of itself: where they are, and which images are the traffic."""

    endpoints: dict[ModelName, str]
    images: Images


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs.

    Attributes:
        name: of the engine: `embedded` or `cluster`.
        looking: commands that show the log, by what they show.
        processes: clients of all that run Splitgauge, by name.
        console: where experiments are defined and read, and events of applications are taken.
        routers: where requests go, in turn.
        log: to be read.
        log_source, archive_source: what `splitgauge replay` is given; None: there is no archive.
        environment: what every process of Splitgauge is given.
    """

    name: str
    looking: Mapping[str, str]
    processes: Mapping[str, Client]
    console: Client
    routers: tuple[Client, ...]
    models: Models
    log: EventLog
    children: Children
    log_source: str
    archive_source: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    async def watch(self) -> None:
        """Wait for the first process that ends, or stays unready, which none must. Raises: UpstreamError naming it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.children.watch())
            tasks.create_task(expect_ready(self.processes))

    async def replay(self, source: str) -> Json:
        """What `splitgauge replay --json` says of it as it stands. Raises: UpstreamError where it says nothing."""
        report: Json = orjson.loads(
            await self.children.output_of("replay", CLI, "replay", "--json", source, environment=self.environment)
        )
        return report


Say = Callable[[str], None]
StageOf = Callable[[int, Say], AbstractAsyncContextManager[Stage]]
"""Of a seed: up, ready, and down again. It may say how far it is."""


@asynccontextmanager
async def empty_house() -> AsyncGenerator[Children]:
    """Children to be, in an empty folder. Whatever happens, no process and no folder is left."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    children = Children(folder)
    try:
        async with children.ending_together():
            yield children
    finally:
        shutil.rmtree(folder)


async def start_models(children: Children, seed: int) -> Child:
    """The endpoints, which take a while; `models_of` waits for them."""
    return await children.start("endpoints", "splitgauge.demo.endpoints", str(seed))


async def models_of(endpoints: Child) -> Models:
    """Once they answer."""
    offer: Json = orjson.loads(await endpoints.first_line())
    return Models(offer["endpoints"], Images(pixels=offer["pixels"], labels=offer["labels"]))


@asynccontextmanager
async def answering(child: Child, children: Children) -> AsyncGenerator[Client]:
    """A client of a process that says where it listens, once it is ready.

    Raises: UpstreamError where it does not come to that, or another of the children ends meanwhile.
    """
    said = await child.first_line()
    address = _ADDRESS.search(said)
    if address is None:
        raise UpstreamError(f"said {said!r} where its address was expected", where=child.name)
    client = Client(address[0])
    try:
        await _until_ready(child.name, client, children)
        yield client
    finally:
        await client.close()


async def _until_ready(name: str, client: Client, children: Children) -> None:
    ended = asyncio.ensure_future(children.watch())
    reason: str | None = None
    try:
        async with asyncio.timeout(_START_S):
            while (reason := await unready_because(client)) is not None:
                await asyncio.wait([ended], timeout=_POLL_S)
                if ended.done():
                    await ended
    except TimeoutError as exc:
        raise UpstreamError(f"{name} is not ready after {_START_S:g} s: {reason}", where=client.url) from exc
    finally:
        ended.cancel()
