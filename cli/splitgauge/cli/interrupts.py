"""Ctrl-C for commands that wait in an event loop.

`asyncio.run` of Python 3.11 cancels what runs from Python's signal handler, and that runs between two steps of Python
code only: a signal that comes after the last step before the loop sleeps is not noticed until something else wakes it
(4 of 222,000 tries). What the C handler writes to a socket that the loop listens to ends that sleep.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run"]

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """As `asyncio.run`. Raises: KeyboardInterrupt after SIGINT, whenever it comes; the main thread alone gets it."""
    return asyncio.run(_woken_by_signals(main) if threading.current_thread() is threading.main_thread() else main)


async def _woken_by_signals(main: Coroutine[Any, Any, _T]) -> _T:
    loop = asyncio.get_running_loop()
    woken, written = socket.socketpair()
    with woken, written:
        woken.setblocking(False)
        written.setblocking(False)
        loop.add_reader(woken, woken.recv, 4096)
        before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            return await main
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(woken)
