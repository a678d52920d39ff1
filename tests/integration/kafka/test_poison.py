"""Records that nobody can use, in every topic, written past Splitgauge: each is put aside, and everything goes on."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest
from aiokafka import AIOKafkaProducer

from archived_log import expect_archived
from cluster_harness import Cluster
from fold_stories import START, Decisions, assignment, stored
from kafka_broker import OpenLog, delete, fresh_settings, plan
from pipeline_harness import EXPERIMENTS, Application, Endpoints, experiment
from plain_fold import events_in
from postgres_server import PostgresServer
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.table_events import table_event
from splitgauge.aggregator.tables import window_of
from splitgauge.cluster.role import Role
from splitgauge.cluster.roles import BACKGROUND, KeptRole
from splitgauge.cluster.settings import ClusterSettings
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.router.settings import RouterSettings
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import (
    ANALYSES,
    DEAD_LETTERS,
    DECISIONS,
    OBSERVATIONS,
    PARTIALS,
    REPORTS,
    REQUESTS,
    RESPONSES,
    WINDOWS,
)
from waiting import until

ROLES = ("router", "console", "aggregator", "tables", "analyzer", "archiver")
TYPES = {
    REQUESTS.name: "splitgauge.request.v1",
    RESPONSES.name: "splitgauge.response.v1",
    REPORTS.name: "splitgauge.report.v1",
    OBSERVATIONS.name: "splitgauge.outcome.v1",
    PARTIALS.name: "splitgauge.partial.v1",
    WINDOWS.name: "splitgauge.window.v1",
    ANALYSES.name: "splitgauge.analysis.v1",
    DECISIONS.name: "splitgauge.decision.v1",
}
IGNORED = {RESPONSES.name, DECISIONS.name}
"""Nobody of ours reads responses; a decision that cannot be read is one that all ignore (events.md, rule 1)."""

Place = tuple[str, int, int]


def poisons(type_: str) -> list[bytes | None]:
    """What is no event of that type; None has no value at all."""

    def event(data: bytes, kind: str = type_) -> bytes:
        head = f'{{"specversion":"1.0","id":"x","source":"/x","type":"{kind}","time":"2026-01-01T00:00:00Z","data":'
        return head.encode() + data + b"}"

    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    return [
        None,
        b"",
        b"not JSON",
        b"\xff\xfe\x00",
        b"[null]",
        b'{"hello":"world"}',
        event(b"{}", "somebody.else.v9"),
        event(b"{}"),
        event(b"null"),
        event(b'{"experiment_id":{"a":1},"unit_id":7,"metrics":[],"body":1}'),
        event(b'{"experiment_id":"\xff","workload":"\xff","metrics":"\xff"}'),
        event(b'{"experiment_id":"a","upto":%d,"positions":{"0":%d}}' % (10**30, 10**30)),
        event(nested),
        nested,
        b"x" * 900_000,
    ]


async def poison(settings: KafkaSettings, *, keys: Mapping[str, Sequence[bytes]]) -> set[Place]:
    """Every kind of it into every topic, under keys that tables have, too. Returns where that can be seen."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, max_request_size=settings.event_bytes)
    await producer.start()
    buried: set[Place] = set()
    try:
        for topic, kind in TYPES.items():
            for value in poisons(kind):
                for key in (b"\xff\xfe", *keys.get(topic, ())):
                    sent = await producer.send_and_wait(settings.topic(topic), value, key=key)
                    if topic not in IGNORED:
                        buried.add((topic, sent.partition, sent.offset))
    finally:
        await producer.stop()
    return buried


