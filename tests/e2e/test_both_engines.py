"""One recorded traffic, embedded and on the cluster: tables, analyses and decisions are the same, byte for byte.

The traffic is written in rounds. Each is folded wholly before the analyzer looks at it, on both engines, so that every
look stands on the same positions. Clock and instances are given: so the envelopes are the same, too. The cluster's fold
is the compiled one.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from altered_log import HISTORY
from fold_stories import START
from kafka_broker import fresh_settings, plan
from plain_fold import events_in
from postgres_server import PostgresServer
from recorded import FAST, PARTITIONS, Aggregating, Recorder, embedded, record, running
from splitgauge.aggregator.engine import compiled_engine
from splitgauge.aggregator.faust_tables import FaustTablesWorker
from splitgauge.aggregator.fold_group import FoldGroup
from splitgauge.aggregator.partition_worker import Surroundings
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.jsonl_log import JsonlEventLog
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.eventlog.port import EventLog
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, OBSERVATIONS

FOLDING = 2
"""Workers of stage 1, who deal the partitions out anew in every round."""


def in_group(log: EventLog, checkpoints: PostgresCheckpoints) -> Aggregating:
    """Stage 1 as a group; stage 2 goes on meanwhile."""

    engine = compiled_engine()

    @asynccontextmanager
    async def at_work(now_us: Callable[[], int]) -> AsyncGenerator[None]:
        decisions = [DecisionLog(log, source=SOURCES["aggregator"], instance="a1") for _ in range(FOLDING)]
        folds = [FoldGroup(Surroundings(log, checkpoints, read, now_us, "a1", engine), pace=FAST) for read in decisions]
        async with running(*(fold.run() for fold in folds)):
            yield

    return at_work


@asynccontextmanager
async def recorded_embedded(folder: Path, *, seed: int, users: int) -> AsyncGenerator[Recorder]:
    log = SqliteEventLog.open(folder, observation_partitions=PARTITIONS)
    try:
        yield await record(log, embedded(log, log.checkpoints), seed=seed, users=users)
    finally:
        await log.close()


@asynccontextmanager
async def recorded_in_cluster(postgres: PostgresServer, *, seed: int, users: int) -> AsyncGenerator[Recorder]:
    settings = fresh_settings()
    await init_topics(settings, plan(cluster_layout(observations=PARTITIONS, others=2)))
    async with AsyncExitStack() as stack:
        log = await KafkaEventLog.connect(settings)
        stack.push_async_callback(log.close)
        checkpoints = await PostgresCheckpoints.open(await postgres.make_database())
        stack.push_async_callback(checkpoints.close)
        tables = FaustTablesWorker(log, settings, now_us=lambda: START, instance="a1", publish_interval_s=0.001)
        async with running(tables.run()):
            yield await record(log, in_group(log, checkpoints), seed=seed, users=users)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "users", "history"), [(1, 1, HISTORY), (2, 8, None)], ids=["the recorded history", "another one"]
)
async def test_both_engines_make_the_same_of_the_same_traffic(
    tmp_path: Path, postgres: PostgresServer, seed: int, users: int, history: Path | None
) -> None:
    async with (
        recorded_embedded(tmp_path, seed=seed, users=users) as here,
        recorded_in_cluster(postgres, seed=seed, users=users) as there,
    ):
        traffic = await places(here.log, OBSERVATIONS.name)
        assert await places(there.log, OBSERVATIONS.name) == traffic
        assert history is None or traffic == await places(JsonlEventLog.open(history), OBSERVATIONS.name)
        assert await places(there.log, DECISIONS.name) == await places(here.log, DECISIONS.name)
        assert there.tables == here.tables
        assert await by_key(there.log, ANALYSES.name) == await by_key(here.log, ANALYSES.name)
        assert await by_key(there.log, DEAD_LETTERS.name) == await by_key(here.log, DEAD_LETTERS.name)
        winners = [state.winner for state in here.registry.experiments.values()]
        assert winners == ["challenger", "control", None]


async def places(log: EventLog, topic: str) -> dict[tuple[int, int], tuple[bytes | None, bytes]]:
    """What stands where."""
    return {(event.partition, event.offset): (event.key, event.value) for event in await events_in(log, topic)}


async def by_key(log: EventLog, topic: str) -> dict[bytes | None, list[bytes]]:
    """What stands under each key, in order: the engines have different numbers of partitions."""
    found: dict[bytes | None, list[bytes]] = {}
    for event in await events_in(log, topic):
        found.setdefault(event.key, []).append(event.value)
    return found
