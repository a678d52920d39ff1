"""What is read from the log and from the router."""

from typing import Any, cast

import orjson

from splitgauge.demo.client import Client
from splitgauge.demo.evidence import AppliedWatch, Written, count_written, newest_observation_us, until_written
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.schemas import instants
from splitgauge.schemas.topics import OBSERVATIONS


def observation(kind: str, number: int, *, request: str, experiment: str | None = "e", second: int = 0) -> Record:
    event: dict[str, Any] = {
        "source": "/splitgauge/router",
        "id": f"{kind}-{number}",
        "type": f"splitgauge.{kind}.v1",
        "time": f"2026-11-22T10:00:{second:02d}.000000Z",
        "data": {
            "experiment_id": experiment,
            "request_id": request,
            "workload": "cheques",
            "reason": "split" if experiment else "default",
            "decisions_offset": second,
        },
    }
    return Record(orjson.dumps(event), partition=number % 2)


def us(second: int) -> int:
    return instants.from_text(f"2026-11-22T10:00:{second:02d}.000000Z")


async def test_counts_each_event_once_and_names_requests_without_outcome() -> None:
    log = MemoryEventLog()
    written = [
        observation("assignment", 0, request="a"),
        observation("assignment", 1, request="b"),
        observation("outcome", 0, request="a"),
        observation("report", 0, request="a"),
        observation("report", 0, request="a"),
    ]
    await log.append(OBSERVATIONS.name, written)
    assert await count_written(log) == Written(assignments=2, outcomes=1, reports=1, missing=1, duplicates=1)


async def test_outside_are_requests_that_met_no_variant_where_their_router_knew_that_the_experiment_ran() -> None:
    log = MemoryEventLog()
    without = [observation("assignment", at, request=f"r{at}", experiment=None, second=at) for at in (4, 5, 6, 7, 8)]
    await log.append(OBSERVATIONS.name, [*without, observation("assignment", 9, request="in it", second=6)])
    written = await count_written(log)
    assert written.outside("cheques", after=5, upto=7) == 2
    assert written.outside("cheques", after=5, upto=None) == 3
    assert written.outside("letters", after=5, upto=None) == 0


async def test_counting_ends_when_all_stands_there_and_otherwise_when_the_time_is_over() -> None:
    log = MemoryEventLog()
    written = [observation("outcome", 0, request="a"), *[observation("report", 0, request="a")] * 2]
    await log.append(OBSERVATIONS.name, written)
    there = Written(outcomes=1, reports=1, duplicates=1)
    assert await until_written(log, requests=1, reports=2, timeout_s=600) == there
    assert await until_written(log, requests=2, reports=2, timeout_s=0) == there


async def test_the_newest_observation_is_the_experiments_own_and_below_the_positions() -> None:
    log = MemoryEventLog()
    written = [
        observation("assignment", 0, request="a", second=1),
        observation("outcome", 0, request="a", second=2),
        observation("assignment", 2, request="b", second=9, experiment="other"),
        observation("assignment", 4, request="c", second=8),
        observation("assignment", 1, request="d", second=3),
    ]
    await log.append(OBSERVATIONS.name, written)
    assert await newest_observation_us(log, "e", {0: 3, 1: 0}) == us(2)
    assert await newest_observation_us(log, "e", {0: 3, 1: 1}) == us(3)
    assert await newest_observation_us(log, "e", {0: 4, 1: 1}) == us(8)
    assert await newest_observation_us(log, "nobody", {0: 4, 1: 1}) is None


def test_a_decision_is_applied_when_the_last_router_is_first_seen_at_it_or_behind() -> None:
    watch = AppliedWatch(cast("list[Client]", [None, None]))  # which are not asked here
    watch.take(0, None)
    for router, offset, second in ((0, 3, 1), (0, 3, 1), (1, 4, 2), (0, 5, 3), (1, 5, 4), (0, 6, 5)):
        watch.take(router, {"offset": offset, "at": f"2026-11-22T10:00:{second:02d}.000000Z"})
    assert [watch.applied_us(offset) for offset in (2, 3, 4, 5, 6)] == [us(2), us(2), us(3), us(4), None]
