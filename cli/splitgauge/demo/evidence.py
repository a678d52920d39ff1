"""What the log and the router themselves say: how much was written, what a look stood on, when a decision took effect.

Owns the plain counts that the summary is made of, taken event by event from the log and not from what Splitgauge made
of it, so that the two can be compared.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from splitgauge.demo.client import Client
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas import instants
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["Applied", "AppliedWatch", "Written", "count_written", "newest_observation_us"]

_POLL_S = 0.05
_CHUNK = 1_000


class Applied(NamedTuple):
    """The router has swapped in the decisions up to and including `offset`."""

    offset: int
    at_us: int


class AppliedWatch:
    """Notes when the router applied which decision."""

    def __init__(self) -> None:
        self._seen: list[Applied] = []

    async def run(self, client: Client) -> None:
        """Ask the router again and again, for ever."""
        while True:
            self.take((await client.readiness())["parts"]["router"].get("applied"))
            await asyncio.sleep(_POLL_S)

    def take(self, applied: dict[str, Any] | None) -> None:
        """One answer of the router; nothing where it has applied nothing yet."""
        if applied is None or (self._seen and self._seen[-1].offset == applied["offset"]):
            return
        self._seen.append(Applied(applied["offset"], instants.from_text(applied["at"])))

    def applied(self, decision_offset: int) -> Applied | None:
        """When the decision at that offset had taken effect: the first that was seen at it or behind it."""
        return next((applied for applied in self._seen if applied.offset >= decision_offset), None)


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in the observations. Duplicates are events whose (source, id) stands before them already."""

    assignments: int = 0
    outcomes: int = 0
    reports: int = 0
    missing: int = 0
    duplicates: int = 0


async def count_written(log: EventLog) -> Written:
    """All of the observations, counted; missing: requests with an assignment and no outcome."""
    counts = {"splitgauge.assignment.v1": 0, "splitgauge.outcome.v1": 0, "splitgauge.report.v1": 0}
    seen: set[tuple[str, str]] = set()
    requests: dict[str, set[str | None]] = {kind: set() for kind in counts}
    duplicates = 0
    async for event in _observations(log):
        key = (event["source"], event["id"])
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        counts[event["type"]] += 1
        requests[event["type"]].add(event["data"].get("request_id"))
    missing = requests["splitgauge.assignment.v1"] - requests["splitgauge.outcome.v1"]
    return Written(
        assignments=counts["splitgauge.assignment.v1"],
        outcomes=counts["splitgauge.outcome.v1"],
        reports=counts["splitgauge.report.v1"],
        missing=len(missing),
        duplicates=duplicates,
    )


async def newest_observation_us(log: EventLog, experiment_id: str, positions: dict[int, int]) -> int | None:
    """The time of the newest observation of the experiment below the positions; None where there is none."""
    found = [
        newest
        for partition, upto in positions.items()
        if (newest := await _newest_in(log, experiment_id, partition, upto)) is not None
    ]
    return max(found, default=None)


async def _newest_in(log: EventLog, experiment_id: str, partition: int, upto: int) -> int | None:
    """Events stand nearly in the order of their times: the last chunk that has any has the newest."""
    while upto > 0:
        start = max(0, upto - _CHUNK)
        records = await log.read(OBSERVATIONS.name, partition, start, limit=upto - start)
        events = [orjson.loads(record.value) for record in records]
        times = [
            instants.from_text(event["time"]) for event in events if event["data"].get("experiment_id") == experiment_id
        ]
        if times:
            return max(times)
        upto = start
    return None


async def _observations(log: EventLog) -> AsyncIterator[dict[str, Any]]:
    for partition, bounds in (await log.bounds(OBSERVATIONS.name)).items():
        position = bounds.start
        while position < bounds.end:
            records = await log.read(OBSERVATIONS.name, partition, position, limit=_CHUNK)
            if not records:
                break
            for record in records:
                yield orjson.loads(record.value)
            position = records[-1].offset + 1
