"""Stage 2: the partials of all partitions, summed to one window per experiment. Pure, and exact in any order.

Owns which partial counts (the newest position of the newest fold, events.md rule 5) and how two numbers become one.
Knows no log: it is fed partials, in any order and as often as one likes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from splitgauge.aggregator.exact import big
from splitgauge.aggregator.table_events import Bucket
from splitgauge.schemas.tables import PartialData, WindowData

__all__ = ["Tables", "buckets_of", "window_of"]

_EARLIEST = "first_at"
_LATEST = "last_at"


def window_of(partials: Mapping[int, PartialData]) -> WindowData:
    """The window that partials by partition make: at least one, all of one experiment and one fold."""
    held = {partition: partials[partition] for partition in sorted(partials)}
    tables = [
        partial.model_dump(include={"epochs", "totals", "callers", "counts"}, exclude_defaults=True)
        for partial in held.values()
    ]
    total = _sum(tables)
    first = next(iter(held.values()))
    return WindowData.model_validate(
        {
            "experiment_id": first.experiment_id,
            "positions": {partition: partial.upto for partition, partial in held.items()},
            "decisions_offset": max(partial.decisions_offset for partial in held.values()),
            "fold_version": first.fold_version,
            "as_of": max((partial.as_of for partial in held.values() if partial.as_of is not None), default=None),
            "digests": {partition: partial.digest for partition, partial in held.items()},
            **total,
        }
    )


def buckets_of(parts: Mapping[int, Bucket]) -> dict[str, Any]:
    """One time bucket of an experiment over its partitions, as JSON carries it; parts by partition, at least one."""
    first = next(iter(parts.values()))
    sums: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {}
    for part in parts.values():
        for name, cell in part.variants.items():
            requests, metrics = sums.get(name, (0, {}))
            for metric, (m, d) in cell.metrics.items():
                before_m, before_d = metrics.get(metric, (0, 0))
                metrics[metric] = (before_m + int(m), before_d + int(d))
            sums[name] = (requests + cell.requests, metrics)
    return {
        "experiment_id": first.experiment_id,
        "start": first.start,
        "seconds": first.seconds,
        "positions": {str(partition): parts[partition].positions[partition] for partition in sorted(parts)},
        "fold_version": first.fold_version,
        "variants": {
            name: {"requests": requests, "metrics": {metric: [big(m), big(d)] for metric, (m, d) in metrics.items()}}
            for name, (requests, metrics) in sums.items()
        },
    }


class Tables:
    """The newest partial of every experiment, fold version and partition."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, dict[int, PartialData]]] = {}

    def take(self, partial: PartialData) -> frozenset[str]:
        """Take in a partial. Returns the experiments whose window changes: none where a newer one is held already."""
        versions = self._held.setdefault(partial.experiment_id, {})
        held = versions.setdefault(partial.fold_version, {})
        known = held.get(partial.partition)
        if known is not None and known.upto >= partial.upto:
            return frozenset()
        held[partial.partition] = partial
        if versions[self._version(partial.experiment_id)] is not held:
            return frozenset()
        return frozenset({partial.experiment_id})

    def window(self, experiment_id: str) -> WindowData:
        """The experiment's window now."""
        return window_of(self._held[experiment_id][self._version(experiment_id)])

    @property
    def experiments(self) -> frozenset[str]:
        """Those of which a partial was taken."""
        return frozenset(self._held)

    def _version(self, experiment_id: str) -> int:
        """The newest fold that has come as far in every partition as the ones before it (events.md, rule 5)."""
        versions = self._held[experiment_id]
        chosen = min(versions)
        for version in sorted(versions)[1:]:
            newer = versions[version]
            if all(
                partition in newer and newer[partition].upto >= partial.upto
                for partition, partial in versions[chosen].items()
            ):
                chosen = version
        return chosen


def _sum(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested mappings into one: integers add up, times become the earliest and latest."""
    by_key: dict[str, list[Any]] = {}
    for table in tables:
        for key, value in table.items():
            by_key.setdefault(key, []).append(value)
    return {key: _one(key, values) for key, values in by_key.items()}


def _one(key: str, values: list[Any]) -> Any:  # noqa: ANN401 - a nested mapping, an integer or a time
    if isinstance(values[0], Mapping):
        return _sum(values)
    if key == _EARLIEST:
        return min(values)
    if key == _LATEST:
        return max(values)
    return sum(values)
