"""A crash at every write: the log's and the checkpoints', before it takes effect and after.

The process dies at the n-th write, another one starts over what is durable, and in the end numbers, looks and decisions
are those of the plain fold over the log, with nothing twice and nothing lost. In memory and in one process, so that
every write can be hit; `tests/acceptance/test_kill.py` kills real processes.

`SPLITGAUGE_CRASH_SEEDS` (default 5): how many runs of crash after crash at random writes.
"""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest

from faults import Crash, Crashed, FaultyCheckpoints, FaultyEventLog
from fold_stories import MINUTE, START, Decisions, assignment, outcome, report
from plain_fold import accepted_looks, decisions_in, ends_of, newest_windows, plain_windows, positions_of
from splitgauge.aggregator.partition_fold import checkpoint_owner
from splitgauge.aggregator.partition_worker import Pace, Surroundings
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.analyzer.service import Analyzer, AnalyzerSettings
from splitgauge.audit import replay
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.experiments.history import DecisionHistory
from splitgauge.schemas.envelope import SOURCES, parse
from splitgauge.schemas.topics import DEAD_LETTERS, DECISIONS, OBSERVATIONS

PARTITIONS = 2
UNITS = 60
"""Of each arm in each half of the story: a promotion needs 75, a rollback none."""
RANDOM_SEEDS = int(os.environ.get("SPLITGAUGE_CRASH_SEEDS", "5"))

VARIANTS = ("control", "broken", "better")
EXPERIMENT = {
    "variants": [{"name": name, "workload_id": "base-exp", "weight": 1} for name in VARIANTS],
    "metrics": [{"name": "correct", "kind": "proportion", "level": "request", "denominator": "reports"}],
    "goal": {"metric": "correct"},
    "guardrails": [{"metric": "success", "margin": 0.05}],
    "minimum": {"units": 75, "requests": 75, "duration_s": 0},
    "planned_units": 400,
    "policy": {"promote": "act"},
}


def traffic(epoch: int, decisions_offset: int, variants: tuple[str, ...]) -> Iterator[tuple[int, bytes]]:
    """(partition, event): one request and one report of each unit; `broken` fails, `better` is more often correct."""
    for number in range(UNITS * len(variants)):
        unit, request, variant = f"{epoch}/{number}", f"r{epoch}/{number}", variants[number % len(variants)]
        partition = number // len(variants) % PARTITIONS
        place = {"at": START + epoch * MINUTE + number, "epoch": epoch, "seen": decisions_offset}
        failed = variant == "broken" and number % 4 != 1
        correct = variant == "better" or number % 5 == 0
        yield partition, assignment(request, unit, variant, **place)
        yield partition, outcome(request, unit, variant, metrics={"success": not failed, "latency_ms": 20.0}, **place)
        told = report(unit, {"correct": correct}, request=request, experiment="exp", **place)
        yield partition, told
        if number % 10 == 0:
            yield partition, told  # delivered twice
        if number % 50 == 0:
            yield partition, b"{"


