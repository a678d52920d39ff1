"""What every event log must do. No engine is named here; `tests/eventlog_engines.py` brings them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

import pytest

from eventlog_engines import Engine
from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.schemas.errors import ContractError, LogUnavailableError, UnknownSubjectError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS, REQUESTS, TOPICS

PATIENCE_S = 20.0
"""Only a failing test waits that long."""


async def take(batches: AsyncIterator[list[StoredRecord]], count: int) -> list[StoredRecord]:
    """The first `count` events of an endless iterator."""
    events: list[StoredRecord] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(cast("AsyncGenerator[list[StoredRecord]]", batches)) as open_ended:
        async for batch in open_ended:
            assert len({event.partition for event in batch}) == 1
            events += batch
            if len(events) >= count:
                break
    return events


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - an engine's rebalance has no event to wait for
            await asyncio.sleep(0.01)


def records(*values: str, partition: int | None = None) -> list[Record]:
    return [Record(value.encode(), partition=partition) for value in values]


def values(events: list[StoredRecord]) -> list[str]:
    return [event.value.decode() for event in events]


class TestAppend:
    async def test_places_come_back_in_the_order_of_the_records(self, log: EventLog) -> None:
        batch = [Record(b"a", partition=2), Record(b"b", partition=0), Record(b"c", partition=2)]
        places = await log.append(OBSERVATIONS.name, batch)
        assert [partition for partition, _ in places] == [2, 0, 2]
        for record, (partition, offset) in zip(batch, places, strict=True):
            (event,) = await log.read(OBSERVATIONS.name, partition, offset, limit=1)
            assert event == StoredRecord(OBSERVATIONS.name, partition, offset, None, record.value)

    async def test_offsets_of_a_partition_follow_one_another(self, log: EventLog) -> None:
        first = await log.append(DECISIONS.name, records("a", "b"))
        second = await log.append(DECISIONS.name, records("c"))
        offsets = [offset for _, offset in first + second]
        assert offsets == list(range(offsets[0], offsets[0] + 3))

    async def test_bytes_come_back_as_they_were(self, log: EventLog) -> None:
        odd = [
            b"",
            b"\x00",
            b"a\x00b\xff\xfe",
            b"\xed\xa0\x80 not UTF-8",
            '{"größe": "ß"}'.encode(),
            bytes(range(256)) * 300,
        ]
        batch = [Record(value, key=key) for value in odd for key in (None, b"", b"\x00\xff,", b"k" * 1000)]
        await log.append(DECISIONS.name, batch)
        (start, end) = (await log.bounds(DECISIONS.name))[0]
        events = await log.read(DECISIONS.name, 0, start, limit=end - start)
        assert [(event.key, event.value) for event in events] == [(record.key, record.value) for record in batch]

    async def test_nothing_is_appended_by_an_empty_batch(self, log: EventLog) -> None:
        before = await log.bounds(DECISIONS.name)
        assert await log.append(DECISIONS.name, []) == []
        assert await log.bounds(DECISIONS.name) == before

    async def test_a_bad_record_keeps_its_whole_batch_out(self, log: EventLog) -> None:
        before = await log.bounds(OBSERVATIONS.name)
        with pytest.raises(ContractError, match=r"records\[1\]\.partition"):
            await log.append(OBSERVATIONS.name, [Record(b"good", partition=0), Record(b"bad", partition=4)])
        assert await log.bounds(OBSERVATIONS.name) == before

    async def test_equal_keys_meet_in_one_partition(self, log: EventLog) -> None:
        keys = [b"k%d" % index for index in range(50)]
        once = await log.append(OBSERVATIONS.name, [Record(b"1", key=key) for key in keys])
        again = await log.append(OBSERVATIONS.name, [Record(b"2", key=key) for key in keys])
        assert [partition for partition, _ in once] == [partition for partition, _ in again]
        assert {partition for partition, _ in once} == {0, 1, 2, 3}

    async def test_events_without_key_spread(self, log: EventLog) -> None:
        places = await log.append(REQUESTS.name, records(*(str(index) for index in range(50))))
        assert {partition for partition, _ in places} == set(await log.bounds(REQUESTS.name))

    async def test_concurrent_appends_each_stay_whole(self, log: EventLog) -> None:
        async def append(writer: int) -> list[int]:
            places = await log.append(DECISIONS.name, records(*(f"{writer}.{index}" for index in range(5))))
            return [offset for _, offset in places]

        offsets = await asyncio.gather(*(append(writer) for writer in range(40)))
        events = {event.offset: event.value.decode() for event in await log.read(DECISIONS.name, 0, 0, limit=1_000)}
        for writer, mine in enumerate(offsets):
            assert mine == list(range(mine[0], mine[0] + 5))
            assert [events[offset] for offset in mine] == [f"{writer}.{index}" for index in range(5)]

    async def test_acknowledged_events_survive_a_restart(self, engine: Engine) -> None:
        if not engine.durable:
            pytest.skip("this engine lives in memory")
        first = await engine.open()
        places = await first.append(OBSERVATIONS.name, records("a", "b", partition=1))
        await first.close()
        second = await engine.open()
        assert values(await second.read(OBSERVATIONS.name, 1, places[0][1])) == ["a", "b"]
        (place,) = await second.append(OBSERVATIONS.name, records("c", partition=1))
        assert place == (1, places[1][1] + 1)
        await second.close()


class TestRead:
    async def test_resumes_from_a_position(self, log: EventLog) -> None:
        places = await log.append(DECISIONS.name, records("a", "b", "c", "d"))
        assert values(await log.read(DECISIONS.name, 0, places[2][1])) == ["c", "d"]

    @pytest.mark.parametrize("limit", [1, 63, 64, 65, 200, 1_000])
    async def test_a_limit_cuts_and_nothing_is_lost_between(self, log: EventLog, limit: int) -> None:
        places = await log.append(DECISIONS.name, records(*(str(index) for index in range(200))))
        position, seen = places[0][1], list[StoredRecord]()
        while batch := await log.read(DECISIONS.name, 0, position, limit=limit):
            assert len(batch) <= limit
            seen += batch
            position = batch[-1].offset + 1
        assert [(event.offset, event.value) for event in seen] == [
            (offset, b"%d" % index) for index, (_, offset) in enumerate(places)
        ]

    async def test_is_empty_at_the_end_and_past_it(self, log: EventLog) -> None:
        await log.append(DECISIONS.name, records("a"))
        end = (await log.bounds(DECISIONS.name))[0].end
        assert await log.read(DECISIONS.name, 0, end) == []

    async def test_partitions_do_not_mix(self, log: EventLog) -> None:
        await log.append(OBSERVATIONS.name, records("a", partition=0))
        await log.append(OBSERVATIONS.name, records("b", partition=1))
        start = (await log.bounds(OBSERVATIONS.name))[1].start
        assert values(await log.read(OBSERVATIONS.name, 1, start)) == ["b"]

    @pytest.mark.needs("compacted topics")
    async def test_the_newest_event_of_each_key_of_a_compacted_topic_stays(self, log: EventLog) -> None:
        batch = [Record(b"x1", key=b"x"), Record(b"y1", key=b"y"), Record(b"x2", key=b"x")]
        places = await log.append(PARTIALS.name, batch)
        places += await log.append(PARTIALS.name, [Record(b"x3", key=b"x")])
        events = await log.read(PARTIALS.name, 0, 0)
        newest = {event.key: event for event in events}
        assert newest[b"x"].value == b"x3"
        assert newest[b"y"].value == b"y1"
        assert (newest[b"y"].offset, newest[b"x"].offset) == (places[1][1], places[3][1])
        assert (await log.bounds(PARTIALS.name))[0].end == places[3][1] + 1

    @pytest.mark.needs("compacted topics")
    async def test_of_a_key_that_nobody_needs_any_more_an_empty_value_is_the_newest(self, log: EventLog) -> None:
        await log.append(PARTIALS.name, [Record(b"x1", key=b"x")])
        [(_, removed)] = await log.append(PARTIALS.name, [Record(b"", key=b"x")])
        last = (await log.read(PARTIALS.name, 0, removed))[0]
        assert (last.offset, last.key, last.value) == (removed, b"x", b"")


class TestBounds:
    async def test_every_partition_is_there_from_the_first_moment(self, log: EventLog) -> None:
        for topic in TOPICS.values():
            bounds = await log.bounds(topic.name)
            assert set(bounds) == set(range(topic.embedded_partitions or 4))
            assert all(partition.start == partition.end for partition in bounds.values())

    async def test_the_end_is_where_the_next_event_goes(self, log: EventLog) -> None:
        await log.append(OBSERVATIONS.name, records("a", "b", partition=3))
        end = (await log.bounds(OBSERVATIONS.name))[3].end
        assert await log.append(OBSERVATIONS.name, records("c", partition=3)) == [(3, end)]


class TestUnknownPlaces:
    async def test_an_unknown_topic_is_refused_everywhere(self, log: EventLog) -> None:
        with pytest.raises(UnknownSubjectError, match=r"splitgauge\.nothing"):
            await log.append("splitgauge.nothing", records("a"))
        with pytest.raises(UnknownSubjectError):
            await log.read("splitgauge.nothing", 0, 0)
        with pytest.raises(UnknownSubjectError):
            await log.bounds("splitgauge.nothing")
        with pytest.raises(UnknownSubjectError):
            log.follow("splitgauge.nothing", {0: 0})
        with pytest.raises(UnknownSubjectError):
            async with log.join("splitgauge.nothing", "group"):
                pass

    async def test_an_unknown_partition_is_refused(self, log: EventLog) -> None:
        with pytest.raises(ContractError, match="partitions 0 to 3, not 4"):
            await log.read(OBSERVATIONS.name, 4, 0)
        with pytest.raises(ContractError):
            log.follow(OBSERVATIONS.name, {-1: 0})


class TestFollow:
    async def test_sees_what_is_there_and_what_comes(self, log: EventLog) -> None:
        await log.append(DECISIONS.name, records("a", "b"))
        following = asyncio.create_task(take(log.follow(DECISIONS.name, {0: 0}), 4))
        await asyncio.sleep(0.02)
        await log.append(DECISIONS.name, records("c"))
        await asyncio.sleep(0.02)
        await log.append(DECISIONS.name, records("d"))
        assert values(await following) == ["a", "b", "c", "d"]

    async def test_starts_at_the_positions_and_leaves_other_partitions_out(self, log: EventLog) -> None:
        places = await log.append(OBSERVATIONS.name, records("a", "b", "c", partition=1))
        await log.append(OBSERVATIONS.name, records("other", partition=2))
        await log.append(OBSERVATIONS.name, records("d", partition=3))
        events = await take(log.follow(OBSERVATIONS.name, {1: places[1][1], 3: 0}), 3)
        assert sorted(values(events)) == ["b", "c", "d"]

    @pytest.mark.parametrize("limit", [1, 7, 500])
    async def test_every_follower_sees_each_event_once_and_in_order_while_many_append(
        self, log: EventLog, limit: int
    ) -> None:
        followers = [
            asyncio.create_task(take(log.follow(OBSERVATIONS.name, dict.fromkeys(range(4), 0), limit=limit), 400))
            for _ in range(3)
        ]

        async def append(writer: int) -> list[tuple[int, int, str]]:
            mine: list[tuple[int, int, str]] = []
            for index in range(10):
                names = [f"{writer}.{index}.{place}" for place in range(4)]
                places = await log.append(
                    OBSERVATIONS.name, [Record(name.encode(), partition=place) for place, name in enumerate(names)]
                )
                mine += [(*place, name) for place, name in zip(places, names, strict=True)]
            return mine

        appended = [event for mine in await asyncio.gather(*(append(writer) for writer in range(10))) for event in mine]
        for follower in followers:
            events = await follower
            for partition in range(4):
                seen = [
                    (event.partition, event.offset, event.value.decode())
                    for event in events
                    if event.partition == partition
                ]
                assert seen == sorted(event for event in appended if event[0] == partition)

    async def test_a_closed_log_ends_its_followers_with_an_error(self, log: EventLog) -> None:
        following = asyncio.create_task(take(log.follow(DECISIONS.name, {0: 0}), 1))
        await asyncio.sleep(0.02)
        await log.close()
        with pytest.raises(LogUnavailableError):
            await following


@pytest.mark.needs("groups")
class TestGroup:
    async def test_members_share_the_partitions_and_each_event_goes_to_one(self, log: EventLog) -> None:
        async with log.join(OBSERVATIONS.name, "g") as one, log.join(OBSERVATIONS.name, "g") as two:
            await until(lambda: bool(one.partitions and two.partitions) and not one.partitions & two.partitions)
            assert one.partitions | two.partitions == {0, 1, 2, 3}
            places = [
                place
                for partition in range(4)
                for place in await log.append(OBSERVATIONS.name, records("a", "b", partition=partition))
            ]
            mine, theirs = await asyncio.gather(
                take(one.batches(), 2 * len(one.partitions)), take(two.batches(), 2 * len(two.partitions))
            )
            assert {event.partition for event in mine} == one.partitions
            assert sorted((event.partition, event.offset) for event in mine + theirs) == sorted(places)

    async def test_goes_on_from_what_it_committed(self, log: EventLog) -> None:
        await log.append(DECISIONS.name, records("a", "b", "c"))
        async with log.join(DECISIONS.name, "g") as member:
            events = await take(member.batches(limit=2), 2)
            assert await member.commit(0, events[-1].offset + 1)
        async with log.join(DECISIONS.name, "g") as member:
            assert values(await take(member.batches(), 1)) == ["c"]

    async def test_what_is_not_committed_comes_again(self, log: EventLog) -> None:
        await log.append(DECISIONS.name, records("a", "b"))
        async with log.join(DECISIONS.name, "g") as member:
            assert values(await take(member.batches(), 2)) == ["a", "b"]
        async with log.join(DECISIONS.name, "g") as member:
            assert values(await take(member.batches(), 2)) == ["a", "b"]

    async def test_groups_do_not_disturb_each_other(self, log: EventLog) -> None:
        await log.append(DECISIONS.name, records("a"))
        async with log.join(DECISIONS.name, "g") as member, log.join(DECISIONS.name, "h") as other:
            (event,) = await take(member.batches(), 1)
            assert await member.commit(0, event.offset + 1)
            assert values(await take(other.batches(), 1)) == ["a"]

    async def test_who_stays_takes_over_from_who_leaves(self, log: EventLog) -> None:
        async with log.join(OBSERVATIONS.name, "g") as stays:
            async with log.join(OBSERVATIONS.name, "g") as leaves:
                await until(lambda: bool(leaves.partitions) and not leaves.partitions & stays.partitions)
                taken = min(leaves.partitions)
                places = await log.append(OBSERVATIONS.name, records("done", "not done", partition=taken))
                staying = asyncio.create_task(take(stays.batches(), 1))
                await take(leaves.batches(), 2)
                assert await leaves.commit(taken, places[1][1])
            assert values(await staying) == ["not done"]
            assert stays.partitions == {0, 1, 2, 3}

    async def test_a_commit_for_a_lost_partition_is_refused(self, log: EventLog) -> None:
        places = await log.append(DECISIONS.name, records("a"))
        async with log.join(DECISIONS.name, "g") as member:
            await take(member.batches(), 1)
        assert not await member.commit(0, places[0][1] + 1)
        async with log.join(DECISIONS.name, "g") as member:
            assert values(await take(member.batches(), 1)) == ["a"]

    async def test_waits_for_what_comes(self, log: EventLog) -> None:
        async with log.join(DECISIONS.name, "g") as member:
            waiting = asyncio.create_task(take(member.batches(), 1))
            await asyncio.sleep(0.02)
            await log.append(DECISIONS.name, records("late"))
            assert values(await waiting) == ["late"]


class TestClose:
    async def test_appending_to_a_closed_log_is_refused(self, log: EventLog) -> None:
        await log.close()
        with pytest.raises(LogUnavailableError, match="closed"):
            await log.append(DECISIONS.name, records("a"))

    async def test_closing_twice_does_no_harm(self, log: EventLog) -> None:
        await log.close()
        await log.close()
