"""What was given and how it ended, of one experiment: totals by caller and variant, time buckets, and histograms.

Events are first put aside, a few numbers each, and added up column by column when the numbers are wanted: adding up is
what the fold would otherwise spend most of its time on. When that happens changes nothing. What they change in the rows
of units comes out as columns, too (`cohort`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.buckets import BUCKET_US, Buckets
from splitgauge.aggregator.cohort import CellKey, Change
from splitgauge.aggregator.exact import Matrix, run_totals
from splitgauge.aggregator.histograms import Histograms
from splitgauge.aggregator.layout import REQUESTS, RowLayout, column_of
from splitgauge.aggregator.totals import Totals, published_totals
from splitgauge.aggregator.values import router_columns
from splitgauge.schemas.metric import ROUTER_METRICS

__all__ = ["NOWHERE", "Activity", "EndedGroup", "GivenGroup", "pack_ended", "pack_given"]

NOWHERE = -1
"""Instead of a row or a time bucket: not analysed, or too old for a chart."""

GivenGroup = tuple[str | None, str, str]
"""Caller, variant, reason."""

EndedGroup = tuple[str | None, str, str, int | None]
"""Caller, variant, status, and the epoch (None: not analysed)."""

pack_given = Struct("=5q").pack
"""Row of the unit, whether it is late, number of the group, when, start of the time bucket."""

pack_ended = Struct(f"=4q{len(ROUTER_METRICS)}d").pack
"""Row of the unit, whether it is late, number of the group, start of the time bucket; what was measured (nan: not)."""

_LAST_BUCKET = 2**36


class Activity:
    """Everything live of an experiment, analysed or not.

    Attributes:
        given: requests given to a variant, put aside: `pack_given` each. Bytes, and no objects that stay alive.
        ended: requests that ended, put aside: `pack_ended` each.
        given_groups, ended_groups: numbers of groups.
        buckets: the time buckets.
        histograms: of the metrics that have them.
    """

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout
        self._router_sketched = [place for place in layout.sketched if not layout.metrics[place].reported]
        self._totals: dict[tuple[str | None, str], Totals] = {}
        self.buckets = Buckets(layout)
        self.histograms = Histograms(layout)
        self.given = bytearray()
        self.ended = bytearray()
        self.given_groups: dict[GivenGroup, int] = {}
        self.ended_groups: dict[EndedGroup, int] = {}

    def missing(self, caller: str | None, variant: str, times: int) -> None:
        """Requests became missing, or (negative) are no longer."""
        self._totals_of(caller, variant).missing += times

    def reported(self, start_us: int, cell: CellKey, values: Sequence[tuple[int, int]]) -> None:
        """An analysed report came: (place of the metric, fixed point)."""
        if start_us != NOWHERE:
            self.buckets.add_values(start_us, cell.variant, values)
        for place, value in values:
            if place in self._layout.sketched:
                self.histograms.add(cell.epoch, cell.variant, place, (value,))

    def settle(self) -> list[Change]:
        """Add up what was put aside. Returns what it changes in the rows of units."""
        changes = [*self._settle_given(), *self._settle_ended()]
        self.given, self.ended = bytearray(), bytearray()
        return changes

    def _settle_given(self) -> Iterator[Change]:
        if not self.given:
            return
        rows, late, groups, at_us, starts = np.frombuffer(self.given, np.int64).reshape(-1, 5).T.copy()
        self._add_given(groups, at_us, starts)
        here = rows != NOWHERE
        rows = rows[here]
        yield Change(REQUESTS, rows, np.ones_like(rows), late[here])

    def _settle_ended(self) -> Iterator[Change]:
        if not self.ended:
            return
        lines = np.frombuffer(self.ended, np.int64).reshape(-1, 4 + len(ROUTER_METRICS)).T.copy()
        rows, late, groups, starts = lines[:4]
        complete = np.array([status == "complete" for _, _, status, _ in self.ended_groups])[groups]
        values, present = self._layout.with_limits(*router_columns(lines[4:].view(np.float64), complete))
        self._add_ended(groups, starts, values, present)
        for place, of_metric, there in zip(self._layout.request_places, values, present, strict=True):
            here = there & (rows != NOWHERE)
            mine, mine_late = rows[here], late[here]
            yield Change(column_of(place), mine, of_metric[here], mine_late)
            yield Change(column_of(place) + 1, mine, np.ones_like(mine), mine_late)

    def published(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settled totals by variant, and by caller and variant."""
        return published_totals(self._totals)

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Settled time buckets (`b/`) and histograms (`h/`) changed since the last call, for a checkpoint."""
        return {**self.buckets.changed_rows(), **self.histograms.changed_rows()}

    def restore_row(self, key: bytes, value: bytes) -> None:
        """One of the rows of `changed_rows`."""
        part = self.buckets if key.startswith(b"b/") else self.histograms
        part.restore_row(key, value)

    def numbers(self) -> list[Any]:
        """The settled totals, for a checkpoint, in an order that does not depend on who was missed first."""
        return [[*key, totals.numbers()] for key, totals in sorted(self._totals.items(), key=_by_name)]

    def restore(self, numbers: Iterable[tuple[str | None, str, Mapping[str, Any]]]) -> None:
        """From a checkpoint."""
        self._totals = {(caller, variant): Totals.restored(held) for caller, variant, held in numbers}

    def _add_given(self, groups: NDArray[np.int64], at_us: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
        names = list(self.given_groups)
        order, runs, times = _runs(groups, starts)
        at_us = at_us[order]
        firsts, lasts = np.minimum.reduceat(at_us, runs).tolist(), np.maximum.reduceat(at_us, runs).tolist()
        heads = order[runs]
        found: Iterable[tuple[int, int, int, int, int]] = zip(
            groups[heads].tolist(), starts[heads].tolist(), times, firsts, lasts, strict=True
        )
        for group, start_us, n, first, last in found:
            caller, variant, reason = names[group]
            self._totals_of(caller, variant).given(reason, n, first, last)
            if start_us != NOWHERE:
                self.buckets.count(start_us, variant, n)

    def _add_ended(
        self, groups: NDArray[np.int64], starts: NDArray[np.int64], values: Matrix, present: NDArray[np.bool_]
    ) -> None:
        names, places = list(self.ended_groups), self._layout.request_places
        order, runs, times = _runs(groups, starts)
        sums = run_totals(values[:, order], runs)
        counts = np.add.reduceat(present[:, order].astype(np.int64), runs, axis=1).T.tolist()
        heads = order[runs]
        found: Iterable[tuple[int, int, int, list[int], list[int]]] = zip(
            groups[heads].tolist(), starts[heads].tolist(), times, sums, counts, strict=True
        )
        for group, start_us, n, totals, held in found:
            caller, variant, status, _ = names[group]
            of_places = list(zip(places, totals, held, strict=True))
            self._totals_of(caller, variant).ended(status, n, of_places[: len(ROUTER_METRICS)])
            if start_us != NOWHERE:
                self.buckets.add(start_us, variant, of_places)
        self._sketch(names, groups, values, present)

    def _sketch(
        self, names: Sequence[EndedGroup], groups: NDArray[np.int64], values: Matrix, present: NDArray[np.bool_]
    ) -> None:
        for epoch, variant in {(epoch, variant) for _, variant, _, epoch in names if epoch is not None}:
            mine = np.array([(name[3], name[1]) == (epoch, variant) for name in names])[groups]
            for place in self._router_sketched:
                self.histograms.sort(epoch, variant, place, values[place, mine & present[place]])

    def _totals_of(self, caller: str | None, variant: str) -> Totals:
        totals = self._totals.get((caller, variant))
        if totals is None:
            totals = self._totals[caller, variant] = Totals()
        return totals


def _by_name(held: tuple[tuple[str | None, str], Totals]) -> tuple[bool, str, str]:
    (caller, variant), _ = held
    return caller is not None, caller or "", variant


def _runs(groups: NDArray[np.int64], starts: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp], list[int]]:
    """An order by group and bucket, where in it each pair begins, and how often it is there."""
    pairs = groups * _LAST_BUCKET + starts // BUCKET_US
    order = pairs.argsort(kind="stable")
    pairs = pairs[order]
    runs = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
    return order, runs, np.diff(runs, append=len(pairs)).tolist()