class World:
    """A log with a running experiment, and a pipeline that may die over it and be made anew."""

    def __init__(self, *, at_once: int = 1_000_000) -> None:
        """`at_once`: how many observations are appended before the pipeline gets a chance to take some."""
        self._at_once = at_once
        self.log = MemoryEventLog(observation_partitions=PARTITIONS)
        self.decisions = Decisions()
        self.decisions.start("exp", **EXPERIMENT)
        self._looked_at_us = START

    async def begin(self) -> None:
        await self.log.append(DECISIONS.name, [Record(value) for value in self.decisions.values])
        await self._write(traffic(1, self.decisions.end, VARIANTS))

    async def go_on(self) -> None:
        """After the rollback: what the routers that have read it write."""
        # The slots of an arm that was rolled back are control's.
        await self._write(traffic(2, (await decisions_in(self.log)).end, ("control", "better", "control")))

    async def _write(self, events: Iterator[tuple[int, bytes]]) -> None:
        records = [Record(value, None, partition) for partition, value in events]
        for start in range(0, len(records), self._at_once):
            await self.log.append(OBSERVATIONS.name, records[start : start + self._at_once])
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self, crash: Crash) -> AsyncGenerator[None]:
        """A pipeline until the end of the block or the crash, whichever comes first."""
        life = asyncio.create_task(self._live(crash))
        try:
            yield
        finally:
            life.cancel()
            try:
                await life
            except (asyncio.CancelledError, BaseExceptionGroup) as exc:
                if isinstance(exc, BaseExceptionGroup) and exc.split(Crashed)[1] is not None:
                    raise

    async def _live(self, crash: Crash) -> None:
        log = FaultyEventLog(self.log, crash)
        decisions = DecisionLog(log, source=SOURCES["aggregator"], instance="a1")
        around = Surroundings(log, FaultyCheckpoints(self.log.checkpoints, crash), decisions, self._clock, "a1")
        settings = AnalyzerSettings(debounce_s=0.0, interval_s=3600.0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(FoldWorker(around, pace=Pace(0.001, 0)).run())
            tasks.create_task(TablesWorker(log, now_us=self._clock, instance="a1", publish_interval_s=0.001).run())
            tasks.create_task(Analyzer(log, clock=self._clock, settings=settings).run())

    def _clock(self) -> int:
        """Later at every look."""
        self._looked_at_us += 1
        return self._looked_at_us + MINUTE


async def automatic(history: DecisionHistory) -> list[tuple[str, str | None]]:
    """What the analyzer did: action and variant."""
    made = [judged.decision for judged in history.judged if judged.accepted and judged.decision is not None]
    return [(decision.action, decision.variant) for decision in made if decision.actor.kind == "analyzer"]


async def run_to_the_end(world: World, crashes: Iterator[Crash]) -> None:
    """Tell the story; start again after every crash."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as telling:
        told = [telling.create_task(world.begin())]
        await asyncio.wait(told, timeout=0.01)
        while True:
            crash = next(crashes, Crash.never())
            async with world.running(crash):
                while not crash.happened:
                    done = await automatic(await decisions_in(world.log))
                    if done and len(told) == 1 and told[0].done():
                        told.append(telling.create_task(world.go_on()))
                    if len(done) == 2 and all(part.done() for part in told) and await _settled(world):
                        return
                    await asyncio.sleep(0.005)


async def _settled(world: World) -> bool:
    windows = await newest_windows(world.log)
    if positions_of(windows["exp"]) != await ends_of(world.log):
        return False
    for partition, end in (await ends_of(world.log)).items():
        saved = await world.log.checkpoints.load(checkpoint_owner(partition))
        if saved is None or saved.position != end:
            return False
    return True


async def expect_the_plain_fold(world: World) -> None:
    """All that stands in the log is what the plain fold and the replay make of it."""
    assert await newest_windows(world.log) == await plain_windows(world.log)
    history = await decisions_in(world.log)
    assert await automatic(history) == [("roll_back", "broken"), ("promote", "better")]
    assert all(judged.accepted for judged in history.judged)
    state = history.newest.experiments["exp"]
    assert (state.status, state.winner) == ("completed", "better")

    found = await replay(world.log)
    assert found.findings == []
    assert (found.reproduced, found.forks) == (found.analyses, 0)
    assert found.automatic_reproduced == 2
    assert found.analyses == len(await accepted_looks(world.log)) > 1
    await _expect_dead_letters(world)


async def _expect_dead_letters(world: World) -> None:
    unusable = {
        (partition, record.offset)
        for partition in range(PARTITIONS)
        for record in await world.log.read(OBSERVATIONS.name, partition, 0, limit=100_000)
        if record.value == b"{"
    }
    letters = [
        parse(record.value)
        for partition in await world.log.bounds(DEAD_LETTERS.name)
        for record in await world.log.read(DEAD_LETTERS.name, partition, 0, limit=100_000)
    ]
    assert {(letter.data["partition"], letter.data["offset"]) for letter in letters} == unusable
    assert {letter.id for letter in letters} == {f"{OBSERVATIONS.name}/{at[0]}/{at[1]}" for at in unusable}


async def writes_of_a_quiet_run() -> int:
    world, count = World(), Crash.never()
    await run_to_the_end(world, iter([count]))
    await expect_the_plain_fold(world)
    return count.writes


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_crash_at_every_write_of_the_pipeline_changes_nothing(after: bool) -> None:
    for number in range(1, await writes_of_a_quiet_run() + 1):
        world = World()
        await run_to_the_end(world, iter([Crash.at(number, after=after)]))
        await expect_the_plain_fold(world)


@pytest.mark.parametrize("seed", range(RANDOM_SEEDS))
async def test_crash_after_crash_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    world = World(at_once=chance.choice((20, 60, 1_000)))
    crashes = (Crash.at(chance.randint(1, 9), after=chance.random() < 0.5) for _ in range(20))
    await run_to_the_end(world, crashes)
    await expect_the_plain_fold(world)
