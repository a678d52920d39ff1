"""Crashes on purpose: an event log and checkpoints that fail at a chosen write, as a dying process would.

    crash = Crash.at(3, after=True)
    log, checkpoints = FaultyEventLog(real, crash), FaultyCheckpoints(real.checkpoints, crash)

The third write - append, group commit or checkpoint, counted together - takes effect and then raises `Crashed`; with
`after=False` it raises without effect. From then on everything raises: a dead process writes nothing more. The test
then makes the pipeline anew over the real log and compares. `Crash.never()` only counts: run once with it, then crash
at each write in turn.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self, TypeVar

from splitgauge.eventlog.checkpoints import Checkpoint, Checkpoints
from splitgauge.eventlog.port import Bounds, EventLog, GroupMember, Record, StoredRecord

__all__ = ["Crash", "Crashed", "FaultyCheckpoints", "FaultyEventLog"]

Result = TypeVar("Result")


class Crashed(BaseException):
    """The process is dead. No `Exception`: nothing that the pipeline handles may handle this."""


class Crash:
    """At which write it happens, and how many there were. One for all that die together."""

    def __init__(self, number: int | None, *, after: bool) -> None:
        self._number = number
        self._after = after
        self.writes = 0
        self.happened = False

    @classmethod
    def at(cls, number: int, *, after: bool) -> Self:
        """At the `number`-th write, from 1: after it took effect, or before."""
        return cls(number, after=after)

    @classmethod
    def never(cls) -> Self:
        return cls(None, after=False)

    async def write(self, effect: Callable[[], Awaitable[Result]]) -> Result:
        """The write, or the crash."""
        self.check()
        self.writes += 1
        if self.writes != self._number:
            result = await effect()
            self.check()  # another write crashed meanwhile: who is dead hears of nothing
            return result
        if self._after:
            await effect()
        self.happened = True
        raise Crashed

    def check(self) -> None:
        """Raises: Crashed once it has happened."""
        if self.happened:
            raise Crashed


class FaultyEventLog:
    """An event log that crashes."""

    def __init__(self, log: EventLog, crash: Crash) -> None:
        self._log = log
        self._crash = crash

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        return await self._crash.write(lambda: self._log.append(topic, records))

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        self._crash.check()
        return await self._log.read(topic, partition, start, limit=limit)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        self._crash.check()
        return await self._log.bounds(topic)

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        return self._alive(self._log.follow(topic, positions, limit=limit))

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        return self._join(topic, group)

    async def close(self) -> None:
        """Leaves the real log open: whoever starts again over it needs it."""

    async def _alive(self, batches: AsyncIterator[list[StoredRecord]]) -> AsyncGenerator[list[StoredRecord]]:
        async for batch in batches:
            self._crash.check()
            yield batch

    @asynccontextmanager
    async def _join(self, topic: str, group: str) -> AsyncGenerator[GroupMember]:
        async with self._log.join(topic, group) as member:
            yield _FaultyMember(member, self._crash)


class _FaultyMember:
    def __init__(self, member: GroupMember, crash: Crash) -> None:
        self._member = member
        self._crash = crash

    async def batches(self, *, limit: int = 500) -> AsyncIterator[list[StoredRecord]]:
        async for batch in self._member.batches(limit=limit):
            self._crash.check()
            yield batch

    async def commit(self, partition: int, offset: int) -> bool:
        return await self._crash.write(lambda: self._member.commit(partition, offset))

    @property
    def partitions(self) -> frozenset[int]:
        return self._member.partitions


class FaultyCheckpoints:
    """Checkpoints that crash."""

    def __init__(self, checkpoints: Checkpoints, crash: Crash) -> None:
        self._checkpoints = checkpoints
        self._crash = crash

    async def load(self, owner: str) -> Checkpoint | None:
        self._crash.check()
        return await self._checkpoints.load(owner)

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        return await self._crash.write(
            lambda: self._checkpoints.save(owner, expected=expected, position=position, changed=changed)
        )

    async def drop(self, owner: str) -> None:
        await self._crash.write(lambda: self._checkpoints.drop(owner))
