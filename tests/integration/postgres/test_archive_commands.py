"""`replay`, `export` and `tail` from an archive: the same as from the data folder that was archived."""

import asyncio
from pathlib import Path

import pytest

from archived_log import archive_once
from cli_harness import CommandLine
from postgres_server import PostgresServer
from splitgauge.eventlog.sqlite import SqliteEventLog


async def archived(folder: Path, server: PostgresServer) -> str:
    address = await server.make_database()
    log = SqliteEventLog.open_readonly(folder)
    try:
        await archive_once(log, address)
    finally:
        await log.close()
    return address


@pytest.fixture(scope="module")
def archive(recorded_folder: Path, postgres: PostgresServer) -> str:
    return asyncio.run(archived(recorded_folder, postgres))


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_a_replay_of_the_archive_comes_to_what_a_replay_of_the_folder_does(
    alone: CommandLine, recorded_folder: Path, archive: str
) -> None:
    from_folder, from_archive = (
        alone.run("replay", str(recorded_folder), "--json"),
        alone.run("replay", archive, "--json"),
    )

    assert (from_archive.status, from_archive.err) == (0, "")
    assert from_archive.json == from_folder.json
    assert from_archive.json["sound"] is True


def test_an_export_of_the_archive_is_that_of_the_folder_byte_for_byte(
    alone: CommandLine, recorded_folder: Path, archive: str
) -> None:
    assert alone.run("export", "folder.jsonl", "--data", str(recorded_folder)).status == 0
    done = alone.run("export", "archive.jsonl", "--data", archive)

    assert (done.status, done.err) == (0, "")
    assert (alone.folder / "archive.jsonl").read_bytes() == (alone.folder / "folder.jsonl").read_bytes()


@pytest.mark.parametrize("topic", ["decisions", "observations", "analyses", "dead-letters"])
def test_the_newest_events_of_the_archive_are_those_of_the_folder(
    alone: CommandLine, recorded_folder: Path, archive: str, topic: str
) -> None:
    from_folder, from_archive = (
        alone.run("tail", topic, "-n", "7", "--json", "--data", source) for source in (str(recorded_folder), archive)
    )
    assert (from_archive.status, from_archive.err) == (0, "")
    assert from_archive.out == from_folder.out != ""


def test_what_is_not_archived_is_empty_in_it(alone: CommandLine, archive: str) -> None:
    run = alone.run("tail", "requests", "--data", archive)
    assert (run.status, run.out, run.err) == (0, "", "")


def test_a_database_that_is_not_there_is_named_without_its_password(alone: CommandLine) -> None:
    run = alone.run("replay", f"postgresql://ada:secret@/nothing?host={alone.folder}")
    assert run.status == 4
    assert run.err.startswith("error: ")
    assert f"postgresql://{alone.folder}/nothing" in run.err
    assert "secret" not in run.err


def test_a_database_without_an_archive_says_what_is_missing(alone: CommandLine, postgres: PostgresServer) -> None:
    empty = alone.run("replay", asyncio.run(postgres.make_database()))
    assert empty.status == 4
    assert empty.err.startswith("error: nothing has been archived here. postgresql://")
    assert empty.err.endswith("Let an archiver run on it first.\n")

    strange = alone.run("replay", asyncio.run(postgres.make_database(migrated=False)))
    assert strange.status == 4
    assert strange.err.startswith("error: the database has not been migrated: 0001_checkpoints.sql, 0002_archive.sql.")
