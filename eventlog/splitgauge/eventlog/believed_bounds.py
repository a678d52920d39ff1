"""Whether a log has lost its end, or only seems to: of several brokers, one that leads no more and has not heard of it
yet answers with an older end. Knows no engine.
"""

import asyncio
from collections.abc import Awaitable, Callable

from splitgauge.eventlog.port import Bounds

__all__ = ["LOST_AFTER_S", "believed_bounds"]

LOST_AFTER_S = 10.0
"""So long an end has to stay before what was read. Longer than brokers take to notice (9 s)."""
_LOOK_AGAIN_S = 0.5


async def believed_bounds(ask: Callable[[], Awaitable[Bounds]], *, read: int) -> Bounds:
    """The bounds of a partition of which the events below `read` were read. An end before them is believed only once it
    has stayed there. What is read while the log answers may lie behind the answer: compare it with `read`, as it was.

    Raises: as `ask`.
    """
    clock = asyncio.get_running_loop().time
    give_up = clock() + LOST_AFTER_S
    while True:
        bounds = await ask()
        if bounds.end >= read or clock() >= give_up:
            return bounds
        await asyncio.sleep(_LOOK_AGAIN_S)
