"""Publishing tables under keys: each value stands for a position, and a newer one must stand last (events.md, rule 5).

Owns one topic's newest rank by key. A zombie may append an older value after ours; `watch` finds it and asks for ours
to be published again. Knows no table.
"""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from splitgauge.eventlog.port import EventLog, Record, StoredRecord

__all__ = ["Publication", "Publisher", "Rank"]

Rank = tuple[int, int]
"""(fold version, how far): greater is newer."""


class Publication(NamedTuple):
    """A value to append, and how new it is."""

    key: str
    rank: Rank
    value: bytes


class _Place(NamedTuple):
    """Where a value of a key stands. All values of a key stand in one partition, so offsets tell what came later."""

    rank: Rank
    offset: int


class Publisher:
    """The owner of some keys of one compacted topic."""

    def __init__(self, log: EventLog, topic: str, *, rank_of: Callable[[bytes], Rank | None]) -> None:
        """`rank_of` reads the rank of a value; None for what this owner does not keep up."""
        self._log = log
        self._topic = topic
        self._rank_of = rank_of
        self._ours: dict[str, _Place | None] = {}
        """None while the first value of a key is on its way."""
        self._last: dict[str, _Place] = {}
        """Of our keys, as far as the topic was read."""
        self._read: dict[int, int] | None = None
        self._overtaken: Callable[[str], None] | None = None

    async def publish(self, publications: Collection[Publication]) -> None:
        """Append all, in order. Raises: LogUnavailableError; then all of them may be published again."""
        if not publications:
            return
        for key, _, _ in publications:
            self._ours.setdefault(key, None)
        records = [Record(value, key.encode()) for key, _, value in publications]
        places = await self._log.append(self._topic, records)
        for (key, rank, _), (_, offset) in zip(publications, places, strict=True):
            self._ours[key] = _Place(rank, offset)
            self._compare(key)

    async def standing(self) -> dict[str, Rank]:
        """What stands in the topic now: the rank of the last value of each key. `watch` begins behind it."""
        places: dict[str, _Place] = {}
        self._read = {}
        for partition, bounds in (await self._log.bounds(self._topic)).items():
            position = bounds.start
            while position < bounds.end:
                records = await self._log.read(self._topic, partition, position)
                if not records:
                    break
                position = records[-1].offset + 1
                places.update(self._ranked(records))
            self._read[partition] = position
        self._last = places
        return {key: place.rank for key, place in places.items()}

    def own(self, keys: Iterable[str]) -> None:
        """What stands under these keys, and was found by `standing`, is as if we had published it."""
        for key in keys:
            self._ours[key] = self._last[key]

    def disown(self) -> None:
        """The keys are others' from now on."""
        self._ours.clear()
        self._last.clear()

    async def watch(self, publish_again: Callable[[str], None]) -> None:
        """Follow the topic until cancelled, and name each key of ours after which an older value was appended."""
        self._overtaken = publish_again
        if self._read is None:
            self._read = {partition: bounds.end for partition, bounds in (await self._log.bounds(self._topic)).items()}
        async for records in self._log.follow(self._topic, self._read):
            for key, place in self._ranked(records):
                if key in self._ours:
                    self._last[key] = place
                    self._compare(key)

    def _ranked(self, records: Iterable[StoredRecord]) -> Iterable[tuple[str, _Place]]:
        for record in records:
            rank = self._rank_of(record.value)
            if record.key is not None and rank is not None:
                yield record.key.decode(), _Place(rank, record.offset)

    def _compare(self, key: str) -> None:
        ours, last = self._ours[key], self._last.get(key)
        if ours is None or last is None or self._overtaken is None:
            return
        if last.offset > ours.offset and last.rank < ours.rank:
            self._overtaken(key)
