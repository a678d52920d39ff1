"""Checkpoints in PostgreSQL, for folds that move from machine to machine.

Owns the tables `checkpoints` and `checkpoint_rows`. A save is one transaction: first the position moves, if it is where
the writer left it (its row stays locked to the end, so that of two writers one waits, then finds it moved); then what
stood under the changed keys goes, and what stands there now comes by COPY. Made for thousands of large values.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Self, cast

from splitgauge.eventlog.checkpoints import Checkpoint
from splitgauge.eventlog.postgres_database import Database, PostgresSettings
from splitgauge.eventlog.postgres_migrations import open_migrated

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

__all__ = ["PostgresCheckpoints"]

BYTES_AT_ONCE = 32 * 2**20
"""In one statement, far within its time limit: about half a second."""
ROWS_AT_ONCE = 100
"""Read in one step: of units some 10 MB, and the loop is free meanwhile."""

_Row = tuple[int, bytes, bytes]


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
            while chunk := await cursor.fetch(ROWS_AT_ONCE):
                rows.update(cast("list[tuple[bytes, bytes]]", chunk))
            return Checkpoint(found["position"], rows)

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        async with self._database.transaction() as connection:
            if expected is None:
                moved = await connection.fetchrow(_FIRST_POSITION, owner, position)
            else:
                moved = await connection.fetchrow(_NEXT_POSITION, position, owner, expected)
            if moved is None:
                return False
            await _replace(connection, moved["number"], changed)
            return True

    async def drop(self, owner: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_DROP, owner)

    async def close(self) -> None:
        """End all connections; a save that is under way is undone."""
        await self._database.close()


async def _replace(
    connection: "PoolConnectionProxy[asyncpg.Record]", number: int, changed: Mapping[bytes, bytes | None]
) -> None:
    await connection.execute(_REMOVE, number, list(changed))
    for part in _parts((number, key, value) for key, value in changed.items() if value is not None):
        await connection.copy_records_to_table(
            "checkpoint_rows", schema_name="splitgauge", columns=("number", "key", "value"), records=part
        )


def _parts(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """As many rows at a time as go into one statement."""
    part: list[_Row] = []
    weight = 0
    for row in rows:
        part.append(row)
        weight += len(row[2])
        if weight >= BYTES_AT_ONCE:
            yield part
            part, weight = [], 0
    if part:
        yield part


_FIND = "SELECT number, position FROM splitgauge.checkpoints WHERE owner = $1"
_ROWS = "SELECT key, value FROM splitgauge.checkpoint_rows WHERE number = $1"
_FIRST_POSITION = """
INSERT INTO splitgauge.checkpoints (owner, position) VALUES ($1, $2) ON CONFLICT (owner) DO NOTHING RETURNING number
"""
_NEXT_POSITION = "UPDATE splitgauge.checkpoints SET position = $1 WHERE owner = $2 AND position = $3 RETURNING number"
_REMOVE = "DELETE FROM splitgauge.checkpoint_rows WHERE number = $1 AND key = ANY ($2::bytea[])"
_DROP = """
WITH dropped AS (DELETE FROM splitgauge.checkpoints WHERE owner = $1 RETURNING number)
DELETE FROM splitgauge.checkpoint_rows WHERE number IN (SELECT number FROM dropped)
"""
