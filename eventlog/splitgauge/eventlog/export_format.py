"""What an export looks like: a header, one line per event, a footer. Pure: bytes in, values out.

    {"splitgauge_export":1,"observation_partitions":4,"topics":{"splitgauge.decisions":[[0,2]],...}}
    {"topic":"splitgauge.decisions","partition":0,"offset":0,"key":"w1","event":{"specversion":"1.0",...}}
    ...
    {"splitgauge_export_end":1,"events":2,"counts":{"splitgauge.decisions":[2],...}}

`topics` has [start, end) of each partition. The event's bytes stand between `"event":` and the line's last brace, as
they are in the log; bytes that are no JSON in one line stand as `"base64":"..."`. So no byte changes on the way.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import orjson

from splitgauge.eventlog.port import Bounds, StoredRecord
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.topics import OBSERVATIONS, TOPICS

__all__ = [
    "EXPORT_VERSION",
    "Footer",
    "Header",
    "decode_footer",
    "decode_header",
    "decode_line",
    "encode_footer",
    "encode_header",
    "encode_line",
    "is_footer",
]

EXPORT_VERSION = 1
_EVENT = b',"event":'
"""Never inside the members before it: a quotation mark in a JSON string has a backslash before it."""
_FOOTER = b'{"splitgauge_export_end"'


@dataclass(frozen=True, slots=True)
class Header:
    """What the export says it holds: per topic the bounds of each partition, by number."""

    observation_partitions: int
    topics: dict[str, tuple[Bounds, ...]]


@dataclass(frozen=True, slots=True)
class Footer:
    """What was written: events per topic and partition."""

    counts: dict[str, tuple[int, ...]]


def encode_header(header: Header) -> bytes:
    topics = {name: [list(bounds) for bounds in partitions] for name, partitions in header.topics.items()}
    return _line(
        {
            "splitgauge_export": EXPORT_VERSION,
            "observation_partitions": header.observation_partitions,
            "topics": topics,
        }
    )


def decode_header(line: bytes, *, where: str) -> Header:
    """Raises: MalformedError where the line is not the header of an export that this version reads."""
    content = _object(line, where=where)
    version = content.get("splitgauge_export")
    if version != EXPORT_VERSION:
        raise MalformedError(
            "this is not an export of version 1" if version is None else f"exports of version {version} are not known",
            where=where,
            remedy="Name a file that `splitgauge export` has written",
        )
    try:
        topics = cast("Mapping[str, list[list[int]]]", content["topics"])
        header = Header(
            observation_partitions=int(cast("int", content["observation_partitions"])),
            topics={
                name: tuple(Bounds(int(start), int(end)) for start, end in partitions)
                for name, partitions in topics.items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise MalformedError(f"the header is incomplete: {exc!r}", where=where) from exc
    _check_header(header, where=where)
    return header


def _check_header(header: Header, *, where: str) -> None:
    for name, partitions in header.topics.items():
        if name not in TOPICS:
            raise MalformedError(f"there is no topic {name!r}", where=where)
        if not all(0 <= start <= end for start, end in partitions):
            raise MalformedError(f"the bounds of {name} are none", where=where)
    n_observations = len(header.topics.get(OBSERVATIONS.name, ())) or header.observation_partitions
    if n_observations != header.observation_partitions or n_observations < 1:
        raise MalformedError("the header contradicts itself in the partitions of observations", where=where)


def encode_footer(footer: Footer) -> bytes:
    counts = {name: list(partitions) for name, partitions in footer.counts.items()}
    events = sum(map(sum, footer.counts.values()))
    return _line({"splitgauge_export_end": EXPORT_VERSION, "events": events, "counts": counts})


def is_footer(line: bytes) -> bool:
    return line.startswith(_FOOTER)


def decode_footer(line: bytes, *, where: str) -> Footer:
    """Raises: MalformedError where the line is damaged."""
    content = _object(line, where=where)
    try:
        counts = cast("Mapping[str, list[int]]", content["counts"])
        return Footer({name: tuple(map(int, partitions)) for name, partitions in counts.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise MalformedError(f"the footer is incomplete: {exc!r}", where=where) from exc


def encode_line(event: StoredRecord) -> bytes:
    """The line of an event, line feed included."""
    head: dict[str, object] = {"topic": event.topic, "partition": event.partition, "offset": event.offset}
    if event.key is None:
        head["key"] = None
    elif (text := _text(event.key)) is not None:
        head["key"] = text
    else:
        head["key_base64"] = b64encode(event.key).decode()
    if _fits(event.value):
        return b"%b%b%b}\n" % (orjson.dumps(head)[:-1], _EVENT, event.value)
    return _line({**head, "base64": b64encode(event.value).decode()})


def decode_line(line: bytes, *, where: str, check: bool = True) -> StoredRecord:
    """The event of a line. With `check`, its bytes are known to be JSON. Raises: MalformedError."""
    if not line.endswith(b"}\n"):
        raise MalformedError("the line is cut off", where=where)
    at = line.find(_EVENT)
    if at < 0:
        content = _object(line, where=where)
        value = _base64(content.get("base64"), where=where)
    else:
        content = _object(line[:at] + b"}", where=where)
        value = line[at + len(_EVENT) : -2]
        if check:
            _parsed(value, where=where)
    topic, partition, offset = content.get("topic"), content.get("partition"), content.get("offset")
    if not isinstance(topic, str) or type(partition) is not int or type(offset) is not int:
        raise MalformedError("the line names no topic, partition and offset", where=where)
    return StoredRecord(topic, partition, offset, _key(content, where=where), value)


def _key(content: Mapping[str, object], *, where: str) -> bytes | None:
    if "key_base64" in content:
        return _base64(content["key_base64"], where=where)
    key = content.get("key")
    if key is not None and not isinstance(key, str):
        raise MalformedError("the key is no text", where=where)
    return None if key is None else key.encode()


def _fits(value: bytes) -> bool:
    """Whether the bytes can stand in the line as they are: JSON, without an end of line."""
    if b"\n" in value or b"\r" in value:
        return False
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def _line(content: Mapping[str, object]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _parsed(data: bytes, *, where: str) -> object:
    try:
        return cast("object", orjson.loads(data))
    except orjson.JSONDecodeError as exc:
        raise MalformedError(f"this is not JSON: {exc}", where=where) from exc


def _object(line: bytes, *, where: str) -> Mapping[str, object]:
    content = _parsed(line, where=where)
    if not isinstance(content, dict):
        raise MalformedError("this is not a JSON object", where=where)
    return cast("Mapping[str, object]", content)


def _base64(text: object, *, where: str) -> bytes:
    if not isinstance(text, str):
        raise MalformedError("the line holds no event", where=where)
    try:
        return b64decode(text, validate=True)
    except ValueError as exc:
        raise MalformedError(f"this is not base64: {exc}", where=where) from exc
