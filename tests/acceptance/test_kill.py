"""Kill -9 at random moments under traffic, start again on the same folder: nothing that was promised is lost.

An application sends requests over HTTP and as events and reports what came of them, while two experiments run and are
decided. `splitgauge up` is killed several times at seeded random moments; then it settles, and what stands in the log,
what the pipeline published and what traffic does are held to the plain fold over that log.

`SPLITGAUGE_KILL_SEEDS=1-20` (default `1-2`) says which seeds, odd ones with the default durability, even
ones with `strict`; `SPLITGAUGE_KILLS` (default 3) how many kills in each.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from pipeline_harness import EXPERIMENTS, OUTCOMES, Application, Endpoints, Up, experiment
from plain_fold import (
    decisions_in,
    newest_windows,
    plain_window,
    plain_windows,
    positions_of,
    tables_in,
)
from promises import all_answered, expect_promises_kept
from splitgauge.audit import replay
from splitgauge.eventlog.port import EventLog
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.experiments.history import DecisionHistory
from splitgauge.router.key_file import load_or_create
from waiting import until

_FIRST, _, _LAST = os.environ.get("SPLITGAUGE_KILL_SEEDS", "1-2").partition("-")
SEEDS = range(int(_FIRST), int(_LAST or _FIRST) + 1)
KILLS = int(os.environ.get("SPLITGAUGE_KILLS", "3"))
SOON_S = (0.05, 1.5)
LATE_S = (5.2, 6.5)
"""The last kill of a seed: behind the folds' first checkpoints, which come after 5 s."""
REQUESTS_AFTERWARDS = 200


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_killed_again_and_again_it_loses_nothing_that_was_promised(tmp_path: Path, seed: int) -> None:
    durability = "default" if seed % 2 else "strict"
    folder = tmp_path / "data"
    application = Application(seed)
    async with Endpoints.running(seed) as endpoints:
        await _kill_again_and_again(folder, application, endpoints, durability=durability)
        async with Up.running(folder, durability=durability) as up:
            async with application.sending(up):
                await until(lambda: _decided(folder), what="both experiments are decided", every_s=0.3)
            afterwards = await application.send(up, REQUESTS_AFTERWARDS)
            await until(lambda: _settled(folder, application), what="all is answered and folded", every_s=0.3)
            await _expect_registry_of_the_plain_fold(folder, up)
            assert await up.stop() == 0, up.said()
        assert Counter((answer.workload, answer.model) for answer in afterwards).keys() == {
            ("main", "good"),
            ("side", "poor"),
        }
    log = SqliteEventLog.open_readonly(folder)
    try:
        await _expect_sound(log)
        await _expect_windows_of_the_plain_fold(log)
        assert len(application.answers) > REQUESTS_AFTERWARDS
        await expect_promises_kept(log, application, load_or_create(folder), strict=durability == "strict")
    finally:
        await log.close()


async def _kill_again_and_again(
    folder: Path, application: Application, endpoints: Endpoints, *, durability: str
) -> None:
    chance = random.Random(f"{application.seed} moments")
    for kill in range(KILLS):
        async with Up.running(folder, durability=durability) as up:
            if kill == 0:
                await application.define(up, endpoints, experiments={name: experiment(name) for name in EXPERIMENTS})
            async with application.sending(up):
                await asyncio.sleep(chance.uniform(*(LATE_S if kill == KILLS - 1 else SOON_S)))
                await up.kill()


async def _decided(folder: Path) -> bool:
    log = SqliteEventLog.open_readonly(folder)
    try:
        experiments = (await decisions_in(log)).newest.experiments
        return all(state.status == "completed" for state in experiments.values())
    finally:
        await log.close()


async def _settled(folder: Path, application: Application) -> bool:
    """Request events all answered, and the newest windows as far as the plain fold."""
    log = SqliteEventLog.open_readonly(folder)
    try:
        if not await all_answered(log, application):
            return False
        return tables_in(await newest_windows(log)) == tables_in(await plain_windows(log))
    finally:
        await log.close()


async def _expect_sound(log: EventLog) -> None:
    found = await replay(log)
    assert found.findings == []
    assert (found.reproduced, found.forks) == (found.analyses, 0)
    history = await decisions_in(log)
    assert found.automatic_reproduced == len(_automatic(history))
    assert Counter(_automatic(history)) == {("winning", "promote"): 1, ("failing", "roll_back"): 1}
    states = history.newest.experiments
    assert {name: (state.status, state.winner) for name, state in states.items()} == OUTCOMES


async def _expect_registry_of_the_plain_fold(folder: Path, up: Up) -> None:
    log = SqliteEventLog.open_readonly(folder)
    try:
        registry = (await decisions_in(log)).newest
    finally:
        await log.close()
    for experiment_id, state in registry.experiments.items():
        shown = await up.get(f"/api/v1/ab-tests/{experiment_id}")
        assert (shown["revision"], shown["status"], shown["winner"]) == (state.revision, state.status, state.winner)
    for workload_id, workload in registry.workloads.items():
        shown = await up.get(f"/api/v1/workloads/{workload_id}")
        assert (shown["revision"], shown["serves"]["url"]) == (workload.revision, workload.serves.url)


def _automatic(history: DecisionHistory) -> list[tuple[str, str]]:
    made = [judged.decision for judged in history.judged if judged.accepted and judged.decision is not None]
    return [(decision.subject.id, decision.action) for decision in made if decision.actor.kind == "analyzer"]


async def _expect_windows_of_the_plain_fold(log: EventLog) -> None:
    windows = await newest_windows(log)
    assert windows.keys() == EXPERIMENTS.keys()
    for experiment_id, window in windows.items():
        assert window == await plain_window(log, experiment_id, positions_of(window))
    assert tables_in(windows) == tables_in(await plain_windows(log))
