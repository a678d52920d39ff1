"""`splitgauge check` on a real database that is made wrong in one way after the other."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from postgres_server import PostgresServer
from splitgauge.cluster.finding import Outcome
from splitgauge.cluster.postgres_checks import check_postgres, server_findings
from splitgauge.eventlog.port import Bounds, StoredRecord
from splitgauge.eventlog.postgres_archive import PostgresArchive
from splitgauge.eventlog.postgres_archive_writer import ArchiveWriter
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.eventlog.postgres_inspection import RIGHTS, ServerFacts
from splitgauge.eventlog.postgres_migrations import migrate
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import OBSERVATIONS

ROOT = Path(__file__).parents[3]
CARELESS = (
    "fsync is off and full_page_writes is off: when its machine goes down, checkpoints and archive may be damaged"
)


async def wrong(address: str, *, ahead_s: float = 0.0) -> dict[str, tuple[Outcome, str]]:
    """Check -> outcome and message, of all that is not ok. `ahead_s`: by which our clock is wrong."""
    findings = await check_postgres(address, lambda: time.time() + ahead_s)
    bad = [finding for finding in findings if finding.outcome is not Outcome.OK]
    assert all(finding.remedy for finding in bad)
    return {
        finding.check: (finding.outcome, finding.message) for finding in bad if not finding.message.startswith(CARELESS)
    }


async def execute(address: str, *statements: str) -> None:
    connection = await asyncpg.connect(address)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def guest(database: str) -> AsyncIterator[str]:
    """The address for a user without any rights."""
    await execute(
        database,
        "CREATE ROLE guest LOGIN",
        f"REVOKE TEMPORARY ON DATABASE {database.partition('?')[0].rpartition('/')[2]} FROM PUBLIC",
    )
    yield database.replace("postgres@", "guest@")
    await execute(database, "DROP OWNED BY guest", "DROP ROLE guest")


async def test_nothing_is_wrong_with_a_migrated_database(database: str) -> None:
    assert await wrong(database) == {}


async def test_a_server_that_may_lose_what_it_has_is_told(database: str) -> None:
    findings = await check_postgres(database, time.time)
    assert (findings[0].outcome, findings[0].message.startswith(CARELESS)) == (Outcome.WARNING, True)


async def test_a_database_that_was_not_migrated_is_named(postgres: PostgresServer) -> None:
    found = await wrong(await postgres.make_database(migrated=False))
    outcome, message = found.pop("schema")
    assert (outcome, found) == (Outcome.FAILED, {})
    assert message.startswith("the database has not been migrated: 0001_")


async def test_a_migration_that_was_changed_is_named(database: str) -> None:
    await execute(database, "UPDATE splitgauge.migrations SET checksum = 'another' WHERE number = 1")
    found = await wrong(database)
    assert found["schema"][0] is Outcome.FAILED
    assert "applied with other content" in found["schema"][1]


async def test_a_database_of_a_newer_version_is_fine(database: str) -> None:
    await execute(database, "INSERT INTO splitgauge.migrations VALUES (9999, '9999_future.sql', 'x')")
    assert await wrong(database) == {}


async def test_a_database_that_takes_no_changes_is_named(database: str) -> None:
    name = database.partition("?")[0].rpartition("/")[2]
    await execute(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert await wrong(database) == {"database": (Outcome.FAILED, "it takes no changes")}


async def test_a_user_without_rights_is_told_which(guest: str, database: str) -> None:
    found = await wrong(guest)
    assert found["schema"][0] is Outcome.FAILED
    assert found["rights"][1].startswith("this user lacks USAGE ON SCHEMA splitgauge, ")
    await execute(database, "GRANT USAGE ON SCHEMA splitgauge TO guest")
    await execute(database, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA splitgauge TO guest")
    assert await wrong(guest) == {}
    await execute(database, "REVOKE INSERT, DELETE ON splitgauge.checkpoints FROM guest")
    assert await wrong(guest) == {
        "rights": (Outcome.FAILED, "this user lacks INSERT, DELETE ON splitgauge.checkpoints")
    }


async def test_the_remedy_is_what_the_owner_pastes_whatever_the_user_is_called(database: str) -> None:
    await execute(database, 'CREATE ROLE "a ""Guest""" LOGIN')
    guest = database.replace("postgres@", "a%20%22Guest%22@")
    try:
        [remedy] = [found.remedy for found in await check_postgres(guest, time.time) if found.check == "rights"]
        await execute(database, remedy)
        assert await wrong(guest) == {}
    finally:
        await execute(database, 'DROP OWNED BY "a ""Guest"""', 'DROP ROLE "a ""Guest"""')


