"""One address for both surfaces: the data path goes to the gateway, everything else to the console.

A plain ASGI dispatcher, so that a request on the data path passes through nothing that it does not need.
"""

from typing import TYPE_CHECKING, Any

from splitgauge.console.last_answer import ASGIApp, LastAnswer, Receive, Scope, Send
from splitgauge.router.refusal import refusal_of
from splitgauge.schemas.errors import SplitgaugeError

if TYPE_CHECKING:  # a process that only needs to show errors needs no data path
    from splitgauge.router.gateway import Gateway

__all__ = ["application", "document"]


def application(gateway: "Gateway", console: ASGIApp) -> ASGIApp:
    """Both as one."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        data_path = scope["type"] == "http" and gateway.serves(scope["path"])
        await (gateway if data_path else console)(scope, receive, send)

    return LastAnswer(dispatch, document=document)


def document(error: SplitgaugeError, path: str) -> dict[str, Any]:
    """What a caller at that path is told, whichever the surface."""
    return refusal_of(error, openai=path.startswith("/v1/"))
