"""One address for both surfaces: the data path goes to the gateway, everything else to the console.

A plain ASGI dispatcher, so that a request on the data path passes through nothing that it does not need.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from splitgauge.router.gateway import Gateway

__all__ = ["ASGIApp", "application"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def application(gateway: Gateway, console: ASGIApp) -> ASGIApp:
    """Both as one."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and gateway.serves(scope["path"]):
            await gateway(scope, receive, send)
        else:
            await console(scope, receive, send)

    return dispatch
