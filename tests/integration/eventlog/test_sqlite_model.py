"""Whatever is done to it in whatever order, restarts included: the embedded log is its twin in memory."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS

TOPICS = st.sampled_from([OBSERVATIONS.name, PARTIALS.name, DECISIONS.name])
RECORDS = st.lists(
    st.builds(Record, value=st.binary(max_size=8), key=st.none() | st.binary(max_size=1), partition=st.none()),
    min_size=1,
    max_size=80,
)
APPENDS = st.lists(st.tuples(TOPICS, RECORDS), min_size=1, max_size=4)
"""Submitted at once, so that they share a transaction."""
STEPS = st.lists(APPENDS | st.just("restart"), min_size=1, max_size=8)


async def content(log: EventLog) -> list[object]:
    found: list[object] = []
    for topic in (OBSERVATIONS.name, PARTIALS.name, DECISIONS.name):
        for partition, bounds in (await log.bounds(topic)).items():
            starts = (0, bounds.end // 2, bounds.end)
            found += [(bounds, start, await log.read(topic, partition, start, limit=100)) for start in starts]
    return found


async def check(folder: Path, steps: list[list[tuple[str, list[Record]]] | str]) -> None:
    log, twin = SqliteEventLog.open(folder, observation_partitions=2), MemoryEventLog(observation_partitions=2)
    for step in steps:
        if isinstance(step, str):
            await log.close()
            log = SqliteEventLog.open(folder)
            continue
        places = await asyncio.gather(*(log.append(topic, records) for topic, records in step))
        assert places == [await twin.append(topic, records) for topic, records in step]
    assert await content(log) == await content(twin)
    await log.close()


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_the_embedded_log_is_its_twin(steps: list[list[tuple[str, list[Record]]] | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder), steps))
