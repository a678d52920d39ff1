"""Workers of stage 1 that share the partitions: whoever folds, in the end partials are those of the plain fold."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fold_stories import START, Decisions, assignment, outcome, stored
from splitgauge.aggregator.fold_group import GROUP, FoldGroup
from splitgauge.aggregator.partition_fold import PartitionFold, checkpoint_owner
from splitgauge.aggregator.partition_worker import Pace, Surroundings
from splitgauge.aggregator.table_events import read_table_event
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.schemas.codec import decode
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS

PARTITIONS = 4


class World:
    def __init__(self) -> None:
        self.log = MemoryEventLog(observation_partitions=PARTITIONS)
        self.decisions = Decisions()
        self.decisions.start("exp")
        self._events: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
        self._requests = 0

    async def write(self, requests: int) -> None:
        """So many requests more, over all partitions in turn."""
        for _ in range(requests):
            number, self._requests = self._requests, self._requests + 1
            events = [assignment(f"r{number}", f"u{number}"), outcome(f"r{number}", f"u{number}")]
            partition = number % PARTITIONS
            self._events[partition] += events
            await self.log.append(OBSERVATIONS.name, [Record(value, b"unit", partition) for value in events])

    def group(self, instance: str, *, patience_s: float = 0.02) -> FoldGroup:
        decisions = DecisionLog(self.log, source="/splitgauge/aggregator", instance=instance)
        around = Surroundings(self.log, self.log.checkpoints, decisions, lambda: START, instance)
        pace = Pace(publish_interval_s=0.001, checkpoint_interval_s=0)
        return FoldGroup(around, pace=pace, patience_s=patience_s)

    async def until_folded(self, running: list[asyncio.Task[None]]) -> None:
        """Until the last partial of every partition is that of the plain fold."""
        expected = {partition: decode(self._plain(partition).partial("exp")) for partition in range(PARTITIONS)}
        async with asyncio.timeout(20):
            while await self._partials() != expected:
                for task in running:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def _partials(self) -> dict[int, object]:
        found: dict[int, object] = {}
        for record in await self.log.read(PARTIALS.name, 0, 0, limit=10_000):
            event = read_table_event(record.value)
            if event.type == "splitgauge.partial.v1":
                data = decode(bytes(event.data))
                found[data["partition"]] = data
        return found

    def _plain(self, partition: int) -> PartitionFold:
        fold = PartitionFold(partition)
        fold.fold(stored(self._events[partition]), self.decisions.history)
        return fold


async def started() -> World:
    world = World()
    await world.log.append(DECISIONS.name, [Record(value) for value in world.decisions.values])
    return world


@asynccontextmanager
async def running(group: FoldGroup) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(group.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def all_of(*groups: FoldGroup) -> None:
    """Until each partition is folded by one of the groups, and each group folds some."""
    async with asyncio.timeout(20):
        # The groups' own tasks deal the partitions, and nothing there wakes a test.
        while sorted(partition for group in groups for partition in group.positions) != [*range(PARTITIONS)] or not all(  # noqa: ASYNC110
            group.positions for group in groups
        ):
            await asyncio.sleep(0.005)


async def test_one_worker_folds_all_partitions() -> None:
    world = await started()
    await world.write(8)
    async with running(world.group("a1")) as task:
        await world.until_folded([task])
        await world.write(9)
        await world.until_folded([task])


async def test_workers_that_come_and_go_share_the_partitions() -> None:
    world = await started()
    first, second = world.group("a1"), world.group("a2")
    await world.write(8)
    async with running(first) as one:
        await world.until_folded([one])
        async with running(second) as two:
            await world.write(8)
            await all_of(first, second)
            await world.until_folded([one, two])
            await world.write(8)
        await world.write(8)
        await all_of(first)
        await world.until_folded([one])


async def test_a_worker_that_is_started_again_goes_on_behind_what_the_group_has_committed() -> None:
    world = await started()
    await world.write(40)
    async with running(world.group("a1")) as task:
        await world.until_folded([task])
    await world.write(8)
    async with running(world.group("a1")) as task:
        await world.until_folded([task])


async def test_a_checkpoint_older_than_what_the_group_has_committed_is_folded_on_from_the_log() -> None:
    world = await started()
    await world.write(40)
    async with world.log.join(OBSERVATIONS.name, GROUP) as member:
        for partition in range(PARTITIONS):
            assert await member.commit(partition, 20)
    # As after the database was restored from a backup.
    await world.log.checkpoints.drop(checkpoint_owner(0))
    async with running(world.group("a1")) as task:
        await world.write(4)
        await world.until_folded([task])
        await world.write(4)
        await world.until_folded([task])
