"""A log with everything in it that an audit meets, recorded by the real parts: folds, tables, analyzer, decisions.

Three experiments on 4 partitions: `better` is promoted, `faulty` is rolled back, `same` (one model on both sides) stays
undecided, is paused, resumed and re-weighted, and ends without a winner. Each is judged by another engine, and `better`
knows something of its users beforehand. Some observations cannot be used, some come twice, some outcomes never; one
decision lost a race, one analysis is a fork. Clock and chance are fixed and every part is run until it rests, so that
the same code records the same log.

    python tests/recorded.py FILE      # an export of it, as under tests/histories
"""

import asyncio
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from fold_stories import MINUTE, START, assignment, outcome, report, unit_id
from plain_fold import accepted_looks, ends_of, newest_windows, positions_of
from splitgauge.aggregator.partition_worker import Pace, Surroundings
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.analyzer import decisions_read, look
from splitgauge.analyzer.proposals import propose
from splitgauge.analyzer.service import Analyzer, AnalyzerSettings
from splitgauge.eventlog.checkpoints import Checkpoints
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.jsonl import export_log
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.experiments import Registry
from splitgauge.experiments.commands import (
    By,
    activate_experiment,
    complete_experiment,
    define_experiment,
    define_workload,
    initialize_log,
    pause_experiment,
    resume_experiment,
    reweight_experiment,
)
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import SOURCES, wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import WindowData
from splitgauge.schemas.topics import ANALYSES, DECISIONS, OBSERVATIONS, unit_partition
from splitgauge.schemas.workload import Workload
from waiting import until

__all__ = ["FAST", "PARTITIONS", "Aggregating", "Recorder", "analysis_record", "embedded", "record", "running"]

PARTITIONS = 4
ROUNDS = 10
STEP = 10 * MINUTE

_BY = By(actor=Actor(kind="user", name="ada"), reason="recorded for tests")
_ABILITY = {"better": (0.15, 0.95), "faulty": (0.5, 0.5), "same": (0.5, 0.5)}
"""Share of right answers: control, challenger."""
_ENGINES = {"better": "asymptotic", "faulty": "rare", "same": "group_sequential"}
_CORRECT = {"name": "correct", "kind": "proportion", "level": "request", "denominator": "reports"}
_ANALYZER = AnalyzerSettings(debounce_s=0.001)

FAST = Pace(publish_interval_s=0.001, checkpoint_interval_s=0)

Aggregating = Callable[[Callable[[], int]], AbstractAsyncContextManager[None]]
"""The aggregator's roles at work, both stages, while the context lasts. Called with the clock."""
Experiment = Literal["better", "faulty", "same"]


async def record(log: EventLog, aggregating: Aggregating | None = None, *, seed: int = 1, users: int = 1) -> "Recorder":
    """Everything, into an empty log. Seed 1 is what stands under tests/histories. `users`: as for `Recorder`."""
    recorder = Recorder(log, aggregating, seed=seed, users=users)
    await recorder.define()
    for number in range(ROUNDS):
        await recorder.play(number)
        if number == 3:
            await recorder.pause_in_a_race()
        if number == 4:
            await recorder.decide(resume_experiment, "same")
            await recorder.decide(reweight_experiment, "same", {"control": 1.0, "challenger": 3.0})
        if number == 6:
            await recorder.fork()
    await recorder.decide(complete_experiment, "same")
    await recorder.observe([("better", b"{"), *recorder.request("same", "tail", 0)])
    return recorder


