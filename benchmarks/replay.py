"""Speed of the replay, against the time in which the log was recorded.

Takes a data folder, that of a demo for instance; without one it records a log like the demo's: 60 s of traffic at 240
requests a second by 600 users in three experiments, a look at each four times a second, logged by the analyzer's
cadence.

    python benchmarks/replay.py [FOLDER] [--seconds 60] [--rounds 3]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.tables import window_of
from splitgauge.analyzer import decisions_read, is_worth_logging, look
from splitgauge.analyzer.analysis_log import AnalysisLog
from splitgauge.audit import ReplayReport, replay
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.experiments import Registry
from splitgauge.experiments.commands import By, activate_experiment, define_experiment, define_workload
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import SOURCES, EventType, parse, wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.identifiers import live_event_id, report_id_by_token
from splitgauge.schemas.instants import SECOND_US, from_text, to_text
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import ANALYSES, OBSERVATIONS, unit_partition
from splitgauge.schemas.workload import Workload

START_US = 1_790_000_000_000_000
EXPERIMENTS = ("postal-codes", "cheques", "meter-readings")
PARTITIONS = 4
REQUESTS_PER_S = 240
USERS = 600
LOOKS_PER_S = 4
TARGET = 10.0


async def define(decisions: DecisionLog) -> None:
    """Three experiments, active; nobody acts on what they find, so that all of them are looked at to the end."""
    by = By(actor=Actor(kind="user", name="benchmark"), reason="a benchmark")
    for name in EXPERIMENTS:
        workload = {"id": name, "provider": "webhook", "url": "http://127.0.0.1:9/"}
        specification = {
            "name": name,
            "base_workload_id": name,
            "variants": [
                {"name": "control", "workload_id": name, "weight": 1},
                {"name": "challenger", "workload_id": name, "overrides": {"model": "m"}, "weight": 1},
            ],
            "control": "control",
            "metrics": [{"name": "correct", "kind": "proportion", "level": "request", "denominator": "reports"}],
            "goal": {"metric": "correct"},
            "guardrails": [{"metric": "success", "margin": 0.02}, {"metric": "latency_ms", "margin": 0.25}],
        }
        steps: tuple[Callable[[Registry], DecisionData], ...] = (
            partial(define_workload, workload=Workload.model_validate(workload), by=by),
            partial(
                define_experiment,
                experiment_id=name,
                specification=ExperimentSpecification.model_validate(specification),
                by=by,
            ),
            partial(activate_experiment, experiment_id=name, by=by),
        )
        for number, step in enumerate(steps):
            event_id = f"{name}-{number}"
            await decisions.propose(step(decisions.registry), event_id=event_id, time_us=START_US)


def request(chance: Random, at_us: int, seen: int) -> Iterator[Record]:
    """Assignment, outcome and report."""
    user, experiment = int(USERS * chance.random() ** 2), chance.choices(EXPERIMENTS, (60, 15, 25))[0]
    unit_id = f"{(user + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
    request_id = str(UUID(int=chance.getrandbits(128), version=4))
    given: dict[str, Any] = {
        "experiment_id": experiment,
        "epoch": 1,
        "workload": experiment,
        "request_id": request_id,
        "unit_id": unit_id,
        "variant": ("control", "challenger")[user % 2],
        "reason": "split",
        "mode": "live",
        "decisions_offset": seen,
    }
    measured = {"success": chance.random() < 0.99, "latency_ms": chance.lognormvariate(3, 0.3)}
    ended = {"assigned_at": to_text(at_us), "status": "complete", "metrics": measured}
    metrics = {"correct": chance.random() < 0.8}
    told = {"metrics": metrics, "received_at": to_text(at_us + 300_000)}
    events: tuple[tuple[EventType, dict[str, Any], str], ...] = (
        ("splitgauge.assignment.v1", given, live_event_id(request_id, "assignment")),
        ("splitgauge.outcome.v1", {**given, **ended}, live_event_id(request_id, "outcome")),
        ("splitgauge.report.v1", {**given, **told}, report_id_by_token(request_id, metrics)),
    )
    for kind, data, event_id in events:
        source, time_ = SOURCES["router"], to_text(at_us)
        value = wrap(encode(data), type=kind, id=event_id, source=source, time=time_, subject=experiment, key=unit_id)
        yield Record(value, unit_id.encode(), unit_partition(unit_id, PARTITIONS))


async def record(folder: Path, seconds: float) -> None:
    """What a run of so many seconds leaves behind."""
    log = SqliteEventLog.open(folder, observation_partitions=PARTITIONS)
    decisions = DecisionLog(log, source=SOURCES["console"], instance="benchmark")
    analyses = AnalysisLog(log, clock=lambda: time.time_ns() // 1000, instance="benchmark")
    await define(decisions)
    folds = {number: PartitionFold(number) for number in range(PARTITIONS)}
    chance, history = Random(7), decisions.history
    for tick in range(round(seconds * LOOKS_PER_S)):
        now_us = START_US + tick * SECOND_US // LOOKS_PER_S
        records = [
            record
            for number in range(REQUESTS_PER_S // LOOKS_PER_S)
            for record in request(chance, now_us + number * SECOND_US // REQUESTS_PER_S, history.end)
        ]
        places = await log.append(OBSERVATIONS.name, records)
        for record, (partition, offset) in zip(records, places, strict=True):
            stored = StoredRecord(OBSERVATIONS.name, partition, offset, record.key, record.value)
            folds[partition].fold([stored], history)
        for name in EXPERIMENTS:
            partials = {
                number: PartialData.model_validate_json(fold.partial(name))
                for number, fold in folds.items()
                if name in fold.experiments
            }
            previous = analyses.last(name)
            taken = look(
                history.newest.experiments[name],
                window_of(partials),
                looked_at=to_text(now_us + SECOND_US // LOOKS_PER_S),
                previous=previous,
                decisions=decisions_read(history, history.end),
            )
            if is_worth_logging(taken.data, previous.data if previous is not None else None):
                await analyses.append(taken)
    await log.close()


async def recorded_s(log: SqliteEventLog) -> float:
    """From the first observation to the last."""
    times: list[int] = []
    for number, (start, end) in (await log.bounds(OBSERVATIONS.name)).items():
        ends = [at for at in (start, end - 1) if start < end]
        records = [(await log.read(OBSERVATIONS.name, number, at, limit=1))[0] for at in ends]
        times += [from_text(parse(record.value).time or "") for record in records]
    return (max(times) - min(times)) / SECOND_US if times else 0.0


async def run(folder: Path, rounds: int) -> int:
    """Print the table. Returns 1 if the replay misses its target or finds anything."""
    log = SqliteEventLog.open_readonly(folder)
    reports: list[ReplayReport] = []
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        reports.append(await replay(log))
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - used)
    took_s = await recorded_s(log)
    await log.close()
    report = reports[-1]
    events, looks = sum(report.events.values()), report.events[ANALYSES.name]
    print(f"{'events':>9} {'analyses':>8} {'recorded s':>10} {'replayed s':>10} {'CPU s':>7} {'ratio':>6}")
    # One thread that hardly waits: on an idle machine its CPU time is what passes, and a busy one does not disturb it.
    ratio = took_s / min(cpus)
    print(f"{events:>9} {looks:>8} {took_s:>10.1f} {min(walls):>10.2f} {min(cpus):>7.2f} {ratio:>6.1f}")
    return 0 if report.sound and ratio >= TARGET else 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        return asyncio.run(run(arguments.folder, arguments.rounds))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(record(Path(folder), arguments.seconds))
        return asyncio.run(run(Path(folder), arguments.rounds))


if __name__ == "__main__":
    sys.exit(main())
