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
        """What stands, of our keys and of those that may become ours, as far as the topic was read."""
        self._behind: dict[int, int] | None = None
        self._overtaken: Callable[[str], None] | None = None

    async def publish(self, publications: Collection[Publication]) -> None:
        """Append all, in order, but what is known to stand already, or something newer.

        Raises: LogUnavailableError; then all of them may be published again.
        """
        lacking = [publication for publication in publications if not self._stands(publication)]
        if not lacking:
            return
        for key, _, _ in lacking:
            self._ours.setdefault(key, None)
        records = [Record(value, key.encode()) for key, _, value in lacking]
        places = await self._log.append(self._topic, records)
        for (key, rank, _), (_, offset) in zip(lacking, places, strict=True):
            self._ours[key] = _Place(rank, offset)
            self._compare(key)

    async def read(self, *, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Learn what stands in the topic now, under the wanted keys. `watch`, called first, begins behind it."""
        self._last = {}
        behind: dict[int, int] = {}
        for partition, bounds in (await self._log.bounds(self._topic)).items():
            position = bounds.start
            while position < bounds.end:
                records = await self._log.read(self._topic, partition, position)
                if not records:
                    break
                position = records[-1].offset + 1
                self._last.update((key, place) for key, place in self._ranked(records) if wanted(key))
            behind[partition] = position
        self._behind = self._behind or behind

    def forget_others(self) -> None:
        """What stands under keys that are not ours does not matter any more."""
        self._last = {key: place for key, place in self._last.items() if key in self._ours}

    def disown(self) -> None:
        """The keys are others' from now on."""
        self._ours.clear()
        self._last.clear()

    async def watch(self, publish_again: Callable[[str], None]) -> None:
        """Follow the topic until cancelled, and name each key of ours after which an older value was appended."""
        self._overtaken = publish_again
        if self._behind is None:
            bounds = await self._log.bounds(self._topic)
            self._behind = {partition: end for partition, (_, end) in bounds.items()}
        async for records in self._log.follow(self._topic, self._behind):
            for key, place in self._ranked(records):
                known = self._last.get(key)
                if (known is None and key in self._ours) or (known is not None and place.offset > known.offset):
                    self._last[key] = place
                    self._compare(key)

    def _ranked(self, records: Iterable[StoredRecord]) -> Iterable[tuple[str, _Place]]:
        for record in records:
            rank = self._rank_of(record.value)
            if record.key is not None and rank is not None:
                # A key that is no text is nobody's, and neither is what is made of it.
                yield record.key.decode(errors="replace"), _Place(rank, record.offset)

    def _stands(self, publication: Publication) -> bool:
        """Whether there is no need to append it. What stands already is ours, as if we had just appended it."""
        last = self._last.get(publication.key)
        if last is None or last.rank[0] != publication.rank[0] or last.rank < publication.rank:
            return False
        if last.rank == publication.rank:
            self._ours[publication.key] = last
        return True

    def _compare(self, key: str) -> None:
        ours, last = self._ours.get(key), self._last.get(key)
        if ours is None or last is None or self._overtaken is None:
            return
        if last.offset > ours.offset and last.rank < ours.rank:
            self._overtaken(key)
