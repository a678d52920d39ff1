"""What was seen already (events.md, rule 10). Its sizes are part of FOLD_VERSION: beyond them a repeat counts again.

Owns both memories and the ids' rows in a checkpoint; knows ids only, no event.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import islice

from msgspec import json

__all__ = ["RECENT_EVENTS", "RECENT_REPORTS", "RecentIds", "id_rows", "ids_in", "remembered"]

RECENT_EVENTS = 100_000
"""Ids of router events (assignments, outcomes) that a partition remembers."""

RECENT_REPORTS = 256
"""Reports that a unit of an experiment remembers."""

_SEGMENT = 1_000
_PREFIX = b"d/"
_MARK_BYTES = 8


class RecentIds:
    """The last `RECENT_EVENTS` ids of a partition, written to a checkpoint in segments of a thousand.

    Attributes:
        total: how many ids there have been.
    """

    __slots__ = ("_numbers", "_saved_total", "total")

    def __init__(self) -> None:
        self.total = 0
        self._saved_total = 0
        # The how-manieth each id was, in that order. The oldest ones are over already; `forget` lets go of them.
        self._numbers: dict[str, int] = {}

    def claim(self, event_id: str) -> bool:
        """Remember an id. False if it is among the last ones already."""
        total = self.total
        number = self._numbers.setdefault(event_id, total)
        if number != total:
            if number >= total - RECENT_EVENTS:
                return False
            del self._numbers[event_id]  # it was over: now it is the newest
            self._numbers[event_id] = total
        self.total = total + 1
        return True

    def release(self, event_id: str) -> None:
        """Take back the last claim: the event could not be used."""
        del self._numbers[event_id]
        self.total -= 1

    def forget(self) -> None:
        """Let go of ids that are over, many at a time: between batches, so that they do not add up."""
        over = len(self._numbers) - RECENT_EVENTS
        if over >= RECENT_EVENTS // 8:
            for event_id in list(islice(self._numbers, over)):
                del self._numbers[event_id]

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Segments that got ids since the last call, and those of which nothing is remembered any more."""
        held = len(self._numbers)
        ids = list(islice(self._numbers, max(0, held - RECENT_EVENTS), None))
        oldest = self.total - len(ids)
        rows = id_rows(self._saved_total, self.total, lambda start, end: ids[start - oldest : end - oldest])
        self._saved_total = self.total
        return rows

    def restore(self, rows: Mapping[bytes, bytes], total: int) -> None:
        """From the rows of a checkpoint, and how many ids there had been."""
        ids = ids_in(rows, total)
        self._numbers = {event_id: number for number, event_id in enumerate(ids, total - len(ids))}
        self.total = self._saved_total = total


def id_rows(saved_total: int, total: int, ids: Callable[[int, int], list[str]]) -> dict[bytes, bytes | None]:
    """Segments that got ids since there were `saved_total`, and those of which nothing is remembered any more.

    `ids` gives those from one number up to another, of the last `RECENT_EVENTS`.
    """
    saved_oldest, oldest = max(0, saved_total - RECENT_EVENTS), max(0, total - RECENT_EVENTS)
    over = range(saved_oldest // _SEGMENT, oldest // _SEGMENT)
    rows: dict[bytes, bytes | None] = {_PREFIX + str(segment).encode(): None for segment in over}
    if total > saved_total:
        for segment in range(max(saved_total, oldest) // _SEGMENT, (total - 1) // _SEGMENT + 1):
            held = ids(max(segment * _SEGMENT, oldest), min((segment + 1) * _SEGMENT, total))
            rows[_PREFIX + str(segment).encode()] = json.encode(held)
    return rows


def ids_in(rows: Mapping[bytes, bytes], total: int) -> list[str]:
    """The last `RECENT_EVENTS` ids in the rows of a checkpoint, when there had been `total`."""
    segments = {int(key[len(_PREFIX) :]): value for key, value in rows.items() if key.startswith(_PREFIX)}
    ids = [event_id for segment in sorted(segments) for event_id in json.decode(segments[segment], type=list[str])]
    return ids[len(ids) - min(total, RECENT_EVENTS) :]


def remembered(marks: bytes, report: str) -> bytes | None:
    """Marks of a unit's last reports with one more (its id, or request id and metric); None if it is among them.

    A mark has 8 bytes: 2 kB a unit at most, where the reports' ids would take 25.
    """
    mark = sha256(report.encode()).digest()[:_MARK_BYTES]
    place = marks.find(mark)
    while place >= 0:
        if place % _MARK_BYTES == 0:
            return None
        place = marks.find(mark, place + 1)
    return (marks + mark)[-RECENT_REPORTS * _MARK_BYTES :]