@pytest.mark.timeout(300)
async def test_poison_in_every_topic_is_put_aside_and_everything_goes_on(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    kafka, database, application = fresh_settings(), await postgres.make_database(), Application(1)
    keys = {PARTIALS.name: [b"winning/0"], WINDOWS.name: [b"winning"]}
    async with (
        Endpoints.running(1) as endpoints,
        Cluster.running(tmp_path, kafka, database, {"all": ROLES}) as cluster,
    ):
        buried = await poison(kafka, keys=keys)
        experiments = {name: experiment(name) for name in EXPERIMENTS}
        await application.define(cluster.up["all"], endpoints, experiments=experiments)
        async with application.sending(cluster.up["all"], senders=4):
            await until(cluster.decided, what="both experiments are decided", every_s=0.3)
            # What starts again meets all of it again, and puts it aside under the same ids.
            await cluster.kill("all")
            await cluster.start("all")
        await application.send(cluster.up["all"], 60)

        async def aside() -> bool:
            letters = [decode(record.value)["data"] for record in await events_in(cluster.log, DEAD_LETTERS.name)]
            return {(one["topic"], one["partition"], one["offset"]) for one in letters} >= buried

        await until(aside, what="all of it is put aside", every_s=0.3)
        await until(cluster.folded, what="everything is folded", every_s=0.3)
        await cluster.expect_sound(buried=buried, named={place for place in buried if place[0] == ANALYSES.name})
        await expect_archived(cluster.log, database)


async def usable(log: EventLog, topic: str) -> tuple[Record, str]:
    """An event that the topic's reader can use, and where that reader then writes. The experiment is in the log."""
    decisions = Decisions()
    decisions.start("exp")
    await log.append(DECISIONS.name, [Record(value, b"exp") for value in decisions.values])
    seen = assignment("r1", "u1", experiment="exp", decisions_offset=decisions.end)
    if topic == OBSERVATIONS.name:
        return Record(seen, b"unit", 0), PARTIALS.name
    fold = PartitionFold(0)
    fold.fold(stored([seen]), decisions.history)
    partial = fold.partial("exp")
    if topic == PARTIALS.name:
        return _table_record("partial", partial, "exp/0"), WINDOWS.name
    window = window_of({0: PartialData.model_validate_json(partial)}).model_dump(mode="json")
    return _table_record("window", encode(window), "exp"), ANALYSES.name


def _table_record(kind: Literal["partial", "window"], data: bytes, key: str) -> Record:
    value = table_event(kind, data, subject="exp", key=key, positions={0: 1}, time=to_text(START), instance="another")
    return Record(value, key.encode())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("role", "topic"),
    [
        (Role.AGGREGATOR, OBSERVATIONS.name),
        (Role.TABLES, PARTIALS.name),
        (Role.ANALYZER, WINDOWS.name),
        (Role.ANALYZER, ANALYSES.name),
    ],
)
async def test_a_role_whose_dead_letters_cannot_be_written_stops_says_so_and_skips_nothing(
    tmp_path: Path,
    postgres: PostgresServer,
    open_log: OpenLog,
    caplog: pytest.LogCaptureFixture,
    role: Role,
    topic: str,
) -> None:
    kafka = fresh_settings(append_timeout_s=1.0)
    log = await open_log(kafka)
    settings = ClusterSettings(
        frozenset({role}), kafka, RouterSettings(tmp_path), "one", postgres=await postgres.make_database()
    )
    # Of analyses the analyzer reads those of others; what it goes on with are windows.
    record, made = await usable(log, WINDOWS.name if topic == ANALYSES.name else topic)
    [poisoned] = await log.append(topic, [Record(b"no event", record.key, record.partition)])
    await log.append(WINDOWS.name if topic == ANALYSES.name else topic, [record])
    before = len(await events_in(log, made))
    await delete(kafka, DEAD_LETTERS.name)

    kept = KeptRole(role, BACKGROUND[role](settings), log)
    running = asyncio.create_task(kept.run())

    async def said() -> bool:
        return DEAD_LETTERS.name in str(kept.status().get("reason"))

    async def goes_on() -> bool:
        return kept.status()["ready"] is True and len(await events_in(log, made)) > before

    try:
        await until(said, what="it says what stops it")
        assert kept.status()["ready"] is False
        assert f"{role} stopped" in caplog.text
        assert len(await events_in(log, made)) == before

        await init_topics(kafka, plan())
        await until(goes_on, what="it goes on")
        letters = [decode(record.value)["data"] for record in await events_in(log, DEAD_LETTERS.name)]
        assert {(one["topic"], one["partition"], one["offset"]) for one in letters} == {(topic, *poisoned)}
    finally:
        running.cancel()
        await asyncio.wait([running])
