"""Stage 2 as a worker holds it: partials in, the windows that changed out. Pure; the workers of both engines have one.

Owns what is held, what has changed since it was published, and how new that is. What the sums are, `tables` says.
"""

from collections.abc import Callable
from typing import NamedTuple

from pydantic import ValidationError

from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.publisher import Publication, Rank
from splitgauge.aggregator.table_events import (
    partial_bucket_key,
    read_bucket,
    read_table_event,
    table_event,
    window_bucket_key,
)
from splitgauge.aggregator.tables import Tables, buckets_of
from splitgauge.schemas.codec import encode
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.instants import from_text
from splitgauge.schemas.tables import FOLD_VERSION, PartialData

__all__ = ["WindowSet"]

KEPT_US = 2 * DAY_US
"""Stage 1 changes time buckets of its last day. A day more is for partitions that others have left behind."""
SHOWN_US = 7 * DAY_US
"""So long charts have minutes. Of what was before, every logged look has the numbers, for ever."""

_BucketPlace = tuple[str, int]
"""Of a time bucket: experiment, and start in microseconds."""


class _Part(NamedTuple):
    """A partition's part of a time bucket, as bytes: there are many, few change, and objects are ten times as large."""

    upto: int
    data: bytes


class WindowSet:
    """The windows and time buckets of some experiments, as far as their partials were taken."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._buckets: dict[_BucketPlace, dict[int, _Part]] = {}
        self._newest_bucket_us = 0
        self._finished_us = -1
        """Time buckets up to this start were let go."""
        self._over: list[str] = []
        self._changed: set[str] = set()
        self._changed_buckets: set[_BucketPlace] = set()

    def take(self, value: bytes) -> None:
        """Take in an event of `splitgauge.partials`, in any order and as often as one likes. Raises: MalformedError."""
        event = read_table_event(value)
        try:
            if event.type == "splitgauge.partial.v1":
                self._changed |= self._tables.take(PartialData.model_validate_json(bytes(event.data)))
            elif event.type == "splitgauge.partial-buckets.v1":
                self._take_bucket(bytes(event.data))
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
        elif (place := _place_of(key)[0]) in self._buckets:
            self._changed_buckets.add(place)

    def publications(self, *, time: str, instance: str, stands: Callable[[str, Rank], bool]) -> list[Publication]:
        """What changed since the last call, as events.

        Args:
            time, instance: of their envelopes.
            stands: whether there is no need to publish a key at a rank. Who has just read all partials has two days of
                time buckets that changed, as far as it knows.
        """
        made = [self._window(experiment_id, time, instance) for experiment_id in sorted(self._changed)]
        for place in sorted(self._changed_buckets):
            held = self._buckets[place]
            rank = FOLD_VERSION, sum(part.upto for part in held.values())
            if not stands(window_bucket_key(*place), rank):
                made.append(self._window_bucket(place, rank, time, instance))
        self._changed, self._changed_buckets = set(), set()
        self._let_go()
        return made

    def removals(self) -> list[str]:
        """Keys of partials that nobody needs any more, since the last call: parts of finished time buckets. To be
        removed once all publications stand."""
        over, self._over = self._over, []
        return over

    def remove(self, key: bytes) -> None:
        """What stood under this key of the partials was removed from the log."""
        place, partition = _place_of(key.decode(errors="replace"))
        held = self._buckets.get(place, {})
        held.pop(partition, None)
        if not held:
            self._drop(place)

    def holds(self, key: str) -> bool:
        """Whether a window may be published under this key: of any experiment, but of no time bucket that is over."""
        return "/" not in key or _place_of(key)[0] in self._buckets

    def is_over(self, key: str) -> bool:
        """Whether it is that of a time bucket too old for charts."""
        return "/" in key and 0 <= _place_of(key)[0][1] < self._newest_bucket_us - SHOWN_US

    def _take_bucket(self, data: bytes) -> None:
        part = read_bucket(data)
        place = (part.experiment_id, from_text(part.start))
        if part.fold_version != FOLD_VERSION:
            return
        if place[1] <= self._finished_us:
            self._over += [partial_bucket_key(*place, partition) for partition in part.positions]
            return
        self._newest_bucket_us = max(self._newest_bucket_us, place[1])
        held = self._buckets.setdefault(place, {})
        for partition, upto in part.positions.items():
            if partition not in held or held[partition].upto < upto:
                held[partition] = _Part(upto, data)
                self._changed_buckets.add(place)

    def _let_go(self) -> None:
        self._finished_us = self._newest_bucket_us - KEPT_US
        for place in [place for place in self._buckets if place[1] <= self._finished_us]:
            self._over += [partial_bucket_key(*place, partition) for partition in self._buckets[place]]
            self._drop(place)

    def _drop(self, place: _BucketPlace) -> None:
        self._buckets.pop(place, None)
        self._changed_buckets.discard(place)

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

    def _window_bucket(self, place: _BucketPlace, rank: Rank, time: str, instance: str) -> Publication:
        (experiment_id, start_us), held = place, self._buckets[place]
        key = window_bucket_key(experiment_id, start_us)
        bucket = buckets_of({partition: read_bucket(part.data) for partition, part in held.items()})
        value = table_event(
            "window-buckets",
            encode(bucket),
            subject=experiment_id,
            key=key,
            positions={partition: part.upto for partition, part in held.items()},
            time=time,
            instance=instance,
            start_us=start_us,
        )
        return Publication(key, rank, value)


def _place_of(key: str) -> tuple[_BucketPlace, int]:
    """What the key of a time bucket says, and of which partition; a start of -1 where it is none."""
    experiment_id, _, rest = key.partition("/")
    partition, _, start_us = rest.partition("/")
    return (experiment_id, int(start_us) if start_us.isdecimal() else -1), int(
        partition
    ) if partition.isdecimal() else -1
