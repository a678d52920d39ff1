"""Stage 2 as a Faust app on a real broker: whatever happens, in the end windows are those of the partials.

What they have to be is said twice: by the embedded worker on the same partials, and by the pure sum.
"""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from fold_stories import START, Decisions, assignment, outcome, report, stored
from kafka_broker import forget, fresh_settings, plan, values_in
from plain_fold import events_in, newest_windows, standing
from splitgauge.aggregator import faust_tables
from splitgauge.aggregator.changelog import changelog_topic, make_changelog
from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.faust_tables import FaustTablesWorker
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.table_events import (
    partial_bucket_key,
    partial_key,
    partial_row,
    read_table_event,
    table_event,
)
from splitgauge.aggregator.tables import window_of
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.partitions import layout, partition_of_key
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.errors import ConflictError
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import DEAD_LETTERS, PARTIALS, WINDOWS
from waiting import until

pytestmark = pytest.mark.timeout(400)  # Faust's rebalances alone take up to a minute each where the machine is busy
PARTITIONS = 3
"""Of observations."""
SPREAD = 4
"""Partitions of partials and windows."""
EXPERIMENTS = ("checkout", "greeting", "ranking", "summary")

CHILD = """
import asyncio, sys, time
from splitgauge.aggregator.faust_tables import FaustTablesWorker
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings

async def main():
    settings = KafkaSettings(sys.argv[1], topic_prefix=sys.argv[2], heartbeat_s=0.1, session_timeout_s=3.0)
    log = await KafkaEventLog.connect(settings)
    now_us = lambda: time.time_ns() // 1000
    await FaustTablesWorker(log, settings, now_us=now_us, instance="child", publish_interval_s=0.001).run()

asyncio.run(main())
"""


class StageOne:
    """What stage 1 publishes of a story, step by step, without a worker: the tables of the plain folds."""

    def __init__(self) -> None:
        self._decisions = Decisions()
        for experiment_id in EXPERIMENTS:
            self._decisions.start(experiment_id, metrics=[{"name": "rating"}])
        self._folds = [PartitionFold(partition) for partition in range(PARTITIONS)]
        self._partials: dict[str, dict[int, PartialData]] = {}
        self.steps = 0
        self.later_us = 0

    def step(self) -> list[Record]:
        """The next request of a partition; what stage 1 publishes then."""
        number, self.steps = self.steps, self.steps + 1
        fold, experiment_id = self._folds[number % PARTITIONS], EXPERIMENTS[number % len(EXPERIMENTS)]
        unit, request = f"u{number}", f"r{number}"
        about: dict[str, Any] = {
            "experiment": experiment_id,
            "at": START + number * 20_000_000 + self.later_us,
            "seen": self._decisions.end,
        }
        events = [
            assignment(request, unit, **about),
            outcome(request, unit, **about),
            report(unit, {"rating": number % 5}, request=request, epoch=1, **about),
        ]
        result = fold.fold(stored(events, fold.position), self._decisions.history)
        assert (result.folded, result.dead_letters) == (len(events), [])
        records: list[Record] = []
        for name, data in fold.partials().items():
            self._partials.setdefault(name, {})[fold.partition] = PartialData.model_validate_json(data)
            key = partial_key(name, fold.partition)
            records.append(_record("partial", data, name, key, fold))
        for name, start_us, data in fold.bucket_events():
            key = partial_bucket_key(name, start_us, fold.partition)
            records.append(_record("partial-buckets", data, name, key, fold, start_us))
        return records

    @property
    def windows(self) -> dict[str, bytes]:
        """What has to stand in the end."""
        return {name: encode(window_of(partials).model_dump(mode="json")) for name, partials in self._partials.items()}


def _record(
    kind: Literal["partial", "partial-buckets"],
    data: bytes,
    name: str,
    key: str,
    fold: PartitionFold,
    start_us: int | None = None,
) -> Record:
    value = table_event(
        kind,
        data,
        subject=name,
        key=key,
        positions={fold.partition: fold.position},
        time=to_text(START),
        instance="a1",
        start_us=start_us,
    )
    return Record(value, key.encode())


