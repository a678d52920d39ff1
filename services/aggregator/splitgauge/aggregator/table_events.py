"""Partials, windows and time buckets as events: keys, ids, envelopes.

Owns how the aggregator's results stand in the log, for writing and for reading. Ids follow from what they stand for, so
that whoever makes a result again makes the same event.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import msgspec

from splitgauge.aggregator.observation import UNDECODABLE
from splitgauge.schemas.envelope import SOURCES, EventType, wrap
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.identifiers import table_id
from splitgauge.schemas.tables import FOLD_VERSION

__all__ = [
    "UNREADABLE",
    "Bucket",
    "BucketCell",
    "PartialRow",
    "TableEvent",
    "experiment_of",
    "partial_bucket_key",
    "partial_key",
    "partial_row",
    "read_bucket",
    "read_table_event",
    "table_event",
    "table_rank",
    "window_bucket_key",
    "window_rank",
]

_TYPES: dict[str, EventType] = {
    "partial": "splitgauge.partial.v1",
    "partial-buckets": "splitgauge.partial-buckets.v1",
    "window": "splitgauge.window.v1",
    "window-buckets": "splitgauge.window-buckets.v1",
}


UNREADABLE = (-1, -1)
"""The rank of what is no event: older than anything, so that the owner of its key publishes again."""


class TableEvent(msgspec.Struct):
    """A table read from the log: which, and the bytes of its data."""

    type: str
    data: msgspec.Raw


class PartialRow(NamedTuple):
    """Where a partial is kept, and the position that it stands for: of two under one key the higher counts."""

    key: bytes
    upto: int


_BigInteger = int | Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+$")]


class BucketCell(msgspec.Struct):
    """As `schemas.tables.BucketCell`."""

    requests: int = 0
    metrics: dict[str, tuple[_BigInteger, _BigInteger]] = {}


class Bucket(msgspec.Struct):
    """As `schemas.tables.BucketsData`, which takes ten times as long to read: there are many of them."""

    experiment_id: str
    start: str
    seconds: int
    positions: dict[int, int]
    fold_version: int
    variants: dict[str, BucketCell] = {}


class _PartialPlace(msgspec.Struct):
    experiment_id: str
    partition: int
    upto: int
    fold_version: int


class _Subject(msgspec.Struct):
    experiment_id: str


class _Place(msgspec.Struct):
    fold_version: int
    upto: int | None = None
    positions: dict[str, int] | None = None


_events = msgspec.json.Decoder(TableEvent)
_subjects = msgspec.json.Decoder(_Subject)
_places = msgspec.json.Decoder(_Place)
_partial_places = msgspec.json.Decoder(_PartialPlace)
_buckets = msgspec.json.Decoder(Bucket)


def partial_key(experiment_id: str, partition: int) -> str:
    """Of a partial."""
    return f"{experiment_id}/{partition}"


def partial_bucket_key(experiment_id: str, start_us: int, partition: int) -> str:
    """Of a partition's part of a time bucket."""
    return f"{experiment_id}/{partition}/{start_us}"


def window_bucket_key(experiment_id: str, start_us: int) -> str:
    """Of a time bucket over all partitions."""
    return f"{experiment_id}/-1/{start_us}"


def table_event(
    kind: Literal["partial", "partial-buckets", "window", "window-buckets"],
    data: bytes,
    *,
    subject: str,
    key: str,
    positions: Mapping[int, int],
    time: str,
    instance: str,
    start_us: int | None = None,
) -> bytes:
    """The event around a table's data. `start_us` tells the time buckets of one experiment and position apart."""
    return wrap(
        data,
        type=_TYPES[kind],
        id=table_id(kind, subject if start_us is None else f"{subject}/{start_us}", positions, FOLD_VERSION),
        source=SOURCES["aggregator"],
        time=time,
        subject=subject,
        key=key,
        instance=instance,
    )


def read_table_event(value: bytes) -> TableEvent:
    """Which table it is, and its data. Raises: MalformedError."""
    try:
        return _events.decode(value)
    except UNDECODABLE as exc:
        raise MalformedError(f"no table: {exc}") from exc


def read_bucket(data: bytes | msgspec.Raw) -> Bucket:
    """The data of `partial-buckets.v1` or `window-buckets.v1`. Raises: MalformedError."""
    try:
        return _buckets.decode(data)
    except UNDECODABLE as exc:
        raise MalformedError(f"no time bucket: {exc}") from exc


def experiment_of(value: bytes) -> str:
    """The experiment that a table of any type is of. Raises: MalformedError."""
    try:
        return _subjects.decode(read_table_event(value).data).experiment_id
    except UNDECODABLE as exc:
        raise MalformedError(f"no table: {exc}") from exc


def partial_row(value: bytes) -> PartialRow | None:
    """Of a partial, without reading its sums; None for other types. Raises: MalformedError.

    Folds of several versions stand side by side until the newest has come as far (events.md, rule 5).
    """
    event = read_table_event(value)
    if event.type != _TYPES["partial"]:
        return None
    try:
        place = _partial_places.decode(event.data)
    except UNDECODABLE as exc:
        raise MalformedError(f"no partial: {exc}") from exc
    key = f"{partial_key(place.experiment_id, place.partition)}/{place.fold_version}"
    return PartialRow(key.encode(), place.upto)


def table_rank(value: bytes) -> tuple[int, int] | None:
    """How new a partial or window is: (fold version, sum of positions). None for other types; `UNREADABLE`."""
    return _rank(value, {_TYPES["partial"], _TYPES["window"]})


def window_rank(value: bytes) -> tuple[int, int] | None:
    """The same of a window, whole or one of its time buckets."""
    return _rank(value, {_TYPES["window"], _TYPES["window-buckets"]})


def _rank(value: bytes, types: set[str]) -> tuple[int, int] | None:
    try:
        event = _events.decode(value)
        if event.type not in types:
            return None
        place = _places.decode(event.data)
    except UNDECODABLE:
        return UNREADABLE
    return place.fold_version, place.upto if place.upto is not None else sum((place.positions or {}).values())
