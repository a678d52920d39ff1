"""What every store of checkpoints must do. No engine is named but in the fixture."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from splitgauge.eventlog.checkpoints import Checkpoint, Checkpoints
from splitgauge.eventlog.memory import MemoryCheckpoints
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.eventlog.sqlite_checkpoints import SqliteCheckpoints

OWNER = "fold-1/observations/3"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Checkpoints]:
    if request.param == "memory":
        yield MemoryCheckpoints()
        return
    stored: SqliteCheckpoints | PostgresCheckpoints
    if request.param == "sqlite":
        stored = SqliteCheckpoints.open(tmp_path)
    else:
        stored = await PostgresCheckpoints.open(await request.getfixturevalue("postgres").make_database())
    yield stored
    await stored.close()


async def test_who_never_saved_has_none(checkpoints: Checkpoints) -> None:
    assert await checkpoints.load(OWNER) is None


async def test_position_and_rows_come_back_together(checkpoints: Checkpoints) -> None:
    rows = {b"a": b"1", b"": b"", b"\x00\xff": bytes(range(256)), b",": b"x" * 100_000}
    assert await checkpoints.save(OWNER, expected=None, position=7, changed=rows)
    assert await checkpoints.load(OWNER) == Checkpoint(7, rows)


async def test_a_save_changes_the_rows_that_it_names_and_no_other(checkpoints: Checkpoints) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1", b"b": b"1", b"c": b"1"})
    assert await checkpoints.save(
        OWNER, expected=1, position=2, changed={b"b": b"2", b"c": None, b"d": b"2", b"z": None}
    )
    assert await checkpoints.load(OWNER) == Checkpoint(2, {b"a": b"1", b"b": b"2", b"d": b"2"})


async def test_a_position_may_move_without_rows(checkpoints: Checkpoints) -> None:
    await checkpoints.save(OWNER, expected=None, position=0, changed={})
    assert await checkpoints.save(OWNER, expected=0, position=9, changed={})
    assert await checkpoints.load(OWNER) == Checkpoint(9, {})


@pytest.mark.parametrize("expected", [None, 0, 2])
async def test_a_zombie_writes_nothing(checkpoints: Checkpoints, expected: int | None) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1"})
    assert not await checkpoints.save(OWNER, expected=expected, position=5, changed={b"a": b"zombie", b"b": b"zombie"})
    assert await checkpoints.load(OWNER) == Checkpoint(1, {b"a": b"1"})


async def test_who_expects_a_checkpoint_that_is_not_there_writes_nothing(checkpoints: Checkpoints) -> None:
    assert not await checkpoints.save(OWNER, expected=0, position=1, changed={b"a": b"1"})
    assert await checkpoints.load(OWNER) is None


async def test_one_of_many_racing_writers_wins(checkpoints: Checkpoints) -> None:
    await checkpoints.save(OWNER, expected=None, position=0, changed={})

    async def race(writer: int) -> bool:
        return await checkpoints.save(OWNER, expected=0, position=writer, changed={b"winner": b"%d" % writer})

    won = await asyncio.gather(*(race(writer) for writer in range(1, 20)))
    assert won.count(True) == 1
    winner = won.index(True) + 1
    assert await checkpoints.load(OWNER) == Checkpoint(winner, {b"winner": b"%d" % winner})


async def test_owners_do_not_share_rows(checkpoints: Checkpoints) -> None:
    await checkpoints.save("one", expected=None, position=1, changed={b"a": b"1"})
    await checkpoints.save("two", expected=None, position=2, changed={b"a": b"2"})
    assert await checkpoints.load("one") == Checkpoint(1, {b"a": b"1"})
    assert await checkpoints.load("two") == Checkpoint(2, {b"a": b"2"})


async def test_who_is_dropped_starts_again(checkpoints: Checkpoints) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1"})
    await checkpoints.drop(OWNER)
    await checkpoints.drop(OWNER)
    assert await checkpoints.load(OWNER) is None
    assert await checkpoints.save(OWNER, expected=None, position=3, changed={b"b": b"3"})
    assert await checkpoints.load(OWNER) == Checkpoint(3, {b"b": b"3"})


async def test_many_rows_come_back_whole(checkpoints: Checkpoints) -> None:
    rows = {b"%d" % index: b"row %d" % index for index in range(5_001)}
    assert await checkpoints.save(OWNER, expected=None, position=1, changed=rows)
    assert await checkpoints.save(OWNER, expected=1, position=2, changed={b"0": b"new"})
    assert await checkpoints.load(OWNER) == Checkpoint(2, rows | {b"0": b"new"})


async def test_large_rows_come_back_whole(checkpoints: Checkpoints) -> None:
    rows = {b"%d" % index: bytes([index]) * 1_000_000 for index in range(40)}
    assert await checkpoints.save(OWNER, expected=None, position=1, changed=rows)
    assert await checkpoints.save(OWNER, expected=1, position=2, changed={b"7": None, b"8": b"small"})
    del rows[b"7"]
    assert await checkpoints.load(OWNER) == Checkpoint(2, rows | {b"8": b"small"})


async def test_what_was_loaded_is_the_loaders_own(checkpoints: Checkpoints) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1"})
    loaded = await checkpoints.load(OWNER)
    assert loaded is not None
    loaded.rows[b"a"] = b"changed"
    assert await checkpoints.load(OWNER) == Checkpoint(1, {b"a": b"1"})
