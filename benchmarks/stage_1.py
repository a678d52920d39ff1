"""Stage 1 on Kafka against a bare `getmany` + orjson loop, and against quixstreams: one broker, one topic, one run.

Two topics of 4 partitions, 200,000 units with two requests each, an assignment and an outcome with six metrics a
request, some hundred requests under way: one with events as the router writes them (`whole`), one with no more in them
than the contract asks for (`least`: outcomes of about 500 bytes). Measured is the CPU time of the consumer, in a
process of its own for each contender and round; the broker shares the machine, so wall times say little. Last, one
worker on all partitions against two on half of them each.

    python benchmarks/stage_1.py [--units 200000] [--rounds 3] [--libs .kafka/libs]
"""

import argparse
import asyncio
import gc
import multiprocessing
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, repeat
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from fold import START_US, decision_events, decisions

sys.path.append(str(Path(__file__).parents[1] / "infra" / "servers"))
from kafka_cluster import KafkaCluster
from postgres_server import PostgresServer
from splitgauge.aggregator.engine import compiled_engine
from splitgauge.aggregator.fold_group import FoldGroup
from splitgauge.aggregator.partition_fold import MakeEngine, PartitionFold, checkpoint_owner
from splitgauge.aggregator.partition_worker import Surroundings
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicPlan
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.schemas.envelope import SOURCES, EventType, wrap
from splitgauge.schemas.identifiers import live_event_id
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, unit_partition
from splitgauge.standalone.collection import collect_seldom

R = TypeVar("R")

QUIXSTREAMS = "quixstreams==3.28.1"
PARTITIONS = 4
REQUESTS_A_UNIT = 2
UNDER_WAY = 200
"""Requests without an outcome at any time."""
LIMIT = 500
"""Records of one `getmany`: the fastest for all."""
PARTIALS_EVERY = 25_000
"""Events of a partition between two publications."""


class Took(NamedTuple):
    """Of one contender in one round."""

    events: int
    cpu_s: float
    wall_s: float


class Place(NamedTuple):
    """Where a contender finds its events, and where a worker saves."""

    bootstrap: str
    name: str
    partitions: tuple[int, ...]
    postgres: str

    @property
    def settings(self) -> KafkaSettings:
        return KafkaSettings(bootstrap=self.bootstrap, topic_prefix=f"{self.name}.")

    @property
    def topic(self) -> str:
        return self.settings.topic(OBSERVATIONS.name)


# What is folded.


def traffic(units: int, *, whole: bool) -> Iterator[tuple[str, bytes]]:
    """Unit and event: each unit has its requests at random times, and their outcomes come a while after them."""
    chance = Random(7)
    order = [unit for unit in range(units) for _ in range(REQUESTS_A_UNIT)]
    chance.shuffle(order)
    under_way: list[tuple[str, bytes]] = []
    for number, unit in enumerate(order):
        at = to_text(START_US + number * 2_000)
        unit_id = f"{(unit + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
        request = str(UUID(int=chance.getrandbits(128), version=4))
        given: dict[str, Any] = {
            "request_id": request,
            "unit_id": unit_id,
            "reason": "split",
            "decisions_offset": 3,
            "experiment_id": "exp",
            "epoch": 1,
            "variant": ("control", "challenger")[unit % 2],
        }
        yield unit_id, _event("assignment", given, whole, at)
        under_way.append((unit_id, _event("outcome", given | _end(chance, given, at, whole=whole), whole, at)))
        if len(under_way) == UNDER_WAY:
            yield under_way.pop(chance.randrange(UNDER_WAY))
    yield from under_way


def _end(chance: Random, given: dict[str, Any], at: str, *, whole: bool) -> dict[str, Any]:
    latency_ms = round(chance.lognormvariate(6, 0.5), 3)
    tokens = chance.randrange(50, 800)
    metrics = {
        "success": chance.random() < 0.98,
        "latency_ms": latency_ms,
        "ttft_ms": round(latency_ms / 5, 3),
        "input_tokens": chance.randrange(20, 3_000),
        "output_tokens": tokens,
        "cost": round(tokens * 1.5e-6, 9),
    }
    ended: dict[str, Any] = {"assigned_at": at, "status": "complete", "metrics": metrics}
    if whole:
        arm, cost = given["variant"], metrics["cost"]
        ended["served"] = arm
        ended["attempts"] = [
            {"variant": arm, "status": "complete", "latency_ms": latency_ms, "tokens": tokens, "cost": cost}
        ]
    return ended


