"""Ids that follow from others, so that whatever is processed again makes the same ids (events.md, Envelope).

Owns every derivation; takes ids, gives ids.
"""

import hashlib
from collections.abc import Mapping
from uuid import UUID, uuid5

from splitgauge.schemas.codec import encode

__all__ = [
    "analysis_id",
    "decision_id",
    "live_event_id",
    "report_id_by_token",
    "report_id_by_unit",
    "report_id_from_log",
    "request_id_from_log",
    "table_id",
]

_NAMESPACE = UUID("6f1a6c0e-3b52-5d0c-9a5e-51716a756765")
"""Fixed for ever: a change would give every event of an old log another id."""


def request_id_from_log(source: str, event_id: str) -> str:
    """Of a request event: the same event makes the same request, whoever delivers it and however often."""
    return str(uuid5(_NAMESPACE, f"request\n{source}\n{event_id}"))


def live_event_id(request_id: str, kind: str) -> str:
    """Of a request's one `assignment`, `outcome` or `response`: UUIDv5(request id, kind).

    Worked out by hand, as the data path makes two for every request and `uuid` takes four times as long.

    >>> live_event_id("0f8fad5b-d9cb-469f-a165-70867728950e", "outcome")
    '12b37fb3-a47f-59de-b4bd-82749400c07a'
    """
    name = bytes.fromhex(request_id.replace("-", "")) + kind.encode()
    digest = bytearray(hashlib.sha1(name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # RFC 9562, section 5.5: version and variant
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def report_id_by_token(request_id: str, metrics: Mapping[str, object]) -> str:
    """The same metrics reported for the same request are the same report."""
    return str(uuid5(UUID(request_id), "report\n" + hashlib.sha256(encode(dict(metrics))).hexdigest()))


def report_id_by_unit(caller: str | None, key: str, index: int) -> str:
    """`key` is the report's own id or the request's Idempotency-Key, `index` its place in the request's list."""
    return str(uuid5(_NAMESPACE, f"report\n{caller or ''}\n{key}\n{index}"))


def report_id_from_log(source: str, event_id: str) -> str:
    """Of a report that came through the log."""
    return str(uuid5(_NAMESPACE, f"report-event\n{source}\n{event_id}"))


def table_id(kind: str, experiment_id: str, positions: Mapping[int, int], fold_version: int) -> str:
    """Of a partial, a window or their time buckets: a function of what they stand for, not of who made them."""
    upto = ",".join(f"{partition}:{positions[partition]}" for partition in sorted(positions))
    return str(uuid5(_NAMESPACE, f"{kind}\n{experiment_id}\n{upto}\n{fold_version}"))


def analysis_id(experiment_id: str, previous: str | None, positions: Mapping[int, int], looked_at: str) -> str:
    """Of a look: what it continues, what it saw, when it looked."""
    upto = ",".join(f"{partition}:{positions[partition]}" for partition in sorted(positions))
    return str(uuid5(_NAMESPACE, f"analysis\n{experiment_id}\n{previous or ''}\n{upto}\n{looked_at}"))


def decision_id(evidence_id: str, action: str) -> str:
    """Of the analyzer's decision from one analysis: proposed twice, it is one event."""
    return str(uuid5(UUID(evidence_id), action))
