"""Consumer groups within one process: who owns which partition, and what a member may still commit.

Owns membership and ownership, from any thread; knows storage only as a few functions (`Store`).
"""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from splitgauge.eventlog.port import StoredRecord
from splitgauge.eventlog.wakeups import Read, Wakeups

__all__ = ["Groups", "Member", "Store"]


@dataclass(frozen=True, slots=True)
class Store:
    """What a group needs of its log."""

    read: Read
    committed: Callable[[str, str, int], Awaitable[int | None]]
    """(topic, group, partition) -> where the group goes on."""
    commit: Callable[[str, str, int, int, Callable[[], bool]], Awaitable[bool]]
    """(topic, group, partition, offset, still_owned) -> written; `still_owned` is asked in the moment of writing."""


class Groups:
    """All groups of one log."""

    def __init__(self, store: Store, wakeups: Wakeups) -> None:
        self._store = store
        self._wakeups = wakeups
        self._lock = threading.Lock()
        self._members: dict[tuple[str, str], list[Member]] = {}

    @contextmanager
    def join(self, topic: str, group: str, *, partitions: int) -> Generator["Member"]:
        """A member for the time of the block. Who comes or goes has the partitions dealt anew."""
        member = Member(self._store, self._wakeups, topic=topic, group=group)
        with self._lock:
            members = self._members.setdefault((topic, group), [])
            members.append(member)
            _deal(members, partitions)
        self._wakeups.notify([topic])
        try:
            yield member
        finally:
            with self._lock:
                members.remove(member)
                member.own(frozenset())
                _deal(members, partitions)
            self._wakeups.notify([topic])


class Member:
    """A group member of the port. Used in one event loop; partitions are given and taken from any thread."""

    def __init__(self, store: Store, wakeups: Wakeups, *, topic: str, group: str) -> None:
        self._store = store
        self._wakeups = wakeups
        self._topic = topic
        self._group = group
        self._owned: dict[int, object] = {}
        """Partition -> a token of this ownership: another one when it was lost and came back."""
        self._delivered: dict[int, object] = {}
        """Partition -> the ownership under which its last batch was handed out: what a commit speaks of."""

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self._owned)

    def own(self, partitions: frozenset[int]) -> None:
        """Own these from now on; the caller holds the group's lock."""
        before = self._owned
        self._owned = {partition: before.get(partition) or object() for partition in sorted(partitions)}

    async def batches(self, *, limit: int = 500) -> AsyncIterator[list[StoredRecord]]:
        positions: dict[object, int] = {}
        with self._wakeups.listen(self._topic) as event:
            while True:
                event.clear()
                idle = True
                owned = self._owned
                positions = {token: positions[token] for token in owned.values() if token in positions}
                for partition, token in owned.items():
                    batch = await self._next(partition, token, positions, limit)
                    if not batch or self._owned.get(partition) is not token:
                        continue
                    positions[token] = batch[-1].offset + 1
                    self._delivered[partition] = token
                    idle = False
                    yield batch
                if idle and owned is self._owned:
                    await event.wait()

    async def commit(self, partition: int, offset: int) -> bool:
        token = self._delivered.get(partition, self._owned.get(partition))

        def still_owned() -> bool:
            return token is not None and self._owned.get(partition) is token

        return await self._store.commit(self._topic, self._group, partition, offset, still_owned)

    async def _next(
        self, partition: int, token: object, positions: dict[object, int], limit: int
    ) -> list[StoredRecord]:
        if self._owned.get(partition) is not token:
            return []
        if token not in positions:
            positions[token] = await self._store.committed(self._topic, self._group, partition) or 0
        return await self._store.read(self._topic, partition, positions[token], limit)


def _deal(members: list[Member], partitions: int) -> None:
    for index, member in enumerate(members):
        member.own(frozenset(range(index, partitions, len(members))))
