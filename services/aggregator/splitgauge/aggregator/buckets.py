"""Time buckets of one experiment for charts, which no verdict reads: analysed live split events by minute.

An outcome falls into the bucket of its assigned_at, a report into that of its received_at. Owns the buckets of the last
day; older ones are finished. Knows no unit.
"""

import json
from collections.abc import Iterable
from typing import Any

from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.exact import big
from splitgauge.aggregator.layout import RowLayout
from splitgauge.schemas.instants import SECOND_US

__all__ = ["BUCKET_S", "BUCKET_US", "Buckets"]

BUCKET_S = 60
"""A row of the log for each: 1,440 a day and experiment. Part of FOLD_VERSION."""

BUCKET_US = BUCKET_S * SECOND_US


class Buckets:
    """[requests, m, d, m, d, ...] by start of the bucket and variant."""

    __slots__ = ("_held", "_layout", "_unpublished", "_unsaved")

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout
        self._held: dict[int, dict[str, list[int]]] = {}
        self._unpublished: set[int] = set()
        self._unsaved: set[int] = set()

    def count(self, start_us: int, variant: str, times: int) -> None:
        """Analysed assignments."""
        self._row(start_us, variant)[0] += times

    def add(self, start_us: int, variant: str, sums: Iterable[tuple[int, int, int]]) -> None:
        """Sums of analysed outcomes, as (place of the metric, sum, how many)."""
        row = self._row(start_us, variant)
        for place, total, count in sums:
            row[2 * place + 1] += total
            row[2 * place + 2] += count

    def add_values(self, start_us: int, variant: str, values: Iterable[tuple[int, int]]) -> None:
        """An analysed report, as (place of the metric, fixed point)."""
        row = self._row(start_us, variant)
        for place, value in values:
            row[2 * place + 1] += value
            row[2 * place + 2] += 1

    def forget(self, now_us: int) -> None:
        """Let go of buckets that are over a day old and published."""
        for start in [start for start in self._held if start + DAY_US < now_us and start not in self._unpublished]:
            del self._held[start]
            self._unsaved.add(start)

    def changed(self) -> dict[int, dict[str, Any]]:
        """Buckets changed since the last call, by start, in the shape of `BucketsData.variants`."""
        starts = sorted(start for start in self._unpublished if start in self._held)
        self._unpublished.clear()
        return {start: {name: self._published(row) for name, row in self._held[start].items()} for start in starts}

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows `b/start` for a checkpoint."""
        rows: dict[bytes, bytes | None] = {}
        for start in self._unsaved:
            held = self._held.get(start)
            rows[b"b/" + str(start).encode()] = None if held is None else json.dumps(held).encode()
        self._unsaved.clear()
        return rows

    def restore_row(self, key: bytes, value: bytes) -> None:
        """From a checkpoint. What was restored is published again: whoever had it finds the same bytes."""
        start = int(key[2:])
        self._held[start] = json.loads(value)
        self._unpublished.add(start)

    def _row(self, start_us: int, variant: str) -> list[int]:
        held = self._held.get(start_us)
        if held is None:
            held = self._held[start_us] = {}
        row = held.get(variant)
        if row is None:
            row = held[variant] = [0] * (1 + 2 * len(self._layout.metrics))
        self._unpublished.add(start_us)
        self._unsaved.add(start_us)
        return row

    def _published(self, row: list[int]) -> dict[str, Any]:
        metrics = {
            metric.name: [big(row[2 * place + 1]), big(row[2 * place + 2])]
            for place, metric in enumerate(self._layout.metrics)
            if row[2 * place + 2]
        }
        return {"requests": row[0], "metrics": metrics}
