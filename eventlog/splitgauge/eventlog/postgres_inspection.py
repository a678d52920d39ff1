"""Questions to a PostgreSQL that are not about events: what it is, what this user may do, what time it is there.

Owns what Splitgauge needs of a server and of a user; a test works with exactly these rights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from splitgauge.eventlog.clock_difference import ahead_s
from splitgauge.eventlog.postgres_database import Database

__all__ = ["RIGHTS", "ServerFacts", "clock_ahead_s", "inspect_server", "missing_rights", "user_name"]

_READ = ("SELECT",)
_ADD = ("SELECT", "INSERT")
_MOVE = ("SELECT", "INSERT", "UPDATE")
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
RIGHTS: Mapping[str, tuple[str, ...]] = {
    "migrations": _READ,
    "checkpoints": _ALL,
    "checkpoint_rows": _ALL,
    "archive": _ADD,
    "archive_positions": _MOVE,
}
"""Table of the schema `splitgauge` -> what the roles do with it."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server as it is.

    Attributes:
        version: as it writes it.
        major: its first number.
        read_only: it takes no changes: it repeats another server, or somebody has set it so.
        careless: settings with which a crash of the machine damages it.
    """

    version: str
    major: int
    read_only: bool
    careless: tuple[str, ...]


async def inspect_server(database: Database) -> ServerFacts:
    """Raises: LogUnavailableError."""
    (row,) = await database.fetch(_FACTS)
    careless = tuple(name for name in ("fsync", "full_page_writes") if row[name] == "off")
    return ServerFacts(row["version"], row["version_num"] // 10_000, row["read_only"] == "on", careless)


async def missing_rights(database: Database) -> list[str]:
    """Of this user, in words that GRANT takes; of the tables that are there. Raises: LogUnavailableError."""
    rows = await database.fetch(_MISSING, *zip(*_wanted(), strict=True))
    return [row["missing"] for row in rows]


async def user_name(database: Database) -> str:
    """Of this user, as GRANT takes it. Raises: LogUnavailableError."""
    (row,) = await database.fetch("SELECT quote_ident(current_user) AS name")
    return str(row["name"])


async def clock_ahead_s(database: Database, now_s: Callable[[], float]) -> float:
    """How far the server's clock is ahead of ours, as `ahead_s` says it. Raises: LogUnavailableError."""
    await database.fetch("SELECT 1")  # a new connection would count as time under way

    async def ask() -> float:
        (row,) = await database.fetch("SELECT extract(epoch FROM clock_timestamp())::float8 AS theirs_s")
        return float(row["theirs_s"])

    return await ahead_s(ask, now_s)


def _wanted() -> list[tuple[str, str]]:
    return [(f"splitgauge.{table}", right) for table, rights in RIGHTS.items() for right in rights]


_FACTS = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_num,
       current_setting('transaction_read_only') AS read_only,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes
"""
_MISSING = """
SELECT 'USAGE ON SCHEMA splitgauge' AS missing FROM pg_namespace
    WHERE nspname = 'splitgauge' AND NOT has_schema_privilege(oid, 'USAGE')
UNION ALL
SELECT format('%s ON %s', string_agg(wanted.privilege, ', ' ORDER BY wanted.number), wanted.name)
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (name, privilege, number)
    JOIN pg_class AS class ON class.relname = split_part(wanted.name, '.', 2)
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace AND namespace.nspname = 'splitgauge'
    WHERE NOT has_table_privilege(class.oid, wanted.privilege)
    GROUP BY wanted.name
"""
