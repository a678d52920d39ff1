"""JSON read from its bytes, compiled: compact, in printable ASCII, without escapes; numbers of up to 18 digits.

Owns which bytes are recognised; each function takes the place where something begins, and gives the one behind it, or
-1. Nothing is recognised that is no JSON. There have to be zeros behind all. Knows no event.
"""

import numpy as np

from splitgauge.aggregator.compiled.jit import Bytes, compiled, long

__all__ = [
    "CLOSE",
    "COLON",
    "COMMA",
    "OPEN",
    "QUOTE",
    "hex_number",
    "instant",
    "literal_end",
    "name_end",
    "number",
    "numbers_end",
    "text_end",
    "uuid_at",
    "value_end",
]

QUOTE, COMMA, COLON, OPEN, CLOSE, _BRACKET, _CLOSE_BRACKET = b'",:{}[]'
_MINUS, _PLUS, _DOT, _ZERO, _NINE, _SMALL_E, _LARGE_E, _UPPER_T, _UPPER_Z = b"-+.09eETZ"
_WORD_TRUE, _WORD_FALSE, _WORD_NULL = (int.from_bytes(word, "little") for word in (b"true", b"alse", b"null"))
_DEEPEST = 60
_MOST_DIGITS = 18
_MOST_EXPONENT_DIGITS = 2
_SECOND_US = 1_000_000

_IS_PLAIN = np.array([32 <= byte < 127 and byte not in b'"\\' for byte in range(256)])
_NO_HEX = 16
_NIBBLE = np.full(256, _NO_HEX, dtype=np.int64)
_NIBBLE[list(b"0123456789abcdef")] = np.arange(16)


@compiled
def text_end(buffer: Bytes, at: int) -> int:
    """Of a text: the place of its last quote, not that behind it."""
    if buffer[at] != QUOTE:
        return -1
    at += 1
    while _IS_PLAIN[buffer[at]]:
        at += 1
    return at if buffer[at] == QUOTE else -1


@compiled
def name_end(buffer: Bytes, at: int) -> int:
    """Of a name and its colon."""
    at = text_end(buffer, at)
    return at + 2 if at >= 0 and buffer[at + 1] == COLON else -1


@compiled
def _digits(buffer: Bytes, at: int, total: int, significant: int) -> tuple[int, int, int]:
    """More digits of a number that had `significant` ones, which said `total`."""
    first = at
    while _ZERO <= buffer[at] <= _NINE:
        total = total * 10 + (long(buffer[at]) - _ZERO)
        significant += 1 if total else 0
        if significant > _MOST_DIGITS:
            return -1, 0, 0
        at += 1
    return at if at > first else -1, total, significant


@compiled
def _exponent(buffer: Bytes, at: int) -> tuple[int, int]:
    """Behind the letter: what the power of ten is changed by."""
    down = buffer[at] == _MINUS
    if down or buffer[at] == _PLUS:
        at += 1
    end, total, _ = _digits(buffer, at, 0, 0)
    if end - at > _MOST_EXPONENT_DIGITS:
        return -1, 0
    return end, -total if down else total


@compiled
def number(buffer: Bytes, at: int) -> tuple[int, int, int, bool]:
    """Also its digits as an integer, its power of ten, and whether it is written as an integer."""
    negative = buffer[at] == _MINUS
    if negative:
        at += 1
    end, total, significant = _digits(buffer, at, 0, 0)
    if end < 0 or (buffer[at] == _ZERO and end - at > 1):
        return -1, 0, 0, False
    whole, power = True, 0
    if buffer[end] == _DOT:
        whole, start = False, end + 1
        end, total, _ = _digits(buffer, start, total, significant)
        if end < 0:
            return -1, 0, 0, False
        power = start - end
    if buffer[end] == _SMALL_E or buffer[end] == _LARGE_E:
        whole = False
        end, change = _exponent(buffer, end + 1)
        power += change
    return end, -total if negative else total, power, whole


@compiled
def _word(buffer: Bytes, at: int) -> int:
    """Four bytes as a number."""
    return long(buffer[at]) | long(buffer[at + 1]) << 8 | long(buffer[at + 2]) << 16 | long(buffer[at + 3]) << 24


@compiled
def literal_end(buffer: Bytes, at: int) -> int:
    """Of true, false, null, or a number."""
    word = _word(buffer, at)
    if word in (_WORD_TRUE, _WORD_NULL):
        return at + 4
    if buffer[at] == 102:
        return at + 5 if _word(buffer, at + 1) == _WORD_FALSE else -1
    return number(buffer, at)[0]


@compiled
def _scalar_end(buffer: Bytes, at: int) -> int:
    if buffer[at] != QUOTE:
        return literal_end(buffer, at)
    end = text_end(buffer, at)
    return end + 1 if end >= 0 else -1


