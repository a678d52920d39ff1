"""Speed and memory of the partition fold, against a bare loop over the same embedded log in the same run.

The bare loop reads, decodes with orjson and chains the digest. The fold does all that the aggregator does: attribution,
totals per unit, exact sums, time buckets, and a partial of every experiment after each 10,000 events.

    python benchmarks/fold.py [--requests 60000] [--rounds 3]
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import orjson

from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.experiments.commands import By, activate_experiment, define_experiment, define_workload
from splitgauge.experiments.history import ZERO_DIGEST, DecisionHistory, chain
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import SOURCES, EventType, wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.identifiers import live_event_id, report_id_by_token
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.schemas.topics import OBSERVATIONS
from splitgauge.schemas.workload import Workload
from splitgauge.standalone.collection import collect_seldom

START_US = 1_790_000_000_000_000
PARTIAL_EVERY = 10_000
BATCH = 500


def decision_events() -> list[bytes]:
    """One active experiment with a goal of its own."""
    by = By(actor=Actor(kind="user", name="benchmark"), reason="a benchmark")
    history = DecisionHistory()
    workload = Workload.model_validate({"id": "base", "provider": "webhook", "url": "http://127.0.0.1:9/"})
    specification = ExperimentSpecification.model_validate(
        {
            "name": "exp",
            "base_workload_id": "base",
            "variants": [
                {"name": "control", "workload_id": "base", "weight": 1},
                {"name": "challenger", "workload_id": "base", "overrides": {"model": "m"}, "weight": 1},
            ],
            "control": "control",
            "metrics": [{"name": "correct", "kind": "proportion"}],
        }
    )
    makers: tuple[Callable[[], DecisionData], ...] = (
        lambda: define_workload(history.newest, workload, by),
        lambda: define_experiment(history.newest, "exp", specification, by),
        lambda: activate_experiment(history.newest, "exp", by),
    )
    values: list[bytes] = []
    for offset, make in enumerate(makers):
        data = encode(make().model_dump(mode="json"))
        value = wrap(data, type="splitgauge.decision.v1", id=str(offset), source="b", time=to_text(START_US))
        history.extend([(offset, value)])
        values.append(value)
    return values


def decisions() -> DecisionHistory:
    """The state after them."""
    history = DecisionHistory()
    history.extend(list(enumerate(decision_events())))
    return history


def observations(requests: int, units: int, *, reports: bool = True) -> Iterator[tuple[int, bytes]]:
    """Number of the unit and event: assignments and outcomes, and a report for every fourth request."""
    chance = Random(7)
    for number in range(requests):
        at_us = START_US + number * 2_000
        unit = chance.randrange(units)
        request = str(UUID(int=chance.getrandbits(128), version=4))
        given: dict[str, Any] = {
            "experiment_id": "exp",
            "epoch": 1,
            "workload": "base",
            "request_id": request,
            "unit_id": f"{unit * 0x9E3779B97F4A7C15 % 2**128:032x}",
            "variant": ("control", "challenger")[unit % 2],
            "reason": "split",
            "mode": "live",
            "decisions_offset": 3,
            "caller": "app",
        }
        assigned: dict[str, Any] = {**given, "slot": unit % 10_000, "own_unit": False, "covariates": {}}
        ended = {**given, **_end(chance, given, at_us)}
        yield unit, _event("assignment", assigned, live_event_id(request, "assignment"), at_us)
        yield unit, _event("outcome", ended, live_event_id(request, "outcome"), at_us)
        if reports and number % 4 == 0:
            metrics = {"correct": chance.random() < 0.8}
            reported = {
                "unit_id": given["unit_id"],
                "experiment_id": "exp",
                "epoch": 1,
                "request_id": request,
                "metrics": metrics,
                "received_at": to_text(at_us + 1_000),
                "decisions_offset": 3,
            }
            yield unit, _event("report", reported, report_id_by_token(request, metrics), at_us)


def _end(chance: Random, given: dict[str, Any], at_us: int) -> dict[str, Any]:
    latency_ms = round(chance.lognormvariate(6, 0.5), 3)
    tokens = chance.randrange(50, 800)
    cost = tokens * 1.5e-6
    return {
        "assigned_at": to_text(at_us),
        "served": given["variant"],
        "status": "complete",
        "attempts": [
            {
                "variant": given["variant"],
                "status": "complete",
                "latency_ms": latency_ms,
                "tokens": tokens,
                "cost": cost,
            }
        ],
        "metrics": {
            "success": True,
            "latency_ms": latency_ms,
            "ttft_ms": round(latency_ms / 5, 3),
            "input_tokens": chance.randrange(20, 3_000),
            "cached_input_tokens": 0,
            "output_tokens": tokens,
            "cost": cost,
        },
    }


def _event(kind: str, data: dict[str, Any], event_id: str, at_us: int) -> bytes:
    types: dict[str, EventType] = {
        "assignment": "splitgauge.assignment.v1",
        "outcome": "splitgauge.outcome.v1",
        "report": "splitgauge.report.v1",
    }
    return wrap(
        orjson.dumps(data),
        type=types[kind],
        id=event_id,
        source=SOURCES["router"],
        time=to_text(at_us),
        subject="exp",
        key=data["unit_id"],
        instance="r1",
    )


async def fill(log: SqliteEventLog, events: Iterator[tuple[int, bytes]], partitions: int) -> list[int]:
    """Write the observations, each unit's into its partition. Returns how many each partition has."""
    records = [Record(value, None, unit % partitions) for unit, value in events]
    for start in range(0, len(records), 5_000):
        await log.append(OBSERVATIONS.name, records[start : start + 5_000])
    return [sum(record.partition == partition for record in records) for partition in range(partitions)]


