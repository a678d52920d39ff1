"""The event-log port: what every engine that carries the log must do. `tests/contract/eventlog` holds adapters to it.

Owns the words (`Record`, `StoredRecord`, `Bounds`) and the promises; knows no engine, no event model, no JSON.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

__all__ = ["Bounds", "EventLog", "GroupMember", "Record", "StoredRecord"]


class Record(NamedTuple):
    """An event to append: its bytes are kept as they are.

    Attributes:
        value: the event, structured-mode CloudEvents JSON. Empty in a topic that keeps the newest event of a key:
            nobody needs that key's events any more, and the log may drop them.
        key: what compaction goes by, and the partition where `partition` is None. None: no key.
        partition: where the writer decides it (observations); else None: by a stable hash of the key.
    """

    value: bytes
    key: bytes | None = None
    partition: int | None = None


class StoredRecord(NamedTuple):
    """An event with its place. `(topic, partition, offset)` names it for ever."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes


class Bounds(NamedTuple):
    """What a partition holds: offsets in [start, end). `end` is the offset that the next append gets."""

    start: int
    end: int


class GroupMember(Protocol):
    """One member of a group that shares a topic's partitions: each partition has one owner at a time."""

    def batches(self, *, limit: int = 500) -> AsyncIterator[list[StoredRecord]]:
        """Batches, each of one partition and in order, from the group's committed position on; waits at the end."""
        ...

    async def commit(self, partition: int, offset: int) -> bool:
        """Record that everything below `offset` is finished. False, and nothing written, if the partition was lost."""
        ...

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that this member owns now."""
        ...


class EventLog(Protocol):
    """An append-only log of topics and partitions.

    Errors: LogUnavailableError when it cannot be reached, written or is full; LogDamagedError naming topic, partition
    and offset when a stored place cannot be read or an offset is missing in a topic that is not compacted;
    UnknownSubjectError for a topic outside `splitgauge.schemas.topics`.
    """

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        """Append all, in order, or none. Returns (partition, offset) of each, once they are durable.

        An engine across a network promises less about an append that ends in LogUnavailableError: it may stand there
        all the same, or in part where it spans partitions. Append it again; the same ids count once.
        """
        ...

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        """Up to `limit` events from offset `start` on, in order; empty only at the end.

        Fewer than `limit` do not mean the end: an engine may cut batches of large events.
        """
        ...

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Of every partition of the topic."""
        ...

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        """Every event from the positions on, each once and in the order of its partition, for ever.

        Each batch is of one partition. Waits at the end, also for events that other processes append; an engine
        across a network also until it is in reach again. A partition that `positions` leaves out is not followed.
        """
        ...

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        """Share the topic's partitions with the other members of `group`."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of everything. Appending afterwards is a LogUnavailableError."""
        ...
