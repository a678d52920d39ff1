"""Bounds of several topics that belong together, caught while the log is being written.

Owns the order in which they are caught; knows no engine.
"""

from collections.abc import Collection

from splitgauge.eventlog.port import Bounds, EventLog
from splitgauge.schemas.topics import DECISIONS, TOPICS

__all__ = ["catch_snapshot"]


async def catch_snapshot(log: EventLog, topics: Collection[str]) -> dict[str, tuple[Bounds, ...]]:
    """Per topic the bounds of each partition, in which everything that an event refers to is there, too.

    Decisions refer to analyses, these to observations and decisions, observations to decisions: what refers is caught
    before what it refers to, and all of it again if a decision came in between (decisions are rare).

    Raises: UnknownSubjectError; LogUnavailableError.
    """
    order = [DECISIONS.name, *reversed([topic for topic in TOPICS if topic != DECISIONS.name])]
    unknown = [topic for topic in topics if topic not in TOPICS]
    for topic in unknown:
        await log.bounds(topic)  # says that it does not exist
    while True:
        decisions = await log.bounds(DECISIONS.name)
        caught = {topic: await log.bounds(topic) for topic in order if topic in topics}
        if await log.bounds(DECISIONS.name) == decisions:
            break
    return {topic: tuple(bounds for _, bounds in sorted(caught[topic].items())) for topic in TOPICS if topic in caught}
