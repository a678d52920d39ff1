"""The engines that the contract suite of the event log runs against, and how a new one joins it."""

from pathlib import Path
from typing import Protocol

from kafka_broker import fresh_settings, plan
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import EventLog
from splitgauge.eventlog.sqlite import SqliteEventLog

__all__ = ["ENGINES", "Engine", "make_engine"]

ENGINES = ("memory", "sqlite", "kafka")


class Engine(Protocol):
    """One fresh log with 4 partitions of observations and the embedded layout."""

    durable: bool
    """Whether the log can be closed and opened again."""

    async def open(self) -> EventLog: ...


def make_engine(name: str, folder: Path) -> Engine:
    """A new engine adds its name above and a line here."""
    match name:
        case "memory":
            return MemoryEngine()
        case "kafka":
            return KafkaEngine()
        case _:
            return SqliteEngine(folder)


class MemoryEngine:
    durable = False

    async def open(self) -> EventLog:
        return MemoryEventLog(observation_partitions=4)


class SqliteEngine:
    durable = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> EventLog:
        return SqliteEventLog.open(self._folder, observation_partitions=4)


class KafkaEngine:
    durable = True

    def __init__(self) -> None:
        self._settings = fresh_settings()
        self._made = False

    async def open(self) -> EventLog:
        if not self._made:
            await init_topics(self._settings, plan())
            self._made = True
        return await KafkaEventLog.connect(self._settings)
