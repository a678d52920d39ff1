"""Trying again while the log is away: what comes from the log has nowhere else to go, and waits.

Owns the pauses, and what operators see of those who wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from splitgauge.schemas.errors import LogUnavailableError, UnknownRulesError

__all__ = ["Waiting", "persistently"]

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_logger = logging.getLogger(__name__)


class Waiting:
    """Works that were tried and are not done, each with the reason."""

    def __init__(self) -> None:
        self._reasons: dict[object, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def reason(self) -> str | None:
        """Of the one that has waited longest."""
        return next(iter(self._reasons.values()), None)

    def failed(self, work: object, reason: str) -> None:
        """It will be tried again."""
        self._reasons[work] = reason

    def ended(self, work: object) -> None:
        """It waits no more."""
        self._reasons.pop(work, None)


async def persistently(work: Callable[[], Awaitable[T]], waiting: Waiting | None = None) -> T:
    """The result of `work`, tried until the log takes it; the ids in it are the same each time.

    `waiting`: where it is seen that the work waits; of one that has an end.
    """
    pause_s = _FIRST_PAUSE_S
    try:
        while True:
            try:
                return await work()
            except (LogUnavailableError, UnknownRulesError) as exc:
                _logger.info("waiting for the log: %s", exc)
                if waiting is not None:
                    waiting.failed(work, str(exc))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    finally:
        if waiting is not None:
            waiting.ended(work)
