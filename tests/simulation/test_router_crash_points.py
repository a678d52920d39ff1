"""A crash at every write of a router that works on request and report events: before it takes effect, and after.

The next router starts over the same log and the same data folder. In the end every request has one assignment, one
outcome and one response, whatever was written twice on the way, and the fold comes to the same numbers as without a
crash. What happens to requests over HTTP, `tests/acceptance/test_kill.py` shows.
"""

import asyncio
from pathlib import Path

import orjson
import pytest

from faults import Crash, Crashed, FaultyEventLog
from plain_fold import plain_windows, tables_in
from router_world import NOW_US, Decider, events_of, observations, produce, specification, workload
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.router.clock import Clock
from splitgauge.router.service import Router
from splitgauge.router.settings import RouterSettings
from splitgauge.router.upstream import Answer, Call
from splitgauge.schemas.identifiers import request_id_from_log
from splitgauge.schemas.topics import DEAD_LETTERS, REPORTS, REQUESTS, RESPONSES
from waiting import until

REQUESTS_MADE = 12
UNITS = 5
STOPPED = Clock(lambda: NOW_US, lambda: 0.0)
"""Latency is 0 in every run, so that all numbers can be compared."""


class Echo:
    """An endpoint that answers what it was asked, at once."""

    async def call(self, call: Call) -> Answer:
        await asyncio.sleep(0)
        return Answer(200, [(b"content-type", b"application/json")], call.body, 0.0)

    async def close(self) -> None:
        """There is nothing to let go of."""


class World:
    """A log with an experiment, requests and reports in it, and routers that live and die over it."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryEventLog(observation_partitions=2)
        self.folder = folder

    async def begin(self) -> None:
        decider = Decider(self.log)
        await decider.define(workload("a", "http://a.test/"), workload("b", "http://b.test/"))
        metrics = [{"name": "rating"}]
        await decider.start("e1", specification("a", "b", metrics=metrics))
        for number in range(REQUESTS_MADE):
            await produce(
                self.log,
                REQUESTS.name,
                "splitgauge.request.v1",
                {"workload": "a", "unit": f"u{number % UNITS}", "body": {"number": number}},
                event_id=f"request-{number}",
            )
        await produce(self.log, REQUESTS.name, "splitgauge.request.v1", {"workload": "a"}, event_id="malformed")
        for unit in range(UNITS):
            await produce(
                self.log,
                REPORTS.name,
                "splitgauge.report.v1",
                {"unit": f"u{unit}", "experiment_id": "e1", "metrics": {"rating": unit}},
                event_id=f"report-{unit}",
            )

    async def run_to_the_end(self, crash: Crash) -> None:
        """One router until it crashes or has done everything; then another one, which does the rest."""
        await self.begin()
        await self._live(crash)
        await self._live(Crash.never())

    async def _live(self, crash: Crash) -> None:
        async def over() -> bool:
            return crash.happened or await self._is_done()

        settings = RouterSettings(self.folder, unit_key="07" * 32, outcome_linger_s=0.0, stop_grace_s=0.0)
        try:
            async with Router(FaultyEventLog(self.log, crash), settings, upstream=Echo(), clock=STOPPED):
                await until(over)
        except Crashed:
            return
        except BaseExceptionGroup as exc:
            if exc.split(Crashed)[1] is not None:
                raise

    async def _is_done(self) -> bool:
        responses = {response.data["request_id"] for response in await events_of(self.log, RESPONSES.name)}
        reports = {report.id for report in await observations(self.log, "report")}
        letters = await events_of(self.log, DEAD_LETTERS.name)
        return (len(responses), len(reports), bool(letters)) == (REQUESTS_MADE, UNITS, True)

    async def tables(self) -> dict[str, object]:
        """The experiment's numbers; what came twice is counted apart."""
        [tables] = tables_in(await plain_windows(self.log)).values()
        counts: dict[str, int] = tables["counts"]
        assert counts.pop("duplicates") >= 0
        return tables


async def expect_everything_once(world: World) -> None:
    """By id: an event written twice is one event."""
    made = {request_id_from_log("/app", f"request-{number}") for number in range(REQUESTS_MADE)}
    for kind in ("assignment", "outcome"):
        events = await observations(world.log, kind)
        assert {event.data["request_id"] for event in events} == made
        assert len({event.id for event in events}) == REQUESTS_MADE
    answered: dict[str, set[bytes]] = {}
    for response in await events_of(world.log, RESPONSES.name):
        answered.setdefault(response.data["request_id"], set()).add(orjson.dumps(response.data))
    assert answered.keys() == made
    assert all(len(said) == 1 for said in answered.values()), "a response made again says the same"
    assert {letter.data["topic"] for letter in await events_of(world.log, DEAD_LETTERS.name)} == {REQUESTS.name}


async def quiet_run(folder: Path) -> tuple[int, dict[str, object]]:
    world, count = World(folder), Crash.never()
    await world.run_to_the_end(count)
    await expect_everything_once(world)
    return count.writes, await world.tables()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_crash_at_every_write_of_the_router_changes_nothing(tmp_path: Path, after: bool) -> None:
    writes, expected = await quiet_run(tmp_path / "quiet")
    assert writes > REQUESTS_MADE
    for number in range(1, writes + 1):
        world = World(tmp_path / str(number))
        await world.run_to_the_end(Crash.at(number, after=after))
        await expect_everything_once(world)
        assert await world.tables() == expected
