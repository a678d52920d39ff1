"""One address for both surfaces: the data path goes to the gateway, everything else to the console.

A plain ASGI dispatcher, so that a request on the data path passes through nothing that it does not need. Owns what a
caller sees whose request a stopping server does not wait for any longer.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from splitgauge.router.gateway import Gateway
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.problem import CONTENT_TYPE, problem_of

__all__ = ["ASGIApp", "application"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class StoppingError(SplitgaugeError):
    """The server stops, and the request has had the time that there was."""

    code = "stopping"
    status = 503


def application(gateway: Gateway, console: ASGIApp) -> ASGIApp:
    """Both as one."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if scope["type"] == "http" and gateway.serves(scope["path"]):
                await gateway(scope, receive, watched)
            else:
                await console(scope, receive, watched)
        except asyncio.CancelledError:
            # The server cancels requests at the end of its patience, and nothing else does. Raised on, it would be
            # answered with a bare 500 and logged as a defect.
            if started:
                raise
            await _refuse(send)

    return dispatch


async def _refuse(send: Send) -> None:
    error = StoppingError("the server stops", where="request", remedy="Ask again: what was begun is not finished")
    body = orjson.dumps(problem_of(error))
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
