"""Two of each role under traffic: every one of them is killed, paused beyond its session or stopped, and comes back.

Each process has misfortunes of its own, at seeded random moments, whatever happens to the others meanwhile; and the
changelog of stage 2 loses all it has. Then it settles: tables, analyses and decisions have to be those of the plain
fold, every promise kept, the archive whole.

`SPLITGAUGE_CRASH_SEEDS=1-20` (default `1`) says which seeds.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from archived_log import expect_archived
from cluster_harness import UNIT_KEY, Cluster
from kafka_broker import forget, fresh_settings
from pipeline_harness import EXPERIMENTS, Application, Endpoints, experiment
from plain_fold import decisions_in, events_in
from postgres_server import PostgresServer
from promises import all_answered, expect_promises_kept
from splitgauge.aggregator.changelog import changelog_topic
from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.schemas.codec import decode
from splitgauge.schemas.topics import ANALYSES, DECISIONS
from waiting import until

_FIRST, _, _LAST = os.environ.get("SPLITGAUGE_CRASH_SEEDS", "1").partition("-")
SEEDS = range(int(_FIRST), int(_LAST or _FIRST) + 1)

ROLES = {"router": ("router",), "fold": ("aggregator",), "tables": ("tables",), "steering": ("analyzer", "console")}
"""Of which there are two processes each."""
PROCESSES = {f"{name}-{number}": roles for name, roles in ROLES.items() for number in (1, 2)} | {
    "archiver": ("archiver",)
}
MISFORTUNES = ("killed", "killed", "paused", "stopped")
"""Of the two processes of a kind, dealt between them."""
QUIET_S = (0.2, 3.0)
"""Between two misfortunes of a process."""
AWAY_S = (0.0, 2.0)
"""Until it is started again."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_to_its_processes_a_cluster_ends_as_the_plain_fold_says(
    tmp_path: Path, postgres: PostgresServer, seed: int
) -> None:
    chance = random.Random(seed)
    application = Application(seed)
    kafka, database = fresh_settings(), await postgres.make_database()
    async with Endpoints.running(seed) as endpoints, Cluster.running(tmp_path, kafka, database, PROCESSES) as cluster:
        least = {"units": 100, "requests": chance.randrange(200, 1_000), "duration_s": 0}
        experiments = {name: experiment(name, minimum=least) for name in EXPERIMENTS}
        await application.define(cluster.up["steering-1"], endpoints, experiments=experiments)
        await _expect_one_of_two_consoles_wins(cluster)
        routers, consoles = ([cluster.up[f"{kind}-{number}"] for number in (1, 2)] for kind in ("router", "steering"))
        async with application.sending(*routers, console=consoles, senders=6):
            async with asyncio.TaskGroup() as lives:
                for name, misfortunes in _dealt(chance).items():
                    lives.create_task(_live(cluster, name, misfortunes, random.Random(f"{seed} {name}")))
                await asyncio.sleep(chance.uniform(*QUIET_S))
                await forget(kafka, changelog_topic(kafka))
            await until(cluster.decided, what="both experiments are decided", every_s=0.3)
        await _say_again(cluster.log)
        for router in ("router-1", "router-2"):
            await until(partial(cluster.applied, router), what=f"{router} has applied all decisions")
            answers = await application.send(cluster.up[router], 30)
            answered = Counter((answer.workload, answer.model) for answer in answers)
            assert answered.keys() == {("main", "good"), ("side", "poor")}
        await until(lambda: all_answered(cluster.log, application), what="all request events are answered")
        await until(cluster.folded, what="everything is folded", every_s=0.5)
        await cluster.expect_sound()
        await expect_promises_kept(cluster.log, application, UNIT_KEY)
        await _expect_both_consoles_agree(cluster)
        await expect_archived(cluster.log, database)


def _dealt(chance: random.Random) -> dict[str, Sequence[str]]:
    dealt: dict[str, Sequence[str]] = {"archiver": ["killed"]}
    for kind in ROLES:
        misfortunes = chance.sample(MISFORTUNES, len(MISFORTUNES))
        dealt |= {f"{kind}-1": misfortunes[:2], f"{kind}-2": misfortunes[2:]}
    return dealt


async def _live(cluster: Cluster, name: str, misfortunes: Sequence[str], chance: random.Random) -> None:
    for misfortune in misfortunes:
        await asyncio.sleep(chance.uniform(*QUIET_S))
        if misfortune == "paused":
            cluster.pause(name)
            await asyncio.sleep(cluster.settings.session_timeout_s + chance.uniform(*AWAY_S))
            cluster.wake(name)
            continue
        await (cluster.kill(name) if misfortune == "killed" else cluster.stop(name))
        await asyncio.sleep(chance.uniform(*AWAY_S))
        await cluster.start(name)


async def _expect_one_of_two_consoles_wins(cluster: Cluster) -> None:
    async def act(console: str, action: str) -> int:
        async with (
            aiohttp.ClientSession(cluster.up[console].url) as session,
            session.post(f"/api/v1/ab-tests/winning/{action}") as response,
        ):
            return response.status

    assert sorted(await asyncio.gather(act("steering-1", "pause"), act("steering-2", "pause"))) == [200, 409]
    assert await act("steering-2", "resume") == 200


async def _say_again(log: EventLog) -> None:
    """As zombies would: every automatic decision and the last analyses once more."""
    decisions = [one for one in await events_in(log, DECISIONS.name) if _is_automatic(one)]
    for topic, records in (DECISIONS.name, decisions), (ANALYSES.name, (await events_in(log, ANALYSES.name))[-5:]):
        await log.append(topic, [Record(record.value, record.key) for record in records])


def _is_automatic(record: StoredRecord) -> bool:
    return bool(decode(record.value)["data"]["actor"]["kind"] == "analyzer")


async def _expect_both_consoles_agree(cluster: Cluster) -> None:
    for experiment_id, state in (await decisions_in(cluster.log)).newest.experiments.items():
        for console in ("steering-1", "steering-2"):
            shown = await cluster.up[console].get(f"/api/v1/ab-tests/{experiment_id}")
            assert (shown["revision"], shown["status"], shown["winner"]) == (state.revision, state.status, state.winner)
