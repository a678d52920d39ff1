"""Trying again while the log is away: what comes from the log has nowhere else to go, and waits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from splitgauge.schemas.errors import LogUnavailableError, UnknownRulesError

__all__ = ["persistently"]

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_logger = logging.getLogger(__name__)


async def persistently(work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work`, tried until the log takes it; the ids in it are the same each time."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await work()
        except (LogUnavailableError, UnknownRulesError) as exc:
            _logger.info("waiting for the log", extra={"reason": str(exc)})
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
