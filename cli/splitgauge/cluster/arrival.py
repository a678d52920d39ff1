"""The roles of a process, from the moment at which Kafka lets them begin.

Owns what the process does until then: it answers that it is not ready and why, and tries again. It knows no decisions
yet, so it can do nothing else for callers. What stands in a router's spool waits there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress

from splitgauge.cluster.operators import operators_app
from splitgauge.cluster.role import Role
from splitgauge.console.last_answer import ASGIApp, LastAnswer, Receive, Scope, Send
from splitgauge.console.operators import OPERATORS_PATHS
from splitgauge.eventlog.kafka_errors import refuses_us
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.standalone.application import document

__all__ = ["Start", "serve_roles"]

RETRY_S = 1.0
ARRIVES_S = 15.0
"""Until then nobody is answered, as a rule: who is refused a connection goes to another router, and for a 503 would
not."""

Serving = Coroutine[None, None, None]
Start = Callable[[AsyncExitStack], Awaitable[ASGIApp]]
"""Starts everything, to be stopped by the stack, and returns what answers from then on."""

_logger = logging.getLogger(__name__)


async def serve_roles(start: Start, roles: Iterable[Role], serving: Callable[[ASGIApp], Serving]) -> None:
    """Start the roles, and serve until that ends.

    Raises: as the roles do when they start, at once or later, for what does not pass by itself.
    """
    arrival = _Arrival(start, roles)
    arriving = asyncio.create_task(arrival.run())
    tasks = [arriving]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(ARRIVES_S):
                await arrival.attempted.wait()
        if arriving.done():
            arriving.result()
        tasks.append(asyncio.create_task(serving(arrival)))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if arriving.done():
            arriving.result()
        await tasks[-1]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await arrival.leave()


class _Arrival:
    """An ASGI application: the process's own, once that is there."""

    def __init__(self, start: Start, roles: Iterable[Role]) -> None:
        self.attempted = asyncio.Event()
        self._start = start
        self._stack = AsyncExitStack()
        self._reason = "it is starting"
        parts = ("log", *sorted(role.value for role in roles))
        self._operators = operators_app(dict.fromkeys(parts, self._status))
        self._app: ASGIApp = LastAnswer(self._wait, document=document)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    async def run(self) -> None:
        """Until the roles run."""
        try:
            while not await self._attempt():
                self.attempted.set()
                await asyncio.sleep(RETRY_S)
        finally:
            self.attempted.set()

    async def leave(self) -> None:
        """Stop what runs."""
        await self._stack.aclose()

    async def _attempt(self) -> bool:
        async with AsyncExitStack() as stack:
            try:
                self._app = await self._start(stack)
            except LogUnavailableError as exc:
                if refuses_us(exc):
                    raise
                if str(exc) != self._reason:
                    _logger.warning("waits for Kafka: %s", exc)
                self._reason = str(exc)
                return False
            self._stack = stack.pop_all()
        return True

    def _status(self) -> dict[str, object]:
        return {"ready": False, "reason": self._reason}

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPERATORS_PATHS:
            raise LogUnavailableError(
                "this process waits for its log, and knows no workloads yet",
                where="Kafka",
                remedy="Try again in a while; /readyz says why",
            )
        await self._operators(scope, receive, send)
