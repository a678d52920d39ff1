"""Stage 2 in a process: follows partials, publishes windows. It keeps nothing: partials stand in a compacted topic.

Owns the I/O around `window_set`. In the cluster the Faust app of `faust_tables` does this job with the same functions.
"""

import asyncio
from collections.abc import Callable

from splitgauge.aggregator.publisher import Publisher, remove
from splitgauge.aggregator.table_events import window_rank
from splitgauge.aggregator.window_set import WindowSet
from splitgauge.eventlog.dead_letters import dead_letter
from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import is_removal
from splitgauge.schemas.topics import DEAD_LETTERS, PARTIALS, WINDOWS

__all__ = ["TablesWorker"]


class TablesWorker:
    """Keeps the newest partials and publishes their sums."""

    def __init__(
        self, log: EventLog, *, now_us: Callable[[], int], instance: str, publish_interval_s: float = 0.1
    ) -> None:
        self._log = log
        self._now_us = now_us
        self._instance = instance
        self._publish_interval_s = publish_interval_s
        self._windows = WindowSet()
        self._moved = asyncio.Event()
        self._publisher = Publisher(log, WINDOWS.name, rank_of=window_rank)

    async def run(self) -> None:
        """Until cancelled. Raises: LogUnavailableError (also where dead letters cannot be written), LogDamagedError."""
        positions = {
            partition: await self._catch_up(partition, start, end)
            for partition, (start, end) in (await self._log.bounds(PARTIALS.name)).items()
        }
        await self._publisher.read(wanted=self._windows.holds, over=self._windows.is_over)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publisher.watch(self._publish_again))
            tasks.create_task(self._follow(positions))
            tasks.create_task(self._keep())

    async def _catch_up(self, partition: int, start: int, end: int) -> int:
        while start < end:
            records = await self._log.read(PARTIALS.name, partition, start)
            if not records:
                break
            await self._take(records)
            start = records[-1].offset + 1
        return start

    async def _follow(self, positions: dict[int, int]) -> None:
        async for records in self._log.follow(PARTIALS.name, positions):
            await self._take(records)
            self._moved.set()

    async def _take(self, records: list[StoredRecord]) -> None:
        letters: list[Record] = []
        time, instance = to_text(self._now_us()), self._instance
        for record in records:
            if is_removal(record.key, record.value):
                self._windows.remove(record.key or b"")
                continue
            try:
                self._windows.take(record.value)
            except MalformedError as exc:
                letters.append(
                    dead_letter(record, code=exc.code, reason=str(exc), role="aggregator", time=time, instance=instance)
                )
        if letters:
            await self._log.append(DEAD_LETTERS.name, letters)

    async def _keep(self) -> None:
        await self._publish()
        self._publisher.forget_others()
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._publish()
            await asyncio.sleep(self._publish_interval_s)

    async def _publish(self) -> None:
        time = to_text(self._now_us())
        made = self._windows.publications(time=time, instance=self._instance, stands=self._publisher.stands)
        await self._publisher.publish(made)
        await remove(self._log, PARTIALS.name, self._windows.removals())

    def _publish_again(self, key: str) -> None:
        self._windows.publish_again(key)
        self._moved.set()
