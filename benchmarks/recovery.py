"""What a checkpoint of a million units costs, and how soon a worker that takes their partition over folds again.

A fold of so many units, with six declared metrics beside the router's own, is saved to PostgreSQL whole. A worker that
has nothing yet takes the partition over, and folds on; a part of the units change then, and are saved. Beside it the
same bytes without anything of ours: a bare COPY into a table, a bare SELECT from it. A task that wants to run each
millisecond says for how long the worker's event loop was held up. CPU is that of this process, without the server's.

    python benchmarks/recovery.py [--units 1000000] [--changed 80000]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import asyncpg

sys.path.append(str(Path(__file__).parents[1] / "infra" / "servers"))

from memory import decision_events, decisions, observations

from postgres_server import PostgresServer
from splitgauge.aggregator.engine import compiled_engine
from splitgauge.aggregator.partition_fold import PartitionFold, checkpoint_owner
from splitgauge.aggregator.partition_worker import LAST, Pace, Surroundings, mark_of
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS
from splitgauge.standalone.collection import collect_seldom

METRICS = 6
BATCH = 500
PUBLISHED = 500_000
"""Events between two partials: what a live fold publishes and forgets meanwhile."""
SAVE_EVERY_S = 2.0
TARGET_S = 10.0


class Tail(MemoryEventLog):
    """A log whose observations begin at an offset: what a worker with a checkpoint reads."""

    def __init__(self, first: int) -> None:
        super().__init__(observation_partitions=1)
        self._observed = self._partitions[OBSERVATIONS.name, 0]
        self._observed.end = first

    @property
    def end(self) -> int:
        """Of the observations."""
        return self._observed.end


@dataclass(slots=True)
class Stalls:
    """How late a task was that wanted to run each millisecond."""

    longest_s: float = 0.0

    def __str__(self) -> str:
        return f"the loop for at most {self.longest_s * 1000:.0f} ms"

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.perf_counter() - begun - 0.001)


class Save(NamedTuple):
    """One save."""

    position: int
    seconds: float
    size: int


class Timed:
    """Checkpoints, and how long each call took."""

    def __init__(self, stored: PostgresCheckpoints) -> None:
        self._stored = stored
        self.load_s = 0.0
        self.saves: list[Save] = []

    async def load(self, owner: str) -> Checkpoint | None:
        begun = time.perf_counter()
        found = await self._stored.load(owner)
        self.load_s = time.perf_counter() - begun
        return found

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        begun = time.perf_counter()
        saved = await self._stored.save(owner, expected=expected, position=position, changed=changed)
        self.saves.append(Save(position, time.perf_counter() - begun, size_of(changed)))
        return saved

    async def drop(self, owner: str) -> None:
        await self._stored.drop(owner)


def size_of(rows: Mapping[bytes, bytes | None]) -> int:
    return sum(len(value) for value in rows.values() if value is not None)


def built(units: int) -> tuple[PartitionFold, StoredRecord]:
    """The fold after a request of each unit, and the last event of it."""
    history, fold = decisions(METRICS), PartitionFold(0, compiled_engine())
    last: StoredRecord | None = None
    events = enumerate(observations(range(units), METRICS))
    while batch := [StoredRecord(OBSERVATIONS.name, 0, offset, None, value) for offset, value in islice(events, BATCH)]:
        assert fold.fold(batch, history).folded == len(batch)
        if fold.position % PUBLISHED < BATCH:
            fold.partials()
            fold.bucket_events()
        last = batch[-1]
    assert last is not None
    return fold, last


async def bare(address: str, rows: Mapping[bytes, bytes | None]) -> tuple[float, float]:
    """Seconds of a COPY of these rows into a table without an index, and of a SELECT of all of them."""
    connection = await asyncpg.connect(address)
    await connection.execute("CREATE TABLE bare (key bytea, value bytea)")
    await connection.execute("ALTER TABLE bare ALTER value SET STORAGE EXTERNAL")
    begun = time.perf_counter()
    await connection.copy_records_to_table("bare", records=rows.items())
    copied = time.perf_counter()
    found = await connection.fetch("SELECT key, value FROM bare")
    selected = time.perf_counter()
    assert len(found) == len(rows)
    await connection.execute("DROP TABLE bare")
    await connection.close()
    return copied - begun, selected - copied


@asynccontextmanager
async def worker(log: MemoryEventLog, checkpoints: Timed) -> AsyncGenerator[tuple[FoldWorker, Stalls]]:
    """At work while the context lasts."""
    read = DecisionLog(log, source=SOURCES["aggregator"], instance="benchmark")
    await read.catch_up()
    around = Surroundings(log, checkpoints, read, lambda: time.time_ns() // 1000, "benchmark", compiled_engine())
    folds = FoldWorker(around, pace=Pace(checkpoint_interval_s=SAVE_EVERY_S))
    stalls = Stalls()
    tasks = [asyncio.create_task(folds.run()), asyncio.create_task(stalls.watch())]
    try:
        yield folds, stalls
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def append(log: MemoryEventLog, events: Iterable[bytes]) -> None:
    await log.append(OBSERVATIONS.name, [Record(event, b"unit", 0) for event in events])


async def first_save(fold: PartitionFold, last: StoredRecord, address: str, checkpoints: Timed) -> None:
    stalls = Stalls()
    watching = asyncio.create_task(stalls.watch())
    begun, cpu = time.perf_counter(), time.process_time()
    rows = await asyncio.to_thread(fold.changed_rows)
    rows[LAST] = mark_of(last)
    made_s, made_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    assert await checkpoints.save(checkpoint_owner(0), expected=None, position=fold.position, changed=rows)
    watching.cancel()
    kept = {key: value for key, value in rows.items() if value is not None}
    copy_s, select_s = await bare(address, kept)
    save_s = checkpoints.saves[-1].seconds
    print(f"the whole state: {len(kept)} rows of {size_of(kept) / 1e6:.0f} MB")
    print(f"  to make the rows           {made_s:8.2f} s    CPU {made_cpu_s:.2f} s")
    print(f"  to save them               {save_s:8.2f} s    ratio {save_s / copy_s:.2f}    holds up {stalls}")
    print(f"  bare COPY                  {copy_s:8.2f} s")
    print(f"  bare SELECT                {select_s:8.2f} s")


async def take_over(log: Tail, checkpoints: Timed, units: int, changed: int) -> None:
    first = log.end
    chosen = Random(1).sample(range(units), changed)
    await append(log, observations(chosen[:1], METRICS, first_request=units))
    begun, cpu = time.perf_counter(), time.process_time()
    async with worker(log, checkpoints) as (folds, stalls):
        while folds.positions.get(0, first) <= first:  # noqa: ASYNC110 - only asking shows it: no event
            await asyncio.sleep(0.001)
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        print("a worker that has nothing yet")
        print(f"  has loaded after           {checkpoints.load_s:8.2f} s")
        print(f"  folds the next event after {took_s:8.2f} s    CPU {cpu_s:.2f} s    target {TARGET_S:.0f}")
        print(f"                                           holds up {stalls}")
        saves = len(checkpoints.saves)
        events = list(observations(chosen[1:], METRICS, first_request=units + 1))
        await asyncio.sleep(0.1)
        stalls.longest_s = 0.0
        begun = time.perf_counter()
        for start in range(0, len(events), BATCH):
            await append(log, events[start : start + BATCH])
            await asyncio.sleep(0)
        while checkpoints.saves[-1].position < log.end:  # noqa: ASYNC110 - only asking shows it: no event
            await asyncio.sleep(0.01)
        took_s = time.perf_counter() - begun
    longest = max(checkpoints.saves[saves:], key=lambda save: save.seconds)
    print(f"{changed} units change, each by three events")
    print(f"  folded and saved after     {took_s:8.2f} s    holds up {stalls}")
    sizes = [save.size for save in checkpoints.saves[saves:]]
    print(f"  saves                      {len(sizes):8}      {sum(sizes) / 1e6:.0f} MB")
    print(f"  the longest                {longest.seconds:8.2f} s    {longest.size / 1e6:.0f} MB")


async def main(units: int, changed: int) -> None:
    fold, last = built(units)
    collect_seldom()  # as the aggregator's process does
    print(f"{units} units with {METRICS} declared metrics, {fold.position} events")
    with PostgresServer(durable=True) as server:
        address = await server.make_database()
        stored = await PostgresCheckpoints.open(address)
        checkpoints = Timed(stored)
        await first_save(fold, last, address, checkpoints)
        log = Tail(last.offset)
        await append(log, [last.value])
        del fold
        await log.append(DECISIONS.name, [Record(event, b"exp") for event in decision_events(METRICS)])
        await take_over(log, checkpoints, units, changed)
        await stored.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Checkpoints of many units, and taking them over")
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=80_000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.units, arguments.changed))
