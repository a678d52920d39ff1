"""Waking those who wait at the end of a topic, in whatever thread and event loop they wait.

Owns the waiters; knows neither events nor storage. A waiter clears its event, reads, and waits only if there was
nothing: what was committed in between has set the event again, so no wake-up is lost.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

from splitgauge.eventlog.port import StoredRecord

__all__ = ["Read", "Wakeups", "follow"]

Read = Callable[[str, int, int, int], Coroutine[Any, Any, list[StoredRecord]]]
"""(topic, partition, start, limit) -> events."""

_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Wakeups:
    """Who waits for which topic. `notify` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiters: dict[str, set[_Waiter]] = {}

    @contextmanager
    def listen(self, topic: str) -> Generator[asyncio.Event]:
        """An event of the running loop that is set after every commit to the topic."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiters.setdefault(topic, set()).add(waiter)
        try:
            yield waiter[1]
        finally:
            with self._lock:
                self._waiters[topic].discard(waiter)

    def notify(self, topics: Iterable[str]) -> None:
        """Wake all who wait for one of the topics."""
        with self._lock:
            waiters = [waiter for topic in topics for waiter in self._waiters.get(topic, ())]
        for loop, event in waiters:
            set_in_loop(loop, event)

    def notify_all(self) -> None:
        """Wake everyone: the log changed in a way that is not known more closely, or closes."""
        with self._lock:
            topics = list(self._waiters)
        self.notify(topics)


def set_in_loop(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set the event from any thread. A loop that has closed has nobody left to wake."""
    if loop.is_closed():
        return
    try:
        loop.call_soon_threadsafe(event.set)
    except RuntimeError:
        if not loop.is_closed():  # closed between the two lines: the same as above
            raise


async def follow(
    read: Read, wakeups: Wakeups, topic: str, *, positions: Mapping[int, int], limit: int
) -> AsyncIterator[list[StoredRecord]]:
    """The port's `follow`, over any `read` whose commits are notified to `wakeups`."""
    at = dict(positions)
    with wakeups.listen(topic) as event:
        while True:
            event.clear()
            idle = True
            for partition in at:
                batch = await read(topic, partition, at[partition], limit)
                if batch:
                    at[partition] = batch[-1].offset + 1
                    idle = False
                    yield batch
            if idle:
                await event.wait()
