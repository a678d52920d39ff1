"""Everything live that was given to a variant, analysed or not: what results and bills show (`VariantTotals`).

Owns counts and sums by caller and variant; a variant's totals are the sum over its callers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from splitgauge.aggregator.exact import big
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.metric import ROUTER_METRICS

__all__ = ["Totals", "published_totals"]

_SUMMED = {name: place for place, name in enumerate(ROUTER_METRICS) if name != "success"}


class Totals:
    """Of one variant and one caller."""

    __slots__ = ("counts", "first_at_us", "last_at_us", "missing", "reasons", "statuses", "sums")

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.missing = 0
        self.sums = [0] * len(ROUTER_METRICS)
        self.counts = [0] * len(ROUTER_METRICS)
        self.first_at_us: int | None = None
        self.last_at_us: int | None = None

    def given(self, reason: str, times: int, first: int, last: int) -> None:
        """Requests were given to the variant, the first and the last of them at these times."""
        self.reasons[reason] = self.reasons.get(reason, 0) + times
        self.first_at_us = first if self.first_at_us is None else min(first, self.first_at_us)
        self.last_at_us = last if self.last_at_us is None else max(last, self.last_at_us)

    def ended(self, status: str, times: int, sums: Iterable[tuple[int, int, int]]) -> None:
        """Requests ended in this way; (place among ROUTER_METRICS, sum, how many)."""
        self.statuses[status] = self.statuses.get(status, 0) + times
        for place, total, count in sums:
            self.sums[place] += total
            self.counts[place] += count

    def add(self, other: "Totals") -> None:
        """Add another caller's."""
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.missing += other.missing
        self.sums = [a + b for a, b in zip(self.sums, other.sums, strict=True)]
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        firsts = [at for at in (self.first_at_us, other.first_at_us) if at is not None]
        lasts = [at for at in (self.last_at_us, other.last_at_us) if at is not None]
        self.first_at_us, self.last_at_us = min(firsts, default=None), max(lasts, default=None)

    def published(self) -> dict[str, Any]:
        """In the shape of `VariantTotals`."""
        return {
            "jobs": sum(self.reasons.values()),
            "reasons": self.reasons,
            "statuses": self.statuses,
            "missing": self.missing,
            "answered": self.statuses.get("complete", 0),
            **{name: big(self.sums[place]) for name, place in _SUMMED.items()},
            "ttft_count": self.counts[_SUMMED["ttft_ms"]],
            "first_at": None if self.first_at_us is None else to_text(self.first_at_us),
            "last_at": None if self.last_at_us is None else to_text(self.last_at_us),
        }

    def numbers(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def restored(cls, numbers: Mapping[str, Any]) -> "Totals":
        """From a checkpoint."""
        totals = cls()
        for name in cls.__slots__:
            setattr(totals, name, numbers[name])
        return totals


def published_totals(by_caller: Mapping[tuple[str | None, str], Totals]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`totals` by variant, and `callers` by caller and variant, from totals by (caller, variant)."""
    variants: dict[str, Totals] = {}
    callers: dict[str, dict[str, Any]] = {}
    for (caller, variant), totals in by_caller.items():
        variants.setdefault(variant, Totals()).add(totals)
        if caller is not None:
            callers.setdefault(caller, {})[variant] = totals.published()
    return {variant: totals.published() for variant, totals in variants.items()}, callers
