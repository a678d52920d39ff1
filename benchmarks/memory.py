"""Memory of the partition fold, with a worker's engine: bytes for each unit of an experiment, and for each metric.

Resident memory of a process of its own for each number of metrics, over the second half of the units: what is kept for
every partition, such as the ids of the last 100,000 events, is there by then. Each unit has one request, its outcome,
and one report with a value for every declared metric.

    python benchmarks/memory.py [--units 1000000]
"""

import argparse
import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from splitgauge.aggregator.engine import compiled_engine
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.eventlog.port import StoredRecord
from splitgauge.experiments.commands import By, activate_experiment, define_experiment, define_workload
from splitgauge.experiments.history import DecisionHistory
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import SOURCES, EventType, wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.identifiers import live_event_id
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.schemas.topics import OBSERVATIONS
from splitgauge.schemas.workload import Workload

START_US = 1_790_000_000_000_000
DECLARED = (0, 1, 6, 16)
"""Metrics beside the router's own."""
BATCH = 500
REPORTED = 1_000
"""Units between two partials: what a live fold publishes and forgets meanwhile."""


def decisions(metrics: int) -> DecisionHistory:
    """One active experiment with that many declared metrics."""
    history = DecisionHistory()
    history.extend(list(enumerate(decision_events(metrics))))
    return history


def decision_events(metrics: int) -> list[bytes]:
    """What makes it."""
    by = By(actor=Actor(kind="user", name="benchmark"), reason="a benchmark")
    history = DecisionHistory()
    workload = Workload.model_validate({"id": "base", "provider": "webhook", "url": "http://127.0.0.1:9/"})
    specification = ExperimentSpecification.model_validate(
        {
            "name": "exp",
            "base_workload_id": "base",
            "variants": [{"name": name, "workload_id": "base", "weight": 1} for name in ("control", "challenger")],
            "control": "control",
            "metrics": [{"name": f"metric-{number}"} for number in range(metrics)],
        }
    )
    makers: tuple[Callable[[], DecisionData], ...] = (
        lambda: define_workload(history.newest, workload, by),
        lambda: define_experiment(history.newest, "exp", specification, by),
        lambda: activate_experiment(history.newest, "exp", by),
    )
    events: list[bytes] = []
    for offset, make in enumerate(makers):
        events.append(_event("decision", make(), f"{offset}", START_US))
        history.extend([(offset, events[-1])])
    return events


def observations(units: Iterable[int], metrics: int, *, first_request: int = 0) -> Iterator[bytes]:
    """The story of one request of each unit after the other."""
    for number, unit_number in enumerate(units, first_request):
        at_us = START_US + number * 1_000
        request, variant = str(UUID(int=number)), ("control", "challenger")[unit_number % 2]
        place: dict[str, Any] = {"experiment_id": "exp", "epoch": 1, "request_id": request}
        unit: dict[str, Any] = {"unit_id": f"{unit_number * 0x9E3779B97F4A7C15 % 2**128:032x}", "decisions_offset": 3}
        given = {**place, **unit, "workload": "base", "variant": variant, "reason": "split", "mode": "live"}
        yield _event("assignment", given, live_event_id(request, "assignment"), at_us)
        measured = {"success": True, "latency_ms": 20.0 + number % 7, "output_tokens": number % 500}
        ended = {**given, "assigned_at": to_text(at_us), "status": "complete", "metrics": measured}
        yield _event("outcome", ended, live_event_id(request, "outcome"), at_us)
        if metrics:
            values = {f"metric-{metric}": float(number % (metric + 2)) for metric in range(metrics)}
            yield _event("report", {**place, **unit, "metrics": values, "received_at": to_text(at_us)}, "r", at_us)


def _event(kind: str, data: DecisionData | dict[str, Any], event_id: str, at_us: int) -> bytes:
    types: dict[str, EventType] = {
        "assignment": "splitgauge.assignment.v1",
        "decision": "splitgauge.decision.v1",
        "outcome": "splitgauge.outcome.v1",
        "report": "splitgauge.report.v1",
    }
    body = orjson.dumps(data) if isinstance(data, dict) else encode(data.model_dump(mode="json"))
    return wrap(body, type=types[kind], id=event_id, source=SOURCES["router"], time=to_text(at_us))


def bytes_per_unit(units: int, metrics: int) -> float:
    """Resident bytes that one more unit costs, over the second half of the units."""
    history, fold = decisions(metrics), PartitionFold(0, compiled_engine())
    resident: list[int] = []
    batch: list[StoredRecord] = []
    half = units // 2 * (3 if metrics else 2)
    for offset, value in enumerate(observations(range(units), metrics)):
        batch.append(StoredRecord(OBSERVATIONS.name, 0, offset, None, value))
        if len(batch) == BATCH:
            _take(fold, batch, history)
            batch = []
        if offset + 1 == half:
            resident.append(_resident_bytes())
    _take(fold, batch, history)
    resident.append(_resident_bytes())
    return (resident[1] - resident[0]) / (units - units // 2)


def _take(fold: PartitionFold, batch: list[StoredRecord], history: DecisionHistory) -> None:
    result = fold.fold(batch, history)
    assert not result.dead_letters, result.dead_letters[0]
    assert result.behind is None
    if fold.position % (REPORTED * BATCH) < BATCH:
        fold.partials()
        fold.bucket_events()
        fold.changed_rows()


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run(units: int) -> int:
    """Print the table."""
    print(f"{'declared':>9} {'all':>4} {'bytes a unit':>13} {'a unit and metric':>18}")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        costs = list(processes.map(bytes_per_unit, [units] * len(DECLARED), DECLARED))
    for metrics, cost in zip(DECLARED, costs, strict=True):
        every = metrics + len(ROUTER_METRICS)
        print(f"{metrics:>9} {every:>4} {cost:>13.0f} {cost / every:>18.1f}")
    more = (costs[-1] - costs[1]) / (DECLARED[-1] - DECLARED[1])
    print(f"one more declared metric costs {more:.0f} bytes a unit")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Memory of the partition fold.")
    parser.add_argument("--units", type=int, default=1_000_000)
    sys.exit(run(parser.parse_args().units))
