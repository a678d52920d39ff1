"""The CloudEvents envelope: the same bytes in Kafka, in the embedded log, in the archive and in an export.

Owns how an event is wrapped and unwrapped. `data` is encoded once and spliced in, so that the bytes a digest or an
analysis' sha256 is taken over are the bytes that stand in the log.
"""

from typing import Any, Literal

import orjson
from pydantic import Field, ValidationError

from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.model import EventData, Instant
from splitgauge.schemas.validation import first_fault

__all__ = ["CONTENT_TYPE", "SOURCES", "Envelope", "EventType", "data_bytes", "parse", "wrap"]

CONTENT_TYPE = "application/cloudevents+json"

EventType = Literal[
    "splitgauge.request.v1",
    "splitgauge.response.v1",
    "splitgauge.report.v1",
    "splitgauge.assignment.v1",
    "splitgauge.outcome.v1",
    "splitgauge.partial.v1",
    "splitgauge.partial-buckets.v1",
    "splitgauge.window.v1",
    "splitgauge.window-buckets.v1",
    "splitgauge.analysis.v1",
    "splitgauge.decision.v1",
    "splitgauge.dead-letter.v1",
]

SOURCES = {role: f"/splitgauge/{role}" for role in ("router", "aggregator", "analyzer", "console")}
"""`source` by role. It names the role, not the instance: an event made again elsewhere is the same event."""

_DATA = b'"data":'


class Envelope(EventData):
    """CloudEvents 1.0, structured mode."""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    subject: str | None = None
    time: Instant | None = None
    partitionkey: str | None = None
    instance: str | None = None
    datacontenttype: str = "application/json"
    data: dict[str, Any]


def wrap(
    data: bytes,
    *,
    type: EventType,  # noqa: A002 - CloudEvents calls it so
    id: str,  # noqa: A002 - CloudEvents calls it so
    source: str,
    time: str,
    subject: str | None = None,
    key: str | None = None,
    instance: str | None = None,
) -> bytes:
    """An event around the encoded `data`, which stands last and untouched."""
    attributes: dict[str, str] = {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": type,
        "time": time,
        "datacontenttype": "application/json",
    }
    if subject is not None:
        attributes["subject"] = subject
    if key is not None:
        attributes["partitionkey"] = key
    if instance is not None:
        attributes["instance"] = instance
    return orjson.dumps(attributes)[:-1] + b"," + _DATA + data + b"}"


def data_bytes(event: bytes) -> bytes:
    """The recorded bytes of `data` of an event that `wrap` made; of another producer's event, encoded again.

    `wrap` writes `data` last, and no attribute before it can hold the marker: quotes are escaped inside JSON text.
    """
    start = event.find(_DATA)
    recorded = event[start + len(_DATA) : -1]
    data = parse(event).data
    try:
        return recorded if start > 0 and decode(recorded) == data else encode(data)
    except MalformedError:
        return encode(data)


def parse(event: bytes) -> Envelope:
    """The event in `event`. Raises: MalformedError naming the field."""
    value = decode(event)
    try:
        return Envelope.model_validate(value)
    except ValidationError as exc:
        where, fault = first_fault(exc, value)
        raise MalformedError(f"not an event: {fault}", where=where or "/") from exc
