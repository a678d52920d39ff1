"""Ownership of partitions in a group of one process."""

import pytest

from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.schemas.topics import OBSERVATIONS


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog(observation_partitions=2)


async def test_what_was_delivered_before_a_partition_went_away_and_came_back_cannot_be_committed(
    log: MemoryEventLog,
) -> None:
    await log.append(OBSERVATIONS.name, [Record(b"a", partition=1), Record(b"b", partition=1)])
    async with log.join(OBSERVATIONS.name, "g") as member:
        batches = member.batches(limit=1)
        assert [event.value for event in await anext(batches)] == [b"a"]
        async with log.join(OBSERVATIONS.name, "g") as other:
            assert other.partitions == {1}
            assert not await member.commit(1, 1)
            others = other.batches()
            assert len(await anext(others)) == 2
            assert await other.commit(1, 2)
        assert member.partitions == {0, 1}
        assert not await member.commit(1, 1)  # it would undo what the other one has finished
        await log.append(OBSERVATIONS.name, [Record(b"c", partition=1)])
        assert [event.value for event in await anext(batches)] == [b"c"]
        assert await member.commit(1, 3)


async def test_more_members_than_partitions_leave_some_without(log: MemoryEventLog) -> None:
    async with (
        log.join(OBSERVATIONS.name, "g") as one,
        log.join(OBSERVATIONS.name, "g") as two,
        log.join(OBSERVATIONS.name, "g") as three,
    ):
        assert [member.partitions for member in (one, two, three)] == [{0}, {1}, frozenset()]


async def test_a_partition_that_stays_goes_on_where_it_was(log: MemoryEventLog) -> None:
    await log.append(OBSERVATIONS.name, [Record(b"a", partition=0)])
    async with log.join(OBSERVATIONS.name, "g") as member:
        batches = member.batches()
        assert [event.value for event in await anext(batches)] == [b"a"]
        async with log.join(OBSERVATIONS.name, "g"):
            await log.append(OBSERVATIONS.name, [Record(b"b", partition=0)])
            assert [event.value for event in await anext(batches)] == [b"b"]
            assert await member.commit(0, 2)