@compiled
def value_end(buffer: Bytes, at: int) -> int:
    """Of any value."""
    depth = kinds = 0  # kinds: a bit for each container around, 1 for an object
    while True:
        byte = long(buffer[at])
        if (byte == OPEN or byte == _BRACKET) and buffer[at + 1] != byte + 2:  # noqa: SIM109 - a tuple takes longer
            depth += 1
            kinds = kinds << 1 | (1 if byte == OPEN else 0)
            at += 1
        else:
            # Where a container is empty its end is two bytes on.
            at = at + 2 if byte == OPEN or byte == _BRACKET else _scalar_end(buffer, at)  # noqa: SIM109 - the same
            while depth and at >= 0 and buffer[at] == (CLOSE if kinds & 1 else _CLOSE_BRACKET):
                depth, kinds, at = depth - 1, kinds >> 1, at + 1
            if depth == 0 or at < 0:
                return at
            at = at + 1 if buffer[at] == COMMA else -1
        if kinds & 1 and at >= 0:
            at = name_end(buffer, at)
        if at < 0 or depth == _DEEPEST:
            return -1


@compiled
def numbers_end(buffer: Bytes, at: int) -> int:
    """Of an object of numbers alone."""
    if buffer[at] != OPEN:
        return -1
    if buffer[at + 1] == CLOSE:
        return at + 2
    while True:
        at = name_end(buffer, at + 1)
        if at >= 0:
            at = number(buffer, at)[0]
        if at < 0 or buffer[at] != COMMA:
            return at + 1 if at >= 0 and buffer[at] == CLOSE else -1


@compiled
def hex_number(buffer: Bytes, at: int, digits: int) -> tuple[int, int]:
    """What that many hexadecimal digits say, small ones, up to 16; and 0 if they are such."""
    total = none = 0
    for place in range(at, at + digits):
        nibble = long(_NIBBLE[buffer[place]])
        none |= nibble
        total = total << 4 | nibble & 15
    return total, none & _NO_HEX


@compiled
def uuid_at(buffer: Bytes, at: int) -> tuple[bool, int, int]:
    """Whether a UUID stands there as it is written canonically, and its two halves."""
    if buffer[at + 8] != _MINUS or buffer[at + 13] != _MINUS or buffer[at + 18] != _MINUS or buffer[at + 23] != _MINUS:
        return False, 0, 0
    first, a = hex_number(buffer, at, 8)
    second, b = hex_number(buffer, at + 9, 4)
    third, c = hex_number(buffer, at + 14, 4)
    fourth, d = hex_number(buffer, at + 19, 4)
    fifth, e = hex_number(buffer, at + 24, 12)
    return a | b | c | d | e == 0, first << 32 | second << 16 | third, fourth << 48 | fifth


@compiled
def _decimal(buffer: Bytes, at: int, digits: int) -> int:
    total = 0
    for place in range(at, at + digits):
        if buffer[place] < _ZERO or buffer[place] > _NINE:
            return -1
        total = total * 10 + (long(buffer[place]) - _ZERO)
    return total


@compiled
def _day(buffer: Bytes, at: int) -> int:
    """Days since 1970 of `2026-11-22`; -1: not recognised, as are the last days of most months: no calendar here."""
    if buffer[at + 4] != _MINUS or buffer[at + 7] != _MINUS:
        return -1
    year, month, day = _decimal(buffer, at, 4), _decimal(buffer, at + 5, 2), _decimal(buffer, at + 8, 2)
    if year < 1971 or year > 2199 or month < 1 or month > 12 or day < 1 or day > (28 if month == 2 else 30):
        return -1
    # Years begin in March: days_from_civil of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    years = year - (1 if month <= 2 else 0)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    century = years % 400
    return years // 400 * 146_097 + century * 365 + century // 4 - century // 100 + of_year - 719_468


@compiled
def instant(buffer: Bytes, at: int) -> int:
    """Microseconds since 1970 of `2026-11-22T10:00:00.000000Z`; -1: not recognised."""
    if buffer[at + 10] != _UPPER_T or buffer[at + 19] != _DOT or buffer[at + 26] != _UPPER_Z:
        return -1
    if buffer[at + 13] != COLON or buffer[at + 16] != COLON:
        return -1
    day = _day(buffer, at)
    hour, minute, second = _decimal(buffer, at + 11, 2), _decimal(buffer, at + 14, 2), _decimal(buffer, at + 17, 2)
    micros = _decimal(buffer, at + 20, 6)
    if min(day, hour, minute, second, micros) < 0 or hour > 23 or minute > 59 or second > 59:
        return -1
    return ((day * 24 + hour) * 60 + minute) * 60 * _SECOND_US + second * _SECOND_US + micros
