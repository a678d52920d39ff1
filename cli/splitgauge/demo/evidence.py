"""What the log and the routers themselves say: how much was written, what a look stood on, when a decision took effect.

Owns the plain counts that the summary is made of, taken event by event from the log and not from what Splitgauge made
of it, so that the two can be compared.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from splitgauge.demo.client import Client
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas import instants
from splitgauge.schemas.errors import UpstreamError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS

__all__ = ["Applied", "AppliedWatch", "Written", "count_written", "newest_observation_us", "until_written"]

_POLL_S = 0.05
_WRITTEN_POLL_S = 0.5
_CHUNK = 1_000


class Applied(NamedTuple):
    """A router has swapped in the decisions up to and including `offset`."""

    offset: int
    at_us: int


class AppliedWatch:
    """Notes when each router applied which decision."""

    def __init__(self, routers: Sequence[Client]) -> None:
        self._routers = routers
        self._seen: list[list[Applied]] = [[] for _ in routers]

    async def run(self) -> None:
        """Ask the routers again and again, for ever."""
        while True:
            await self._ask()
            await asyncio.sleep(_POLL_S)

    def take(self, router: int, applied: dict[str, Any] | None) -> None:
        """One answer of a router; nothing where it has applied nothing yet."""
        seen = self._seen[router]
        if applied is None or (seen and seen[-1].offset == applied["offset"]):
            return
        seen.append(Applied(applied["offset"], instants.from_text(applied["at"])))

    def applied_us(self, decision_offset: int) -> int | None:
        """When the decision at that offset had taken effect everywhere; None while it has not.

        At each router, that is the first that was seen at it or behind it.
        """
        first = [next((seen.at_us for seen in router if seen.offset >= decision_offset), None) for router in self._seen]
        return None if None in first else max(at_us for at_us in first if at_us is not None)

    async def until_applied(self, log: EventLog, *, timeout_s: float) -> None:
        """Wait until every router has applied all decisions of the log. Raises: UpstreamError where one does not."""
        newest = (await log.bounds(DECISIONS.name))[0].end - 1
        try:
            async with asyncio.timeout(timeout_s):
                while self.applied_us(newest) is None:
                    await self._ask()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as exc:
            raise UpstreamError(
                f"decision {newest} is not applied {timeout_s:g} s after it stood in the log",
                where=", ".join(router.url for router in self._routers),
            ) from exc

    async def _ask(self) -> None:
        for number, router in enumerate(self._routers):
            self.take(number, (await router.readiness())["parts"]["router"].get("applied"))


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in the observations.

    Attributes:
        missing: requests with an assignment and no outcome.
        duplicates: events whose (source, id) stands before them already.
        unassigned: assignments to no variant, by workload and by how far their router had read the decisions.
    """

    assignments: int = 0
    outcomes: int = 0
    reports: int = 0
    missing: int = 0
    duplicates: int = 0
    unassigned: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])

    def outside(self, workload: str, *, after: int, upto: int | None) -> int:
        """Requests to a workload that met no variant although their router knew that an experiment ran.

        `after`, `upto`: the offsets of the decisions that began and ended it; None: it runs still.
        """
        return sum(
            count
            for (named, read), count in self.unassigned.items()
            if named == workload and after < read and (upto is None or read <= upto)
        )


async def count_written(log: EventLog) -> Written:
    """All of the observations, counted."""
    counts = {"splitgauge.assignment.v1": 0, "splitgauge.outcome.v1": 0, "splitgauge.report.v1": 0}
    seen: set[tuple[str, str]] = set()
    requests: dict[str, set[str | None]] = {kind: set() for kind in counts}
    duplicates = 0
    unassigned: Counter[tuple[str, int]] = Counter()
    async for event in _observations(log):
        key = (event["source"], event["id"])
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        counts[event["type"]] += 1
        requests[event["type"]].add(event["data"].get("request_id"))
        if event["type"] == "splitgauge.assignment.v1" and event["data"]["reason"] == "default":
            unassigned[event["data"]["workload"], event["data"]["decisions_offset"]] += 1
    missing = requests["splitgauge.assignment.v1"] - requests["splitgauge.outcome.v1"]
    return Written(
        assignments=counts["splitgauge.assignment.v1"],
        outcomes=counts["splitgauge.outcome.v1"],
        reports=counts["splitgauge.report.v1"],
        missing=len(missing),
        duplicates=duplicates,
        unassigned=unassigned,
    )


async def until_written(log: EventLog, *, requests: int, reports: int, timeout_s: float) -> Written:
    """Count when an outcome of every request and every report stand there; when the time is over, what stands there."""
    clock = asyncio.get_running_loop().time
    give_up = clock() + timeout_s
    while True:
        written = await count_written(log)
        if clock() > give_up or (written.outcomes >= requests and written.reports + written.duplicates >= reports):
            return written
        await asyncio.sleep(_WRITTEN_POLL_S)


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
