"""What was seen already (events.md, rule 10). Its sizes are part of FOLD_VERSION: beyond them a repeat counts again.

Owns both memories and their rows in a checkpoint; knows ids only, no event.
"""

from collections import deque
from collections.abc import Mapping
from hashlib import sha256

from msgspec import json

__all__ = ["RECENT_EVENTS", "RECENT_REPORTS", "RecentIds", "ReportRing"]

RECENT_EVENTS = 100_000
"""Ids of router events (assignments, outcomes) that a partition remembers."""

RECENT_REPORTS = 256
"""Reports that a unit of an experiment remembers."""

_SEGMENT = 1_000
_PREFIX = b"d/"
_MARK_BYTES = 8


class RecentIds:
    """The last `RECENT_EVENTS` ids of a partition, written to a checkpoint in segments of a thousand."""

    __slots__ = ("_forgotten", "_order", "_saved_total", "ids")

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self.ids: set[str] = set()
        self._forgotten = 0
        self._saved_total = 0

    @property
    def total(self) -> int:
        """How many ids there have been."""
        return self._forgotten + len(self._order)

    def add(self, event_id: str) -> None:
        """Remember a new id, and forget the oldest where there are too many."""
        self.ids.add(event_id)
        order = self._order
        order.append(event_id)
        if len(order) > RECENT_EVENTS:
            self.ids.discard(order.popleft())
            self._forgotten += 1

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Segments that got ids since the last call, and those of which nothing is remembered any more."""
        rows: dict[bytes, bytes | None] = {}
        saved_oldest = max(0, self._saved_total - RECENT_EVENTS)
        total, oldest = self.total, self._forgotten
        for segment in range(saved_oldest // _SEGMENT, oldest // _SEGMENT):
            rows[_PREFIX + str(segment).encode()] = None
        if total > self._saved_total:
            ids = list(self._order)
            first = max(self._saved_total // _SEGMENT, oldest // _SEGMENT)
            for segment in range(first, (total - 1) // _SEGMENT + 1):
                start = max(0, segment * _SEGMENT - oldest)
                held = ids[start : (segment + 1) * _SEGMENT - oldest]
                rows[_PREFIX + str(segment).encode()] = json.encode(held)
        self._saved_total = total
        return rows

    def restore(self, rows: Mapping[bytes, bytes], total: int) -> None:
        """From the rows of a checkpoint, and how many ids there had been."""
        segments = {int(key[len(_PREFIX) :]): value for key, value in rows.items() if key.startswith(_PREFIX)}
        ids = [event_id for segment in sorted(segments) for event_id in json.decode(segments[segment], type=list[str])]
        remembered = min(total, RECENT_EVENTS)
        self._order = deque(ids[len(ids) - remembered :])
        self.ids = set(self._order)
        self._forgotten = total - len(self._order)
        self._saved_total = total


class ReportRing:
    """The last reports of one unit, as 8-byte marks: 2 kB a unit at most, where their ids would take 25."""

    __slots__ = ("_marks",)

    def __init__(self, marks: bytes = b"") -> None:
        self._marks = bytearray(marks)

    def add(self, report: str) -> bool:
        """Remember a report (its id, or request id and metric). False if it is remembered already."""
        mark = sha256(report.encode()).digest()[:_MARK_BYTES]
        place = self._marks.find(mark)
        while place >= 0:
            if place % _MARK_BYTES == 0:
                return False
            place = self._marks.find(mark, place + 1)
        self._marks += mark
        if len(self._marks) > RECENT_REPORTS * _MARK_BYTES:
            del self._marks[:_MARK_BYTES]
        return True

    def to_bytes(self) -> bytes:
        """For a checkpoint."""
        return bytes(self._marks)
