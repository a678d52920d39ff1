"""Checkpoints on a database that fails: a save is whole or has not happened, and the next one works."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from postgres_server import PostgresServer
from splitgauge.eventlog import postgres_checkpoints
from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.eventlog.postgres_database import PostgresSettings
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError

IMPATIENT = PostgresSettings(
    connect_timeout_s=2, statement_timeout_s=2, lock_timeout_s=10, idle_in_transaction_s=0.5, pool_size=3
)
"""So that faults show in a moment."""
PATIENCE_S = 30.0
"""Only a failing test waits that long."""
OWNER = "fold-1/observations/3"


@pytest.fixture
async def checkpoints(mortal_database: str) -> AsyncIterator[PostgresCheckpoints]:
    stored = await PostgresCheckpoints.open(mortal_database, IMPATIENT)
    yield stored
    await stored.close()


@pytest.fixture
async def other(mortal_database: str) -> AsyncIterator[PostgresCheckpoints]:
    """Another process, as far as the database can see."""
    stored = await PostgresCheckpoints.open(mortal_database, IMPATIENT)
    yield stored
    await stored.close()


def between(monkeypatch: pytest.MonkeyPatch, *, before: Any = None, after: Any = None) -> None:
    """Something happens between the statements of a save: before its rows are replaced, or before its COMMIT."""
    real = vars(postgres_checkpoints)["_replace"]

    async def replace(*arguments: Any) -> None:
        if before is not None:
            await before()
        await real(*arguments)
        if after is not None:
            await after()

    monkeypatch.setattr(postgres_checkpoints, "_replace", replace)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_between_the_statements_of_a_save_undoes_it(
    checkpoints: PostgresCheckpoints, mortal: PostgresServer, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1", b"b": b"1"})

    async def kill() -> None:
        mortal.kill()

    with monkeypatch.context() as patched:
        between(patched, **{moment: kill})
        with pytest.raises(LogUnavailableError):
            await checkpoints.save(OWNER, expected=1, position=2, changed={b"a": b"2", b"b": None, b"c": b"2"})

    mortal.start()
    assert await checkpoints.load(OWNER) == Checkpoint(1, {b"a": b"1", b"b": b"1"})
    assert await checkpoints.save(OWNER, expected=1, position=2, changed={b"a": b"2"})
    assert await checkpoints.load(OWNER) == Checkpoint(2, {b"a": b"2", b"b": b"1"})


async def test_kills_at_any_moment_leave_whole_saves_and_all_that_were_acknowledged(
    checkpoints: PostgresCheckpoints, mortal: PostgresServer
) -> None:
    chance = random.Random(5)
    acknowledged = 0
    assert await checkpoints.save(OWNER, expected=None, position=0, changed=dict.fromkeys(map(_key, range(400)), b"0"))
    for _ in range(5):

        async def save_on() -> None:
            nonlocal acknowledged
            while True:
                value = b"%d" % (acknowledged + 1)
                rows = dict.fromkeys(map(_key, range(400)), value)
                assert await checkpoints.save(OWNER, expected=acknowledged, position=acknowledged + 1, changed=rows)
                acknowledged += 1

        saving = asyncio.create_task(save_on())
        await asyncio.sleep(0.05 + chance.random() * 0.1)
        mortal.kill()
        with pytest.raises(LogUnavailableError):
            await saving
        mortal.start()
        found = await checkpoints.load(OWNER)
        assert found is not None
        # A COMMIT that was not answered may have happened: the caller finds out when it loads.
        assert found.position in (acknowledged, acknowledged + 1)
        assert found.rows == dict.fromkeys(map(_key, range(400)), b"%d" % found.position)
        acknowledged = found.position


async def test_the_next_save_after_a_restart_works(checkpoints: PostgresCheckpoints, mortal: PostgresServer) -> None:
    await asyncio.gather(*(checkpoints.save(str(n), expected=None, position=0, changed={}) for n in range(3)))
    mortal.stop()
    mortal.start()
    assert await checkpoints.save("0", expected=0, position=1, changed={b"a": b"1"})
    mortal.stop()
    mortal.start()
    assert await checkpoints.load("0") == Checkpoint(1, {b"a": b"1"})


async def test_of_two_writers_who_expect_the_same_one_wins(
    checkpoints: PostgresCheckpoints, other: PostgresCheckpoints
) -> None:
    position = None
    for after in range(20):
        won = await asyncio.gather(
            checkpoints.save(OWNER, expected=position, position=after, changed={b"%d" % after: b"one", b"who": b"one"}),
            other.save(OWNER, expected=position, position=after, changed={b"%d" % after: b"other", b"who": b"other"}),
        )
        assert sorted(won) == [False, True]
        winner = b"one" if won[0] else b"other"
        found = await other.load(OWNER)
        assert found is not None
        assert (found.rows[b"%d" % after], found.rows[b"who"]) == (winner, winner)
        position = after


async def test_a_zombie_that_was_paused_in_its_save_changes_nothing_and_holds_nobody_up(
    checkpoints: PostgresCheckpoints, other: PostgresCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    await other.save(OWNER, expected=None, position=1, changed={b"a": b"1"})
    paused, woken = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        paused.set()
        await woken.wait()

    with monkeypatch.context() as patched:
        between(patched, before=pause)
        zombie = asyncio.create_task(
            checkpoints.save(OWNER, expected=1, position=5, changed={b"a": b"zombie", b"z": b"zombie"})
        )
        await paused.wait()
    async with asyncio.timeout(PATIENCE_S):
        assert await other.save(OWNER, expected=1, position=2, changed={b"a": b"2"})
    woken.set()
    with pytest.raises(LogUnavailableError):
        await zombie
    assert not await checkpoints.save(OWNER, expected=1, position=5, changed={b"a": b"zombie"})
    assert await checkpoints.load(OWNER) == Checkpoint(2, {b"a": b"2"})


async def test_a_database_that_is_down_is_said_to_be_and_used_again_when_it_is_back(
    checkpoints: PostgresCheckpoints, mortal: PostgresServer, mortal_database: str
) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1"})
    mortal.stop()
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            with pytest.raises(LogUnavailableError, match="postgresql:///"):
                await checkpoints.save(OWNER, expected=1, position=2, changed={b"a": b"2"})
            with pytest.raises(LogUnavailableError):
                await checkpoints.load(OWNER)
        with pytest.raises(LogUnavailableError):
            await PostgresCheckpoints.open(mortal_database, IMPATIENT)
    mortal.start()
    assert await checkpoints.save(OWNER, expected=1, position=2, changed={b"a": b"2"})


async def test_a_database_that_hangs_is_given_up_on_and_used_again_when_it_answers(
    checkpoints: PostgresCheckpoints, mortal: PostgresServer
) -> None:
    await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1"})
    mortal.pause()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(LogUnavailableError, match="did not answer in time"):
            await checkpoints.save(OWNER, expected=1, position=2, changed={b"a": b"2"})
    mortal.wake()
    assert await checkpoints.save(OWNER, expected=1, position=2, changed={b"a": b"2"})
    assert await checkpoints.load(OWNER) == Checkpoint(2, {b"a": b"2"})


async def test_tables_that_were_taken_away_are_damage(checkpoints: PostgresCheckpoints, mortal_database: str) -> None:
    connection = await asyncpg.connect(mortal_database)
    await connection.execute("DROP TABLE splitgauge.checkpoint_rows")
    await connection.close()
    with pytest.raises(LogDamagedError, match="checkpoint_rows"):
        await checkpoints.save(OWNER, expected=None, position=1, changed={b"a": b"1"})


async def test_a_closed_store_says_so(checkpoints: PostgresCheckpoints) -> None:
    await checkpoints.close()
    with pytest.raises(LogUnavailableError, match="closed"):
        await checkpoints.load(OWNER)


def _key(number: int) -> bytes:
    return b"unit %d" % number
