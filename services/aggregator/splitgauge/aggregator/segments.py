"""Units in a checkpoint: segments of some hundred rows, each one value of some 100 kB, not a value for each unit.

A save writes what changed as new segments; where several have a unit, the newest counts. Segments of which little still
counts are written again with what does, so that all together hold about twice the units at most, in as few segments as
that takes; for each row that changed about one other is written again. Units that have gone are not named: who restores
knows from the clock which. Owns where each row stands; must not know what it means.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import Struct, msgpack
from numpy.typing import NDArray

from splitgauge.aggregator.unit_table import NOWHERE, UnitTable

__all__ = ["Segments"]

SIZE = 256
SPARE = 16
"""Segments beyond what twice the units take: else few units would be written again and again."""

_PREFIX = b"u/"
_NUMBER_BYTES = 8
"""Of what a segment begins with: the how-manieth it is."""


class _Rows(Struct, array_like=True):
    """Of some units, in the same order. `wide`: rows with numbers beyond 64 bits, by place, as JSON."""

    unit_ids: list[str]
    matrix: bytes
    reports: list[bytes]
    wide: bytes


class Segments:
    """The segments of a table of units."""

    def __init__(self, units: UnitTable) -> None:
        self._units = units
        self._made = 0
        # By slot: how many rows its segment has; 0 where there is none. Slots are keys, and are used again.
        self._sizes: list[int] = []

    def changed_rows(self, wide: Mapping[int, list[int]]) -> dict[bytes, bytes | None]:
        """Segments made since the last call, None where one is over. `wide`: rows that do not fit the matrix."""
        units, n_rows = self._units, len(self._units.unit_ids)
        places, changed = units.segments[:n_rows], units.changed[:n_rows]
        places[changed] = NOWHERE
        over = self._over(places, int(changed.sum()))
        again = np.append(over, False)[places]  # NOWHERE is the last place
        slots: dict[bytes, bytes | None] = {}
        for slot in over.nonzero()[0].tolist():
            self._sizes[slot] = 0
            slots[_PREFIX + b"%d" % slot] = None
        free = self._free_slots()
        rows = (changed | again).nonzero()[0]
        for start in range(0, len(rows), SIZE):
            part, slot = rows[start : start + SIZE], next(free)
            slots[_PREFIX + b"%d" % slot] = self._segment(part, wide)
            places[part], self._sizes[slot] = slot, len(part)
        changed[:] = False
        return slots

    def restore(self, rows: Mapping[bytes, bytes]) -> dict[int, list[int]]:
        """Fill the empty table from all segments. Returns: the rows that do not fit the matrix."""
        held = {int(key[len(_PREFIX) :]): value for key, value in rows.items() if key.startswith(_PREFIX)}
        self._sizes = [0] * (max(held, default=-1) + 1)
        self._made = max((_number(value) for value in held.values()), default=0)
        wide: dict[int, list[int]] = {}
        for slot in sorted(held, key=lambda slot: _number(held[slot]), reverse=True):
            self._sizes[slot] = self._restore(slot, held[slot], wide)
        return wide

    def _over(self, places: NDArray[np.int32], n_changed: int) -> NDArray[np.bool_]:
        """Which segments go, by slot: those that count no more, then those of which the least does."""
        sizes = np.array(self._sizes, dtype=np.int64)
        counting = np.bincount(places[places != NOWHERE], minlength=len(sizes))
        used = sizes.nonzero()[0]
        order = used[counting[used].argsort(kind="stable")]
        # With the first n in this order gone: rows in all segments, and segments.
        written = n_changed + np.cumsum(np.append(0, counting[order]))
        rows = written + sizes.sum() - np.cumsum(np.append(0, sizes[order]))
        segments = len(order) - np.arange(len(order) + 1) - (-written // SIZE)
        twice = 2 * (n_changed + counting.sum())
        fits = (rows <= twice + SPARE * SIZE) & (segments <= twice // SIZE + SPARE)
        over = np.zeros(len(sizes), dtype=bool)
        over[order[: fits.argmax()]] = True
        over[used[counting[used] == 0]] = True
        return over

    def _free_slots(self) -> Iterator[int]:
        yield from [slot for slot, size in enumerate(self._sizes) if not size]
        while True:
            self._sizes.append(0)
            yield len(self._sizes) - 1

    def _segment(self, rows: NDArray[np.intp], wide: Mapping[int, list[int]]) -> bytes:
        units, numbers = self._units, rows.tolist()
        self._made += 1
        held = _Rows(
            [units.unit_ids[row] for row in numbers],
            units.matrix[rows].tobytes(),  # little-endian everywhere that Splitgauge runs
            [units.reports[row] for row in numbers],
            json.dumps({place: wide[row] for place, row in enumerate(numbers) if row in wide}).encode(),
        )
        return self._made.to_bytes(_NUMBER_BYTES, "big") + msgpack.encode(held)

    def _restore(self, slot: int, value: bytes, wide: dict[int, list[int]]) -> int:
        units = self._units
        held = msgpack.decode(memoryview(value)[_NUMBER_BYTES:], type=_Rows)
        new = [place for place, unit_id in enumerate(held.unit_ids) if unit_id not in units.rows]
        matrix = np.frombuffer(held.matrix, dtype=np.int64).reshape(len(held.unit_ids), -1)
        first = units.extend(
            [held.unit_ids[place] for place in new], matrix[new], [held.reports[place] for place in new]
        )
        units.segments[first : first + len(new)] = slot
        beyond: dict[str, Any] = json.loads(held.wide)
        if beyond:
            wide |= {first + number: beyond[str(place)] for number, place in enumerate(new) if str(place) in beyond}
        return len(held.unit_ids)


def _number(value: bytes) -> int:
    return int.from_bytes(value[:_NUMBER_BYTES], "big")
