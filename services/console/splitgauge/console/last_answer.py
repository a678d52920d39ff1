"""What a caller sees where a request ends without an answer: a problem document as of any other error.

Owns the two ways to that end, a defect and a server that waits no longer, for every surface of a process. The traceback
of a defect goes to the log, and nothing of it to the caller.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.problem import CONTENT_TYPE, problem_of

__all__ = ["ASGIApp", "LastAnswer", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Document = Callable[[SplitgaugeError, str], Mapping[str, object]]
"""Of an error at a path."""

_logger = logging.getLogger(__name__)


class StoppingError(SplitgaugeError):
    """The server stops, and the request has had the time that there was."""

    code = "stopping"
    status = 503


class LastAnswer:
    """An ASGI application that answers in any case. What has begun to be answered is broken off: it stands already."""

    def __init__(self, app: ASGIApp, *, document: Document | None = None) -> None:
        """`document`: how the surface shows an error; None: as a problem."""
        self._app = app
        self._document: Document = document or (lambda error, _path: problem_of(error))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (Exception, asyncio.CancelledError) as exc:
            # The server cancels requests at the end of its patience, and nothing else does. Raised on, either would be
            # answered with a bare 500.
            if started or scope["type"] != "http":
                raise
            error = _error(exc)
            if error.status == SplitgaugeError.status:
                _logger.exception("%s %s has failed", scope["method"], scope["path"])
            await self._refuse(send, error, scope["path"])

    async def _refuse(self, send: Send, error: SplitgaugeError, path: str) -> None:
        body = orjson.dumps(self._document(error, path))
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _error(exc: BaseException) -> SplitgaugeError:
    if isinstance(exc, SplitgaugeError):
        return exc
    if isinstance(exc, asyncio.CancelledError):
        return StoppingError("the server stops", where="request", remedy="Ask again: what was begun is not finished")
    # Its kind only: its words may hold what callers sent.
    return SplitgaugeError(
        f"the request has met a defect of Splitgauge ({type(exc).__name__})",
        where="request",
        remedy="The log of the process has the traceback; please report it",
    )
