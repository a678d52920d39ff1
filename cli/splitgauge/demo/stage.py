"""Everything that the demo needs running: the endpoints, Splitgauge on an empty data folder, and a client of it.

Owns bringing it up and taking it down: whatever happens, no process and no folder is left.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from splitgauge.demo.children import Child, free_port, start_endpoint
from splitgauge.demo.client import Client, Json
from splitgauge.demo.digits import MODELS, ModelName
from splitgauge.schemas.errors import UpstreamError

__all__ = ["Stage", "stage"]

_START_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs."""

    client: Client
    data_folder: Path
    endpoints: dict[ModelName, str]
    children: tuple[Child, ...]

    async def watch(self) -> None:
        """Wait for the first child that ends, which none must. Raises: UpstreamError."""
        async with asyncio.TaskGroup() as tasks:
            for child in self.children:
                tasks.create_task(child.watch())

    async def replay(self) -> Json:
        """What `splitgauge replay --json` says of the log as it stands. Raises: UpstreamError where it says nothing."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "splitgauge.cli", "replay", "--json", "--data", str(self.data_folder)),
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
    folder = Path(tempfile.mkdtemp(prefix="splitgauge-demo-"))
    children: list[Child] = []
    url = f"http://127.0.0.1:{free_port()}"
    client = Client(url)
    try:
        for model in MODELS:
            child = await start_endpoint(model, seed=seed, folder=folder)
            children.append(child)
        data = folder / "data"
        up = await _start_splitgauge(url, data, folder=folder)
        children.append(up)
        ports = [await endpoint.first_line() for endpoint in children[: len(MODELS)]]
        await _until_ready(client, up)
        endpoints: dict[ModelName, str] = {
            model: f"http://127.0.0.1:{port}" for model, port in zip(MODELS, ports, strict=True)
        }
        yield Stage(client, data, endpoints, tuple(children))
    finally:
        try:
            await client.close()
            await asyncio.gather(*(child.stop() for child in reversed(children)))
        finally:
            shutil.rmtree(folder)


async def _start_splitgauge(url: str, data: Path, *, folder: Path) -> Child:
    port = url.rpartition(":")[2]
    return await Child.start(
        "splitgauge up", "splitgauge.cli", "up", "--data", str(data), "--port", port, folder=folder
    )


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
        return bool((await client.get("/readyz"))["ready"])
    except UpstreamError:
        return False  # it does not listen yet, or says 503 while it reads its log
