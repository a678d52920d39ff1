"""What was given and how it ended, of one experiment: totals by caller and variant, and time buckets.

Events are first put aside in groups and added up column by column when the numbers are wanted: adding up is what the
fold would otherwise spend most of its time on. When that happens changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from splitgauge.aggregator.buckets import Buckets, bucket_start
from splitgauge.aggregator.layout import RowLayout
from splitgauge.aggregator.totals import Totals, published_totals
from splitgauge.aggregator.values import RouterValues

__all__ = ["Activity", "Group"]

Group = tuple[str | None, str, str, int | None]
"""Caller, variant, reason or status, start of the time bucket (None: not analysed, or too old for a chart)."""


class Activity:
    """Everything live of an experiment, analysed or not.

    Attributes:
        given: when requests were given to a variant, put aside.
        ended: what was measured of requests that ended, put aside.
        buckets: the time buckets.
    """

    __slots__ = ("_totals", "buckets", "ended", "given")

    def __init__(self, layout: RowLayout) -> None:
        self.buckets = Buckets(layout)
        self._totals: dict[tuple[str | None, str], Totals] = {}
        self.given: defaultdict[Group, list[int]] = defaultdict(list)
        self.ended: defaultdict[Group, list[RouterValues]] = defaultdict(list)

    def missing(self, caller: str | None, variant: str, times: int) -> None:
        """Requests became missing, or (negative) are no longer."""
        self._totals_of(caller, variant).missing += times

    def reported(self, at_us: int, now_us: int, variant: str, values: Iterable[tuple[int, int]]) -> None:
        """An analysed report came: (place of the metric, fixed point)."""
        start_us = bucket_start(at_us, now_us)
        if start_us is not None:
            self.buckets.add_values(start_us, variant, values)

    def settle(self) -> None:
        """Add up what was put aside."""
        for (caller, variant, reason, start_us), at_us in self.given.items():
            self._totals_of(caller, variant).given(reason, at_us)
            if start_us is not None:
                self.buckets.count(start_us, variant, len(at_us))
        for (caller, variant, status, start_us), values in self.ended.items():
            sums = [_column_sum(column) for column in zip(*values, strict=True)]
            self._totals_of(caller, variant).ended(status, len(values), sums)
            if start_us is not None:
                self.buckets.add(start_us, variant, [(place, *sum_) for place, sum_ in enumerate(sums)])
        self.given.clear()
        self.ended.clear()

    def published(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Totals by variant, and by caller and variant."""
        self.settle()
        return published_totals(self._totals)

    def numbers(self) -> list[Any]:
        """The totals, for a checkpoint."""
        self.settle()
        return [[*key, totals.numbers()] for key, totals in self._totals.items()]

    def restore(self, numbers: Iterable[tuple[str | None, str, Mapping[str, Any]]]) -> None:
        """From a checkpoint."""
        self._totals = {(caller, variant): Totals.restored(held) for caller, variant, held in numbers}

    def _totals_of(self, caller: str | None, variant: str) -> Totals:
        totals = self._totals.get((caller, variant))
        if totals is None:
            totals = self._totals[caller, variant] = Totals()
        return totals


def _column_sum(column: Sequence[int | None]) -> tuple[int, int]:
    """Sum and number of the values that are there."""
    there = [value for value in column if value is not None]
    return sum(there), len(there)