class Cluster:
    """Topics of its own on the broker, and workers over them."""

    def __init__(self, log: EventLog, settings: KafkaSettings) -> None:
        self.log = log
        self.settings = settings
        self.story = StageOne()

    async def tell(self, steps: int) -> None:
        for _ in range(steps):
            await self.log.append(PARTIALS.name, self.story.step())

    def worker(self, instance: str = "w1") -> FaustTablesWorker:
        return FaustTablesWorker(
            self.log, self.settings, now_us=lambda: START, instance=instance, publish_interval_s=0.001
        )

    async def stands(self) -> bool:
        return await newest_windows(self.log) == self.story.windows

    async def keeps(self) -> bool:
        """Whether the changelog has all partials. Windows may stand before: who begins reads the partials itself."""
        partials = [record for record in await standing(self.log, PARTIALS.name) if partial_row(record.value)]
        newest = {record.key: record.value for record in partials}
        return set(newest.values()) <= set(await values_in(self.settings, changelog_topic(self.settings)))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    settings = fresh_settings()
    await init_topics(settings, plan(layout(PARTITIONS) | {PARTIALS.name: SPREAD, WINDOWS.name: SPREAD}))
    log = await KafkaEventLog.connect(settings)
    yield Cluster(log, settings)
    await log.close()