def asked_for() -> list[str]:
    """Of a user of the roles, by `check`."""
    grants = [f"GRANT {', '.join(rights)} ON splitgauge.{table} TO roles" for table, rights in RIGHTS.items()]
    return ["GRANT USAGE ON SCHEMA splitgauge TO roles", *grants]


def documented() -> list[str]:
    """The same, by the page for operators."""
    lines = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").splitlines()
    return [line.strip().rstrip(";") for line in lines if line.startswith("    GRANT ")]


@pytest.mark.parametrize("rights", [asked_for, documented])
async def test_the_rights_that_are_asked_for_are_enough(
    guest: str, database: str, rights: Callable[[], list[str]]
) -> None:
    await execute(database, *(grant.replace("TO roles", "TO guest") for grant in rights()))
    assert await wrong(guest) == {}
    checkpoints = await PostgresCheckpoints.open(guest)
    assert await checkpoints.save("fold", expected=None, position=3, changed={b"row": b"value"})
    assert await checkpoints.save("fold", expected=3, position=4, changed={b"row": None})
    assert await checkpoints.load("fold") is not None
    await checkpoints.drop("fold")
    await checkpoints.close()
    writer = await ArchiveWriter.open(guest)
    snapshot = {OBSERVATIONS.name: [Bounds(0, 1)]}
    await writer.begin(snapshot)
    await writer.add([StoredRecord(OBSERVATIONS.name, 0, 0, b"key", b"value")])
    await writer.publish(snapshot)
    await writer.close()
    # Who only reads the archive needs no more than that.
    await execute(database, "REVOKE ALL ON ALL TABLES IN SCHEMA splitgauge FROM guest")
    readable = ", ".join(f"splitgauge.{table}" for table in ("migrations", "archive", "archive_positions"))
    await execute(database, f"GRANT SELECT ON {readable} TO guest")
    archive = await PostgresArchive.open(guest)
    assert [record.value for record in await archive.read(OBSERVATIONS.name, 0, 0)] == [b"value"]
    await archive.close()


async def test_who_may_not_migrate_is_told_who_may(guest: str) -> None:
    with pytest.raises(LogUnavailableError, match="permission denied for database") as refused:
        await migrate(guest)
    assert "as the owner of the database" in refused.value.remedy


@pytest.mark.parametrize(("ahead_s", "outcome"), [(30.0, Outcome.WARNING), (-90.0, Outcome.FAILED)])
async def test_a_clock_that_differs_is_told(database: str, ahead_s: float, outcome: Outcome) -> None:
    assert (await wrong(database, ahead_s=ahead_s))["clock"][0] is outcome


@pytest.mark.parametrize("address", ["postgresql://127.0.0.1:1/nobody", "postgresql://nowhere.invalid/x", "no address"])
async def test_a_database_that_is_away_is_a_finding(address: str) -> None:
    assert [(check, outcome) for check, (outcome, _) in (await wrong(address)).items()] == [
        ("database", Outcome.FAILED)
    ]


def test_a_server_that_is_too_old_is_named() -> None:
    (found,) = server_findings("here", ServerFacts("13.9", 13, read_only=False, careless=()))
    assert (found.outcome, found.message) == (Outcome.FAILED, "PostgreSQL 13.9 is too old")
