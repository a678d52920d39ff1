"""For how long a partition has no partials when the worker that folds it is killed, or asked to stop: real processes.

Two processes of `splitgauge run aggregator` share the partitions on Kafka, with checkpoints in PostgreSQL. One of the
partitions has many units (as `recovery.py` makes them), and an event comes every 20 ms. Its owner is killed; the group
notices once the session has timed out, and gives the partition to the other one, which loads the checkpoint and folds
on. Then the same with an owner that is asked to stop, and leaves the group at once. All share the machine.

    python benchmarks/takeover.py [--units 200000]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("tests", "infra/servers"))
from memory import decision_events, observations
from recovery import METRICS, built

from cluster_harness import Cluster
from kafka_broker import fresh_settings, plan, stop_broker
from postgres_server import PostgresServer
from recorded import running
from splitgauge.aggregator.partition_fold import checkpoint_owner
from splitgauge.aggregator.partition_worker import LAST, mark_of
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS
from waiting import until

WORKERS: dict[str, Sequence[str]] = {"one": ("aggregator",), "two": ("aggregator",)}
TOPICS = plan(cluster_layout(observations=2, others=2))
EVERY_S = 0.02
FILLED = 10_000
"""Events in one append."""
KEY = b"exp/0"
SESSION_S = 10.0
SETTLED_S = 3.0


async def fill(settings: KafkaSettings, address: str, units: int) -> None:
    """A checkpoint of so many units, and a log that ends where it does. What stands before its last event nobody reads
    again."""
    fold, last = built(units)
    checkpoints = await PostgresCheckpoints.open(address)
    rows = {**fold.changed_rows(), LAST: mark_of(last)}
    assert await checkpoints.save(checkpoint_owner(0), expected=None, position=fold.position, changed=rows)
    await checkpoints.close()
    await init_topics(settings, TOPICS)
    log = await KafkaEventLog.connect(settings)
    await log.append(DECISIONS.name, [Record(event, b"exp") for event in decision_events(METRICS)])
    for start in range(0, last.offset, FILLED):
        await log.append(OBSERVATIONS.name, [Record(b"-", b"unit", 0)] * min(FILLED, last.offset - start))
    await log.append(OBSERVATIONS.name, [Record(last.value, b"unit", 0)])
    await log.close()


class Partials:
    """When partials of the partition came."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.times: list[float] = []

    async def watch(self) -> None:
        """Until cancelled."""
        ends = {partition: end for partition, (_, end) in (await self._log.bounds(PARTIALS.name)).items()}
        async for records in self._log.follow(PARTIALS.name, ends):
            self.times += [time.perf_counter() for record in records if record.key == KEY]

    async def longest_gap_after(self, moment: float) -> float:
        """Once they come again as they did before."""

        async def flowing() -> bool:
            return len([at for at in self.times if at > moment + SETTLED_S]) > SETTLED_S / EVERY_S / 10

        await until(flowing, what="partials come again")
        times = [at for at in self.times if at > moment - SETTLED_S]
        return max(after - before for before, after in pairwise(times))


async def write(log: EventLog, units: int) -> None:
    """An event every 20 ms, until cancelled."""
    for event in observations(range(units), METRICS, first_request=units):
        await log.append(OBSERVATIONS.name, [Record(event, b"unit", 0)])
        await asyncio.sleep(EVERY_S)


async def owner(cluster: Cluster) -> str:
    """Who folds the partition."""
    found: list[str] = []

    async def one() -> bool:
        found[:] = [
            name
            for name in WORKERS
            if "0" in (await cluster.up[name].get("/readyz"))["parts"]["aggregator"].get("positions", {})
        ]
        return len(found) == 1

    await until(one, what="one of the workers has the partition")
    return found[0]


async def measure(cluster: Cluster, units: int) -> None:
    partials = Partials(cluster.log)
    async with running(partials.watch(), write(cluster.log, units)):
        await partials.longest_gap_after(time.perf_counter())
        print(f"longest time between two partials of a partition of {units} units, events coming every 20 ms")
        gone = await owner(cluster)
        at = time.perf_counter()
        await cluster.kill(gone)
        gap_s = await partials.longest_gap_after(at)
        print(f"  its owner is killed:        {gap_s:6.2f} s, of which the session takes {SESSION_S:.0f}")
        await cluster.start(gone)
        gone = await owner(cluster)
        at = time.perf_counter()
        await cluster.stop(gone)
        print(f"  its owner is asked to stop: {await partials.longest_gap_after(at):6.2f} s")


async def main(units: int) -> None:
    with tempfile.TemporaryDirectory() as folder, PostgresServer(durable=True) as server:
        settings = fresh_settings(session_timeout_s=SESSION_S, heartbeat_s=2.0)
        address = await server.make_database()
        await fill(settings, address, units)
        async with Cluster.running(Path(folder), settings, address, WORKERS, topics=TOPICS) as cluster:
            await measure(cluster, units)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How long a partition has no partials when its worker goes")
    parser.add_argument("--units", type=int, default=200_000)
    try:
        asyncio.run(main(parser.parse_args().units))
    finally:
        stop_broker()
