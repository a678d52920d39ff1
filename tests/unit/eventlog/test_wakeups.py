"""Waking who waits, wherever."""

import asyncio
import threading

from splitgauge.eventlog.wakeups import Wakeups


async def test_only_who_waits_for_the_topic_is_woken() -> None:
    wakeups = Wakeups()
    with wakeups.listen("a") as a, wakeups.listen("b") as b:
        wakeups.notify(["a"])
        await asyncio.sleep(0)
        assert (a.is_set(), b.is_set()) == (True, False)
        wakeups.notify_all()
        await asyncio.sleep(0)
        assert b.is_set()


async def test_another_thread_wakes() -> None:
    wakeups = Wakeups()
    with wakeups.listen("a") as event:
        threading.Thread(target=wakeups.notify, args=(["a"],)).start()
        async with asyncio.timeout(10):
            await event.wait()


async def test_who_has_left_is_not_woken() -> None:
    wakeups = Wakeups()
    with wakeups.listen("a") as event:
        pass
    wakeups.notify(["a"])
    await asyncio.sleep(0)
    assert not event.is_set()


def test_a_loop_that_closed_while_it_waited_does_no_harm() -> None:
    wakeups = Wakeups()
    left = wakeups.listen("a")

    async def listen() -> asyncio.Event:
        return left.__enter__()

    event = asyncio.run(listen())
    wakeups.notify(["a"])
    assert not event.is_set()
