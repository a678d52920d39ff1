"""Whether the processes of Splitgauge are ready, and what one that is not says of itself.

Owns how long one may be unready without ending the demo: a part that has stopped for good says so and lives on.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from splitgauge.demo.client import Client
from splitgauge.schemas.errors import UpstreamError

__all__ = ["expect_ready", "unready_because"]

_PATIENCE_S = 60.0
"""Partitions change hands, and brokers elect: on a busy machine that may take half of it."""
_EVERY_S = 1.0


async def expect_ready(clients: Mapping[str, Client], *, patience_s: float = _PATIENCE_S) -> None:
    """For ever, as none may stay unready for longer. Raises: UpstreamError naming the process, and what it says."""
    async with asyncio.TaskGroup() as tasks:
        for name, client in clients.items():
            tasks.create_task(_expect_ready(name, client, patience_s))


async def _expect_ready(name: str, client: Client, patience_s: float) -> None:
    clock = asyncio.get_running_loop().time
    ready_at = clock()
    while True:
        reason = await unready_because(client)
        if reason is None:
            ready_at = clock()
        elif clock() - ready_at > patience_s:
            raise UpstreamError(f"{name} has not been ready for {patience_s:g} s: {reason}", where=client.url)
        await asyncio.sleep(_EVERY_S)


async def unready_because(client: Client) -> str | None:
    """What the parts say that are not ready; None: all are."""
    try:
        readiness = await client.readiness()
    except UpstreamError as exc:
        return exc.message
    if readiness["ready"]:
        return None
    parts: Mapping[str, Mapping[str, Any]] = readiness["parts"]
    said = (f"{part}: {says.get('reason', 'no reason given')}" for part, says in parts.items() if not says["ready"])
    return "; ".join(said)
