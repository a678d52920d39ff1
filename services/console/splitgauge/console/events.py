"""`POST /api/v1/events`: applications' CloudEvents over HTTP, for those that do not produce to the log themselves.

The CloudEvents HTTP binding, structured mode and batches. Events are appended as they came, byte for byte where one
comes alone; nothing of a batch is appended unless all of it is in order. What they mean is the router's business.
"""

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from splitgauge.eventlog.port import EventLog, Record
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.envelope import CONTENT_TYPE, parse
from splitgauge.schemas.errors import ContractError, MalformedError
from splitgauge.schemas.problem import CONTENT_TYPE as PROBLEM_CONTENT_TYPE
from splitgauge.schemas.topics import REPORTS, REQUESTS, Topic
from splitgauge.schemas.traffic import ReportData, RequestData
from splitgauge.schemas.validation import first_fault

__all__ = ["BATCH_CONTENT_TYPE", "MAX_BODY_BYTES", "events_router"]

BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
MAX_BODY_BYTES = 16 * 1024 * 1024
"""Of one call. A batch is held in memory until it is durable."""

_ACCEPTED: dict[str, tuple[Topic, type[RequestData | ReportData]]] = {
    "splitgauge.request.v1": (REQUESTS, RequestData),
    "splitgauge.report.v1": (REPORTS, ReportData),
}
"""What applications may write. Observations and decisions are written by those who answer for them."""

_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "a CloudEvent; all its fields stand in the published schemas of the envelope and of the two types",
    "properties": {"type": {"enum": sorted(_ACCEPTED)}},
    "required": ["specversion", "id", "source", "type", "data"],
}
_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            CONTENT_TYPE: {"schema": _EVENT},
            BATCH_CONTENT_TYPE: {"schema": {"type": "array", "items": _EVENT}},
        },
    },
    "responses": {
        "default": {
            "description": "What is wrong, where, and what to do",
            "content": {PROBLEM_CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
}


def events_router(log: EventLog) -> APIRouter:
    """The route, appending to `log`."""
    routes = APIRouter(tags=["events"])

    @routes.post("/api/v1/events", status_code=202, summary="Append request and report events", openapi_extra=_OPENAPI)
    async def append_events(request: Request) -> JSONResponse:
        """Answers with the place of every event, once all are durable; what they mean is judged after that.

        A report of a metric that its experiment does not declare is a 202 too, counts nowhere, and becomes a dead
        letter with the reason `unknown-metric`.
        """
        records = read_events(await _body(request), content_type=request.headers.get("content-type", ""))
        places: list[dict[str, Any]] = [{} for _ in records]
        for topic in (REQUESTS, REPORTS):
            mine = [index for index, (of, _) in enumerate(records) if of is topic]
            if not mine:
                continue
            appended = await log.append(topic.name, [records[index][1] for index in mine])
            for index, (partition, offset) in zip(mine, appended, strict=True):
                places[index] = {"topic": topic.name, "partition": partition, "offset": offset}
        return JSONResponse({"events": places}, status_code=202)

    return routes


def read_events(body: bytes, *, content_type: str) -> list[tuple[Topic, Record]]:
    """The events of a call with the topic that each belongs to.

    Raises: MalformedError, ContractError naming the event and the field.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == CONTENT_TYPE:
        return [_checked(body, where="")]
    if kind != BATCH_CONTENT_TYPE:
        raise ContractError(
            f"content type {kind or 'none'} is not read here",
            where="content-type",
            remedy=f"Send {CONTENT_TYPE} or {BATCH_CONTENT_TYPE}",
        )
    events = decode(body)
    if not isinstance(events, list):
        raise MalformedError("a batch is a JSON list of events")
    listed = cast("list[object]", events)
    return [_checked(encode(event), where=f"/{place}") for place, event in enumerate(listed)]


def _checked(event: bytes, *, where: str) -> tuple[Topic, Record]:
    try:
        envelope = parse(event)
    except MalformedError as exc:
        raise MalformedError(exc.message, where=where + exc.where) from exc
    if envelope.type not in _ACCEPTED:
        raise ContractError(
            f"events of type {envelope.type!r} are not taken from applications",
            where=f"{where}/type",
            remedy=f"Send {' or '.join(_ACCEPTED)}",
        )
    topic, model = _ACCEPTED[envelope.type]
    try:
        model.model_validate(envelope.data)
    except ValidationError as exc:
        pointer, fault = first_fault(exc, envelope.data)
        remedy = f"See {envelope.type} in the published schemas"
        raise ContractError(fault, where=f"{where}/data{pointer}", remedy=remedy) from exc
    key = envelope.partitionkey or envelope.id
    return topic, Record(event, key.encode())


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ContractError(f"the body is over {MAX_BODY_BYTES} bytes", where="body", remedy="Send smaller batches")
    return bytes(body)
