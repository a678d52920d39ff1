"""The data path over HTTP: a plain ASGI application.

Owns paths, limits and what a caller sees when something is wrong; what becomes of a request says `exchange`. Frameworks
are left out here: they cost more than all that the router does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from uuid import uuid4

import orjson

from splitgauge.router.clock import Clock
from splitgauge.router.events import EventMaker
from splitgauge.router.exchange import Exchange, Reply
from splitgauge.router.follower import Follower
from splitgauge.router.inquiry import OPERATIONS, WEBHOOK, Inquiry, Operation
from splitgauge.router.json_value import is_object
from splitgauge.router.outbox import Outbox
from splitgauge.router.refusal import refusal_of
from splitgauge.router.reports import Attribution, read_submitted
from splitgauge.router.settings import Durability
from splitgauge.schemas import instants
from splitgauge.schemas.errors import ContractError, MalformedError, SplitgaugeError, UnknownSubjectError
from splitgauge.schemas.problem import CONTENT_TYPE

__all__ = ["Gateway", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WEBHOOK_PATH = "/w/"
REPORTS_PATH = "/api/v1/reports"
MODELS_PATH = "/v1/models"
_ATTRIBUTE_PREFIX = "x-splitgauge-attr-"
_WATCHED_FROM_S = 0.05


class RequestTooLargeError(ContractError):
    """The request's body is longer than is taken."""

    code = "request-too-large"
    status = 413


class MethodError(ContractError):
    """The path is there, but not for this method."""

    code = "method-not-allowed"
    status = 405


class CallerGoneError(Exception):
    """The caller left before the request was whole: there is nobody to answer. Never leaves this module."""


class Gateway:
    """The ASGI application. Hidden state is the router's; the application itself has none."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        follower: Follower,
        outbox: Outbox,
        events: EventMaker,
        attribution: Attribution,
        clock: Clock,
        durability: Durability,
        request_bytes: int,
    ) -> None:
        self._exchange = exchange
        self._follower = follower
        self._outbox = outbox
        self._events = events
        self._attribution = attribution
        self._clock = clock
        self._durability: Durability = durability
        self._request_bytes = request_bytes
        self.refused = 0
        """Requests answered 503 because the router could not take them."""

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is the data path's."""
        return path.startswith((WEBHOOK_PATH, "/v1/")) or path == REPORTS_PATH

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close"})
            return
        try:
            await self._dispatch(scope, receive, send)
        except SplitgaugeError as exc:
            self.refused += exc.status == 503
            problem = refusal_of(exc, openai=scope["path"].startswith("/v1/"))
            await _send_json(send, exc.status, problem, kind=CONTENT_TYPE)
        except CallerGoneError:
            return

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        operation = OPERATIONS.get(path)
        if operation is not None:
            _expect_method(scope, "POST")
            await self._forward(scope, receive, send, operation)
        elif path.startswith(WEBHOOK_PATH):
            _expect_method(scope, "POST")
            await self._forward(scope, receive, send, WEBHOOK)
        elif path == REPORTS_PATH:
            _expect_method(scope, "POST")
            await self._report(scope, receive, send)
        elif path == MODELS_PATH:
            _expect_method(scope, "GET")
            await _send_json(send, 200, {"object": "list", "data": self._models()})
        else:
            raise UnknownSubjectError(
                f"there is nothing at {path[:200]}", where=path[:200], remedy="See the API's description"
            )

    async def _forward(self, scope: Scope, receive: Receive, send: Send, operation: Operation) -> None:
        body = await self._body(scope, receive)
        inquiry = _inquiry(scope, body, operation)
        reply = await self._while_there(receive, inquiry)
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})

    async def _while_there(self, receive: Receive, inquiry: Inquiry) -> Reply | None:
        """The reply; None where the caller left, which also aborts the call to the endpoint."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application runs in a task")
        watch = _Watch(receive, task)
        try:
            return await self._exchange.answer(inquiry, request_id=str(uuid4()), durability=self._durability)
        except asyncio.CancelledError:
            if not watch.left:
                raise
            task.uncancel()
            return None
        finally:
            watch.stop()

    async def _report(self, scope: Scope, receive: Receive, send: Send) -> None:
        document = _parse(await self._body(scope, receive))
        headers = _headers(scope["headers"])
        table = self._follower.current()
        refusal = self._outbox.refusal
        if refusal is not None:
            raise refusal
        attributed = [
            self._attribution.attribute(
                report, registry=table.registry, idempotency_key=headers.get("idempotency-key"), index=index
            )
            for index, report in enumerate(read_submitted(document))
        ]
        now = instants.to_text(self._clock.now_us())
        records = [self._events.report(report, received_at=now, decisions_offset=table.offset) for report in attributed]
        if records:
            await self._outbox.put(records, urgent=True).durable()
        await _send_json(send, 202, {"accepted": len(records)})

    def _models(self) -> list[dict[str, object]]:
        table = self._follower.current()
        return [
            {"id": key, "object": "model", "created": 0, "owned_by": "splitgauge", "name": route.name}
            for key, route in table.routes.items()
            if key == route.key
        ]

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._request_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise CallerGoneError
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._request_bytes:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"the body is longer than {self._request_bytes} bytes",
            where="body",
            remedy="Send less, or raise the router's setting `request_bytes`",
        )


def _inquiry(scope: Scope, body: bytes, operation: Operation) -> Inquiry:
    document = _parse(body)
    headers = _headers(scope["headers"])
    if operation is WEBHOOK:
        workload: str = scope["path"][len(WEBHOOK_PATH) :]
    else:
        workload = _model(document)
    return Inquiry(
        workload=workload,
        operation=operation,
        headers=headers,
        body=body,
        document=document,
        query=scope["query_string"].decode("latin-1"),
        attributes={
            name[len(_ATTRIBUTE_PREFIX) :]: value
            for name, value in headers.items()
            if name.startswith(_ATTRIBUTE_PREFIX)
        },
    )


def _model(document: object) -> str:
    if not is_object(document):
        raise ContractError("the body is no JSON object", where="", remedy='Send {"model": ..., ...}')
    if document.get("stream"):
        raise ContractError(
            "streaming is not supported yet",
            where="/stream",
            remedy="Send the request without `stream`, or with false",
            code="streaming-unsupported",
        )
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise ContractError(
            "the request names no workload", where="/model", remedy="Name one as `model`; GET /v1/models lists them"
        )
    return model


def _parse(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise MalformedError(
            f"the body is not JSON: {exc.msg}",
            where=f"line {exc.lineno} column {exc.colno}",
            remedy="Send one JSON value in UTF-8",
        ) from exc


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _expect_method(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        raise MethodError(
            f"{scope['path'][:200]} does not take {scope['method']}", where="method", remedy=f"Use {method}"
        )


class _Watch:
    """Cancels a request's task when its caller leaves.

    Begins to look after a while only: most answers are there before, and a task for each request would cost a tenth of
    all that the gateway does.
    """

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self.left = False
        self._receive = receive
        self._task = task
        self._watching: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCHED_FROM_S, self._start)

    def stop(self) -> None:
        """The request has ended; nothing is cancelled from now on."""
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _start(self) -> None:
        self._watching = asyncio.create_task(self._look())

    async def _look(self) -> None:
        # The whole body was read, so that all that can still come is that the caller leaves.
        if (await self._receive())["type"] == "http.disconnect":
            self.left = True
            self._task.cancel()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _send_json(send: Send, status: int, document: object, *, kind: str = "application/json") -> None:
    body = orjson.dumps(document)
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
