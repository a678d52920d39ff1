"""The shell of the aggregator on the log in memory: what is published, what survives a stop, who wins."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from fold_stories import START, Decisions, Stored, assignment, outcome, report, stored
from splitgauge.aggregator.fold_group import FoldGroup
from splitgauge.aggregator.partition_fold import PartitionFold, checkpoint_owner
from splitgauge.aggregator.partition_worker import LAST, Pace, Surroundings, mark_of
from splitgauge.aggregator.publisher import Publication, Publisher
from splitgauge.aggregator.table_events import partial_key, read_table_event, table_event
from splitgauge.aggregator.tables import window_of
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.eventlog import believed_bounds
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryCheckpoints, MemoryEventLog
from splitgauge.eventlog.port import Bounds, Record, StoredRecord
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import DEAD_LETTERS, DECISIONS, OBSERVATIONS, PARTIALS, WINDOWS

EVENTS = {
    0: [assignment("r1", "u1"), outcome("r1", "u1"), b"{", assignment("r2", "u2")],
    1: [assignment("r3", "u3", "challenger"), outcome("r3", "u3", "challenger"), report("u3", {"rating": 4})],
}


class World:
    """A log with decisions and observations, and workers that may be started and stopped over it."""

    def __init__(self) -> None:
        self.log = MemoryEventLog(observation_partitions=2)
        self.decisions = Decisions()
        self.decisions.start("exp", metrics=[{"name": "rating"}])

    async def write(self, events: dict[int, list[bytes]]) -> None:
        for partition, values in events.items():
            await self.log.append(OBSERVATIONS.name, [Record(value, b"unit", partition) for value in values])

    async def write_decisions(self) -> None:
        await self.log.append(DECISIONS.name, [Record(value) for value in self.decisions.values])

    def surroundings(self) -> Surroundings:
        decisions = DecisionLog(self.log, source="/splitgauge/aggregator", instance="a1")
        return Surroundings(self.log, self.log.checkpoints, decisions, lambda: START, "a1")

    def fold_worker(self) -> FoldWorker:
        return FoldWorker(self.surroundings(), pace=Pace(publish_interval_s=0.001, checkpoint_interval_s=0))

    def tables_worker(self) -> TablesWorker:
        return TablesWorker(self.log, now_us=lambda: START, instance="a1", publish_interval_s=0.001)

    async def data(self, topic: str, kind: str) -> list[dict[str, object]]:
        """Data of the events of a type, as they stand in the topic."""
        found: list[dict[str, object]] = []
        for partition in await self.log.bounds(topic):
            for record in await self.log.read(topic, partition, 0, limit=10_000):
                event = read_table_event(record.value)
                if event.type == f"splitgauge.{kind}.v1":
                    found.append(decode(bytes(event.data)))
        return found

    def plain(self, partition: int) -> PartialData:
        """What the plain fold makes of the partition."""
        fold = PartitionFold(partition)
        fold.fold(stored(EVENTS[partition]), self.decisions.history)
        return PartialData.model_validate_json(fold.partial("exp"))


class BusyLog(MemoryEventLog):
    """Something happens, once, between an answer about observations and its arrival."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        found, meanwhile = await super().bounds(topic), self.meanwhile
        if topic == OBSERVATIONS.name and meanwhile is not None:
            self.meanwhile = None
            await meanwhile()
        return found


@pytest.fixture
async def world() -> World:
    world = World()
    await world.write_decisions()
    return world


@asynccontextmanager
async def running(*workers: FoldGroup | FoldWorker | TablesWorker) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        # Whatever it waits for is written by other tasks, and nothing there wakes a test.
        while not await condition():  # noqa: ASYNC110 - as the line above says
            await asyncio.sleep(0.002)


async def test_windows_are_those_of_the_plain_fold(world: World) -> None:
    await world.write(EVENTS)
    expected = window_of({partition: world.plain(partition) for partition in EVENTS}).model_dump(mode="json")

    async def there() -> bool:
        windows = await world.data(WINDOWS.name, "window")
        return bool(windows) and windows[-1] == expected

    async with running(world.fold_worker(), world.tables_worker()):
        await until(there)


async def test_what_cannot_be_used_becomes_a_dead_letter_with_its_bytes(world: World) -> None:
    await world.write(EVENTS)

    async def there() -> bool:
        return bool(await world.data(DEAD_LETTERS.name, "dead-letter"))

    async with running(world.fold_worker()):
        await until(there)
    [letter] = await world.data(DEAD_LETTERS.name, "dead-letter")
    assert (letter["partition"], letter["offset"], letter["code"], letter["value"]) == (0, 2, "malformed", "ew==")