class Recorder:
    """Writes as router, aggregator, analyzer and people do, one after the other.

    Attributes:
        tables: the newest windows as every round left them, by experiment.
    """

    def __init__(self, log: EventLog, aggregating: Aggregating | None = None, *, seed: int = 1, users: int = 1) -> None:
        """`users`: how many times the usual number of requests a round has."""
        self.log = log
        self.now_us = START
        self.tables: list[dict[str, bytes]] = []
        self._aggregating = aggregating or embedded(log, MemoryEventLog().checkpoints)
        self._users = users
        self._random = random.Random(seed)
        self._decisions = DecisionLog(log, source=SOURCES["console"], instance="c1")
        self._requests = 0
        self._touched: dict[str, set[int]] = {}

    @property
    def registry(self) -> Registry:
        """After all that was decided."""
        return self._decisions.registry

    async def define(self) -> None:
        """Workloads and experiments, all active."""
        await self._propose(initialize_log("f" * 64, _BY))
        for name in _ABILITY:
            for key in (f"base-{name}", f"new-{name}"):
                workload = {"id": key, "provider": "webhook", "url": f"http://{key}.test/"}
                await self._propose(define_workload(self.registry, Workload.model_validate(workload), _BY))
            await self._propose(define_experiment(self.registry, name, _specification(name), _BY))
            await self.decide(activate_experiment, name)

    async def decide(self, command: Callable[..., DecisionData], *arguments: Any) -> None:
        """A person's command."""
        await self._propose(command(self.registry, *arguments, _BY))

    async def pause_in_a_race(self) -> None:
        """Two people pause at the same revision; the second one loses."""
        pause = pause_experiment(self.registry, "same", _BY)
        for name in ("first", "second"):
            event = wrap(
                encode(pause.model_dump(mode="json", exclude_none=True)),
                type="splitgauge.decision.v1",
                id=f"pause-{name}",
                source=SOURCES["console"],
                time=to_text(self.now_us),
                subject="same",
                key="same",
                instance="c1",
            )
            await self.log.append(DECISIONS.name, [Record(event, b"same")])
        await self._decisions.catch_up()

    async def play(self, number: int) -> None:
        """One round: traffic, then everything that follows from it."""
        self.now_us = START + number * STEP
        events: list[tuple[str, bytes]] = []
        for name, state in self.registry.experiments.items():
            if state.status == "active":
                for index in range(self._users * (8 if name == "faulty" else 14)):
                    events += self.request(name, f"{number}-{index}", index)
        if number in {2, 5}:
            events.append(("", b'{"specversion": "1.0", "half'))
            events.append(("", outcome(f"wild-{number}", "wild", metrics={"latency_ms": 1e300}, **self._as("same"))))
        await self.observe(events)
        self.now_us += STEP // 2
        async with self._aggregating(lambda: self.now_us):
            await until(self._is_aggregated)
        self.tables.append(await newest_windows(self.log))
        async with running(Analyzer(self.log, clock=lambda: self.now_us, settings=_ANALYZER).run()):
            await until(self._is_analysed)

    def request(self, name: str, key: str, index: int) -> list[tuple[str, bytes]]:
        """What a router writes about one request, and what comes of it later."""
        self._requests += 1
        request, unit = f"{name}-{key}", f"{name}-user-{self._requests if index % 4 else index}"
        arm = int(unit_id(unit), 16) % 2
        variant = ("control", "challenger")[arm]
        fields = {**self._as(name), "at": self.now_us + index}
        failed = name == "faulty" and arm == 1 and self._random.random() < 0.7
        right = self._random.random() < _ABILITY[name][arm]
        measured = {"success": not failed, "latency_ms": 20 + 10 * self._random.random()}
        known = {"skill": int(unit_id(unit)[2:6], 16) / 1024} if name == "better" else {}
        events = [assignment(request, unit, variant, covariates=known, **fields)]
        if index != 5:
            events.append(outcome(request, unit, variant, metrics=measured, **fields))
        if not failed:
            told = report(unit, {"correct": right}, request=request, **fields)
            events += [told, told] if index == 6 else [told]
        return [(name, event) for event in events]

    async def observe(self, events: list[tuple[str, bytes]]) -> None:
        """Append, each to the partition of its unit; what is of no experiment to partition 1."""
        records: list[Record] = []
        for name, event in events:
            partition = unit_partition(read_unit(event), PARTITIONS) if name and event != b"{" else 1
            records.append(Record(event, b"unit", partition))
            if name:
                self._touched.setdefault(name, set()).add(partition)
        await self.log.append(OBSERVATIONS.name, records)

    async def fork(self) -> None:
        """Another analyzer looked at `same` at the same time, and was the second to write."""
        *_, before, last = await self.looks("same")
        again = look(
            self.registry.experiments["same"],
            await self.window("same"),
            looked_at=to_text(self.now_us + 1),
            previous=before,
            decisions=decisions_read(self._decisions.history, self._decisions.history.end),
        )
        assert last.data.previous == again.data.previous
        await self.log.append(ANALYSES.name, [analysis_record(again.id, again.value, "same", again.data.looked_at)])

    async def looks(self, name: str) -> list[AcceptedLook]:
        """The accepted looks at an experiment."""
        return [one for one in await accepted_looks(self.log) if one.data.experiment_id == name]

    async def window(self, name: str) -> WindowData:
        """The newest window of an experiment."""
        return WindowData.model_validate_json((await newest_windows(self.log))[name])

    def _as(self, name: str) -> dict[str, Any]:
        epoch = len(self.registry.experiments[name].epochs)
        return {"experiment": name, "epoch": epoch, "seen": self._decisions.history.end, "at": self.now_us}

    async def _propose(self, decision: DecisionData) -> None:
        event_id = f"d{self._decisions.history.end}"
        judged = await self._decisions.propose(decision, event_id=event_id, time_us=self.now_us)
        assert judged.accepted, judged.refusal

    async def _is_aggregated(self) -> bool:
        """Workers that begin behind all that was written publish everything they have as of there."""
        ends = await ends_of(self.log)
        needed = {name: {at: ends[at] for at in touched} for name, touched in self._touched.items()}
        return needed == {name: positions_of(window) for name, window in (await newest_windows(self.log)).items()}

    async def _is_analysed(self) -> bool:
        """Looked at as it stands now, and nothing follows that the analyzer has not decided yet."""
        await self._decisions.catch_up()
        for name, state in self.registry.experiments.items():
            if state.status in {"active", "paused"}:
                looks = await self.looks(name)
                if not looks or looks[-1].data.revision != state.revision:
                    return False
                if state.status == "active" and looks[-1].data.positions != positions_of(self.tables[-1][name]):
                    return False
                if propose(self.registry, looks[-1], name=_ANALYZER.name) is not None:
                    return False
        return True