@asynccontextmanager
async def running(worker: FaustTablesWorker) -> AsyncGenerator[None]:
    """With the worker beside the test, which fails where the worker does."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()


async def tables_of(log: EventLog) -> dict[bytes | None, bytes]:
    """Key -> data of its last event, windows and time buckets."""
    return {record.key: bytes(read_table_event(record.value).data) for record in await events_in(log, WINDOWS.name)}


async def test_windows_are_those_of_the_embedded_worker_byte_for_byte(cluster: Cluster) -> None:
    told = [record for _ in range(24) for record in cluster.story.step()]
    embedded = MemoryEventLog(observation_partitions=PARTITIONS)
    await embedded.append(PARTIALS.name, told)
    worker = TablesWorker(embedded, now_us=lambda: START, instance="e1", publish_interval_s=0)
    publishing = asyncio.create_task(worker.run())

    async def embedded_stands() -> bool:
        return await newest_windows(embedded) == cluster.story.windows

    await until(embedded_stands)
    publishing.cancel()
    mixed = [*told, *told]
    random.Random(5).shuffle(mixed)
    poison = Record(b'{"type":"splitgauge.partial.v1","data":{}}', b"checkout/0")
    await cluster.log.append(PARTIALS.name, [*mixed[:20], poison, *mixed[20:]])

    async def stands() -> bool:
        return await tables_of(cluster.log) == await tables_of(embedded)

    async with running(cluster.worker()):
        await until(stands)
    letters = [decode(record.value) for record in await events_in(cluster.log, DEAD_LETTERS.name)]
    at = partition_of_key(PARTIALS.name, b"checkout/0", SPREAD)
    # It may be met more than once, and is one event.
    assert len({letter["id"] for letter in letters}) == 1
    data = letters[0]["data"]
    assert (data["topic"], data["partition"], data["code"]) == (PARTIALS.name, at, "malformed")


async def test_a_partial_in_another_partition_than_its_experiments_is_buried_and_not_summed(cluster: Cluster) -> None:
    home = partition_of_key(PARTIALS.name, b"checkout/0", SPREAD)
    stray = (home + 1) % SPREAD
    # What is told later would count, if it stood in its place; and it is met twice, by the stream and by who begins.
    ahead = StageOne()
    later = [record for _ in range(24) for record in ahead.step() if record.key == b"checkout/0"][-1]

    async def buried() -> bool:
        return bool(await events_in(cluster.log, DEAD_LETTERS.name))

    await cluster.tell(12)
    async with running(cluster.worker()):
        await until(cluster.stands)
        await cluster.log.append(PARTIALS.name, [later._replace(partition=stray)])
        await until(buried)
    async with running(cluster.worker("w2")):
        await cluster.tell(4)
        await until(cluster.stands)
    letters = [decode(record.value) for record in await events_in(cluster.log, DEAD_LETTERS.name)]
    assert len({letter["id"] for letter in letters}) == 1
    data = letters[0]["data"]
    assert (data["topic"], data["partition"], data["code"]) == (PARTIALS.name, stray, "malformed")
    assert data["reason"].startswith("the partials of experiment 'checkout' stand in another partition")


async def test_a_worker_that_starts_again_has_its_table_from_the_changelog(cluster: Cluster) -> None:
    async def told_and_kept() -> bool:
        await cluster.tell(12)  # again where Faust has lost some, in a rebalance
        await until(cluster.stands)
        return await cluster.keeps()

    async with running(cluster.worker()):
        await until(told_and_kept, every_s=1.0)
    # Nothing but the changelog has these partials any more.
    await forget(cluster.settings, cluster.settings.topic(PARTIALS.name))
    async with running(cluster.worker("w2")):
        await cluster.tell(1)
        await until(cluster.stands)


async def test_what_the_changelog_has_lost_comes_back_from_the_partials(cluster: Cluster) -> None:
    async with running(cluster.worker()):
        await cluster.tell(12)
        await until(cluster.stands)
    await forget(cluster.settings, changelog_topic(cluster.settings))
    published = len(await events_in(cluster.log, WINDOWS.name))
    async with running(cluster.worker("w2")):
        await cluster.tell(1)
        await until(cluster.stands)
    # One request, one window and one time bucket: what stood already was not published again, nor anything older.
    assert len(await events_in(cluster.log, WINDOWS.name)) == published + 2


async def test_a_worker_ends_though_its_changelog_has_gone_and_the_next_one_makes_it_again(cluster: Cluster) -> None:
    cluster.settings = replace(cluster.settings, append_timeout_s=1.0)
    async with running(cluster.worker()):
        await cluster.tell(4)
        await until(cluster.stands)
        admin = AIOKafkaAdminClient(**cluster.settings.client())
        await admin.start()
        await admin.delete_topics([changelog_topic(cluster.settings)])
        await admin.close()
        await cluster.tell(4)
        await until(cluster.stands)
    async with running(cluster.worker("w2")):
        await cluster.tell(4)
        await until(cluster.stands)


async def test_an_older_window_after_ours_makes_us_publish_again(cluster: Cluster) -> None:
    async with running(cluster.worker()):
        await cluster.tell(4)
        await until(cluster.stands)
        old = await events_in(cluster.log, WINDOWS.name)
        await cluster.tell(8)
        await until(cluster.stands)
        await cluster.log.append(WINDOWS.name, [Record(record.value, record.key) for record in old])
        await until(cluster.stands)


async def test_parts_of_finished_time_buckets_do_not_stay(cluster: Cluster) -> None:
    async def only_new_parts_stand() -> bool:
        keys = [(record.key or b"").split(b"/") for record in await standing(cluster.log, PARTIALS.name)]
        return min(int(key[2]) for key in keys if len(key) == 3) > START + DAY_US

    async with running(cluster.worker()):
        await cluster.tell(12)
        await until(cluster.stands)
        before = await tables_of(cluster.log)
        cluster.story.later_us = 3 * DAY_US
        await cluster.tell(12)
        await until(cluster.stands)
        await until(only_new_parts_stand)
    async with running(cluster.worker("w2")):
        await cluster.tell(4)
        await until(cluster.stands)
    charts = {key: table for key, table in before.items() if b"/" in (key or b"")}
    assert charts.items() <= (await tables_of(cluster.log)).items()


async def test_workers_share_the_experiments_and_take_over_from_one_that_leaves(cluster: Cluster) -> None:
    first, second = cluster.worker("w1"), cluster.worker("w2")
    everything = frozenset(range(SPREAD))

    async def shared() -> bool:
        # Who waits for the others to join may show what it had.
        both = first.partitions, second.partitions
        return all(both) and both[0] | both[1] == everything and not both[0] & both[1]

    async def all_with_first() -> bool:
        return first.partitions == everything

    async with running(first):
        async with running(second):
            await cluster.tell(6)
            await until(shared)
            await cluster.tell(6)
            await until(cluster.stands)
            await cluster.tell(6)
        await cluster.tell(6)
        await until(cluster.stands)
        await until(all_with_first)


async def test_a_worker_that_gets_no_partials_though_there_are_some_ends_loudly(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faust_tables, "STUCK_S", 300.0)
    monkeypatch.setattr(faust_tables, "_LOOK_EVERY", 0.01)
    worker = cluster.worker()

    async def swallow(*_: object) -> None:
        """As where Faust's consumer hangs."""

    async def hang() -> None:
        async with running(worker):
            await cluster.tell(4)
            await until(cluster.stands)
            monkeypatch.setattr(worker, "_keep_row", swallow)
            monkeypatch.setattr(faust_tables, "STUCK_S", 1.0)
            await cluster.tell(4)
            await asyncio.sleep(60)

    with pytest.raises(ExceptionGroup, check=lambda group: "taken nothing for 1 s" in str(group.exceptions)):
        await hang()


async def test_a_worker_killed_in_the_middle_loses_nothing(cluster: Cluster) -> None:
    await make_changelog(cluster.settings)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, cluster.settings.bootstrap, cluster.settings.topic_prefix
    )

    async def begun() -> bool:
        return bool(await events_in(cluster.log, WINDOWS.name))

    try:
        await cluster.tell(4)
        await until(begun)
        await cluster.tell(20)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    await cluster.tell(4)
    async with running(cluster.worker()):
        await until(cluster.stands)


async def test_a_changelog_that_does_not_match_the_partials_is_refused(cluster: Cluster) -> None:
    admin = AIOKafkaAdminClient(**cluster.settings.client())
    await admin.start()
    await admin.create_topics([NewTopic(changelog_topic(cluster.settings), 1, 1)])
    await admin.close()
    with pytest.raises(ConflictError, match=r"1 partitions and cleanup.policy delete, wanted 4 and compact"):
        await cluster.worker().run()
