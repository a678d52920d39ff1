"""The engines that the contract suite of the event log runs against, and how a new one joins it."""

from pathlib import Path
from typing import Protocol

import pytest

from archived_log import ArchivedLog
from kafka_broker import fresh_settings, plan
from postgres_server import PostgresServer
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import EventLog
from splitgauge.eventlog.sqlite import SqliteEventLog

__all__ = ["ENGINES", "Engine", "make_engine"]

ENGINES = ("memory", "sqlite", "kafka", "archive")


class Engine(Protocol):
    """One fresh log with 4 partitions of observations and the embedded layout."""

    durable: bool
    """Whether the log can be closed and opened again."""
    lacks: frozenset[str]
    """What a log of this engine does not do, of what tests are marked to need."""

    async def open(self) -> EventLog: ...


def make_engine(request: pytest.FixtureRequest, folder: Path) -> Engine:
    """The engine that the fixture's parameter names. A new engine adds its name above and a line here."""
    match request.param:
        case "memory":
            return MemoryEngine()
        case "archive":
            return ArchiveEngine(request.getfixturevalue("postgres"))
        case "kafka":
            return KafkaEngine()
        case _:
            return SqliteEngine(folder)


class MemoryEngine:
    durable = False
    lacks: frozenset[str] = frozenset()

    async def open(self) -> EventLog:
        return MemoryEventLog(observation_partitions=4)


class SqliteEngine:
    durable = True
    lacks: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> EventLog:
        return SqliteEventLog.open(self._folder, observation_partitions=4)


class KafkaEngine:
    durable = True
    lacks: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._settings = fresh_settings()
        self._made = False

    async def open(self) -> EventLog:
        if not self._made:
            await init_topics(self._settings, plan())
            self._made = True
        return await KafkaEventLog.connect(self._settings)


class ArchiveEngine:
    durable = False
    lacks = frozenset({"compacted topics", "groups"})

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    async def open(self) -> EventLog:
        return await ArchivedLog.open(await self._server.make_database())
