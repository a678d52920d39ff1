"""How far another machine's clock is from ours, as far as one question to it can tell. Knows no protocol."""

from collections.abc import Awaitable, Callable

__all__ = ["ahead_s"]


async def ahead_s(ask: Callable[[], Awaitable[float]], now_s: Callable[[], float]) -> float:
    """Seconds that the other clock is ahead of ours, negative where it is behind: the least that the answer allows.

    0 where it allows that they agree: they differ by less than the question took.

    Args:
        ask, now_s: the time there and here, in seconds since 1970.
    Raises: as `ask`.
    """
    asked_s = now_s()
    theirs_s = await ask()
    answered_s = now_s()
    return theirs_s - answered_s if theirs_s > answered_s else min(0.0, theirs_s - asked_s)
