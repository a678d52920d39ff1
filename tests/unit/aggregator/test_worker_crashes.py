"""A crash at any write of the fold's shell: whoever comes next ends with the bytes of the plain fold."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from fold_stories import START, Decisions, assignment, outcome, stored
from splitgauge.aggregator.partition_fold import PartitionFold, checkpoint_owner
from splitgauge.aggregator.partition_worker import Pace, Surroundings
from splitgauge.aggregator.table_events import read_table_event
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryCheckpoints, MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.schemas.codec import decode
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import DEAD_LETTERS, DECISIONS, OBSERVATIONS, PARTIALS

OWNER = checkpoint_owner(0)
EVENTS = [
    event
    for number in range(12)
    for event in (assignment(f"r{number}", f"u{number % 5}"), b"{", outcome(f"r{number}", f"u{number % 5}"))
]


class Fuse:
    """Burns at one write: before it is done, or after it but before anybody hears of it."""

    def __init__(self, write: int, *, after: bool) -> None:
        self._left = write
        self._after = after
        self.burnt = False

    def before(self) -> None:
        self._left -= 1
        self._burn(now=not self._after)

    def after(self) -> None:
        self._burn(now=self._after)

    def _burn(self, *, now: bool) -> None:
        if now and self._left == 0:
            self.burnt = True
            raise LogUnavailableError("the process has died")


class FusedLog(MemoryEventLog):
    """A log whose writes go through a fuse once it has one."""

    fuse: Fuse | None = None

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        if self.fuse is not None:
            self.fuse.before()
        places = await super().append(topic, records)
        if self.fuse is not None:
            self.fuse.after()
        return places


class FusedCheckpoints(MemoryCheckpoints):
    """Checkpoints with the same fuse as the log."""

    def __init__(self, log: FusedLog) -> None:
        super().__init__()
        self._log = log

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        if self._log.fuse is not None:
            self._log.fuse.before()
        saved = await super().save(owner, expected=expected, position=position, changed=changed)
        if self._log.fuse is not None:
            self._log.fuse.after()
        return saved


async def _life(log: FusedLog, checkpoints: FusedCheckpoints, fuse: Fuse | None) -> None:
    """One life of a worker while events come in, until all of them are saved or it dies."""
    decisions = DecisionLog(log, source="/splitgauge/aggregator", instance="a1")
    around = Surroundings(log, checkpoints, decisions, lambda: START, "a1")
    worker = asyncio.create_task(FoldWorker(around, pace=Pace(publish_interval_s=0, checkpoint_interval_s=0)).run())
    written = (await log.bounds(OBSERVATIONS.name))[0].end
    while written < len(EVENTS):
        log.fuse = None
        await log.append(OBSERVATIONS.name, [Record(value, b"u", 0) for value in EVENTS[written : written + 6]])
        written += 6
        log.fuse = fuse
        await _saved(checkpoints, written, worker)
    await _saved(checkpoints, written, worker)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


async def _saved(checkpoints: FusedCheckpoints, position: int, worker: asyncio.Task[None]) -> None:
    """Until the worker has saved its state at a position, or is dead."""
    async with asyncio.timeout(20):
        while not worker.done():
            checkpoint = await checkpoints.load(OWNER)
            if checkpoint is not None and checkpoint.position == position:
                return
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(1, 13))
async def test_a_crash_at_any_write_changes_no_byte(write: int, *, after: bool) -> None:
    log = FusedLog(observation_partitions=1)
    checkpoints = FusedCheckpoints(log)
    told = Decisions()
    told.start("exp")
    await log.append(DECISIONS.name, [Record(value) for value in told.values])
    fuse = Fuse(write, after=after)
    await _life(log, checkpoints, fuse)
    assert fuse.burnt
    await _life(log, checkpoints, None)

    plain = PartitionFold(0)
    result = plain.fold(stored(EVENTS), told.history)
    checkpoint = await checkpoints.load(OWNER)
    assert checkpoint is not None
    restored = PartitionFold.restore(0, len(EVENTS), checkpoint.rows, told.history)
    assert restored.partial("exp") == plain.partial("exp")
    partials = [read_table_event(record.value) for record in await log.read(PARTIALS.name, 0, 0, limit=1_000)]
    newest = [bytes(event.data) for event in partials if event.type == "splitgauge.partial.v1"][-1]
    assert newest == plain.partial("exp")
    letters = [read_table_event(record.value) for record in await log.read(DEAD_LETTERS.name, 0, 0, limit=1_000)]
    assert {decode(bytes(event.data))["offset"] for event in letters} == {
        letter.offset for letter in result.dead_letters
    }
