"""Twins of the event log and of the checkpoints in memory, for tests: fast, nothing to clean up, the same promises.

Usable from several event loops, as the real ones. Nothing is durable, and that is all that differs.
"""

from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from threading import Lock

from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.groups import Groups, Store
from splitgauge.eventlog.partitions import (
    DEFAULT_OBSERVATION_PARTITIONS,
    by_partition,
    layout,
    partition_in,
    partitions_of,
)
from splitgauge.eventlog.port import Bounds, GroupMember, Record, StoredRecord
from splitgauge.eventlog.wakeups import Wakeups, follow
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import TOPICS, Retention

__all__ = ["MemoryCheckpoints", "MemoryEventLog"]


@dataclass(slots=True)
class _Partition:
    end: int = 0
    records: list[StoredRecord] = field(default_factory=list[StoredRecord])

    def add(self, topic: str, partition: int, record: Record, *, compacted: bool) -> int:
        if compacted and record.key is not None:
            self.records = [kept for kept in self.records if kept.key != record.key]
        self.records.append(StoredRecord(topic, partition, self.end, record.key, record.value))
        self.end += 1
        return self.end - 1


class MemoryEventLog:
    """The event log in memory."""

    def __init__(self, *, observation_partitions: int = DEFAULT_OBSERVATION_PARTITIONS) -> None:
        self.layout = layout(observation_partitions)
        self._lock = Lock()
        self._closed = False
        self._partitions = {
            (topic, partition): _Partition() for topic, count in self.layout.items() for partition in range(count)
        }
        self._commits: dict[tuple[str, str, int], int] = {}
        self._wakeups = Wakeups()
        self._groups = Groups(Store(self._read, self._committed, self._commit), self._wakeups)
        self.checkpoints = MemoryCheckpoints()

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        places = by_partition(topic, records, partitions=partitions_of(self.layout, topic))
        compacted = TOPICS[topic].retention is Retention.NEWEST_PER_KEY
        result = [(0, 0)] * len(records)
        with self._lock:
            self._check_open()
            for partition, indices in places.items():
                stored = self._partitions[topic, partition]
                for index in indices:
                    offset = stored.add(topic, partition, records[index], compacted=compacted)
                    result[index] = (partition, offset)
        self._wakeups.notify([topic])
        return result

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        return await self._read(topic, partition, start, limit)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        with self._lock:
            self._check_open()
            return {
                partition: Bounds(0, self._partitions[topic, partition].end)
                for partition in range(partitions_of(self.layout, topic))
            }

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        for partition in positions:
            partition_in(self.layout, topic, partition)
        return follow(self._read, self._wakeups, topic, positions=positions, limit=limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        return self._join(topic, group)

    async def close(self) -> None:
        with self._lock:
            self._closed = True
        self._wakeups.notify_all()

    async def _read(self, topic: str, partition: int, start: int, limit: int) -> list[StoredRecord]:
        stored = self._partitions[topic, partition_in(self.layout, topic, partition)]
        with self._lock:
            self._check_open()
            begin = bisect_left(stored.records, start, key=lambda record: record.offset)
            return stored.records[begin : begin + limit]

    @asynccontextmanager
    async def _join(self, topic: str, group: str) -> AsyncGenerator[GroupMember]:
        with self._groups.join(topic, group, partitions=partitions_of(self.layout, topic)) as member:
            yield member

    async def _committed(self, topic: str, group: str, partition: int) -> int | None:
        return self._commits.get((topic, group, partition))

    async def _commit(
        self, topic: str, group: str, partition: int, offset: int, still_owned: Callable[[], bool]
    ) -> bool:
        with self._lock:
            self._check_open()
            if still_owned():
                self._commits[topic, group, partition] = offset
                return True
            return False

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailableError("it has been closed", where="event log in memory")


class MemoryCheckpoints:
    """Checkpoints in memory."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._stored: dict[str, Checkpoint] = {}

    async def load(self, owner: str) -> Checkpoint | None:
        with self._lock:
            stored = self._stored.get(owner)
            return None if stored is None else Checkpoint(stored.position, dict(stored.rows))

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        with self._lock:
            stored = self._stored.get(owner)
            if (None if stored is None else stored.position) != expected:
                return False
            rows = {} if stored is None else stored.rows
            rows.update((key, row) for key, row in changed.items() if row is not None)
            for key in [key for key, row in changed.items() if row is None]:
                rows.pop(key, None)
            self._stored[owner] = Checkpoint(position, rows)
            return True

    async def drop(self, owner: str) -> None:
        with self._lock:
            self._stored.pop(owner, None)
