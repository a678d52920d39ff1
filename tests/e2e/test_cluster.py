"""`splitgauge run` on a real Kafka and a real PostgreSQL, from requests to decisions that every part has applied."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from kafka_broker import fresh_settings, plan
from pipeline_harness import EXPERIMENTS, Application, Endpoints, Up, experiment, until
from plain_fold import TABLES, decisions_in, events_in, newest_windows, plain_window, plain_windows, positions_of
from postgres_server import PostgresServer
from splitgauge.audit import replay
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas.codec import decode
from splitgauge.schemas.topics import DEAD_LETTERS

OUTCOMES = {"winning": ("completed", "challenger"), "failing": ("completed", "control")}
ROLES = ("router", "console", "aggregator", "tables", "analyzer")


@asynccontextmanager
async def processes(folder: Path, given: Mapping[str, object], *, together: bool) -> AsyncGenerator[dict[str, Up]]:
    """Role -> the process that has it."""
    groups = [ROLES] if together else [(role,) for role in ROLES]
    async with AsyncExitStack() as stack:
        running: dict[str, Up] = {}
        for roles in groups:
            place = folder / "-".join(roles)
            up = await stack.enter_async_context(Up.running(place, command=("run", *roles), instance=roles[0], **given))
            running |= dict.fromkeys(roles, up)
        yield running
        for up in dict.fromkeys(running.values()):
            assert await up.stop() == 0, up.said()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("together", [True, False], ids=["one process", "a process each"])
async def test_a_cluster_decides_as_the_plain_fold_says(
    tmp_path: Path, postgres: PostgresServer, *, together: bool
) -> None:
    kafka = fresh_settings()
    await init_topics(kafka, plan(cluster_layout(observations=4, others=2)))
    given = {
        "kafka_bootstrap": kafka.bootstrap,
        "kafka_topic_prefix": kafka.topic_prefix,
        "postgres": await postgres.make_database(),
    }
    application = Application(1)
    log = await KafkaEventLog.connect(kafka)
    try:
        async with Endpoints.running(1) as endpoints, processes(tmp_path, given, together=together) as up:
            experiments = {name: experiment(name) for name in EXPERIMENTS}
            await application.define(up["console"], endpoints, experiments=experiments)
            async with application.sending(up["router"], senders=4):
                await until(lambda: _decided(log), what="both experiments are decided", every_s=0.3)
            await until(lambda: _applied(up["router"], log), what="the router has applied all decisions")
            afterwards = await application.send(up["router"], 60)
            await until(lambda: _folded(log), what="everything is folded", every_s=0.3)
        answered = Counter((answer.workload, answer.model) for answer in afterwards)
        assert answered.keys() == {("main", "good"), ("side", "poor")}
        await _expect_sound(log)
    finally:
        await log.close()


async def _decided(log: EventLog) -> bool:
    experiments = (await decisions_in(log)).newest.experiments
    return all(state.status == "completed" for state in experiments.values())


async def _applied(up: Up, log: EventLog) -> bool:
    parts = (await up.get("/readyz"))["parts"]
    return bool(parts["router"]["decisions_offset"] == (await decisions_in(log)).end)


async def _folded(log: EventLog) -> bool:
    return _tables(await newest_windows(log)) == _tables(await plain_windows(log))


def _tables(windows: dict[str, bytes]) -> dict[str, dict[str, object]]:
    read = {experiment_id: decode(window) for experiment_id, window in windows.items()}
    return {experiment_id: {name: window[name] for name in TABLES} for experiment_id, window in read.items()}


async def _expect_sound(log: EventLog) -> None:
    found = await replay(log)
    assert found.findings == []
    assert found.reproduced == found.analyses > 0
    states = (await decisions_in(log)).newest.experiments
    assert {name: (state.status, state.winner) for name, state in states.items()} == OUTCOMES
    for experiment_id, window in (await newest_windows(log)).items():
        assert window == await plain_window(log, experiment_id, positions_of(window))
    assert await events_in(log, DEAD_LETTERS.name) == []
