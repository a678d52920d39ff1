"""What is to be said of a cluster's database: whether it answers, is migrated, lets this user work, has the time."""

from collections.abc import Callable

from splitgauge.cluster.clock_checks import clock_finding
from splitgauge.cluster.finding import Finding
from splitgauge.eventlog.postgres_database import Database
from splitgauge.eventlog.postgres_inspection import (
    ServerFacts,
    clock_ahead_s,
    inspect_server,
    missing_rights,
    user_name,
)
from splitgauge.eventlog.postgres_migrations import check_schema
from splitgauge.schemas.errors import SplitgaugeError

__all__ = ["check_postgres", "server_findings"]

OLDEST_MAJOR = 14
"""The oldest that its makers still mend."""


async def check_postgres(address: str, now_s: Callable[[], float]) -> list[Finding]:
    """Never raises what the database did wrong: that is a finding."""
    try:
        database = await Database.open(address)
    except SplitgaugeError as exc:
        return [Finding.of_error("database", "postgres", exc)]
    try:
        facts = await inspect_server(database)
    except SplitgaugeError as exc:
        return [Finding.of_error("database", database.where, exc)]
    else:
        return [
            *server_findings(database.where, facts),
            await _clock(database, now_s),
            await _schema(database),
            await _rights(database),
        ]
    finally:
        await database.close()


def server_findings(where: str, facts: ServerFacts) -> list[Finding]:
    """What the server itself says about its state."""
    findings: list[Finding] = []
    if facts.read_only:
        remedy = "Name the primary server, and a database that takes changes"
        findings.append(Finding.failed("database", where, "it takes no changes", remedy))
    if facts.major < OLDEST_MAJOR:
        remedy = f"Use PostgreSQL {OLDEST_MAJOR} or later"
        findings.append(Finding.failed("database", where, f"PostgreSQL {facts.version} is too old", remedy))
    if facts.careless:
        what = " and ".join(f"{name} is off" for name in facts.careless)
        message = f"{what}: when its machine goes down, checkpoints and archive may be damaged"
        findings.append(Finding.warning("database", where, message, "Switch it on in postgresql.conf"))
    return findings or [Finding.ok("database", where, f"PostgreSQL {facts.version} answers and takes changes")]


async def _clock(database: Database, now_s: Callable[[], float]) -> Finding:
    try:
        return clock_finding(database.where, await clock_ahead_s(database, now_s))
    except SplitgaugeError as exc:
        return Finding.of_error("clock", database.where, exc)


async def _schema(database: Database) -> Finding:
    try:
        await check_schema(database)
    except SplitgaugeError as exc:
        return Finding.of_error("schema", database.where, exc)
    return Finding.ok("schema", database.where, "every migration of this version is applied")


async def _rights(database: Database) -> Finding:
    try:
        missing, user = await missing_rights(database), await user_name(database)
    except SplitgaugeError as exc:
        return Finding.of_error("rights", database.where, exc)
    if not missing:
        return Finding.ok("rights", database.where, "this user may do all that the roles do")
    grants = "; ".join(f"GRANT {right} TO {user}" for right in missing)
    return Finding.failed("rights", database.where, f"this user lacks {', '.join(missing)}", grants)