async def test_a_restarted_worker_goes_on_from_its_checkpoint(world: World) -> None:
    await world.write(EVENTS)
    first = world.fold_worker()

    async def saved() -> bool:
        checkpoint = await world.log.checkpoints.load(checkpoint_owner(0))
        return checkpoint is not None and checkpoint.position == 4

    async with running(first):
        await until(saved)
    later = [outcome("r2", "u2", metrics={"success": False})]
    await world.write({0: later})
    second = world.fold_worker()

    async def published() -> bool:
        return any(partial["upto"] == 5 for partial in await world.data(PARTIALS.name, "partial"))

    async with running(second):
        await until(published)
    fold = PartitionFold(0)
    fold.fold(stored([*EVENTS[0], *later]), world.decisions.history)
    partials = [partial for partial in await world.data(PARTIALS.name, "partial") if partial["partition"] == 0]
    assert encode(partials[-1]) == fold.partial("exp")


class AwayCheckpoints(MemoryCheckpoints):
    """A database that may be away."""

    away = False

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        if self.away:
            raise LogUnavailableError("the database is away")
        return await super().save(owner, expected=expected, position=position, changed=changed)


async def test_while_checkpoints_cannot_be_saved_partials_are_published_and_later_all_is_saved(world: World) -> None:
    checkpoints = AwayCheckpoints()
    around = dataclasses.replace(world.surroundings(), checkpoints=checkpoints)
    group = FoldGroup(around, pace=Pace(publish_interval_s=0.001, checkpoint_interval_s=0.001))

    async def saved() -> dict[int, int]:
        found = {partition: await checkpoints.load(checkpoint_owner(partition)) for partition in EVENTS}
        return {partition: each.position for partition, each in found.items() if each is not None}

    async def all_saved() -> bool:
        return await saved() == {partition: len(events) for partition, events in EVENTS.items()}

    async def published() -> bool:
        return any(partial["upto"] == len(EVENTS[0]) for partial in await world.data(PARTIALS.name, "partial"))

    async def troubled() -> bool:
        return group.unsaved_reason == "the database is away."

    checkpoints.away = True
    async with running(group):
        await world.write(EVENTS)
        await until(published)
        await until(troubled)
        assert await saved() == {}
        checkpoints.away = False
        await until(all_saved)
        assert group.unsaved_reason is None
    restored = await checkpoints.load(checkpoint_owner(0))
    assert restored is not None
    fold = PartitionFold.restore(0, restored.position, restored.rows, world.decisions.history)
    assert PartialData.model_validate_json(fold.partial("exp")) == world.plain(0)


async def test_an_older_partial_after_ours_makes_us_publish_again(world: World) -> None:
    await world.write(EVENTS)

    async def newest_stands() -> bool:
        partials = [partial for partial in await world.data(PARTIALS.name, "partial") if partial["partition"] == 0]
        return bool(partials) and partials[-1]["upto"] == 4

    async with running(world.fold_worker()):
        await until(newest_stands)
        old = PartitionFold(0)
        old.fold(stored(EVENTS[0][:1]), world.decisions.history)
        key = partial_key("exp", 0)
        event = table_event(
            "partial", old.partial("exp"), subject="exp", key=key, positions={0: 1}, time="", instance="zombie"
        )
        await world.log.append(PARTIALS.name, [Record(event, key.encode())])
        await until(newest_stands)


async def test_an_older_value_after_one_that_stood_before_us_is_noticed(world: World) -> None:
    def rank_of(value: bytes) -> tuple[int, int]:
        return 1, int(value)

    await world.log.append(WINDOWS.name, [Record(b"7", b"ours"), Record(b"7", b"theirs")])
    publisher = Publisher(world.log, WINDOWS.name, rank_of=rank_of)
    await publisher.read()
    await publisher.publish([Publication("ours", (1, 7), b"7 again, which nobody needs")])
    publisher.forget_others()
    # Before we watch, as a zombie may: between reading and watching nothing may slip through.
    await world.log.append(WINDOWS.name, [Record(b"4", b"theirs"), Record(b"8", b"ours"), Record(b"4", b"ours")])
    overtaken: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(20):
        watching = asyncio.create_task(publisher.watch(overtaken.put_nowait))
        assert await overtaken.get() == "ours"
    watching.cancel()
    assert overtaken.empty()


async def test_our_own_values_do_not_overtake_each_other(world: World) -> None:
    publisher = Publisher(world.log, WINDOWS.name, rank_of=lambda value: (1, int(value)))
    overtaken: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.timeout(20):
        watching = asyncio.create_task(publisher.watch(overtaken.put_nowait))
        await asyncio.sleep(0)
        for number in (1, 2, 3):
            await publisher.publish([Publication("ours", (1, number), b"%d" % number)])
        await world.log.append(WINDOWS.name, [Record(b"2", b"ours")])
        assert await overtaken.get() == "ours"
    watching.cancel()
    assert overtaken.empty()


