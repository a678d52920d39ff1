"""Waiting for what others do."""

import asyncio
from collections.abc import Awaitable, Callable

from splitgauge.schemas.errors import LogUnavailableError

__all__ = ["until"]

_DEADLINE_S = 120.0
"""Far longer than anything takes, on a machine however busy."""


async def until(
    condition: Callable[[], Awaitable[bool]], *, what: str = "what was waited for", every_s: float = 0.05
) -> None:
    """Poll until it holds, often at first: much of it comes at once. `every_s`: the longest pause.

    A log that is away is asked again: one read may fail where a broker was restarted.
    """
    pause_s = every_s / 16
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while not await _holds(condition):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, every_s)
    except TimeoutError as exc:
        raise AssertionError(f"not within {_DEADLINE_S:g} s: {what}") from exc


async def _holds(condition: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await condition()
    except LogUnavailableError:
        return False
