"""The beginning and the end of aiokafka's clients, so that no connection is left whenever one is given up.

Two ways to lose one in aiokafka 0.14. A start that is cancelled while the first broker is asked for the others: nobody
else knows the connection on which it asks. And a call that is under way while its client is closed: the connection that
it was opening comes after those that were closed.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection

__all__ = ["hung_up", "let_go", "settled", "started"]

_TO_END_S = 2.0
"""A broker that answers at all has answered by then; one that does not has no connection to be left open."""


async def started(start: Coroutine[Any, Any, None], *, timeout_s: float) -> None:
    """Wait for a client's `start()`; one that is given up may first end by itself. The client is the caller's to stop.

    Raises: TimeoutError where it takes longer; as `start`.
    """
    starting = asyncio.create_task(start, name="start of a client of Kafka")
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(starting)
    except BaseException:
        await settled(starting, timeout_s=_TO_END_S)
        raise


async def settled(task: asyncio.Task[None], *, timeout_s: float) -> bool:
    """Whether it has ended well in time; it is cancelled where it has not.

    Who waits may be cancelled meanwhile: the cancellation comes afterwards, the next one at once.
    """
    try:
        await asyncio.wait((task,), timeout=timeout_s)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=timeout_s)
        raise
    finally:
        if not task.done():
            task.cancel()
    return task.done() and not task.cancelled() and task.exception() is None


async def let_go(client: AIOKafkaClient) -> None:
    """Close the connections for good. A call still under way meets an error of aiokafka."""
    client._get_conn = _nothing  # noqa: SLF001 - a closed client goes on opening connections for whoever asks
    client._maybe_wait_metadata = _nothing  # noqa: SLF001 - nobody brings them any more
    await client.close()
    async with client._get_conn_lock:  # noqa: SLF001 - as long as one is being opened
        pass
    await client.close()


async def hung_up(connection: AIOKafkaConnection) -> None:
    """Close a connection, also one that was refused, and wait for its end: TLS takes leave of the broker first."""
    closed = connection.close()
    if connection._protocol is not None:  # noqa: SLF001 - as only a connection that has been made will end
        await asyncio.wait((closed,), timeout=_TO_END_S)


async def _nothing(*_: object, **__: object) -> None:
    """What aiokafka gets of a broker that cannot be reached."""
