"""Stage 1 on many machines: the workers of a group share the partitions of observations, each folds what it owns.

Owns which partitions are folded here, and how their events get from the group to their folds. That two workers take a
partition for theirs for a while does no harm: both make the same bytes, and only one of them moves the checkpoint.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from splitgauge.aggregator.partition_worker import Pace, PartitionWorker, Surroundings
from splitgauge.aggregator.publisher import Publisher
from splitgauge.aggregator.table_events import table_rank
from splitgauge.eventlog.port import EventLog, GroupMember, StoredRecord
from splitgauge.schemas.tables import FOLD_VERSION
from splitgauge.schemas.topics import OBSERVATIONS, PARTIALS

__all__ = ["FoldGroup"]

GROUP = f"splitgauge-fold-{FOLD_VERSION}"
"""A new version of the fold starts again from the log, beside the old one."""
LOOK_EVERY_S = 0.1
PATIENCE_S = 5.0
"""A group that deals anew has no owners for a moment. To let go at once would be to load a whole checkpoint again."""
_QUEUED = 4
"""Batches of a partition that wait for its fold; then the reader of the group waits."""


class FoldGroup:
    """One worker of the group."""

    def __init__(self, around: Surroundings, *, pace: Pace | None = None, patience_s: float = PATIENCE_S) -> None:
        self._around = around
        self._pace = pace or Pace()
        self._patience_s = patience_s
        self._publisher = Publisher(around.log, PARTIALS.name, rank_of=table_rank)
        self._workers: dict[int, PartitionWorker] = {}
        self._sources: dict[int, _Shared] = {}
        self._joined = False

    @property
    def ready(self) -> bool:
        """Whether it is in the group and has folded all that stood in its partitions when it got them. It may have
        none, where there are more workers than those."""
        return self._joined and all(worker.ready for worker in self._workers.values())

    @property
    def positions(self) -> Mapping[int, int]:
        """How far each partition of ours is folded (exclusive)."""
        return {partition: worker.position for partition, worker in self._workers.items()}

    @property
    def unsaved_reason(self) -> str | None:
        """Why checkpoints cannot be saved for now; the fold goes on. None: they can."""
        return next((worker.unsaved_reason for worker in self._workers.values() if worker.unsaved_reason), None)

    async def run(self) -> None:
        """Until cancelled. Raises: as `PartitionWorker.run`, in an ExceptionGroup: one partition stops all."""
        async with self._around.log.join(OBSERVATIONS.name, GROUP) as member, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publisher.watch(self._publish_again))
            tasks.create_task(self._read(member))
            tasks.create_task(self._fold_owned(member))

    async def _read(self, member: GroupMember) -> None:
        async for records in member.batches():
            source = self._sources.get(records[0].partition)
            if source is not None:
                await source.offer(records)

    async def _fold_owned(self, member: GroupMember) -> None:
        loop = asyncio.get_running_loop()
        owned_at: dict[int, float] = {}
        running: dict[int, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = loop.time()
                owned_at |= dict.fromkeys(member.partitions, now)
                for partition, at in list(owned_at.items()):
                    if at + self._patience_s < now or (at < now and running[partition].done()):
                        del owned_at[partition]
                        await self._end(partition, running.pop(partition))
                    elif partition not in running or running[partition].done():
                        running[partition] = tasks.create_task(self._worker(partition, member).run())
                self._joined = True
                await asyncio.sleep(LOOK_EVERY_S)

    def _worker(self, partition: int, member: GroupMember) -> PartitionWorker:
        source = self._sources[partition] = _Shared(partition, self._around.log, member)
        worker = PartitionWorker(partition, self._around, self._publisher, self._pace, source=source)
        self._workers[partition] = worker
        return worker

    async def _end(self, partition: int, task: asyncio.Task[None]) -> None:
        del self._sources[partition], self._workers[partition]
        task.cancel()
        await asyncio.wait([task])

    def _publish_again(self, key: str) -> None:
        experiment_id, _, partition = key.rpartition("/")
        worker = self._workers.get(int(partition)) if partition.isdecimal() else None
        if worker is not None:
            worker.publish_again(experiment_id)


class _Shared:
    """A partition that others take over when we lose it. What the group has delivered once it does not deliver again:
    what was not taken then, as the checkpoint was still being loaded, is read from the log."""

    def __init__(self, partition: int, log: EventLog, member: GroupMember) -> None:
        self._partition = partition
        self._log = log
        self._member = member
        self._delivered = 0
        self._queue: asyncio.Queue[Sequence[StoredRecord]] | None = None
        """Of whoever iterates now; each has one of its own, as one that was broken off may end after the next began."""

    @property
    def owned(self) -> bool:
        """Whether the group has given it to us, and not to anybody else since."""
        return self._partition in self._member.partitions

    async def offer(self, records: Sequence[StoredRecord]) -> None:
        """The next batch of the group; waits for the fold where that is slower."""
        self._delivered = records[-1].offset + 1
        if self._queue is not None:
            await self._queue.put(records)

    async def batches(self, position: int, *, limit: int) -> AsyncIterator[Sequence[StoredRecord]]:
        queue = self._queue = asyncio.Queue[Sequence[StoredRecord]](_QUEUED)
        try:
            end = self._delivered
            async for missed in self._between(position, end, limit):
                yield missed
            position = max(position, end)
            while True:
                records = await queue.get()
                async for missed in self._between(position, records[0].offset, limit):
                    yield missed
                yield records
                position = max(position, records[-1].offset + 1)
        finally:
            if self._queue is queue:
                self._queue = None
            while not queue.empty():
                queue.get_nowait()  # so that who offers does not wait for ever

    async def _between(self, position: int, end: int, limit: int) -> AsyncIterator[Sequence[StoredRecord]]:
        while position < end:
            missed = await self._log.read(OBSERVATIONS.name, self._partition, position, limit=limit)
            yield missed
            position = missed[-1].offset + 1

    async def saved(self, position: int) -> None:
        """The group goes on from here, whoever is next. Behind the checkpoint it costs reading, and nothing else."""
        if self.owned:
            await self._member.commit(self._partition, position)
