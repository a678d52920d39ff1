"""Stage 1 in a process: every partition of observations, or some of them, folded side by side.

Owns the tasks; what each does is `partition_worker`'s.
"""

import asyncio
from collections.abc import Iterable, Mapping

from splitgauge.aggregator.partition_worker import Pace, PartitionWorker, Surroundings
from splitgauge.aggregator.publisher import Publisher
from splitgauge.aggregator.table_events import table_rank
from splitgauge.schemas.topics import OBSERVATIONS, PARTIALS

__all__ = ["FoldWorker"]


class FoldWorker:
    """Follows observations and publishes partials."""

    def __init__(
        self, around: Surroundings, *, partitions: Iterable[int] | None = None, pace: Pace | None = None
    ) -> None:
        """`partitions`: left out, all that there are."""
        self._around = around
        self._wanted = None if partitions is None else sorted(partitions)
        self._pace = pace or Pace()
        self._publisher = Publisher(around.log, PARTIALS.name, rank_of=table_rank)
        self._workers: dict[int, PartitionWorker] = {}

    @property
    def positions(self) -> Mapping[int, int]:
        """How far each partition is folded (exclusive)."""
        return {partition: worker.position for partition, worker in self._workers.items()}

    async def run(self) -> None:
        """Until cancelled. Raises: as `PartitionWorker.run`, in an ExceptionGroup: one partition stops all."""
        partitions = self._wanted
        if partitions is None:
            partitions = sorted(await self._around.log.bounds(OBSERVATIONS.name))
        self._workers = {
            partition: PartitionWorker(partition, self._around, self._publisher, self._pace) for partition in partitions
        }
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publisher.watch(self._publish_again))
            for worker in self._workers.values():
                tasks.create_task(worker.run())

    def _publish_again(self, key: str) -> None:
        experiment_id, _, partition = key.rpartition("/")
        worker = self._workers.get(int(partition)) if partition.isdecimal() else None
        if worker is not None:
            worker.publish_again(experiment_id)