async def batches(log: SqliteEventLog, ends: list[int], take: Callable[[int, list[StoredRecord]], None]) -> float:
    """CPU seconds of reading all partitions in turns and taking each batch."""
    gc.collect()
    began = time.process_time()
    positions = [0] * len(ends)
    while positions != ends:
        for partition, position in enumerate(positions):
            if position < ends[partition]:
                records = await log.read(OBSERVATIONS.name, partition, position, limit=BATCH)
                take(partition, records)
                positions[partition] = records[-1].offset + 1
    return time.process_time() - began


async def bare(log: SqliteEventLog, ends: list[int]) -> float:
    """Read, decode, chain."""
    digests = [ZERO_DIGEST] * len(ends)

    def take(partition: int, records: list[StoredRecord]) -> None:
        digest = digests[partition]
        for record in records:
            orjson.loads(record.value)
            digest = chain(digest, record.offset, record.value)
        digests[partition] = digest

    return await batches(log, ends, take)


async def folded(log: SqliteEventLog, ends: list[int], history: DecisionHistory) -> float:
    """Everything the aggregator does."""
    folds = [PartitionFold(partition) for partition in range(len(ends))]

    def take(partition: int, records: list[StoredRecord]) -> None:
        fold = folds[partition]
        result = fold.fold(records, history)
        assert not result.dead_letters
        assert result.behind is None
        if fold.position % PARTIAL_EVERY < BATCH:
            fold.partials()
            fold.bucket_events()

    return await batches(log, ends, take)


async def without_collector(log: SqliteEventLog, ends: list[int], history: DecisionHistory) -> float:
    """The same with the garbage collector frozen and off."""
    gc.freeze()
    gc.disable()
    try:
        return await folded(log, ends, history)
    finally:
        gc.enable()
        gc.unfreeze()


def memory_per_unit() -> float:
    """Bytes that one more unit adds to the state, each unit with one request and its outcome.

    Measured over the second half of 120,000 requests: the memory of recent ids is full by then.
    """
    history = decisions()
    events = enumerate(observations(120_000, 10**9))
    records = [StoredRecord("o", 0, offset, None, value) for offset, (_, value) in events]
    fold = PartitionFold(0)
    half = len(records) // 2
    tracemalloc.start()
    held: list[tuple[int, int]] = []
    for part in (records[:half], records[half:]):
        fold.fold(part, history)
        fold.partials()
        fold.bucket_events()
        fold.changed_rows()
        gc.collect()
        held.append((tracemalloc.get_traced_memory()[0], fold.n_units))
    tracemalloc.stop()
    (before, units_before), (after, units_after) = held
    return (after - before) / (units_after - units_before)


async def run(requests: int, rounds: int) -> int:
    """Print the table. Returns 1 if the fold misses its target on any row."""
    history = decisions()
    collect_seldom()
    print(f"{'units':>10} {'partitions':>10} {'events':>9} {'bare us':>8} {'fold us':>8} {'ratio':>6} {'frozen':>7}")
    worst = 1.0
    for units, partitions in ((600, 1), (requests // 3, 1), (10**9, 1), (200_000, 4)):
        with tempfile.TemporaryDirectory() as folder:
            log = SqliteEventLog.open(Path(folder), observation_partitions=partitions)
            try:
                # Of the widest row assignments and outcomes only, and as many requests as units.
                events = observations(units, units, reports=False) if partitions > 1 else observations(requests, units)
                ends = await fill(log, events, partitions)
                # In turns, so that whatever else the machine does hits all of them alike.
                times = [
                    (
                        await bare(log, ends),
                        await folded(log, ends, history),
                        await without_collector(log, ends, history),
                    )
                    for _ in range(rounds)
                ]
            finally:
                await log.close()
        plain, ours, frozen = (min(column) for column in zip(*times, strict=True))
        per_event = 1e6 / sum(ends)
        worst = min(worst, plain / ours)
        print(
            f"{units:>10} {partitions:>10} {sum(ends):>9} {plain * per_event:>8.2f} {ours * per_event:>8.2f} "
            f"{plain / ours:>6.2f} {plain / frozen:>7.2f}"
        )
    metrics = len(ROUTER_METRICS) + 1
    print(f"memory: {memory_per_unit():.0f} bytes a unit with {metrics} metrics, of which 16 a metric are m and d")
    return 0 if worst >= 0.4 else 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    return asyncio.run(run(arguments.requests, arguments.rounds))


if __name__ == "__main__":
    sys.exit(main())
