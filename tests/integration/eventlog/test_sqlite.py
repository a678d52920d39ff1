"""What is particular to the embedded log: threads, full disks, damaged files, opening, forgetting."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from splitgauge.eventlog import sqlite_reader
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.eventlog.sqlite_append import Work
from splitgauge.eventlog.sqlite_connection import Connection, open_writer
from splitgauge.schemas.errors import (
    ConflictError,
    ContractError,
    LogDamagedError,
    LogUnavailableError,
)
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS, REQUESTS, TOPICS

N_EVENTS = 2_000


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
    log = SqliteEventLog.open(tmp_path, observation_partitions=2)
    yield log
    await log.close()


async def written(folder: Path) -> None:
    """A closed log with 2,000 decisions of 300 bytes."""
    log = SqliteEventLog.open(folder, observation_partitions=2)
    await log.append(DECISIONS.name, [Record(b"%300d" % number) for number in range(N_EVENTS)])
    await log.close()


async def read_all(log: SqliteEventLog, start: int) -> int:
    """Read all decisions from the start on; the end."""
    position = start
    while batch := await log.read(DECISIONS.name, 0, position, limit=100):
        assert [event.offset for event in batch] == list(range(position, position + len(batch)))
        position = batch[-1].offset + 1
    return position


def changed(folder: Path, statement: str, *arguments: int) -> None:
    """Somebody else changes the closed log."""
    connection = open_writer(folder / "log.db")
    connection.execute(statement, arguments)
    connection.close()


class TestThreads:
    async def test_several_event_loops_append_and_follow_at_once(self, log: SqliteEventLog) -> None:
        seen: list[list[StoredRecord]] = []

        async def part(number: int) -> None:
            async def follow() -> list[StoredRecord]:
                events: list[StoredRecord] = []
                async with asyncio.timeout(20):
                    async for batch in log.follow(DECISIONS.name, {0: 0}, limit=100):
                        events += batch
                        if len(events) >= 300:
                            break
                return events

            following = asyncio.create_task(follow())
            for index in range(100):
                await log.append(DECISIONS.name, [Record(b"%d.%d" % (number, index))])
            seen.append(await following)

        threads = [threading.Thread(target=asyncio.run, args=(part(number),)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert len(seen) == 3
        assert seen[0] == seen[1] == seen[2]
        assert [event.offset for event in seen[0]] == list(range(300))
        for number in range(3):
            mine = [event.value for event in seen[0] if event.value.startswith(b"%d." % number)]
            assert mine == [b"%d.%d" % (number, index) for index in range(100)]

    async def test_a_group_reaches_over_event_loops(self, log: SqliteEventLog) -> None:
        taken = threading.Event()

        async def elsewhere() -> list[bytes]:
            async with log.join(OBSERVATIONS.name, "g") as member:
                assert member.partitions == {1}
                taken.set()
                async with asyncio.timeout(20):
                    async for batch in member.batches():
                        return [event.value for event in batch]
            return []

        async with log.join(OBSERVATIONS.name, "g") as member:
            running = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
            await asyncio.to_thread(taken.wait)
            assert member.partitions == {0}
            await log.append(OBSERVATIONS.name, [Record(b"a", partition=1)])
            assert await running == [b"a"]
            assert member.partitions == {0, 1}

    async def test_a_cancelled_append_disturbs_no_other(self, log: SqliteEventLog) -> None:
        cancelled = asyncio.create_task(log.append(DECISIONS.name, [Record(b"cancelled")]))
        kept = asyncio.create_task(log.append(DECISIONS.name, [Record(b"kept")]))
        await asyncio.sleep(0)
        cancelled.cancel()
        await kept
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert b"kept" in [event.value for event in await log.read(DECISIONS.name, 0, 0)]

    async def test_what_was_submitted_before_closing_is_written(self, tmp_path: Path) -> None:
        log = SqliteEventLog.open(tmp_path / "data")
        appends = [asyncio.create_task(log.append(DECISIONS.name, [Record(b"%d" % n)])) for n in range(50)]
        await asyncio.sleep(0)
        await log.close()
        offsets = [offset for ((_, offset),) in await asyncio.gather(*appends)]
        assert offsets == list(range(50))

    async def test_one_job_that_fails_leaves_those_beside_it_alone(self, log: SqliteEventLog) -> None:
        def fail(connection: Connection) -> None:
            connection.execute("DELETE FROM partitions")
            raise ContractError("not this one")

        outcomes = await asyncio.gather(
            log.append(DECISIONS.name, [Record(b"a")]),
            log.writer.submit(Work(fail)),
            log.append(DECISIONS.name, [Record(b"b")]),
            return_exceptions=True,
        )
        assert outcomes[0] == [(0, 0)]
        assert isinstance(outcomes[1], ContractError)
        assert outcomes[2] == [(0, 1)]
        assert (await log.bounds(DECISIONS.name))[0] == (0, 2)

    async def test_a_bug_in_the_writing_thread_lets_nobody_wait_for_ever(self, log: SqliteEventLog) -> None:
        def bug(_: Connection) -> None:
            raise ZeroDivisionError

        seen: list[threading.ExceptHookArgs] = []
        before, threading.excepthook = threading.excepthook, seen.append
        try:
            with pytest.raises(LogUnavailableError):
                await log.writer.submit(Work(bug))
            with pytest.raises(LogUnavailableError):
                await log.append(DECISIONS.name, [Record(b"a")])
            await log.close()
        finally:
            threading.excepthook = before
        assert [args.exc_type for args in seen] == [ZeroDivisionError]


class TestFullDisk:
    async def test_a_full_disk_is_said_and_the_log_goes_on_when_there_is_room(self, log: SqliteEventLog) -> None:
        await log.append(DECISIONS.name, [Record(b"before")])

        def limit(pages: int) -> Callable[[Connection], None]:
            return lambda connection: connection.pragma("max_page_count", pages)

        await log.writer.submit(Work(limit(1)))  # SQLite keeps what it has: no more pages
        big = [Record(b"x" * 10_000, partition=0) for _ in range(20)]
        with pytest.raises(LogUnavailableError, match="Make room on the disk") as caught:
            await log.append(OBSERVATIONS.name, big)
        assert caught.value.__cause__ is not None
        assert (await log.bounds(OBSERVATIONS.name))[0] == (0, 0)
        assert [event.value for event in await log.read(DECISIONS.name, 0, 0)] == [b"before"]

        await log.writer.submit(Work(limit(1_000_000)))
        assert (await log.append(OBSERVATIONS.name, big))[-1] == (0, 19)
        assert len(await log.read(OBSERVATIONS.name, 0, 0)) == 20


class TestDamage:
    @pytest.mark.parametrize("missing", [0, 63, 64, 999, N_EVENTS - 1])
    @pytest.mark.parametrize("start", [0, 60])
    async def test_a_missing_event_is_named_and_never_skipped(self, tmp_path: Path, missing: int, start: int) -> None:
        await written(tmp_path)
        changed(tmp_path, 'DELETE FROM "splitgauge.decisions/0" WHERE offset = ?', missing)
        log = SqliteEventLog.open_readonly(tmp_path)
        if missing < start:
            assert await read_all(log, start) == N_EVENTS
        else:
            with pytest.raises(LogDamagedError, match=f"decisions, partition 0, offset {missing}: .*missing"):
                await read_all(log, start)
        await log.close()

    async def test_missing_events_at_the_end_are_noticed_by_who_reads_there(self, tmp_path: Path) -> None:
        await written(tmp_path)
        changed(tmp_path, 'DELETE FROM "splitgauge.decisions/0" WHERE offset >= 1500')
        log = SqliteEventLog.open(tmp_path)
        with pytest.raises(LogDamagedError, match="offset 1500"):
            await log.read(DECISIONS.name, 0, 1_500)
        assert await log.append(DECISIONS.name, [Record(b"new")]) == [(0, N_EVENTS)]
        await log.close()

    async def test_an_event_behind_the_end_is_named(self, tmp_path: Path) -> None:
        await written(tmp_path)
        changed(tmp_path, "UPDATE sqlite_sequence SET seq = 1000 WHERE name = 'splitgauge.decisions/0'")
        log = SqliteEventLog.open_readonly(tmp_path)
        with pytest.raises(LogDamagedError, match="after the recorded end 1001"):
            await log.read(DECISIONS.name, 0, 900)
        await log.close()

    async def test_overwritten_pages_are_named_with_the_first_unreadable_offset(self, tmp_path: Path) -> None:
        await written(tmp_path)
        path = tmp_path / "log.db"
        content = bytearray(path.read_bytes())
        at = content.index(b"%300d" % 1_000) // 4096 * 4096
        first = min(number for number in range(N_EVENTS) if (b"%300d" % number) in content[at : at + 4096])
        content[at : at + 4096] = b"\xa5" * 4096
        path.write_bytes(content)
        log = SqliteEventLog.open_readonly(tmp_path)
        with pytest.raises(LogDamagedError, match=f"decisions, partition 0, offset {first}: .*cannot be read"):
            await read_all(log, 0)
        await log.close()

    async def test_a_file_that_is_no_database_is_said_to_be_damaged(self, tmp_path: Path) -> None:
        (tmp_path / "log.db").write_bytes(b"no database, " * 1_000)
        for opened in (SqliteEventLog.open, SqliteEventLog.open_readonly):
            with pytest.raises(LogDamagedError, match=r"log\.db"):
                opened(tmp_path)

    async def test_a_partition_that_lost_its_highest_offset_does_not_open(self, tmp_path: Path) -> None:
        await written(tmp_path)
        changed(tmp_path, "DELETE FROM sqlite_sequence WHERE name = 'splitgauge.decisions/0'")
        with pytest.raises(LogDamagedError, match=r"splitgauge\.decisions"):
            SqliteEventLog.open(tmp_path)

    async def test_a_table_that_was_taken_away_is_damage(self, tmp_path: Path) -> None:
        await written(tmp_path)
        log = SqliteEventLog.open(tmp_path)
        changed(tmp_path, 'ALTER TABLE "splitgauge.decisions/0" RENAME TO gone')
        with pytest.raises(LogDamagedError, match="no such table"):
            await log.read(DECISIONS.name, 0, 0)
        await log.close()


class TestLargeEvents:
    async def test_a_batch_of_large_events_is_cut_by_its_size(
        self, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_reader, "BATCH_BYTES", 200_000)
        await log.append(REQUESTS.name, [Record(b"x" * 20_000, partition=0)] * 100)
        sizes: list[int] = []
        position = 0
        while batch := await log.read(REQUESTS.name, 0, position, limit=500):
            assert [event.offset for event in batch] == list(range(position, position + len(batch)))
            sizes.append(len(batch))
            position += len(batch)
        assert sizes == [64, 10, 10, 10, 6]


class TestTrim:
    async def test_what_was_trimmed_is_gone_and_its_offsets_stay_used(self, tmp_path: Path) -> None:
        log = SqliteEventLog.open(tmp_path)
        await log.append(REQUESTS.name, [Record(b"%d" % number, partition=1) for number in range(10)])
        await log.trim(REQUESTS.name, 1, 4)
        assert (await log.bounds(REQUESTS.name))[1] == (4, 10)
        assert [event.offset for event in await log.read(REQUESTS.name, 1, 0)] == list(range(4, 10))
        await log.trim(REQUESTS.name, 1, 2)
        assert (await log.bounds(REQUESTS.name))[1] == (4, 10)
        await log.trim(REQUESTS.name, 1, 10)
        await log.close()
        log = SqliteEventLog.open(tmp_path)
        assert (await log.bounds(REQUESTS.name))[1] == (10, 10)
        assert await log.read(REQUESTS.name, 1, 0) == []
        assert await log.append(REQUESTS.name, [Record(b"new", partition=1)]) == [(1, 10)]
        with pytest.raises(ConflictError, match="ends at 11"):
            await log.trim(REQUESTS.name, 1, 12)
        await log.close()

    async def test_trimming_much_goes_in_steps_and_loses_nothing_else(self, log: SqliteEventLog) -> None:
        await log.append(REQUESTS.name, [Record(b"x", partition=0)] * 12_000)
        await log.trim(REQUESTS.name, 0, 11_999)
        assert (await log.bounds(REQUESTS.name))[0] == (11_999, 12_000)
        assert [event.offset for event in await log.read(REQUESTS.name, 0, 0)] == [11_999]

    async def test_a_compacted_partition_keeps_its_offsets_over_a_restart(self, tmp_path: Path) -> None:
        log = SqliteEventLog.open(tmp_path)
        await log.append(PARTIALS.name, [Record(b"1", key=b"k"), Record(b"2", key=b"k"), Record(b"no key")])
        await log.close()
        log = SqliteEventLog.open(tmp_path)
        assert await log.append(PARTIALS.name, [Record(b"3", key=b"k")]) == [(0, 3)]
        assert [(event.offset, event.value) for event in await log.read(PARTIALS.name, 0, 0)] == [
            (2, b"no key"),
            (3, b"3"),
        ]
        assert [event.offset for event in await log.read(PARTIALS.name, 0, 3)] == [3]
        await log.close()


class TestOpening:
    async def test_the_number_of_partitions_is_fixed_when_the_log_is_made(self, tmp_path: Path) -> None:
        await SqliteEventLog.open(tmp_path, observation_partitions=3).close()
        with pytest.raises(ContractError, match="3 partitions of observations, not 4"):
            SqliteEventLog.open(tmp_path, observation_partitions=4)
        log = SqliteEventLog.open(tmp_path)
        assert set(await log.bounds(OBSERVATIONS.name)) == {0, 1, 2}
        assert log.layout == {name: topic.embedded_partitions or 3 for name, topic in TOPICS.items()}
        await log.close()

    @pytest.mark.parametrize("wish", [0, -1, 1_025])
    async def test_an_impossible_number_of_partitions_is_refused(self, tmp_path: Path, wish: int) -> None:
        with pytest.raises(ContractError, match="1 to 1024"):
            SqliteEventLog.open(tmp_path, observation_partitions=wish)

    @pytest.mark.usefixtures("log")
    async def test_a_reader_changes_nothing(self, tmp_path: Path) -> None:
        reader = SqliteEventLog.open_readonly(tmp_path)
        with pytest.raises(LogUnavailableError, match="for reading only"):
            await reader.append(DECISIONS.name, [Record(b"a")])
        with pytest.raises(LogUnavailableError, match="for reading only"):
            await reader.trim(DECISIONS.name, 0, 0)
        with pytest.raises(LogUnavailableError, match="for reading only"):
            async with reader.join(DECISIONS.name, "g"):
                pass
        with pytest.raises(LogUnavailableError, match="for reading only"):
            _ = reader.checkpoints
        await reader.close()

    async def test_a_folder_without_a_log_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(LogUnavailableError, match="no event log here"):
            SqliteEventLog.open_readonly(tmp_path / "nowhere")

    async def test_a_folder_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(LogUnavailableError, match="data folder cannot be used") as caught:
            SqliteEventLog.open(tmp_path / "file")
        assert caught.value.where == str(tmp_path / "file")

    async def test_a_log_of_a_newer_version_is_left_alone(self, tmp_path: Path) -> None:
        await written(tmp_path)
        changed(tmp_path, "PRAGMA user_version = 2")
        for opened in (SqliteEventLog.open, SqliteEventLog.open_readonly):
            with pytest.raises(LogUnavailableError, match="has version 2"):
                opened(tmp_path)

    async def test_checkpoints_of_a_newer_version_are_left_alone(self, tmp_path: Path) -> None:
        await written(tmp_path)
        connection = open_writer(tmp_path / "checkpoints.db")
        connection.pragma("user_version", 2)
        connection.close()
        with pytest.raises(LogUnavailableError, match="Remove the file"):
            SqliteEventLog.open(tmp_path)
        (tmp_path / "checkpoints.db").unlink()
        await SqliteEventLog.open(tmp_path).close()

    async def test_every_event_is_on_the_disk_before_it_is_acknowledged(self, log: SqliteEventLog) -> None:
        assert await log.writer.submit(Work(lambda connection: connection.pragma("synchronous"))) == 2
        assert await log.writer.submit(Work(lambda connection: connection.pragma("journal_mode"))) == "wal"
