"""The event log on Kafka against aiokafka by itself: same broker, same events, same run.

Appends against batches that are built and sent by hand; `follow` and `read` against a bare `getmany`; and what a header
on each event costs who reads. A broker of one node is started for it, and shares the machine; so compare CPU times.

    python benchmarks/kafka_log.py [--events 200000] [--rounds 3] [--libs .kafka/libs]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sys.path.append(str(Path(__file__).parents[1] / "infra" / "servers"))
from kafka_cluster import KafkaCluster
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicPlan
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.schemas.topics import OBSERVATIONS

PARTITIONS = 4
EVENT_BYTES = 474
CALL = 1_000
"""Events in one append."""
CALLS_AT_ONCE = 8
CALLERS = 64
"""Of small appends, of an assignment and an outcome each."""
LIMIT = 500
HEADERS = [("content-type", b"application/cloudevents+json")]


class Took(NamedTuple):
    """Of one run."""

    wall_s: float
    cpu_s: float


class Kafka:
    """A topic for each part of the run, on one broker."""

    def __init__(self, bootstrap: str, events: int) -> None:
        self.bootstrap = bootstrap
        self.value = b"x" * EVENT_BYTES
        self.key = b"k" * 32
        self.events = events // (CALL * PARTITIONS) * CALL * PARTITIONS

    async def log(self, name: str) -> KafkaEventLog:
        settings = KafkaSettings(bootstrap=self.bootstrap, topic_prefix=f"{name}.")
        await init_topics(settings, TopicPlan(cluster_layout(observations=PARTITIONS), replication=1, min_isr=1))
        return await KafkaEventLog.connect(settings)

    def topic(self, name: str) -> str:
        return f"{name}.{OBSERVATIONS.name}"

    async def append(self, log: KafkaEventLog) -> None:
        """Many large appends, several at once, as of an outbox under load."""
        records = [Record(self.value, self.key, index % PARTITIONS) for index in range(CALL)]
        calls = iter(range(self.events // CALL))

        async def caller() -> None:
            for _ in calls:
                await log.append(OBSERVATIONS.name, records)

        await asyncio.gather(*(caller() for _ in range(CALLS_AT_ONCE)))

    async def append_small(self, log: KafkaEventLog) -> None:
        """Two events an append, many at once."""
        calls = iter(range(self.events // 20))

        async def caller(partition: int) -> None:
            records = [Record(self.value, self.key, partition)] * 2
            for _ in calls:
                await log.append(OBSERVATIONS.name, records)

        await asyncio.gather(*(caller(number % PARTITIONS) for number in range(CALLERS)))

    async def send(self, name: str, headers: list[tuple[str, bytes]] | None = None) -> None:
        """Batches built and sent by hand, one under way a partition."""
        settings = KafkaSettings(bootstrap=self.bootstrap)
        producer = AIOKafkaProducer(**settings.producer())
        await producer.start()

        async def lane(partition: int) -> None:
            left = self.events // PARTITIONS
            while left:
                batch = producer.create_batch()
                while left and batch.append(timestamp=None, key=self.key, value=self.value, headers=headers or []):
                    left -= 1
                await (await producer.send_batch(batch, self.topic(name), partition=partition))

        await asyncio.gather(*(lane(partition) for partition in range(PARTITIONS)))
        await producer.stop()

    async def getmany(self, name: str) -> None:
        """The bare loop."""
        consumer = AIOKafkaConsumer(**KafkaSettings(bootstrap=self.bootstrap).consumer())
        await consumer.start()
        places = [TopicPartition(self.topic(name), partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        left = self.events
        while left:
            for records in (await consumer.getmany(timeout_ms=1_000, max_records=LIMIT)).values():
                left -= len(records)
        await consumer.stop()

    async def follow(self, log: KafkaEventLog) -> None:
        left = self.events
        followed = log.follow(OBSERVATIONS.name, dict.fromkeys(range(PARTITIONS), 0), limit=LIMIT)
        async with aclosing(cast("AsyncGenerator[list[StoredRecord]]", followed)) as batches:
            async for batch in batches:
                left -= len(batch)
                if left <= 0:
                    return

    async def read(self, log: KafkaEventLog) -> None:
        for partition in range(PARTITIONS):
            position = 0
            while batch := await log.read(OBSERVATIONS.name, partition, position, limit=LIMIT):
                position = batch[-1].offset + 1


async def timed(work: Callable[[], Awaitable[None]]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


async def run(bootstrap: str, events: int, rounds: int) -> None:
    """Print the table: the best of the rounds, each round's parts one after the other."""
    kafka = Kafka(bootstrap, events)
    best: dict[str, Took] = {}
    for number in range(rounds):
        raw, ours, small, marked = (f"{kind}{number}" for kind in ("raw", "ours", "small", "marked"))
        logs = {name: await kafka.log(name) for name in (raw, ours, small, marked)}
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "send_batch by hand": partial(kafka.send, raw),
            "append, 1,000 a call": partial(kafka.append, logs[ours]),
            "append, 2 a call": partial(kafka.append_small, logs[small]),
            "bare getmany": partial(kafka.getmany, ours),
            "follow": partial(kafka.follow, logs[ours]),
            "read": partial(kafka.read, logs[ours]),
            "bare getmany, a header each": partial(kafka.getmany, marked),
        }
        await kafka.send(marked, HEADERS)
        for name, part in parts.items():
            took = await timed(part)
            best[name] = min(best.get(name, took), took, key=lambda took: took.cpu_s)
        for log in logs.values():
            await log.close()
    print(f"{kafka.events} events of {EVENT_BYTES} bytes, {PARTITIONS} partitions, best of {rounds}\n")
    print(f"{'':<28} {'events/s':>10} {'events/CPU s':>13} {'ratio (CPU)':>12}")
    for name, took in best.items():
        count = kafka.events // 10 if name == "append, 2 a call" else kafka.events
        base = best["send_batch by hand" if "append" in name or "send" in name else "bare getmany"]
        ratio = (count / took.cpu_s) / (kafka.events / base.cpu_s)
        print(f"{name:<28} {count / took.wall_s:>10,.0f} {count / took.cpu_s:>13,.0f} {ratio:>12.2f}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--libs", type=Path, default=Path(".kafka/libs"), help="the jars that `make broker` copies")
    arguments = parser.parse_args()
    with KafkaCluster(arguments.libs) as cluster:
        asyncio.run(run(cluster.bootstrap, arguments.events, arguments.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
