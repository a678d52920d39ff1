"""Points in time: inside an integer, microseconds since 1970 UTC; in JSON an RFC 3339 text with six decimals and `Z`.

Integers, because a fold compares and subtracts times for every event and a float would lose the last microsecond.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from splitgauge.schemas.errors import MalformedError

__all__ = ["SECOND_US", "from_text", "to_text"]

SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_text(instant_us: int) -> str:
    """RFC 3339 in UTC, always with six decimals, so that the same instant is the same text.

    >>> to_text(1_700_000_000_000_001)
    '2023-11-14T22:13:20.000001Z'
    """
    second, microsecond = divmod(instant_us, SECOND_US)
    return f"{_second(second)}.{microsecond:06d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    # The router stamps thousands of events a second, nearly all of them within the same one.
    # Not strftime: it writes years before 1000 with fewer than four digits, and such a time could not be read back.
    return (_EPOCH + timedelta(seconds=second)).isoformat(timespec="seconds").removesuffix("+00:00")


def from_text(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 text with an offset.

    >>> from_text("2023-11-14T23:13:20.000001+01:00")
    1700000000000001

    Raises: MalformedError if the text is no such time, or has no offset from UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError) as exc:
        message = f"{text!r} is not an RFC 3339 time with an offset"
        raise MalformedError(message, remedy="Write it like 2026-11-22T10:00:00.000000Z") from exc