def analysis_record(look_id: str, value: bytes, experiment_id: str, looked_at: str) -> Record:
    """An analysis as an analyzer writes it."""
    event = wrap(
        value,
        type="splitgauge.analysis.v1",
        id=look_id,
        source=SOURCES["analyzer"],
        time=looked_at,
        subject=experiment_id,
        key=experiment_id,
        instance="a2",
    )
    return Record(event, experiment_id.encode())


def read_unit(event: bytes) -> str:
    """Whose story an observation belongs to."""
    return event.split(b'"partitionkey":"', 1)[1][:32].decode()


def embedded(log: EventLog, checkpoints: Checkpoints) -> Aggregating:
    """The roles of one process."""

    @asynccontextmanager
    async def at_work(now_us: Callable[[], int]) -> AsyncGenerator[None]:
        decisions = DecisionLog(log, source=SOURCES["aggregator"], instance="a1")
        folds = FoldWorker(Surroundings(log, checkpoints, decisions, now_us, "a1"), pace=FAST)
        tables = TablesWorker(log, now_us=now_us, instance="a1", publish_interval_s=FAST.publish_interval_s)
        async with running(folds.run(), tables.run()):
            yield

    return at_work


def _specification(name: str) -> ExperimentSpecification:
    return ExperimentSpecification.model_validate(
        {
            "id": name,
            "name": f"recorded: {name}",
            "base_workload_id": f"base-{name}",
            "control": "control",
            "variants": [
                {"name": "control", "workload_id": f"base-{name}", "weight": 1},
                {"name": "challenger", "workload_id": f"new-{name}", "weight": 1},
            ],
            "metrics": [{**_CORRECT, "covariate": {"attribute": "skill"}} if name == "better" else _CORRECT],
            "goal": {"metric": "correct", "engine": _ENGINES[name]},
            "guardrails": [{"metric": "success", "margin": 0.3}],
            "minimum": {"units": 10, "requests": 10, "duration_s": 1200},
            "planned_units": 100,
            "policy": {"promote": "act"},
        }
    )


@asynccontextmanager
async def running(*steps: Awaitable[None]) -> AsyncGenerator[None]:
    """These at work, while the context lasts. Raises: what made one of them end before."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def _main(file: Path) -> None:
    log = MemoryEventLog(observation_partitions=PARTITIONS)
    await record(log)
    await export_log(log, file)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
