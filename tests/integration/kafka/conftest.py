"""Logs that are closed with the test that opened them, also where it fails."""

from collections.abc import AsyncIterator

import pytest

from kafka_broker import OpenLog, plan
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics


@pytest.fixture
async def open_log() -> AsyncIterator[OpenLog]:
    """A log on the topics of these settings, which are made where they are missing."""
    opened: list[KafkaEventLog] = []

    async def make(settings: KafkaSettings) -> KafkaEventLog:
        await init_topics(settings, plan())
        opened.append(await KafkaEventLog.connect(settings))
        return opened[-1]

    yield make
    for log in opened:
        await log.close()
