"""The archiver: every event that is kept once, whatever crashes; what the source loses before is said aloud."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from archived_log import archive_once
from postgres_server import PostgresServer
from splitgauge.archiver import Archiver, ArchiverSettings
from splitgauge.eventlog import believed_bounds
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Bounds, EventLog, Record, StoredRecord
from splitgauge.eventlog.postgres_archive import PostgresArchive
from splitgauge.eventlog.postgres_archive_writer import ARCHIVED, ArchiveWriter
from splitgauge.eventlog.postgres_database import PostgresSettings
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, OBSERVATIONS, TOPICS

IMPATIENT = PostgresSettings(connect_timeout_s=2, statement_timeout_s=5, idle_in_transaction_s=1)
SMALL = ArchiverSettings(rest_s=0.01, retry_s=0.01, batch_events=7, read_events=3)
PATIENCE_S = 30.0


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
    log = SqliteEventLog.open(tmp_path / "data", observation_partitions=4)
    yield log
    await log.close()


async def fill(log: EventLog, *, size: int = 40, name: str = "event") -> None:
    """Events in every topic and partition."""
    for topic in TOPICS:
        partitions = await log.bounds(topic)
        records = [
            Record(f"{name} {partition}/{number}".encode(), key=b"key %d" % number, partition=partition)
            for partition in partitions
            for number in range(size)
        ]
        await log.append(topic, records)


async def everything(log: EventLog) -> dict[tuple[str, int], list[StoredRecord]]:
    """All that is kept."""
    return {
        (topic, partition): await log.read(topic, partition, bounds.start, limit=100_000)
        for topic in ARCHIVED
        for partition, bounds in (await log.bounds(topic)).items()
    }


async def archived(address: str) -> dict[tuple[str, int], list[StoredRecord]]:
    archive = await PostgresArchive.open(address)
    try:
        return await everything(archive)
    finally:
        await archive.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.02)


async def ask(address: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(address)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


class Altered(MemoryEventLog):
    """A log in memory that reads as if something had happened to it."""

    def __init__(self) -> None:
        super().__init__(observation_partitions=4)
        self.starts: dict[str, int] = {}
        self.missing: tuple[str, int, int] | None = None
        self.added: list[StoredRecord] = []
        """A second partition of the analyses."""

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        bounds = await super().bounds(topic)
        if self.added and topic == ANALYSES.name:
            bounds[1] = Bounds(0, len(self.added))
        return {at: Bounds(self.starts.get(topic, start), end) for at, (start, end) in bounds.items()}

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        if (topic, partition) == (ANALYSES.name, 1):
            return self.added[start : start + limit]
        events = await super().read(topic, partition, max(start, self.starts.get(topic, 0)), limit=limit)
        return [event for event in events if event[:3] != self.missing]


async def test_what_is_kept_is_copied_and_nothing_else(source: SqliteEventLog, database: str) -> None:
    await fill(source)
    assert await archive_once(source, database) == 40 * (4 + 1 + 1 + 1)
    assert await archived(database) == await everything(source)
    topics = await ask(database, "SELECT DISTINCT topic FROM splitgauge.archive ORDER BY topic")
    assert [row["topic"] for row in topics] == sorted(
        [OBSERVATIONS.name, ANALYSES.name, DECISIONS.name, DEAD_LETTERS.name]
    )


async def test_a_second_round_copies_what_came_since(source: SqliteEventLog, database: str) -> None:
    await fill(source)
    await archive_once(source, database)
    assert await archive_once(source, database) == 0
    await fill(source, size=3)
    assert await archive_once(source, database) == 3 * 7
    assert await archived(database) == await everything(source)


async def test_archivers_at_the_same_time_copy_each_event_once(source: SqliteEventLog, database: str) -> None:
    await fill(source)
    writers = [await ArchiveWriter.open(database) for _ in range(3)]
    copied = await asyncio.gather(*(Archiver(source, writer, SMALL).round() for writer in writers))
    for writer in writers:
        await writer.close()
    assert sum(copied) == 40 * 7
    assert await archived(database) == await everything(source)


async def test_readers_see_a_round_at_once_and_not_before_its_end(source: SqliteEventLog, database: str) -> None:
    await fill(source, size=2)
    await archive_once(source, database)
    before = await archived(database)
    await fill(source, size=30)
    after = await everything(source)
    writer = await ArchiveWriter.open(database)
    copying = asyncio.create_task(Archiver(source, writer, SMALL).round())
    while not copying.done():
        for place, events in (await archived(database)).items():
            assert events in (before[place], after[place])
    await copying
    await writer.close()
    assert await archived(database) == after


async def test_kills_of_the_database_at_any_moment_cost_nothing(
    source: SqliteEventLog, mortal: PostgresServer, mortal_database: str
) -> None:
    chance = random.Random(3)
    writer = await ArchiveWriter.open(mortal_database, IMPATIENT)
    archiver = Archiver(source, writer, SMALL)
    running = asyncio.create_task(archiver.run())
    for _ in range(4):
        await fill(source, size=25)
        await asyncio.sleep(chance.random() * 0.2)
        mortal.kill()
        await asyncio.sleep(0.05)
        mortal.start()

    async def is_whole_and_well() -> bool:
        whole = await archived(mortal_database) == await everything(source)
        return whole and archiver.status()["ready"] is True

    await until(is_whole_and_well)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await writer.close()


async def test_archivers_that_are_cut_off_at_any_moment_leave_a_whole_archive(
    source: SqliteEventLog, database: str
) -> None:
    chance = random.Random(4)
    for _ in range(10):
        await fill(source, size=10)
        writer = await ArchiveWriter.open(database)
        copying = asyncio.create_task(Archiver(source, writer, SMALL).round())
        await asyncio.sleep(chance.random() * 0.1)
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        await writer.close()
    await archive_once(source, database)
    assert await archived(database) == await everything(source)


async def test_the_archiver_says_that_the_database_is_away_and_goes_on_when_it_is_back(
    source: SqliteEventLog, mortal: PostgresServer, mortal_database: str
) -> None:
    await fill(source, size=2)
    writer = await ArchiveWriter.open(mortal_database, IMPATIENT)
    archiver = Archiver(source, writer, SMALL)
    running = asyncio.create_task(archiver.run())

    async def is_ready() -> bool:
        return archiver.status()["ready"] is True

    async def is_in_trouble() -> bool:
        return "reason" in archiver.status()

    async def has_gone_on() -> bool:
        return await is_ready() and archiver.status()["copied_events_total"] == 4 * 7

    await until(is_ready)
    mortal.stop()
    await until(is_in_trouble)
    assert "postgresql:///" in str(archiver.status()["reason"])
    assert not await is_ready()
    await fill(source, size=2)
    mortal.start()
    await until(has_gone_on)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await writer.close()
    assert await archived(mortal_database) == await everything(source)


async def test_what_was_archived_stays_readable_after_the_source_has_dropped_it(
    source: SqliteEventLog, database: str
) -> None:
    await fill(source)
    whole = await everything(source)
    await archive_once(source, database)
    for partition in range(4):
        await source.trim(OBSERVATIONS.name, partition, 40)
    await source.trim(DECISIONS.name, 0, 17)
    await fill(source, size=5, name="later")
    await archive_once(source, database)

    found = await archived(database)
    for place, events in whole.items():
        assert found[place][:40] == events
        assert [event.value for event in found[place][40:]] == [b"later %d/%d" % (place[1], n) for n in range(5)]


async def test_what_the_source_dropped_before_it_was_archived_ends_the_archiver(
    source: SqliteEventLog, database: str
) -> None:
    await fill(source, size=10)
    await archive_once(source, database)
    await fill(source, size=10)
    await source.trim(OBSERVATIONS.name, 2, 15)
    writer = await ArchiveWriter.open(database)
    archiver = Archiver(source, writer)
    with pytest.raises(LogDamagedError, match=r"observations, partition 2: offsets 10 to 14 were dropped"):
        await archiver.run()
    assert "offsets 10 to 14 were dropped" in str(archiver.status()["reason"])
    assert archiver.status()["ready"] is False
    await writer.close()


async def test_a_log_that_is_kept_for_ever_is_archived_from_its_first_event_or_not_at_all(database: str) -> None:
    log = Altered()
    await fill(log)
    log.starts = {ANALYSES.name: 3, DEAD_LETTERS.name: 8}
    with pytest.raises(LogDamagedError, match=r"analyses, partition 0: offsets 0 to 2 were dropped"):
        await archive_once(log, database)
    del log.starts[ANALYSES.name]
    await archive_once(log, database)
    assert (await archived(database))[DEAD_LETTERS.name, 0][0].offset == 8


@pytest.mark.parametrize("offset", [0, 3, 12, 39])
async def test_an_event_that_is_missing_is_named_and_not_passed_over(database: str, offset: int) -> None:
    log = Altered()
    await fill(log)
    log.missing = (OBSERVATIONS.name, 1, offset)
    writer = await ArchiveWriter.open(database)
    with pytest.raises(LogDamagedError, match=rf"observations, partition 1, offset {offset}: the event is missing"):
        await Archiver(log, writer, SMALL).round()
    assert await writer.position(OBSERVATIONS.name, 1) <= offset
    log.missing = None
    await Archiver(log, writer, SMALL).round()
    await writer.close()
    assert await archived(database) == await everything(log)


@pytest.mark.parametrize("size", [10, 40, 50])
async def test_the_archive_of_another_log_is_not_mixed_with_this_one(database: str, size: int) -> None:
    one, other = MemoryEventLog(observation_partitions=4), MemoryEventLog(observation_partitions=4)
    await fill(one)
    await fill(other, size=size, name="other")
    await archive_once(one, database)
    with pytest.raises(LogDamagedError, match="the log is another one"):
        await archive_once(other, database)
    assert await archived(database) == await everything(one)


async def test_a_log_that_is_made_again_while_the_archiver_goes_on_is_not_mixed_with_the_old_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, other = MemoryEventLog(observation_partitions=4), MemoryEventLog(observation_partitions=4)
    await fill(log, size=5)
    writer = await ArchiveWriter.open(database)
    try:
        archiver = Archiver(log, writer, SMALL)
        await archiver.round()
        await fill(log, size=2)
        await archiver.round()
        await fill(other, size=9, name="other")
        monkeypatch.setattr(log, "read", other.read)
        monkeypatch.setattr(log, "bounds", other.bounds)
        with pytest.raises(LogDamagedError, match="another one"):
            await archiver.round()
    finally:
        await writer.close()


class Lagging(MemoryEventLog):
    """Some answers come from a broker that leads no more, and that ends early."""

    lags = 0
    early = 0

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        return {at: Bounds(start, self._end(end)) for at, (start, end) in (await super().bounds(topic)).items()}

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        events = await super().read(topic, partition, start, limit=limit)
        return [] if start >= self._end(start + 1) else events

    def _end(self, end: int) -> int:
        self.lags -= 1
        return min(end, self.early) if self.lags >= 0 else end


@pytest.mark.parametrize("lags", range(1, 30))
async def test_an_end_of_a_former_leader_stops_no_archiver(
    lags: int, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(believed_bounds, "_LOOK_AGAIN_S", 0.0)
    log = Lagging(observation_partitions=1)
    await fill(log, size=3)
    writer = await ArchiveWriter.open(database)
    try:
        archiver = Archiver(log, writer, SMALL)
        await archiver.round()
        await fill(log, size=2)
        log.early, log.lags = 2, lags
        await archiver.round()
        log.lags = 0
        await archiver.round()
    finally:
        await writer.close()
    assert await archived(database) == await everything(log)


async def test_other_partitions_than_those_archived_are_refused_where_they_cannot_be_added(database: str) -> None:
    for partitions in (4, 5, 3):
        log = MemoryEventLog(observation_partitions=partitions)
        if partitions == 4:
            await archive_once(log, database)
        else:
            with pytest.raises(LogDamagedError, match=rf"has {partitions} partitions, and 4 in the archive"):
                await archive_once(log, database)


async def test_partitions_that_are_added_are_archived_too(database: str) -> None:
    log = Altered()
    await fill(log, size=2)
    await archive_once(log, database)
    archive = await PostgresArchive.open(database)
    assert set(await archive.bounds(ANALYSES.name)) == {0}
    log.added = [StoredRecord(ANALYSES.name, 1, 0, None, b"new")]
    await archive_once(log, database)
    assert await archive.bounds(ANALYSES.name) == {0: Bounds(0, 2), 1: Bounds(0, 1)}
    assert await archive.read(ANALYSES.name, 1, 0) == log.added
    await archive.close()


async def test_an_event_taken_out_of_the_archive_is_named(source: SqliteEventLog, database: str) -> None:
    await fill(source)
    await archive_once(source, database)
    await ask(
        database,
        'DELETE FROM splitgauge.archive WHERE topic = $1 AND partition = 3 AND "offset" IN (12, 39)',
        OBSERVATIONS.name,
    )
    archive = await PostgresArchive.open(database)
    assert len(await archive.read(OBSERVATIONS.name, 3, 0, limit=12)) == 12
    for start, limit, missing in ((0, 13, 12), (12, 1, 12), (13, 27, 39), (39, 5, 39)):
        with pytest.raises(LogDamagedError, match=rf"observations, partition 3, offset {missing} in postgresql:"):
            await archive.read(OBSERVATIONS.name, 3, start, limit=limit)
    assert await archive.read(OBSERVATIONS.name, 3, 40) == []
    await archive.close()


async def test_nothing_is_archived_twice_even_by_hand(source: SqliteEventLog, database: str) -> None:
    await fill(source, size=3)
    await archive_once(source, database)
    with pytest.raises(asyncpg.UniqueViolationError):
        await ask(database, "INSERT INTO splitgauge.archive VALUES ($1, 1, 2, NULL, 'again')", OBSERVATIONS.name)


async def test_a_reader_goes_on_after_a_restart_of_the_database(
    source: SqliteEventLog, mortal: PostgresServer, mortal_database: str
) -> None:
    await fill(source)
    await archive_once(source, mortal_database)
    archive = await PostgresArchive.open(mortal_database, IMPATIENT)
    before = await everything(archive)
    mortal.stop()
    with pytest.raises(LogUnavailableError):
        await archive.read(DECISIONS.name, 0, 0)
    mortal.start()
    assert await everything(archive) == before == await everything(source)
    await archive.close()


async def test_an_archive_refuses_to_be_written(source: SqliteEventLog, database: str) -> None:
    await archive_once(source, database)
    archive = await PostgresArchive.open(database)
    with pytest.raises(LogUnavailableError, match="an archive is for reading only: the 1 events cannot be appended"):
        await archive.append(DECISIONS.name, [Record(b"x")])
    with pytest.raises(LogUnavailableError, match="for reading only: the group g cannot commit"):
        archive.join(DECISIONS.name, "g")
    await archive.close()
