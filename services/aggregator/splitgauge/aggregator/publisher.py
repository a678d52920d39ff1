"""Publishing tables under keys: each value stands for a position, and a newer one must stand last (events.md, rule 5).

Owns one topic's newest rank by key. A zombie may append an older value after ours; `watch` finds it and asks for ours
to be published again. Knows no table.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from splitgauge.eventlog.port import EventLog, Record

__all__ = ["Publication", "Publisher"]

Rank = tuple[int, int]
"""(fold version, how far): greater is newer."""


class Publication(NamedTuple):
    """A value to append, and how new it is."""

    key: str
    rank: Rank
    value: bytes


class Publisher:
    """The owner of some keys of one compacted topic."""

    def __init__(self, log: EventLog, topic: str, *, rank_of: Callable[[bytes], Rank | None]) -> None:
        """`rank_of` reads the rank of a value; None for what this owner does not keep up."""
        self._log = log
        self._topic = topic
        self._rank_of = rank_of
        self._newest: dict[str, Rank] = {}

    async def publish(self, publications: Collection[Publication]) -> None:
        """Append all, in order. Raises: LogUnavailableError; then all of them may be published again."""
        if not publications:
            return
        for key, rank, _ in publications:
            self._newest[key] = max(rank, self._newest.get(key, rank))
        await self._log.append(self._topic, [Record(value, key.encode()) for key, _, value in publications])

    async def standing(self) -> dict[str, Rank]:
        """What stands in the topic now: the rank of the last value of each key."""
        ranks: dict[str, Rank] = {}
        for partition, bounds in (await self._log.bounds(self._topic)).items():
            position = bounds.start
            while position < bounds.end:
                records = await self._log.read(self._topic, partition, position)
                if not records:
                    break
                position = records[-1].offset + 1
                for record in records:
                    rank = self._rank_of(record.value)
                    if record.key is not None and rank is not None:
                        ranks[record.key.decode()] = rank
        return ranks

    async def watch(self, publish_again: Callable[[str], None]) -> None:
        """Follow the topic until cancelled, and name each key of ours after which an older value was appended."""
        bounds = await self._log.bounds(self._topic)
        async for records in self._log.follow(self._topic, {partition: at.end for partition, at in bounds.items()}):
            for record in records:
                key = record.key.decode() if record.key is not None else ""
                if key in self._newest:
                    rank = self._rank_of(record.value)
                    if rank is not None and rank < self._newest[key]:
                        publish_again(key)
