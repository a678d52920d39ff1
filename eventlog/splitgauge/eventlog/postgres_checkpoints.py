"""Checkpoints in PostgreSQL, for folds that move from machine to machine.

Owns the tables `checkpoints` and `checkpoint_rows`. A save is one transaction: first the position moves, if it is where
the writer left it (its row stays locked to the end, so that of two writers one waits, then finds it moved); then the
changed rows go by COPY into a temporary table, and from there, in the order of their keys, into the table: so the index
is walked once from left to right, at half the work of a random order.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, cast

import asyncpg

from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.postgres_database import Database, PostgresSettings
from splitgauge.eventlog.postgres_migrations import open_migrated

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

__all__ = ["PostgresCheckpoints"]

ROWS_AT_ONCE = 50_000
"""In one statement, far within its time limit: about half a second."""
ROWS_A_FETCH = 10_000


class PostgresCheckpoints:
    """Checkpoints in a migrated database. Used in one event loop."""

    def __init__(self, database: Database) -> None:
        """For `open`."""
        self._database = database

    @classmethod
    async def open(cls, address: str, settings: PostgresSettings | None = None) -> Self:
        """Raises: LogUnavailableError where the database is not there, or is not migrated; ContractError."""
        return cls(await open_migrated(address, settings))

    async def load(self, owner: str) -> Checkpoint | None:
        async with self._database.transaction() as connection:
            # Position and rows as of one moment, though they are read by several statements.
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            found = await connection.fetchrow(_FIND, owner)
            if found is None:
                return None
            rows: dict[bytes, bytes] = {}
            cursor = await connection.cursor(_ROWS, found["number"])
            while chunk := await cursor.fetch(ROWS_A_FETCH):
                rows.update(cast("list[tuple[bytes, bytes]]", chunk))
            return Checkpoint(found["position"], rows)

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        rows = list(changed.items())
        async with self._database.transaction() as connection:
            if expected is None:
                moved = await connection.fetchrow(_FIRST_POSITION, owner, position)
            else:
                moved = await connection.fetchrow(_NEXT_POSITION, position, owner, expected)
            if moved is None:
                return False
            for start in range(0, len(rows), ROWS_AT_ONCE):
                await _merge(connection, moved["number"], rows[start : start + ROWS_AT_ONCE])
            return True

    async def drop(self, owner: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_DROP, owner)

    async def close(self) -> None:
        """End all connections; a save that is under way is undone."""
        await self._database.close()


async def _merge(
    connection: "PoolConnectionProxy[asyncpg.Record]", number: int, rows: list[tuple[bytes, bytes | None]]
) -> None:
    await connection.execute(_CHANGED)
    await connection.copy_records_to_table("changed_rows", schema_name="pg_temp", records=rows)
    await connection.execute(_REPLACE, number)
    if any(value is None for _, value in rows):
        await connection.execute(_REMOVE, number)


_FIND = "SELECT number, position FROM splitgauge.checkpoints WHERE owner = $1"
_ROWS = "SELECT key, value FROM splitgauge.checkpoint_rows WHERE number = $1"
_FIRST_POSITION = """
INSERT INTO splitgauge.checkpoints (owner, position) VALUES ($1, $2) ON CONFLICT (owner) DO NOTHING RETURNING number
"""
_NEXT_POSITION = "UPDATE splitgauge.checkpoints SET position = $1 WHERE owner = $2 AND position = $3 RETURNING number"
_CHANGED = """
CREATE TEMPORARY TABLE IF NOT EXISTS changed_rows (key bytea NOT NULL, value bytea) ON COMMIT DELETE ROWS;
TRUNCATE changed_rows;
"""
_REPLACE = """
INSERT INTO splitgauge.checkpoint_rows (number, key, value)
SELECT $1, key, value FROM pg_temp.changed_rows WHERE value IS NOT NULL ORDER BY key
ON CONFLICT (number, key) DO UPDATE SET value = excluded.value
"""
_REMOVE = """
DELETE FROM splitgauge.checkpoint_rows AS stored USING pg_temp.changed_rows AS changed
WHERE stored.number = $1 AND stored.key = changed.key AND changed.value IS NULL
"""
_DROP = """
WITH dropped AS (DELETE FROM splitgauge.checkpoints WHERE owner = $1 RETURNING number)
DELETE FROM splitgauge.checkpoint_rows WHERE number IN (SELECT number FROM dropped)
"""
