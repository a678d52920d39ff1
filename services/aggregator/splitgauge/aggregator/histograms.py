"""Histograms of one experiment in one partition, from which quantiles are read: counts of values by bucket.

By epoch, variant and metric, of live requests of analysed units. A value is counted when it comes, and stays: when its
unit becomes a crossover later its numbers leave the sums, but nobody remembers in which buckets they were. Quantiles
decide nothing, so that is good enough. Values are put aside and sorted into buckets many at a time; when that happens
changes nothing. Fixed point bounds the buckets of a metric: 53 octaves of 64 on each side of 0.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.layout import RowLayout
from splitgauge.schemas.tables import runs_of
from splitgauge.statistics import bucket_of

__all__ = ["Histograms"]

_ENOUGH = 4_096
"""Values put aside before they are sorted in: by then they cost 0.2 us each, one by one ten times that."""


class _Key(NamedTuple):
    epoch: int
    variant: str
    place: int


class Histograms:
    """Of all metrics that have them (`Metric.sketched`)."""

    __slots__ = ("_aside", "_held", "_metrics", "_unsaved")

    def __init__(self, layout: RowLayout) -> None:
        self._metrics = layout.metrics
        self._held: dict[_Key, dict[int, int]] = {}
        self._aside: defaultdict[_Key, list[int]] = defaultdict(list)
        self._unsaved: set[_Key] = set()

    def add(self, epoch: int, variant: str, place: int, values: Iterable[int]) -> None:
        """Count values (fixed point) of the metric at a place, sooner or later."""
        aside = self._aside[_Key(epoch, variant, place)]
        aside += values
        if len(aside) >= _ENOUGH:
            self.sort(epoch, variant, place, np.array(aside))
            aside.clear()

    def sort(self, epoch: int, variant: str, place: int, values: NDArray[np.int64]) -> None:
        """Count values at once."""
        if not values.size:
            return
        # Fixed point stays below 2^53 and scales are whole: the quotient is the float64 nearest to the value.
        buckets, times = np.unique(bucket_of(values / self._metrics[place].scale), return_counts=True)
        key = _Key(epoch, variant, place)
        held = self._held.setdefault(key, {})
        for bucket, n in zip(buckets.tolist(), times.tolist(), strict=True):
            held[bucket] = held.get(bucket, 0) + n
        self._unsaved.add(key)

    def published(self) -> Iterable[tuple[int, str, dict[str, list[list[int]]]]]:
        """(epoch, variant, counts by metric), counts as `BucketCounts` stand in JSON."""
        self._settle()
        cells: dict[tuple[int, str], dict[str, list[list[int]]]] = {}
        for (epoch, variant, place), held in self._held.items():
            cells.setdefault((epoch, variant), {})[self._metrics[place].name] = runs_of(held)
        return [(*cell, by_metric) for cell, by_metric in cells.items()]

    # Checkpoint.

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows `h/epoch/variant/metric` changed since the last call."""
        self._settle()
        rows: dict[bytes, bytes | None] = {}
        for key in self._unsaved:
            name = f"h/{key.epoch}/{key.variant}/{self._metrics[key.place].name}"
            rows[name.encode()] = json.dumps(runs_of(self._held[key])).encode()
        self._unsaved.clear()
        return rows

    def restore_row(self, key: bytes, value: bytes) -> None:
        """From a checkpoint."""
        _, epoch, variant, name = key.decode().split("/")
        place = [metric.name for metric in self._metrics].index(name)
        held = self._held[_Key(int(epoch), variant, place)] = {}
        for first, *counts in json.loads(value):
            held.update({first + number: count for number, count in enumerate(counts) if count})

    def _settle(self) -> None:
        for key, values in self._aside.items():
            self.sort(*key, np.array(values, dtype=np.int64))
        self._aside.clear()
