"""Publishing tables under keys: each value stands for a position, and a newer one must stand last (events.md, rule 5).

Owns one topic's newest rank by key. A zombie may append an older value after ours; `watch` finds it and asks for ours
to be published again. Knows no table.
"""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.schemas.tables import is_removal

__all__ = ["Publication", "Publisher", "Rank", "remove"]

_AT_ONCE = 1_000

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
        lacking = [publication for publication in publications if not self.stands(publication.key, publication.rank)]
        if not lacking:
            return
        for key, _, _ in lacking:
            self._ours.setdefault(key, None)
        records = [Record(value, key.encode()) for key, _, value in lacking]
        places = await self._log.append(self._topic, records)
        for (key, rank, _), (_, offset) in zip(lacking, places, strict=True):
            self._ours[key] = _Place(rank, offset)
            self._compare(key)

    def stands(self, key: str, rank: Rank) -> bool:
        """Whether there is no need to append it. What stands already is ours, as if we had just appended it."""
        last = self._last.get(key)
        if last is None or last.rank[0] != rank[0] or last.rank < rank:
            return False
        if last.rank == rank:
            self._ours[key] = last
        return True

    async def read(
        self, *, wanted: Callable[[str], bool] = lambda _: True, over: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Learn what stands in the topic now, under the wanted keys, and remove what is over. `watch`, called first,
        begins behind it."""
        self._last = {}
        gone: set[str] = set()
        behind: dict[int, int] = {}
        for partition, bounds in (await self._log.bounds(self._topic)).items():
            position = bounds.start
            while position < bounds.end:
                records = await self._log.read(self._topic, partition, position)
                if not records:
                    break
                position = records[-1].offset + 1
                self._last.update(self._ranked((key, record) for key, record in _keyed(records) if wanted(key)))
                gone.update(key for key, _ in _keyed(records) if over(key))
            behind[partition] = position
        self._behind = self._behind or behind
        await remove(self._log, self._topic, gone)

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
            for key, place in self._ranked(_keyed(records)):
                known = self._last.get(key)
                if (known is None and key in self._ours) or (known is not None and place.offset > known.offset):
                    self._last[key] = place
                    self._compare(key)

    def _ranked(self, keyed: Iterable[tuple[str, StoredRecord]]) -> Iterable[tuple[str, _Place]]:
        for key, record in keyed:
            rank = self._rank_of(record.value)
            if rank is not None:
                yield key, _Place(rank, record.offset)

    def _compare(self, key: str) -> None:
        ours, last = self._ours.get(key), self._last.get(key)
        if ours is None or last is None or self._overtaken is None:
            return
        if last.offset > ours.offset and last.rank < ours.rank:
            self._overtaken(key)


async def remove(log: EventLog, topic: str, keys: Iterable[str]) -> None:
    """Let a compacted topic drop what stands under these keys. Raises: LogUnavailableError; then do it again."""
    records = [Record(b"", key.encode()) for key in keys]
    for begin in range(0, len(records), _AT_ONCE):
        await log.append(topic, records[begin : begin + _AT_ONCE])


def _keyed(records: Iterable[StoredRecord]) -> Iterable[tuple[str, StoredRecord]]:
    """What has a key, and is there. A key that is no text is nobody's, and neither is what is made of it."""
    for record in records:
        if record.key is not None and not is_removal(record.key, record.value):
            yield record.key.decode(errors="replace"), record
