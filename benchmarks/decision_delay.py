"""From an outcome that makes a difference to a decision that every router has applied: how long, on a cluster of
processes with Kafka and PostgreSQL on this machine, quiet and with the log at 1,000 events a second.

Many small experiments are brought to the point where one request more decides, and then given it, one after the other.
The clock starts before that request is sent and stops when both routers say that they have applied the decision. All
processes and the broker share the machine: figures of a quiet one count.

    python benchmarks/decision_delay.py [--decisions 100]
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import aiohttp

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("tests", "infra/servers"))
from cluster_harness import UNIT_KEY, Cluster
from kafka_broker import fresh_settings, stop_broker
from plain_fold import decisions_in
from postgres_server import PostgresServer
from router_world import Decider, Endpoint, serve, specification, workload
from splitgauge.eventlog.port import Record
from splitgauge.router.events import Assigned, Ending, EventMaker
from splitgauge.router.inquiry import WEBHOOK, Inquiry
from splitgauge.router.plan import Plan, RoutingTable, compile_table, plan
from splitgauge.router.usage import NO_USAGE
from splitgauge.schemas import instants
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.codec import decode
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.topics import ANALYSES, DECISIONS, OBSERVATIONS
from waiting import until

PROCESSES = {
    "router-1": ("router",),
    "router-2": ("router",),
    "folds": ("aggregator", "tables"),
    "analyzer": ("analyzer",),
}
ROUTERS = ("router-1", "router-2")
PARTITIONS = 4
AT_ONCE = 10
"""Experiments that run at the same time."""
UNITS = 30
"""Of each variant, before a verdict."""
SETTLED_S = 2.0
"""After which all that was asked before is folded and looked at."""
LOAD = 1_000
"""Events a second of the busy log."""
LOAD_EVERY_S = 0.05
POLL_S = 0.01
PROMISE_S = 2.0
HEADER = f"""\
{"":48}{"medians of the parts":>26}  {"of the slowest":>26}
{"seconds":22} {"n":>4} {"p50":>6} {"p99":>6} {"max":>6} {"   looked  decided  applied" * 2}"""


class Delay(NamedTuple):
    """Of one decision, in seconds."""

    looked: float
    """From the request until the analysis that saw it was made."""
    decided: float
    """From there until the decision was made."""
    applied: float
    """From there until both routers have applied it."""

    @property
    def total(self) -> float:
        return sum(self)


class Bench:
    """The cluster, and what asks it."""

    def __init__(self, cluster: Cluster, sessions: Sequence[aiohttp.ClientSession], url: str) -> None:
        self._cluster = cluster
        self._sessions = sessions
        self._url = url
        self._decider = Decider(cluster.log)

    async def start(self, name: str, experiment: ExperimentSpecification) -> None:
        """An experiment on a workload of the same name."""
        await self._decider.define(workload(name, self._url), workload(challenger(name), self._url))
        await self._decider.start(name, experiment)

    async def delays(self, names: Sequence[str]) -> list[Delay]:
        """Of the decisions about these experiments."""
        for name in names:
            await self.start(name, deciding(name))
        for router in ROUTERS:
            await until(partial(self._cluster.applied, router), what=f"{router} knows the experiments")
        table = compile_table(await self._decider.registry())
        last = await asyncio.gather(*(self._fill(table, name) for name in names))
        await asyncio.sleep(SETTLED_S)
        return [await self._decide(name, unit) for name, unit in zip(names, last, strict=True)]

    async def _fill(self, table: RoutingTable, name: str) -> str:
        """All units that the experiment needs, but one. Returns that one."""
        wanted = {"control": UNITS, "challenger": UNITS}
        for number in count():
            unit = f"{name}.{number}"
            variant = planned(table, name, unit).variant or ""
            if not wanted[variant]:
                continue
            wanted[variant] -= 1
            if not any(wanted.values()):
                return unit
            await self._ask(name, unit, number)
        raise AssertionError

    async def _ask(self, name: str, unit: str, number: int = 0) -> None:
        """A request and its report, to one of the routers."""
        session = self._sessions[number % len(self._sessions)]
        async with session.post(f"/w/{name}", json={}, headers={"x-splitgauge-unit": unit}) as response:
            variant, token = response.headers["x-ab-variant-name"], response.headers["x-splitgauge-request-id"]
        report = {"token": token, "metrics": {"right": variant == "challenger"}}
        async with session.post("/api/v1/reports", json=[report]) as response:
            if response.status != 202:
                raise RuntimeError(await response.text())

    async def _decide(self, name: str, unit: str) -> Delay:
        before = (await decisions_in(self._cluster.log)).end
        asked_us = time.time_ns() // 1_000
        await self._ask(name, unit)
        applied = await asyncio.gather(*(self._applied(router, before) for router in ROUTERS))
        history = await decisions_in(self._cluster.log)
        made = history.judged_at(before)
        if made.decision is None or made.decision.subject.id != name or made.decision.evidence is None:
            message = f"the next decision was not about experiment {name}"
            raise RuntimeError(message)
        looked_us = instants.from_text((await self._analysis(made.decision.evidence.id)).looked_at)
        [record] = await self._cluster.log.read(DECISIONS.name, 0, before, limit=1)
        decided_us = instants.from_text(decode(record.value)["time"])
        return Delay((looked_us - asked_us) / 1e6, (decided_us - looked_us) / 1e6, (max(applied) - decided_us) / 1e6)

    async def _applied(self, router: str, offset: int) -> int:
        """When the router said that it has applied the decision there; microseconds."""
        session = self._sessions[ROUTERS.index(router)]
        while True:
            async with session.get("/readyz") as response:
                status = (await response.json())["parts"]["router"]
            if status["decisions_offset"] > offset:
                return time.time_ns() // 1_000
            await asyncio.sleep(POLL_S)

    async def _analysis(self, event_id: str) -> AnalysisData:
        for partition, bounds in (await self._cluster.log.bounds(ANALYSES.name)).items():
            for record in await self._cluster.log.read(ANALYSES.name, partition, bounds.start, limit=1_000_000):
                event = decode(record.value)
                if event["id"] == event_id:
                    return AnalysisData.model_validate(event["data"])
        message = f"there is no analysis {event_id}"
        raise RuntimeError(message)

    @asynccontextmanager
    async def busy(self) -> AsyncGenerator[None]:
        """The log at 1,000 events a second, of an experiment that nothing is decided about."""
        await self.start("busy", specification("busy", challenger("busy")))
        table = compile_table(await self._decider.registry())
        task = asyncio.create_task(self._fill_up(table))
        try:
            yield
            if task.done():
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _fill_up(self, table: RoutingTable) -> None:
        maker = EventMaker(instance="load", observation_partitions=PARTITIONS)
        begun, written = time.monotonic(), 0
        while True:
            due = int(LOAD * (time.monotonic() - begun)) - written
            records = [record for _ in range(due // 2) for record in request(maker, table)]
            if records:
                await self._cluster.log.append(OBSERVATIONS.name, records)
            written += len(records)
            await asyncio.sleep(LOAD_EVERY_S)


def challenger(name: str) -> str:
    """The workload that stands against the one of this name."""
    return f"{name}-new"


def deciding(name: str) -> ExperimentSpecification:
    """One that promotes as soon as it has its units: what is reported leaves no doubt."""
    return specification(
        name,
        challenger(name),
        metrics=[{"name": "right", "kind": "proportion", "level": "request", "denominator": "reports"}],
        goal={"metric": "right"},
        guardrails=[{"metric": "success", "margin": 0.5}],
        minimum={"units": UNITS, "requests": UNITS, "duration_s": 0},
        planned_units=10 * UNITS,
        policy={"promote": "act"},
    )


def planned(table: RoutingTable, name: str, unit: str) -> Plan:
    """What a router makes of a unit's request."""
    inquiry = Inquiry(name, WEBHOOK, {}, b"{}", {}, unit=unit)
    return plan(table.routes[name], inquiry, request_id=unit, key=UNIT_KEY)


