"""The ids of a partition's last events in arrays, as the compiled run needs them (`duplicates.RecentIds` in a dict).

Owns the ring of ids and their rows in a checkpoint, the same as those of `RecentIds`. Ids in another form than a UUID's
are kept as they are, and the run never meets them.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.compiled.json_bytes import uuid_at
from splitgauge.aggregator.compiled.tables import FREE, claim_id, find_recent, index_recent
from splitgauge.aggregator.duplicates import RECENT_EVENTS, id_rows, ids_in

__all__ = ["RecentIdRing", "halves_of", "text_of"]

Longs = NDArray[np.int64]

_RING = 2**17
_LINES = 2**18
_SPARE = _RING - RECENT_EVENTS
_ALL_BITS = 2**64 - 1
_NEVER = -RECENT_EVENTS - 1
_RELEASED = -1
_TEXT_LENGTH = 36
_DIGITS = np.array([place for place in range(_TEXT_LENGTH) if place not in {8, 13, 18, 23}])


def halves_of(text: str) -> tuple[int, int] | None:
    """Of a UUID in its canonical form, as signed integers; None for any other text."""
    if len(text) != _TEXT_LENGTH or not text.isascii():
        return None
    found, high, low = uuid_at(np.frombuffer(text.encode(), dtype=np.uint8), 0)
    return (high, low) if found else None


def text_of(high: int, low: int) -> str:
    """The UUID with these halves."""
    digits = f"{high & _ALL_BITS:016x}{low & _ALL_BITS:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class RecentIdRing:
    """The last `RECENT_EVENTS` ids of a partition.

    Attributes:
        total: how many ids there have been.
        ring: at its number modulo the length, an id's halves, and 1; zeros for an id in another form.
        lines: numbers (+ 1) by id.
    """

    __slots__ = ("_indexed", "_others", "_saved_total", "lines", "ring", "total")

    def __init__(self) -> None:
        self.total = 0
        self.ring = np.zeros((_RING, 3), dtype=np.int64)
        self.lines = np.zeros(_LINES, dtype=np.int64)
        self._indexed = 0  # how many ids there were when `lines` was last made, less those released since
        self._others: dict[str, int] = {}
        self._saved_total = 0

    def claim(self, event_id: str) -> bool:
        """Remember an id. False if it is among the last ones already."""
        self.make_room(1)
        halves = halves_of(event_id)
        if halves is None:
            if self._others.get(event_id, _NEVER) >= self.total - RECENT_EVENTS:
                return False
            self._others[event_id] = self.total
            self.ring[self.total % _RING] = 0
        elif not claim_id(self.ring, self.lines, *halves, self.total, RECENT_EVENTS):
            return False
        self.total += 1
        return True

    def release(self, event_id: str) -> None:
        """Take back the last claim: the event could not be used."""
        halves = halves_of(event_id)
        if halves is None:
            del self._others[event_id]
        else:
            line = find_recent(self.ring, self.lines, *halves, self.total)
            # Nobody's search goes on behind the last of a row of lines.
            self.lines[line] = FREE if self.lines[line + 1 & _LINES - 1] == FREE else _RELEASED
        self.total -= 1
        self._indexed -= 1  # its line in `lines` stays in use: enough of them would leave none free

    def forget(self) -> None:
        """Let go of ids that are over, many at a time: between batches, so that they do not add up."""
        self.make_room(_SPARE // 2)

    def make_room(self, more: int) -> None:
        """Be able to take as many more; at most a quarter of `RECENT_EVENTS` at once."""
        if self.total + more - self._indexed > _SPARE:
            self._index()

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """As those of `RecentIds`."""
        rows = id_rows(self._saved_total, self.total, self._texts)
        self._saved_total = self.total
        return rows

    def restore(self, rows: Mapping[bytes, bytes], total: int) -> None:
        """From the rows of a checkpoint, and how many ids there had been."""
        texts = ids_in(rows, total)
        first = total - len(texts)
        self._others = {text: number for number, text in enumerate(texts, first) if halves_of(text) is None}
        for number, text in enumerate(texts, first):
            self.ring[number % _RING] = (*(halves_of(text) or (0, 0)), text not in self._others)
        self.total = self._saved_total = total
        self._index()

    def _index(self) -> None:
        oldest = max(0, self.total - RECENT_EVENTS)
        self._others = {event_id: number for event_id, number in self._others.items() if number >= oldest}
        index_recent(self.ring, self.lines, oldest, self.total)
        self._indexed = self.total

    def _texts(self, start: int, end: int) -> list[str]:
        """The ids with these numbers."""
        halves = self.ring[np.arange(start, end) % _RING, :2]
        digits = np.frombuffer(halves.astype(">i8").tobytes().hex().encode(), dtype=np.uint8)
        characters = np.full((end - start, _TEXT_LENGTH), ord("-"), dtype=np.uint8)
        characters[:, _DIGITS] = digits.reshape(end - start, -1)
        text = characters.tobytes().decode()
        ids = [text[at : at + _TEXT_LENGTH] for at in range(0, len(text), _TEXT_LENGTH)]
        for event_id, number in self._others.items():
            if start <= number < end:
                ids[number - start] = event_id
        return ids
