"""Who gets in, in which order, and what giving up leaves behind."""

import asyncio

import pytest

from splitgauge.eventlog.room import Room


async def test_who_finds_no_room_waits_until_somebody_goes_out() -> None:
    room = Room(100, 10)
    await room.take(80, 1)
    waiting = asyncio.create_task(room.take(30, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give(80, 1)
    await waiting
    assert room.taken == (30, 1)


async def test_the_number_counts_as_well_as_the_bytes() -> None:
    room = Room(100, 2)
    await room.take(1, 2)
    waiting = asyncio.create_task(room.take(1, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give(1, 2)
    await waiting


async def test_small_ones_do_not_overtake_a_large_one() -> None:
    room = Room(100, 10)
    await room.take(50, 1)
    large = asyncio.create_task(room.take(80, 1))
    await asyncio.sleep(0)
    small = asyncio.create_task(room.take(1, 1))
    await asyncio.sleep(0)
    assert (large.done(), small.done()) == (False, False)
    room.give(50, 1)
    await asyncio.gather(large, small)
    assert room.taken == (81, 2)


async def test_what_is_larger_than_the_room_gets_in_alone() -> None:
    room = Room(100, 10)
    await room.take(1_000, 100)
    waiting = asyncio.create_task(room.take(1, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give(1_000, 100)
    await waiting
    assert room.taken == (1, 1)


async def test_who_gives_up_lets_the_next_one_in() -> None:
    room = Room(100, 10)
    await room.take(50, 1)
    large = asyncio.create_task(room.take(80, 1))
    await asyncio.sleep(0)
    small = asyncio.create_task(room.take(10, 1))
    await asyncio.sleep(0)
    large.cancel()
    await asyncio.wait((large,))
    await small
    assert room.taken == (60, 2)


async def test_who_is_let_in_at_the_moment_of_giving_up_takes_no_room() -> None:
    room = Room(100, 10)
    await room.take(100, 1)
    waiting = asyncio.create_task(room.take(100, 1))
    await asyncio.sleep(0)
    room.give(100, 1)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert room.taken == (0, 0)


async def test_a_closed_room_refuses_who_waits_and_who_comes() -> None:
    room = Room(100, 10)
    await room.take(100, 1)
    waiting = asyncio.create_task(room.take(1, 1))
    await asyncio.sleep(0)
    room.close(KeyError("closed"))
    with pytest.raises(KeyError):
        await waiting
    with pytest.raises(KeyError):
        await room.take(1, 1)
