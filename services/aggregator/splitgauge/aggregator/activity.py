"""What was given and how it ended, of one experiment: totals by caller and variant, time buckets, and histograms.

Events are first put aside in groups and added up column by column when the numbers are wanted: adding up is what the
fold would otherwise spend most of its time on. When that happens changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from splitgauge.aggregator.buckets import Buckets
from splitgauge.aggregator.cohort import CellKey
from splitgauge.aggregator.histograms import Histograms
from splitgauge.aggregator.layout import RowLayout
from splitgauge.aggregator.totals import Totals, published_totals
from splitgauge.aggregator.values import RouterValues

__all__ = ["Activity", "EndedGroup", "Group"]

Group = tuple[str | None, str, str, int | None]
"""Caller, variant, reason or status, start of the time bucket (None: not analysed, or too old for a chart)."""

EndedGroup = tuple[str | None, str, str, int | None, int | None]
"""The same, and the epoch (None: not analysed)."""


class Activity:
    """Everything live of an experiment, analysed or not.

    Attributes:
        given: when requests were given to a variant, put aside.
        ended: what was measured of requests that ended, put aside.
        buckets: the time buckets.
        histograms: of the metrics that have them.
    """

    __slots__ = ("_layout", "_router_sketched", "_totals", "buckets", "ended", "given", "histograms")

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout
        self._router_sketched = [place for place in layout.sketched if not layout.metrics[place].reported]
        self.buckets = Buckets(layout)
        self.histograms = Histograms(layout)
        self._totals: dict[tuple[str | None, str], Totals] = {}
        self.given: defaultdict[Group, list[int]] = defaultdict(list)
        self.ended: defaultdict[EndedGroup, list[RouterValues]] = defaultdict(list)

    def missing(self, caller: str | None, variant: str, times: int) -> None:
        """Requests became missing, or (negative) are no longer."""
        self._totals_of(caller, variant).missing += times

    def reported(self, start_us: int | None, cell: CellKey, values: Sequence[tuple[int, int]]) -> None:
        """An analysed report came: (place of the metric, fixed point)."""
        if start_us is not None:
            self.buckets.add_values(start_us, cell.variant, values)
        for place, value in values:
            if place in self._layout.sketched:
                self.histograms.add(cell.epoch, cell.variant, place, (value,))

    def settle(self) -> None:
        """Add up what was put aside."""
        for (caller, variant, reason, start_us), at_us in self.given.items():
            self._totals_of(caller, variant).given(reason, at_us)
            if start_us is not None:
                self.buckets.count(start_us, variant, len(at_us))
        for (caller, variant, status, start_us, epoch), values in self.ended.items():
            columns = [[value for value in column if value is not None] for column in zip(*values, strict=True)]
            sums = [(sum(column), len(column)) for column in columns]
            self._totals_of(caller, variant).ended(status, len(values), sums)
            if start_us is not None:
                self.buckets.add(start_us, variant, [(place, *sum_) for place, sum_ in enumerate(sums)])
                self.buckets.add(start_us, variant, self._limit_sums(columns))
            if epoch is not None:
                for place in self._router_sketched:
                    self.histograms.add(epoch, variant, place, columns[place])
        self.given.clear()
        self.ended.clear()

    def published(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Totals by variant, and by caller and variant."""
        self.settle()
        return published_totals(self._totals)

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Time buckets (`b/`) and histograms (`h/`) changed since the last call, for a checkpoint."""
        self.settle()
        return {**self.buckets.changed_rows(), **self.histograms.changed_rows()}

    def restore_row(self, key: bytes, value: bytes) -> None:
        """One of the rows of `changed_rows`."""
        part = self.buckets if key.startswith(b"b/") else self.histograms
        part.restore_row(key, value)

    def numbers(self) -> list[Any]:
        """The totals, for a checkpoint."""
        self.settle()
        return [[*key, totals.numbers()] for key, totals in self._totals.items()]

    def restore(self, numbers: Iterable[tuple[str | None, str, Mapping[str, Any]]]) -> None:
        """From a checkpoint."""
        self._totals = {(caller, variant): Totals.restored(held) for caller, variant, held in numbers}

    def _limit_sums(self, columns: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
        return [
            (place, one * sum(value <= most for value in columns[source]), len(columns[source]))
            for place, source, most, one in self._layout.limits
        ]

    def _totals_of(self, caller: str | None, variant: str) -> Totals:
        totals = self._totals.get((caller, variant))
        if totals is None:
            totals = self._totals[caller, variant] = Totals()
        return totals