@pytest.mark.parametrize(
    "poison",
    [
        b"{",
        b'{"type":"splitgauge.window.v1","data":{}}',
        b'{"type":"splitgauge.partial.v1","data":{"experiment_id":1}}',
    ],
)
async def test_a_partial_that_cannot_be_used_becomes_a_dead_letter_and_the_others_count(
    world: World, poison: bytes
) -> None:
    await world.log.append(PARTIALS.name, [Record(poison, b"exp/0")])
    await world.write(EVENTS)

    async def there() -> bool:
        windows = await world.data(WINDOWS.name, "window")
        return bool(windows) and windows[-1]["positions"] == {"0": 4, "1": 3}

    async with running(world.fold_worker(), world.tables_worker()):
        await until(there)
    letters = [
        letter for letter in await world.data(DEAD_LETTERS.name, "dead-letter") if letter["topic"] == PARTIALS.name
    ]
    assert [(letter["partition"], letter["offset"], letter["code"]) for letter in letters] == [(0, 0, "malformed")]


async def test_a_worker_whose_checkpoint_was_moved_loads_again(world: World) -> None:
    await world.write({0: EVENTS[0]})
    owner = checkpoint_owner(0)

    async def saved(position: int) -> bool:
        checkpoint = await world.log.checkpoints.load(owner)
        return checkpoint is not None and checkpoint.position == position

    async with running(world.fold_worker()):
        await until(lambda: saved(4))
        other = PartitionFold(0)
        other.fold(stored(EVENTS[0][:3]), world.decisions.history)
        rows = {key: row for key, row in other.changed_rows().items() if row is not None}
        rows[LAST] = mark_of((await world.log.read(OBSERVATIONS.name, 0, 2))[0])
        await world.log.checkpoints.drop(owner)
        assert await world.log.checkpoints.save(owner, expected=None, position=3, changed=rows)
        await world.write({0: [outcome("r2", "u2")]})
        await until(lambda: saved(5))
    checkpoint = await world.log.checkpoints.load(owner)
    assert checkpoint is not None
    restored = PartitionFold.restore(0, 5, checkpoint.rows, world.decisions.history)
    plain = PartitionFold(0)
    plain.fold([*stored(EVENTS[0]), Stored(4, outcome("r2", "u2"))], world.decisions.history)
    assert restored.partial("exp") == plain.partial("exp")


async def test_decisions_that_the_log_does_not_have_stop_the_worker_loudly() -> None:
    world = World()
    await world.log.append(DECISIONS.name, [Record(value) for value in world.decisions.values[:-1]])
    await world.write(EVENTS)
    with pytest.raises(ExceptionGroup) as stopped:
        async with asyncio.timeout(20):
            await world.fold_worker().run()
    damaged = stopped.value.subgroup(LogDamagedError)
    assert damaged is not None


@pytest.mark.parametrize(
    ("events", "said"),
    [(EVENTS[0][:2], "the log ends at 2"), ([*EVENTS[0][:3], b"another"], "offset 3 is another one than was folded")],
    ids=["lost its end", "made again"],
)
async def test_another_log_than_was_folded_stops_the_worker_loudly(
    world: World, events: list[bytes], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(believed_bounds, "LOST_AFTER_S", 0.0)
    await world.write({0: events})
    ahead = PartitionFold(0)
    ahead.fold(stored(EVENTS[0]), world.decisions.history)
    rows = {key: row for key, row in ahead.changed_rows().items() if row is not None}
    rows[LAST] = mark_of(StoredRecord(OBSERVATIONS.name, 0, 3, b"unit", EVENTS[0][3]))
    await world.log.checkpoints.save(checkpoint_owner(0), expected=None, position=4, changed=rows)
    with pytest.raises(ExceptionGroup, check=lambda group: said in str(group.exceptions[0])):
        async with asyncio.timeout(20):
            await world.fold_worker().run()


async def test_what_is_folded_while_the_log_says_where_it_ends_is_not_taken_for_lost() -> None:
    world = World()
    world.log = log = BusyLog(observation_partitions=2)
    await world.write_decisions()
    await world.write({0: EVENTS[0]})
    pace = Pace(publish_interval_s=0.001, checkpoint_interval_s=0)
    worker = FoldWorker(world.surroundings(), partitions=[0], pace=pace)

    async def saved(position: int) -> bool:
        checkpoint = await log.checkpoints.load(checkpoint_owner(0))
        return checkpoint is not None and checkpoint.position == position

    async def folded(position: int) -> bool:
        return worker.positions[0] == position

    async def one_more() -> None:
        await world.write({0: [report("u2", {"rating": 4})]})
        await until(lambda: folded(6))

    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(worker.run())
        await until(lambda: saved(4))
        log.meanwhile = one_more
        await world.write({0: [outcome("r2", "u2")]})
        await until(lambda: saved(6))
        assert log.meanwhile is None
        life.cancel()
