"""Forgetting what callers sent: the topics of short and long retention are trimmed, all others are kept for ever.

Owns how old an event may get and how the place is found. What is old is said by the events' own times, which rise from
event to event as far as it matters here: an application's wrong clock keeps a day more or less, never an observation.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType

from splitgauge.eventlog.port import Bounds, EventLog
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas import instants
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import LogError, MalformedError
from splitgauge.schemas.topics import TOPICS, Retention

__all__ = ["KEPT_S", "first_kept", "keep_trimming", "trim_old"]

KEPT_S: Mapping[Retention, float] = MappingProxyType({Retention.SHORT: 86_400.0, Retention.LONG: 90 * 86_400.0})
"""Seconds. Requests, responses and reports: a day, enough to come back after a night. Dead letters: a quarter."""

EVERY_S = 600.0
"""Between two rounds."""


async def keep_trimming(log: SqliteEventLog, *, clock: Callable[[], int]) -> None:
    """A round now and then, until cancelled. Where the log does not take it, the next round does."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await trim_old(log, now_us=clock())
        except LogError:
            continue


async def trim_old(log: SqliteEventLog, *, now_us: int) -> None:
    """Forget the events that are too old now. Raises: LogUnavailableError, LogDamagedError."""
    for topic in TOPICS.values():
        kept_s = KEPT_S.get(topic.retention)
        if kept_s is None:
            continue
        cutoff_us = now_us - round(kept_s * instants.SECOND_US)
        for partition, bounds in (await log.bounds(topic.name)).items():
            place = await first_kept(log, topic.name, partition, bounds=bounds, cutoff_us=cutoff_us)
            if place > bounds.start:
                await log.trim(topic.name, partition, place)


async def first_kept(log: EventLog, topic: str, partition: int, *, bounds: Bounds, cutoff_us: int) -> int:
    """The first offset whose event is not older than the cutoff, by bisection: a look at some twenty events."""
    low, high = bounds
    while low < high:
        middle = (low + high) // 2
        [record, *_] = await log.read(topic, partition, middle, limit=1)
        if _older(record.value, cutoff_us):
            low = middle + 1
        else:
            high = middle
    return low


def _older(event: bytes, cutoff_us: int) -> bool:
    """An event that says no time is not: better kept for too long than gone before it was used."""
    try:
        time = parse(event).time
        return time is not None and instants.from_text(time) < cutoff_us
    except MalformedError:
        return False