def request(maker: EventMaker, table: RoutingTable) -> tuple[Record, Record]:
    """Assignment and outcome of a request of a new unit."""
    request_id, now = str(uuid4()), instants.to_text(time.time_ns() // 1_000)
    assigned = Assigned(request_id, planned(table, "busy", request_id), now, table.offset)
    ending = Ending("complete", True, True, 20.0, 10.0, NO_USAGE, None)
    return maker.assignment(assigned), maker.outcome(assigned, ending, time=now)


def say(what: str, delays: Sequence[Delay]) -> None:
    """Print one line of the table."""
    totals = sorted(delay.total for delay in delays)
    p99 = statistics.quantiles(totals, n=100, method="inclusive")[-1]
    medians = " ".join(f"{statistics.median(part):8.2f}" for part in zip(*delays, strict=True))
    slowest = " ".join(f"{part:8.2f}" for part in max(delays, key=lambda delay: delay.total))
    together = " ".join(f"{total:6.2f}" for total in (statistics.median(totals), p99, totals[-1]))
    print(f"{what:22} {len(totals):4d} {together}  {medians}  {slowest}")


async def run(decisions: int) -> bool:
    """Print the table. Returns whether what is promised was kept, quiet and under load."""
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as postgres:
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(serve(Endpoint()))
            settings = fresh_settings(heartbeat_s=2.0, session_timeout_s=10.0)
            database = await postgres.make_database()
            running = Cluster.running(Path(folder), settings, database, PROCESSES)
            cluster = await stack.enter_async_context(running)
            sessions = [await stack.enter_async_context(aiohttp.ClientSession(cluster.up[at].url)) for at in ROUTERS]
            bench = Bench(cluster, sessions, url)
            print(HEADER)
            quiet = await measured(bench, "quiet", decisions)
            async with bench.busy():
                loaded = await measured(bench, f"log at {LOAD} events/s", max(AT_ONCE, decisions // 2))
            kept = max(quiet, loaded) <= PROMISE_S
            print(f"promise: p99 at most {PROMISE_S:g} s;", "kept" if kept else "NOT KEPT")
            return kept


async def measured(bench: Bench, what: str, decisions: int) -> float:
    """A line of the table. Returns its p99."""
    delays: list[Delay] = []
    for first in range(0, decisions, AT_ONCE):
        names = [f"{what.split()[0]}-{number}" for number in range(first, min(first + AT_ONCE, decisions))]
        delays += await bench.delays(names)
    totals = [delay.total for delay in delays]
    say(what, delays)
    return statistics.quantiles(totals, n=100, method="inclusive")[-1]


def main() -> int:
    """See the module's description."""
    parser = argparse.ArgumentParser(description="How soon routers apply what outcomes decide.")
    parser.add_argument("--decisions", type=int, default=100)
    chosen = parser.parse_args()
    try:
        kept = asyncio.run(run(chosen.decisions))
    finally:
        stop_broker()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
