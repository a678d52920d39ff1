"""Migrations: in order, once, whole, one process at a time; what was applied never changes; old works beside new."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from postgres_server import PostgresServer
from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.eventlog.postgres_database import Database, PostgresSettings
from splitgauge.eventlog.postgres_migrations import Migration, check_schema, migrate, migrations
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError

SCHEMA = Path(__file__).with_name("schema.txt")
"""What all migrations together make, by the catalogue. Where it changes on purpose: the test says what stands now."""
NAMES = [one.name for one in migrations()]
LATER = Migration(9_000, "9000_later.sql", "ALTER TABLE splitgauge.checkpoints ADD COLUMN saved_at timestamptz")

_COLUMNS = """
SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type
    || CASE is_nullable WHEN 'NO' THEN ' not null ' ELSE ' ' END
    || coalesce(column_default, '')
    || CASE is_identity WHEN 'YES' THEN 'identity' ELSE '' END AS line
FROM information_schema.columns WHERE table_schema = 'splitgauge'
"""
_TABLES = """
SELECT 'table ' || relname || ' ' || coalesce(pg_get_partkeydef(pg_class.oid), '') || ' '
    || coalesce(pg_get_expr(relpartbound, pg_class.oid), '') || ' '
    || coalesce(array_to_string(reloptions, ','), '') AS line
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'splitgauge' AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_INDEXES = "SELECT 'index ' || indexdef AS line FROM pg_indexes WHERE schemaname = 'splitgauge'"
_CONSTRAINTS = """
SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid) AS line
FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace
WHERE nspname = 'splitgauge' AND contype <> 'n'
"""


async def catalogue(address: str) -> str:
    connection = await asyncpg.connect(address)
    try:
        lines = [
            " ".join(row["line"].split())
            for query in (_TABLES, _COLUMNS, _INDEXES, _CONSTRAINTS)
            for row in await connection.fetch(query)
        ]
    finally:
        await connection.close()
    return "\n".join(sorted(lines)) + "\n"


@pytest.fixture
async def empty(postgres: PostgresServer) -> str:
    """The address of a database without anything of ours."""
    return await postgres.make_database(migrated=False)


async def applied(address: str) -> list[str]:
    connection = await asyncpg.connect(address)
    try:
        return [row[0] for row in await connection.fetch("SELECT name FROM splitgauge.migrations ORDER BY number")]
    finally:
        await connection.close()


async def test_all_migrations_together_make_the_schema(empty: str) -> None:
    assert await migrate(empty) == NAMES
    assert await catalogue(empty) == SCHEMA.read_text(encoding="utf-8")


async def test_what_is_applied_is_not_applied_again(empty: str) -> None:
    assert await migrate(empty, known=migrations()[:1]) == NAMES[:1]
    assert await migrate(empty) == NAMES[1:]
    assert await migrate(empty) == []


async def test_processes_that_migrate_at_once_share_the_work(empty: str) -> None:
    done = await asyncio.gather(*(migrate(empty) for _ in range(5)))
    assert sorted(name for names in done for name in names) == NAMES
    assert await applied(empty) == NAMES


class StandsStill(tuple[Migration, ...]):
    """Who looks at these, in the middle of a transaction, stands still until `goes_on`."""

    stands, goes_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Migration]:
        self.stands.set()
        self.goes_on.wait()
        return super().__iter__()


async def test_a_process_that_stands_still_in_a_migration_holds_up_nobody(empty: str) -> None:
    known, impatient = StandsStill(migrations()), PostgresSettings(idle_in_transaction_s=1.0)
    other = asyncio.create_task(asyncio.to_thread(asyncio.run, migrate(empty, impatient, known=known)))
    await asyncio.to_thread(known.stands.wait)
    try:
        async with asyncio.timeout(30):
            assert await migrate(empty) == NAMES
    finally:
        known.goes_on.set()
        [answer] = await asyncio.gather(other, return_exceptions=True)
    assert isinstance(answer, LogUnavailableError)


async def test_a_migration_that_fails_leaves_nothing_behind(empty: str) -> None:
    broken = replace(
        LATER, sql=LATER.sql + "; CREATE TABLE splitgauge.half (x int); CREATE TABLE splitgauge.half (x int)"
    )
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty, known=[*migrations(), broken])
    assert await applied(empty) == NAMES
    assert await catalogue(empty) == SCHEMA.read_text(encoding="utf-8")
    assert await migrate(empty, known=[*migrations(), LATER]) == [LATER.name]


async def test_a_changed_migration_is_refused(database: str) -> None:
    changed = [replace(migrations()[0], sql=migrations()[0].sql + " "), *migrations()[1:], LATER]
    with pytest.raises(LogDamagedError, match=r"0001_checkpoints\.sql was applied with other content"):
        await migrate(database, known=changed)
    assert await applied(database) == NAMES


async def test_a_migration_that_was_left_out_is_refused(database: str) -> None:
    await migrate(database, known=[*migrations(), LATER])
    with pytest.raises(LogDamagedError, match=r"8000_between\.sql was left out"):
        await migrate(database, known=[*migrations(), replace(LATER, number=8_000, name="8000_between.sql"), LATER])


async def test_a_process_refuses_a_schema_older_than_its_own_and_takes_a_newer_one(database: str) -> None:
    opened = await Database.open(database)
    newer = [*migrations(), LATER]
    with pytest.raises(LogUnavailableError, match=r"not been migrated: 9000_later\.sql"):
        await check_schema(opened, known=newer)
    await migrate(database, known=newer)
    await check_schema(opened, known=newer)
    await check_schema(opened)
    assert await migrate(database) == []
    await opened.close()


async def test_an_older_process_keeps_working_while_a_newer_one_migrates(database: str) -> None:
    older = await PostgresCheckpoints.open(database)
    assert await older.save("fold", expected=None, position=0, changed={b"a": b"0"})
    migrating = asyncio.create_task(migrate(database, known=[*migrations(), LATER]))
    position = 0
    while not migrating.done() or position < 20:
        assert await older.save("fold", expected=position, position=position + 1, changed={b"a": b"%d" % position})
        position += 1
        assert await older.load("fold") == Checkpoint(position, {b"a": b"%d" % (position - 1)})
    assert await migrating == [LATER.name]
    await older.close()
