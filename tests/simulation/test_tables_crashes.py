"""A crash at every write of stage 2, and what its time buckets say: in the end windows are those of the partials.

Stage 2 keeps nothing of its own. Whoever comes next reads partials and windows, and publishes what does not stand yet.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from faults import Crash, Crashed, FaultyEventLog
from fold_stories import START, Decisions, assignment, outcome, report, stored
from plain_fold import newest_windows, standing
from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.table_events import (
    Bucket,
    partial_bucket_key,
    partial_key,
    read_bucket,
    read_table_event,
    table_event,
)
from splitgauge.aggregator.tables import buckets_of, window_of
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.schemas.codec import encode
from splitgauge.schemas.instants import from_text, to_text
from splitgauge.schemas.tables import BucketsData, PartialData
from splitgauge.schemas.topics import PARTIALS, WINDOWS

SECOND = 1_000_000
BUCKET = 60 * SECOND
FIRST = START - START % BUCKET
PARTITIONS = 2
STEPS = 8
"""How often stage 1 publishes: each time one request of the next partition; every fourth begins a new time bucket."""


class StageOne:
    """What stage 1 publishes of a story, step by step, without a worker: the tables of the plain folds."""

    def __init__(self) -> None:
        self.log = MemoryEventLog(observation_partitions=PARTITIONS)
        self._decisions = Decisions()
        self._decisions.start("exp", metrics=[{"name": "rating"}])
        self._folds = [PartitionFold(partition) for partition in range(PARTITIONS)]
        self._partials: dict[int, PartialData] = {}
        self._buckets: dict[int, dict[int, Bucket]] = {}

    async def publish(self, step: int, *, later_us: int = 0) -> None:
        """Fold the next request of a partition, and append what changed."""
        fold = self._folds[step % PARTITIONS]
        events = _request(step, later_us)
        result = fold.fold(stored(events, fold.position), self._decisions.history)
        assert (result.folded, result.dead_letters) == (len(events), [])
        for data in fold.partials().values():
            self._partials[fold.partition] = PartialData.model_validate_json(data)
            await self._append("partial", data, None, fold)
        for _, start_us, data in fold.bucket_events():
            self._buckets.setdefault(start_us, {})[fold.partition] = read_bucket(data)
            await self._append("partial-buckets", data, start_us, fold)

    async def stands(self) -> bool:
        """Whether the newest windows are those of all partials, byte by byte, and so are those of time buckets."""
        buckets = {
            start_us: BucketsData.model_validate_json(encode(buckets_of(parts)))
            for start_us, parts in self._buckets.items()
        }
        newest = (await newest_windows(self.log)).get("exp")
        return newest == self.window and await newest_buckets(self.log) == buckets

    @property
    def window(self) -> bytes:
        """Of all partials."""
        return encode(window_of(self._partials).model_dump(mode="json"))

    async def _append(
        self, kind: Literal["partial", "partial-buckets"], data: bytes, start_us: int | None, fold: PartitionFold
    ) -> None:
        partition = fold.partition
        key = partial_key("exp", partition) if start_us is None else partial_bucket_key("exp", start_us, partition)
        value = table_event(
            kind,
            data,
            subject="exp",
            key=key,
            positions={partition: fold.position},
            time=to_text(START),
            instance="a1",
            start_us=start_us,
        )
        await self.log.append(PARTIALS.name, [Record(value, key.encode())])


def _request(step: int, later_us: int) -> list[bytes]:
    unit, request, at = f"u{step}", f"r{step}", FIRST + step // 4 * BUCKET + later_us
    told = report(unit, {"rating": step}, experiment="exp", epoch=1, request=request, at=at + SECOND)
    return [assignment(request, unit, at=at), outcome(request, unit, at=at), told]


async def bucket_records(log: EventLog) -> list[tuple[Record, BucketsData]]:
    """All windows of time buckets in the topic, in order."""
    found: list[tuple[Record, BucketsData]] = []
    for record in await standing(log, WINDOWS.name):
        event = read_table_event(record.value)
        if event.type == "splitgauge.window-buckets.v1":
            bucket = BucketsData.model_validate_json(bytes(event.data))
            found.append((Record(record.value, record.key), bucket))
    return found


async def newest_buckets(log: EventLog) -> dict[int, BucketsData]:
    """Of each time bucket, by its start, the window that stands last."""
    return {from_text(bucket.start): bucket for _, bucket in await bucket_records(log)}


@asynccontextmanager
async def running(log: EventLog) -> AsyncGenerator[None]:
    """A worker until the end of the block, or until it crashes."""
    worker = TablesWorker(log, now_us=lambda: START, instance="a1", publish_interval_s=0)
    life = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        life.cancel()
        try:
            await life
        except (asyncio.CancelledError, BaseExceptionGroup) as exc:
            if isinstance(exc, BaseExceptionGroup) and exc.split(Crashed)[1] is not None:
                raise


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        # Whatever it waits for is written by other tasks, and nothing there wakes a test.
        while not await condition():  # noqa: ASYNC110 - as the line above says
            await asyncio.sleep(0.001)


async def tell(story: StageOne, steps: range, crash: Crash) -> int:
    """Publish step by step, each once the one before it stands, until the worker dies. Returns the next step."""

    async def stands_or_died() -> bool:
        return crash.happened or await story.stands()

    async with running(FaultyEventLog(story.log, crash)):
        for step in steps:
            await story.publish(step)
            await until(stands_or_died)
            if crash.happened:
                return step + 1
    return steps.stop


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", range(1, STEPS + 1))
async def test_after_a_crash_at_any_write_the_windows_are_those_of_all_partials(write: int, *, after: bool) -> None:
    story, crash = StageOne(), Crash.at(write, after=after)
    told = await tell(story, range(STEPS), crash)
    assert crash.happened
    # The next one finds everything in the log: nothing new has to come for it to publish what is lacking.
    async with running(story.log):
        await until(story.stands)
    await tell(story, range(told, STEPS), Crash.never())
    assert await story.stands()


async def test_a_time_bucket_is_the_sum_over_the_partitions() -> None:
    story = StageOne()
    await tell(story, range(STEPS), Crash.never())
    first, second = (await newest_buckets(story.log)).values()
    assert (first.start, first.seconds, first.positions) == (to_text(FIRST), 60, {0: 6, 1: 6})
    assert (second.start, second.positions) == (to_text(FIRST + BUCKET), {0: 12, 1: 12})
    assert {name: cell.requests for name, cell in first.variants.items()} == {"control": 4}
    assert first.variants["control"].metrics == {
        "success": (4, 4),
        "latency_ms": (400_000_000, 4),
        "rating": ((0 + 1 + 2 + 3) * 1_000_000, 4),
    }
    assert second.variants["control"].metrics["rating"] == ((4 + 5 + 6 + 7) * 1_000_000, 4)


async def test_a_time_bucket_that_did_not_change_is_not_published_again() -> None:
    story = StageOne()
    await tell(story, range(4), Crash.never())
    finished = await bucket_records(story.log)
    await tell(story, range(4, STEPS), Crash.never())
    later = (await bucket_records(story.log))[len(finished) :]
    assert {bucket.start for _, bucket in later} == {to_text(FIRST + BUCKET)}


async def test_an_older_time_bucket_after_ours_makes_us_publish_again() -> None:
    story = StageOne()
    await tell(story, range(3), Crash.never())
    stale, _ = (await bucket_records(story.log))[0]

    async with running(story.log):
        # It has to have published the bucket itself to own it.
        await story.publish(3)
        await until(story.stands)
        await story.log.append(WINDOWS.name, [stale])
        await until(story.stands)


async def test_parts_of_finished_time_buckets_are_removed_once_their_window_stands() -> None:
    story = StageOne()
    for step in range(4):
        await story.publish(step)  # while stage 2 is away, also for days
    await story.publish(4, later_us=3 * DAY_US)

    async def removed() -> bool:
        keys = {record.key for record in await standing(story.log, PARTIALS.name)}
        return keys == {b"exp/0", b"exp/1", b"exp/0/%d" % (FIRST + BUCKET + 3 * DAY_US)}

    async with running(story.log):
        await until(story.stands)
        await until(removed)
    windows = await bucket_records(story.log)

    async def changed() -> bool:
        return len(await bucket_records(story.log)) > len(windows)

    async with running(story.log):
        await until(removed)
        assert len(await bucket_records(story.log)) == len(windows)
        # What comes later for a finished bucket, of a partition that lags, changes no window, and does not stay.
        await story.publish(5)
        await story.publish(6, later_us=3 * DAY_US)
        await until(changed)
        await until(removed)
    assert len(await bucket_records(story.log)) == len(windows) + 1


async def test_windows_of_time_buckets_too_old_for_charts_are_removed_by_who_begins() -> None:
    story = StageOne()
    await tell(story, range(4), Crash.never())
    assert list(await newest_buckets(story.log)) == [FIRST]
    await story.publish(4, later_us=8 * DAY_US)

    async def newer_one_is_left() -> bool:
        return list(await newest_buckets(story.log)) == [FIRST + BUCKET + 8 * DAY_US]

    async with running(story.log):
        await until(newer_one_is_left)
    assert (await newest_windows(story.log))["exp"] == story.window