def _event(kind: str, data: dict[str, Any], whole: bool, at: str) -> bytes:
    type_: EventType = "splitgauge.assignment.v1" if kind == "assignment" else "splitgauge.outcome.v1"
    event_id = live_event_id(data["request_id"], kind)
    if whole:
        body, unit_id = orjson.dumps({"workload": "base", **data}), data["unit_id"]
        return wrap(
            body,
            type=type_,
            id=event_id,
            source=SOURCES["router"],
            time=at,
            subject="exp",
            key=unit_id,
            instance="r1",
        )
    envelope = {"specversion": "1.0", "id": event_id, "source": SOURCES["router"], "type": type_}
    dated = {"time": at} if kind == "assignment" else {}
    return orjson.dumps({**envelope, **dated, "data": data})


async def fill(settings: KafkaSettings, units: int, *, whole: bool) -> str:
    """Write decisions and observations. Returns how large they are."""
    await init_topics(settings, TopicPlan(cluster_layout(observations=PARTITIONS), replication=1, min_isr=1))
    log = await KafkaEventLog.connect(settings)
    try:
        await log.append(DECISIONS.name, [Record(value, b"exp") for value in decision_events()])
        sizes: dict[bool, list[int]] = {True: [], False: []}
        left = traffic(units, whole=whole)
        while events := list(islice(left, 5_000)):
            records = [Record(value, unit.encode(), unit_partition(unit, PARTITIONS)) for unit, value in events]
            for record in records:
                sizes[b"outcome.v1" in record.value].append(len(record.value))
            await log.append(OBSERVATIONS.name, records)
    finally:
        await log.close()
    means = {kind: sum(held) / len(held) for kind, held in sizes.items()}
    count = sum(map(len, sizes.values()))
    return f"{count} events, outcomes of {means[True]:.0f} bytes, assignments of {means[False]:.0f}"


# Who reads it.


async def _getmany(place: Place, take: Callable[[list[ConsumerRecord]], object]) -> Took:
    consumer = AIOKafkaConsumer(**place.settings.consumer())
    await consumer.start()
    try:
        places = [TopicPartition(place.topic, number) for number in place.partitions]
        consumer.assign(places)
        for each in places:
            consumer.seek(each, 0)
        events = sum((await consumer.end_offsets(places)).values())
        return await _timed(_fetches(consumer), events, take)
    finally:
        await consumer.stop()


async def _fetches(consumer: AIOKafkaConsumer) -> AsyncIterator[list[ConsumerRecord]]:
    while True:
        for records in (await consumer.getmany(timeout_ms=1_000, max_records=LIMIT)).values():
            yield records


async def _timed(batches: AsyncIterator[list[R]], events: int, take: Callable[[list[R]], object]) -> Took:
    """From the first batch that is asked for, until so many events are taken."""
    clock, left = _Clock(), events
    async for records in batches:
        take(records)
        left -= len(records)
        if not left:
            break
    return clock.took(events)


async def fetched(place: Place) -> Took:
    """`getmany`, and nothing done with what comes."""
    return await _getmany(place, lambda records: records)


async def bare(place: Place) -> Took:
    """`getmany` and orjson: the baseline."""
    return await _getmany(place, lambda records: [orjson.loads(record.value or b"") for record in records])


async def _delivered(place: Place, take: Callable[[list[StoredRecord]], object]) -> Took:
    log = await KafkaEventLog.connect(place.settings)
    try:
        async with log.join(OBSERVATIONS.name, f"benchmark-{time.time_ns()}") as member:
            return await _timed(member.batches(limit=LIMIT), await _events_at(place, log), take)
    finally:
        await log.close()


async def delivered(place: Place) -> Took:
    """A group of the event log, and nothing done with what comes."""
    return await _delivered(place, lambda records: records)


async def folded(place: Place) -> Took:
    """The same and the fold: all that stage 1 finds out, published now and then into nowhere."""
    return await _delivered(place, _fold(place, compiled_engine()))


async def folded_plainly(place: Place) -> Took:
    """The same as a process without numba folds."""
    return await _delivered(place, _fold(place, None))


async def followed(place: Place) -> Took:
    """Some partitions, as the only worker that there is, and the fold."""
    log, take = await KafkaEventLog.connect(place.settings), _fold(place, compiled_engine())
    try:
        batches = log.follow(OBSERVATIONS.name, dict.fromkeys(place.partitions, 0), limit=LIMIT)
        return await _timed(batches, await _events_at(place, log), take)
    finally:
        await log.close()


async def _events_at(place: Place, log: KafkaEventLog) -> int:
    bounds = await log.bounds(OBSERVATIONS.name)
    return sum(bounds[partition].end for partition in place.partitions)


def _fold(place: Place, engine: MakeEngine | None) -> Callable[[list[StoredRecord]], None]:
    history = decisions()
    folds = {partition: PartitionFold(partition, engine) for partition in place.partitions}

    def take(records: list[StoredRecord]) -> None:
        fold = folds[records[0].partition]
        result = fold.fold(records, history)
        assert not result.dead_letters, result.dead_letters[0]
        assert result.behind is None
        if fold.position % PARTIALS_EVERY < len(records):
            fold.partials()
            fold.bucket_events()

    return take


