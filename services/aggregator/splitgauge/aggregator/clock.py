"""The clock of a partition (events.md, rule 8): event time, moved by assignments only, at most an hour at a time.

Owns the clock, the horizon after which a request is missing, and the ticks at which state goes. Knows no wall clock.
"""

from functools import lru_cache

from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.instants import SECOND_US, from_text

__all__ = ["DAY_US", "MISSING_AFTER_US", "TICK_US", "PartitionClock", "expiry_tick", "instant_us"]

MISSING_AFTER_US = 15 * 60 * SECOND_US
"""A request without outcome is missing once the clock is this far past its assigned_at."""

LARGEST_STEP_US = 3600 * SECOND_US
"""One assignment with a wrong time must not throw away the state of all others."""

TICK_US = 600 * SECOND_US
"""State goes at the first tick at which its time is over: part of FOLD_VERSION, for what comes in between counts."""

DAY_US = 86_400 * SECOND_US

_TEXT_LENGTH = 27  # 2026-11-22T10:00:00.000000Z, as the router writes it


class PartitionClock:
    """The largest `assigned_at` read so far, each assignment moving it by at most an hour.

    Attributes:
        now_us: None before the first assignment.
        tick_end_us: end of the running tick once a move has found it: until there no tick passes.
    """

    __slots__ = ("now_us", "tick_end_us")

    def __init__(self, now_us: int | None = None) -> None:
        self.now_us = now_us
        self.tick_end_us = 0

    def move(self, assigned_at_us: int) -> bool:
        """Read one assignment. True if a tick has passed."""
        now = self.now_us
        if now is None:
            self.now_us = assigned_at_us
            return False
        if assigned_at_us <= now:
            return False
        if assigned_at_us < self.tick_end_us:
            self.now_us = assigned_at_us
            return False
        self.now_us = moved = min(assigned_at_us, now + LARGEST_STEP_US)
        self.tick_end_us = moved - moved % TICK_US + TICK_US
        return moved // TICK_US > now // TICK_US

    def passed(self, tick: int) -> bool:
        """Whether the clock has reached a tick."""
        return self.now_us is not None and self.now_us // TICK_US >= tick


def expiry_tick(since_us: int, keep_us: int) -> int:
    """The tick at which what is kept for `keep_us` goes.

    >>> expiry_tick(0, TICK_US), expiry_tick(0, TICK_US + 1)
    (1, 2)
    """
    return -(-(since_us + keep_us) // TICK_US)


def instant_us(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 text; fast where it is written as the router writes it.

    Raises: MalformedError with code `invalid-field`.
    """
    try:
        micros = text[20:26]
        if len(text) == _TEXT_LENGTH and text[19::7] == ".Z" and micros.isdecimal() and micros.isascii():
            return _second_us(text[:19]) + int(micros)
        return from_text(text)
    except MalformedError as exc:
        raise MalformedError(exc.message, remedy=exc.remedy, code="invalid-field") from exc


@lru_cache(maxsize=256)
def _second_us(text: str) -> int:
    return from_text(text + "Z")
