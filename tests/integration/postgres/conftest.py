"""Databases for tests, and a server of their own for those that take it down."""

from collections.abc import AsyncIterator, Iterator

import pytest

from postgres_server import PostgresServer
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.eventlog.postgres_database import PostgresSettings

IMPATIENT = PostgresSettings(
    connect_timeout_s=2, statement_timeout_s=3, lock_timeout_s=1, idle_in_transaction_s=1, pool_size=3
)
"""So that faults show in a moment."""


@pytest.fixture(scope="module")
def fragile(no_process_left_behind: None) -> Iterator[PostgresServer]:  # noqa: ARG001 - ends before that one looks
    """A server that the tests of a module may stop, kill and pause."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def mortal(fragile: PostgresServer) -> Iterator[PostgresServer]:
    """The same, running again for each test."""
    if not fragile.runs:
        fragile.start()
    yield fragile
    fragile.resume()


@pytest.fixture
async def database(postgres: PostgresServer) -> str:
    """The address of a fresh, migrated database."""
    return await postgres.make_database()


@pytest.fixture
async def checkpoints(mortal: PostgresServer) -> AsyncIterator[PostgresCheckpoints]:
    """On the server that may fail."""
    stored = await PostgresCheckpoints.open(await mortal.make_database(), IMPATIENT)
    yield stored
    await stored.close()
