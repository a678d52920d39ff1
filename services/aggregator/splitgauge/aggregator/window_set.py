"""Stage 2 as a worker holds it: partials in, the windows that changed out. Pure; the workers of both engines have one.

Owns what is held, what has changed since it was published, and how new that is. What the sums are, `tables` says.
"""

from pydantic import ValidationError

from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.publisher import Publication
from splitgauge.aggregator.table_events import partial_key, read_table_event, table_event
from splitgauge.aggregator.tables import Tables, buckets_of
from splitgauge.schemas.codec import encode
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.instants import from_text
from splitgauge.schemas.tables import FOLD_VERSION, BucketsData, PartialData

__all__ = ["WindowSet"]

_ALL = -1
"""In the key of a time bucket: all partitions together."""

_BucketPlace = tuple[str, int]
"""Of a time bucket: experiment, and start in microseconds."""


class WindowSet:
    """The windows and time buckets of some experiments, as far as their partials were taken."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._buckets: dict[_BucketPlace, dict[int, BucketsData]] = {}
        self._newest_bucket_us = 0
        self._changed: set[str] = set()
        self._changed_buckets: set[_BucketPlace] = set()

    def take(self, value: bytes) -> None:
        """Take in an event of `splitgauge.partials`, in any order and as often as one likes. Raises: MalformedError."""
        event = read_table_event(value)
        try:
            if event.type == "splitgauge.partial.v1":
                self._changed |= self._tables.take(PartialData.model_validate_json(bytes(event.data)))
            elif event.type == "splitgauge.partial-buckets.v1":
                self._take_bucket(BucketsData.model_validate_json(bytes(event.data)))
            else:
                raise MalformedError(f"an event of type {event.type!r} is no partial")
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            where = "/data/" + "/".join(str(part) for part in first["loc"])
            raise MalformedError(f"no partial: {first['msg']}", where=where) from exc

    def publish_again(self, key: str) -> None:
        """Somebody has published an older value of this key after ours."""
        if key in self._tables.experiments:
            self._changed.add(key)
        else:
            self._changed_buckets |= {place for place in self._buckets if _bucket_key(place) == key}

    def publications(self, *, time: str, instance: str) -> list[Publication]:
        """What changed since the last call, as events. `time` and `instance` are of their envelopes."""
        made = [
            *(self._window(experiment_id, time, instance) for experiment_id in sorted(self._changed)),
            *(self._window_bucket(place, time, instance) for place in sorted(self._changed_buckets)),
        ]
        self._changed, self._changed_buckets = set(), set()
        self._forget_buckets()
        return made

    def _take_bucket(self, part: BucketsData) -> None:
        place = (part.experiment_id, from_text(part.start))
        if part.fold_version != FOLD_VERSION or self._is_old(place):
            return
        self._newest_bucket_us = max(self._newest_bucket_us, place[1])
        held = self._buckets.setdefault(place, {})
        for partition, upto in part.positions.items():
            if partition not in held or held[partition].positions[partition] < upto:
                held[partition] = part
                self._changed_buckets.add(place)

    def _forget_buckets(self) -> None:
        for place in [place for place in self._buckets if self._is_old(place)]:
            del self._buckets[place]

    def _is_old(self, place: _BucketPlace) -> bool:
        """Stage 1 does not touch buckets that are over a day old."""
        return place[1] + 2 * DAY_US < self._newest_bucket_us

    def _window(self, experiment_id: str, time: str, instance: str) -> Publication:
        window = self._tables.window(experiment_id)
        value = table_event(
            "window",
            encode(window.model_dump(mode="json")),
            subject=experiment_id,
            key=experiment_id,
            positions=window.positions,
            time=time,
            instance=instance,
        )
        rank = window.fold_version, sum(window.positions.values())
        return Publication(experiment_id, rank, value)

    def _window_bucket(self, place: _BucketPlace, time: str, instance: str) -> Publication:
        bucket, key = buckets_of(self._buckets[place]), _bucket_key(place)
        value = table_event(
            "window-buckets",
            encode(bucket.model_dump(mode="json")),
            subject=bucket.experiment_id,
            key=key,
            positions=bucket.positions,
            time=time,
            instance=instance,
        )
        return Publication(key, (bucket.fold_version, sum(bucket.positions.values())), value)


def _bucket_key(place: _BucketPlace) -> str:
    experiment_id, start_us = place
    return partial_key(experiment_id, _ALL, start_us)