async def worked(place: Place) -> Took:
    """A whole worker: its share of the group, dead letters, partials to Kafka, checkpoints to PostgreSQL."""
    log = await KafkaEventLog.connect(place.settings)
    checkpoints = await PostgresCheckpoints.open(place.postgres)
    try:
        events = await _events_at(place, log)
        known = DecisionLog(log, source=SOURCES["aggregator"], instance="b")
        await known.catch_up()
        for partition in place.partitions:
            await checkpoints.drop(checkpoint_owner(partition))
        group = FoldGroup(Surroundings(log, checkpoints, known, lambda: START_US, "b", compiled_engine()))
        clock = _Clock()
        working = asyncio.create_task(group.run())
        while sum(group.positions.values()) < events and not working.done():  # noqa: ASYNC110 - only asking shows it: no event
            await asyncio.sleep(0.05)
        took = clock.took(events)
        working.cancel()
        await asyncio.wait([working])
        return took
    finally:
        await checkpoints.close()
        await log.close()


class _Clock:
    """From here on. The garbage collector is set as in the process of a worker."""

    def __init__(self) -> None:
        gc.collect()
        collect_seldom()
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def took(self, events: int) -> Took:
        return Took(events, time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s)


Contender = Callable[[Place], Coroutine[Any, Any, Took]]
CONTENDERS: dict[str, Contender] = {
    "getmany": fetched,
    "getmany + orjson": bare,
    "our delivery": delivered,
    "our delivery + fold": folded,
    "the same, plain": folded_plainly,
    "a whole worker": worked,
}
BASELINE = "getmany + orjson"
PEER = "quixstreams, reduce"
PEER_EVENTS = 100_000


def contend(contender: Contender, place: Place) -> Took:
    """In a process of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(contender(place))


def _apart(contender: Contender, *places: Place) -> list[Took]:
    """A process for each of the places, all at once."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(places), mp_context=spawn) as processes:
        return list(processes.map(contend, repeat(contender), places))


def quixstreams(place: Place, folder: Path) -> Took:
    """The peer, in the virtual environment of the folder."""
    python = folder / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, QUIXSTREAMS], check=True)
    script = Path(__file__).parent / "peers" / "quixstreams_reduce.py"
    command = [str(python), str(script), place.bootstrap, place.topic, str(PEER_EVENTS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Took(**orjson.loads(done.stdout.splitlines()[-1]))


def run(place: Place, rounds: int, names: list[str], peer: Path) -> None:
    """Print the tables of one topic."""
    took: dict[str, list[Took]] = {}
    for _ in range(rounds):
        for name in names:
            [one] = [quixstreams(place, peer)] if name == PEER else _apart(CONTENDERS[name], place)
            took.setdefault(name, []).append(one)
    costs = {name: median(1e6 * each.cpu_s / each.events for each in held) for name, held in took.items()}
    print(f"{'':<24} {'CPU us an event':>16} {'ratio':>6} {'events/s':>10}")
    for name, cost in costs.items():
        speed = median(each.events / each.wall_s for each in took[name])
        ratio = f"{costs[BASELINE] / cost:.2f}" if BASELINE in costs else ""
        print(f"{name:<24} {cost:>16.2f} {ratio:>6} {speed:>10,.0f}", flush=True)


def scaling(place: Place) -> None:
    """One worker on all partitions against two on half of them each."""
    halves = [place._replace(partitions=place.partitions[half::2]) for half in (0, 1)]
    for text, parts in (("one worker", [place]), ("two workers", halves)):
        took = _apart(followed, *parts)
        events, cpu_s = sum(each.events for each in took), sum(each.cpu_s for each in took)
        speed = events / max(each.wall_s for each in took)
        print(f"{text:<24} {1e6 * cpu_s / events:>16.2f} {'':>6} {speed:>10,.0f}", flush=True)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--libs", type=Path, default=Path(".kafka/libs"), help="the jars that `make broker` copies")
    everybody = [*CONTENDERS, PEER]
    parser.add_argument(
        "--only",
        nargs="*",
        choices=everybody,
        default=everybody,
        metavar="CONTENDER",
        help=f"of {', '.join(everybody)}",
    )
    parser.add_argument("--peer", type=Path, default=Path(".kafka/quixstreams"), help="its virtual environment")
    chosen = parser.parse_args()
    with KafkaCluster(chosen.libs) as cluster, PostgresServer(durable=True) as server:
        database = asyncio.run(server.make_database())
        places = [Place(cluster.bootstrap, name, tuple(range(PARTITIONS)), database) for name in ("whole", "least")]
        for place in places:
            filled = asyncio.run(fill(place.settings, chosen.units, whole=place.name == "whole"))
            print(f"{place.name}: {filled}, {chosen.units} units")
            run(place, chosen.rounds, chosen.only, chosen.peer)
        scaling(places[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
