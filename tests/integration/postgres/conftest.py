"""Databases for tests, and a server of their own for those that take it down."""

from collections.abc import Iterator

import pytest

from postgres_server import PostgresServer


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
    fragile.wake()


@pytest.fixture
async def database(postgres: PostgresServer) -> str:
    """The address of a fresh, migrated database."""
    return await postgres.make_database()


@pytest.fixture
async def mortal_database(mortal: PostgresServer) -> str:
    """A fresh, migrated database on the server that may fail."""
    return await mortal.make_database()
