"""Everything that the demo needs running: the endpoints, Splitgauge on an empty data folder, and a client of it.

Owns bringing it up and taking it down: whatever happens, no process and no folder is left.
"""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from splitgauge.demo.children import Child
from splitgauge.demo.client import Client, Json
from splitgauge.demo.digits import Images, ModelName
from splitgauge.schemas.errors import UpstreamError

__all__ = ["FOLDER_PREFIX", "Stage", "stage"]

FOLDER_PREFIX = "splitgauge-demo-"

_CLI = "splitgauge.cli"
_ADDRESS = re.compile(r"http://[^ ]+")
_START_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs."""

    client: Client
    data_folder: Path
    endpoints: dict[ModelName, str]
    images: Images
    children: tuple[Child, ...]

    async def watch(self) -> None:
        """Wait for the first child that ends, which none must. Raises: UpstreamError."""
        async with asyncio.TaskGroup() as tasks:
            for child in self.children:
                tasks.create_task(child.watch())

    async def replay(self) -> Json:
        """What `splitgauge replay --json` says of the log as it stands. Raises: UpstreamError where it says nothing."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _CLI, "replay", "--json", str(self.data_folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if not out.strip():
            raise UpstreamError(
                f"no report, status {process.returncode}: {said.decode(errors='replace').strip()}", where="replay"
            )
        report: Json = orjson.loads(out)
        return report


@asynccontextmanager
async def stage(seed: int) -> AsyncGenerator[Stage]:
    """Up, ready, and down again."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    children: list[Child] = []
    try:
        models = await Child.start("endpoints", "splitgauge.demo.endpoints", str(seed), folder=folder)
        children.append(models)
        up = await Child.start("splitgauge", _CLI, "up", "--data", str(folder / "data"), "--port", "0", folder=folder)
        children.append(up)
        offer: Json = orjson.loads(await models.first_line())
        images = Images(pixels=offer["pixels"], labels=offer["labels"])
        async with _client(await up.first_line(), up) as client:
            yield Stage(client, folder / "data", offer["endpoints"], images, tuple(children))
    except (UpstreamError, ExceptionGroup) as exc:
        await asyncio.sleep(_POLL_S)  # the news of a child's end may come a moment after what follows from it
        ended = next((child for child in children if child.ended), None)
        if ended is not None:
            raise ended.failure() from exc
        raise
    finally:
        try:
            await asyncio.gather(*(child.stop() for child in reversed(children)))
        finally:
            shutil.rmtree(folder)


@asynccontextmanager
async def _client(first_line: str, up: Child) -> AsyncGenerator[Client]:
    """Of the Splitgauge that said this when it began to listen, once it is ready."""
    address = _ADDRESS.search(first_line)
    if address is None:
        raise UpstreamError(f"said {first_line!r} where its address was expected", where=up.name)
    client = Client(address[0])
    try:
        await _until_ready(client, up)
        yield client
    finally:
        await client.close()


async def _until_ready(client: Client, up: Child) -> None:
    ended = asyncio.ensure_future(up.watch())
    try:
        async with asyncio.timeout(_START_S):
            while not await _is_ready(client):
                await asyncio.wait([ended], timeout=_POLL_S)
                if ended.done():
                    await ended
    except TimeoutError as exc:
        raise UpstreamError(f"Splitgauge is not ready after {_START_S:g} s", where=client.url) from exc
    finally:
        ended.cancel()


async def _is_ready(client: Client) -> bool:
    try:
        return bool((await client.readiness())["ready"])
    except UpstreamError:
        return False  # it says its address a moment before it listens
