"""Stage 2 in a process: follows partials, publishes windows. It keeps nothing: partials stand in a compacted topic.

Owns the I/O around `tables`. In the cluster the Faust app does this job with the same functions.
"""

import asyncio
from collections.abc import Callable

from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.publisher import Publication, Publisher
from splitgauge.aggregator.table_events import partial_key, read_table_event, table_event, window_rank
from splitgauge.aggregator.tables import Tables, buckets_of
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.schemas.codec import encode
from splitgauge.schemas.instants import from_text, to_text
from splitgauge.schemas.tables import FOLD_VERSION, BucketsData, PartialData
from splitgauge.schemas.topics import PARTIALS, WINDOWS

__all__ = ["TablesWorker"]

_ALL = -1
"""In the key of a time bucket: all partitions together."""

_BucketPlace = tuple[str, int]
"""Of a time bucket: experiment, and start in microseconds."""


class TablesWorker:
    """Keeps the newest partials and publishes their sums."""

    def __init__(
        self, log: EventLog, *, now_us: Callable[[], int], instance: str, publish_interval_s: float = 0.1
    ) -> None:
        self._log = log
        self._now_us = now_us
        self._instance = instance
        self._publish_interval_s = publish_interval_s
        self._tables = Tables()
        self._buckets: dict[_BucketPlace, dict[int, BucketsData]] = {}
        self._changed: set[str] = set()
        self._changed_buckets: set[_BucketPlace] = set()
        self._moved = asyncio.Event()
        self._publisher = Publisher(log, WINDOWS.name, rank_of=window_rank)

    async def run(self) -> None:
        """Until cancelled. Raises: LogUnavailableError, LogDamagedError, MalformedError."""
        bounds = await self._log.bounds(PARTIALS.name)
        positions: dict[int, int] = {}
        for partition, (start, end) in bounds.items():
            positions[partition] = await self._catch_up(partition, start, end)
        standing = await self._publisher.standing()
        self._changed = {key for key in self._changed if standing.get(key) != self._rank(key)}
        self._changed_buckets = {
            place for place in self._changed_buckets if standing.get(_bucket_key(place)) != self._bucket_rank(place)
        }
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publisher.watch(self._publish_again))
            tasks.create_task(self._follow(positions))
            tasks.create_task(self._keep())

    async def _catch_up(self, partition: int, start: int, end: int) -> int:
        while start < end:
            records = await self._log.read(PARTIALS.name, partition, start)
            if not records:
                break
            self._take(records)
            start = records[-1].offset + 1
        return start

    async def _follow(self, positions: dict[int, int]) -> None:
        self._moved.set()
        async for records in self._log.follow(PARTIALS.name, positions):
            self._take(records)
            self._moved.set()

    def _take(self, records: list[StoredRecord]) -> None:
        for record in records:
            event = read_table_event(record.value)
            if event.type == "splitgauge.partial.v1":
                self._changed |= self._tables.take(PartialData.model_validate_json(bytes(event.data)))
            elif event.type == "splitgauge.partial-buckets.v1":
                self._take_bucket(BucketsData.model_validate_json(bytes(event.data)))

    def _take_bucket(self, part: BucketsData) -> None:
        if part.fold_version != FOLD_VERSION:
            return
        place = (part.experiment_id, from_text(part.start))
        held = self._buckets.setdefault(place, {})
        for partition, upto in part.positions.items():
            if partition not in held or held[partition].positions[partition] < upto:
                held[partition] = part
                self._changed_buckets.add(place)

    async def _keep(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._publisher.publish([*self._windows(), *self._window_buckets()])
            self._forget_buckets()
            await asyncio.sleep(self._publish_interval_s)

    def _windows(self) -> list[Publication]:
        changed, self._changed = sorted(self._changed), set()
        publications: list[Publication] = []
        for experiment_id in changed:
            window = self._tables.window(experiment_id)
            value = table_event(
                "window",
                encode(window.model_dump(mode="json")),
                subject=experiment_id,
                key=experiment_id,
                positions=window.positions,
                time=to_text(self._now_us()),
                instance=self._instance,
            )
            publications.append(Publication(experiment_id, self._rank(experiment_id), value))
        return publications

    def _window_buckets(self) -> list[Publication]:
        changed, self._changed_buckets = sorted(self._changed_buckets), set()
        publications: list[Publication] = []
        for place in changed:
            bucket, key = buckets_of(self._buckets[place]), _bucket_key(place)
            value = table_event(
                "window-buckets",
                encode(bucket.model_dump(mode="json")),
                subject=bucket.experiment_id,
                key=key,
                positions=bucket.positions,
                time=to_text(self._now_us()),
                instance=self._instance,
            )
            publications.append(Publication(key, self._bucket_rank(place), value))
        return publications

    def _forget_buckets(self) -> None:
        """Stage 1 does not touch buckets that are over a day old."""
        newest = max((start for _, start in self._buckets), default=0)
        for place in [place for place in self._buckets if place[1] + 2 * DAY_US < newest]:
            del self._buckets[place]

    def _rank(self, experiment_id: str) -> tuple[int, int]:
        window = self._tables.window(experiment_id)
        return window.fold_version, sum(window.positions.values())

    def _bucket_rank(self, place: _BucketPlace) -> tuple[int, int]:
        parts = self._buckets[place]
        return FOLD_VERSION, sum(part.positions[partition] for partition, part in parts.items())

    def _publish_again(self, key: str) -> None:
        if key in self._tables.experiments:
            self._changed.add(key)
        else:
            self._changed_buckets |= {place for place in self._buckets if _bucket_key(place) == key}
        self._moved.set()


def _bucket_key(place: _BucketPlace) -> str:
    experiment_id, start_us = place
    return partial_key(experiment_id, _ALL, start_us)
