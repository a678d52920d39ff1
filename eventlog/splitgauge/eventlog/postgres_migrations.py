"""The schema of the database: numbered SQL files, applied in order, each once, each whole.

Owns the files under `migrations/` and the table that says which of them a database has. The rule for a new one is
*expand, then contract*: processes of the version before keep working on the migrated database. So a migration adds
tables, adds columns that may be left out, adds indexes; what nothing uses any more is removed by a later version,
once no process of the version that used it is left. A file that was released never changes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

import asyncpg

from splitgauge.eventlog.postgres_address import named
from splitgauge.eventlog.postgres_database import Database, PostgresSettings
from splitgauge.eventlog.postgres_errors import mapped
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError

__all__ = ["Migration", "check_schema", "migrate", "migrations", "open_migrated"]

_NAME = re.compile(r"(\d{4})_[a-z_]+\.sql")
_LOCK = int.from_bytes(sha256(b"splitgauge migrations").digest()[:8], "big", signed=True)
"""Of all advisory locks of a database, ours."""
_TABLE_LOCK = "5s"
"""A migration that waits for a table makes all others wait behind it: it rather fails, and is tried again later."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """Those of this version, in order."""
    found = [
        file for file in files("splitgauge.eventlog").joinpath("migrations").iterdir() if _NAME.fullmatch(file.name)
    ]
    return tuple(
        Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8"))
        for file in sorted(found, key=lambda file: file.name)
    )


async def migrate(
    address: str, settings: PostgresSettings | None = None, *, known: Sequence[Migration] | None = None
) -> list[str]:
    """Apply what is missing, one process at a time. Returns the names of those applied.

    Raises: LogDamagedError where an applied migration is another one in this version, or was left out; nothing more is
        applied then. LogUnavailableError.
    """
    settings = settings or PostgresSettings()
    where = named(address)
    known = migrations() if known is None else known
    done: list[str] = []
    with mapped(where):
        # A migration takes as long as its tables are large, and who waits for another's turn, too. But the server ends
        # the transaction of a process that has fallen silent in it.
        patient = settings.of_server | {"statement_timeout": "0", "lock_timeout": "0"}
        connection = await asyncpg.connect(address, timeout=settings.connect_timeout_s, server_settings=patient)
        try:
            while (name := await _next(connection, known, where=where)) is not None:
                done.append(name)
        finally:
            connection.terminate()
    return done


async def check_schema(database: Database, *, known: Sequence[Migration] | None = None) -> None:
    """Whether this process can work with the schema: with all that it needs, and whatever a newer one has added.

    Raises: LogUnavailableError where the schema is older than this version; LogDamagedError as `migrate`.
    """
    known = migrations() if known is None else known
    exists = await database.fetch("SELECT to_regclass('splitgauge.migrations') IS NOT NULL AS it")
    applied = _applied(await database.fetch(_APPLIED)) if exists[0]["it"] else {}
    missing = _missing(known, applied, where=database.where)
    if missing:
        raise LogUnavailableError(
            f"the database has not been migrated: {', '.join(one.name for one in missing)}",
            where=database.where,
            remedy="Run `splitgauge init` of this version; processes of older versions go on meanwhile",
        )


async def open_migrated(address: str, settings: PostgresSettings | None = None) -> Database:
    """Raises: ContractError where the address is none; as `check_schema`."""
    database = await Database.open(address, settings)
    try:
        await check_schema(database)
    except BaseException:
        await database.close()
        raise
    return database


async def _next(
    connection: "asyncpg.Connection[asyncpg.Record]", known: Sequence[Migration], *, where: str
) -> str | None:
    """Apply the first that is missing; None where none is."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_BOOTSTRAP)
        missing = _missing(known, _applied(await connection.fetch(_APPLIED)), where=where)
        if not missing:
            return None
        await connection.execute(f"SET LOCAL lock_timeout = '{_TABLE_LOCK}'")
        await connection.execute(missing[0].sql)
        await connection.execute(_RECORD, missing[0].number, missing[0].name, missing[0].checksum)
        return missing[0].name


def _applied(rows: Sequence[asyncpg.Record]) -> dict[int, str]:
    return {row["number"]: row["checksum"] for row in rows}


def _missing(known: Sequence[Migration], applied: Mapping[int, str], *, where: str) -> list[Migration]:
    """Those that are not applied: all behind the newest that is."""
    for migration in known:
        if migration.number in applied and applied[migration.number] != migration.checksum:
            raise LogDamagedError(
                f"{migration.name} was applied with other content than this version has",
                where=where,
                remedy="Use the version that has migrated this database; a released migration never changes",
            )
        if migration.number not in applied and any(number > migration.number for number in applied):
            raise LogDamagedError(
                f"{migration.name} was left out, though later ones were applied",
                where=where,
                remedy="Use the version that has migrated this database",
            )
    return [migration for migration in known if migration.number not in applied]


_BOOTSTRAP = """
CREATE SCHEMA IF NOT EXISTS splitgauge;
CREATE TABLE IF NOT EXISTS splitgauge.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
_APPLIED = "SELECT number, checksum FROM splitgauge.migrations"
_RECORD = "INSERT INTO splitgauge.migrations (number, name, checksum) VALUES ($1, $2, $3)"
