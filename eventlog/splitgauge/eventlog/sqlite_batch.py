"""Whole batches in one step of SQLite: pairs of bytes, packed on their way in and out.

Owns the packing and its SQL; knows nothing of connections, threads and errors.

Why: apsw lets go of the interpreter lock around every step, and where another thread computes, getting it back takes up
to 5 ms (sys.getswitchinterval). 500 rows in 500 steps then take a second; packed, they take one step.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from splitgauge.eventlog.sqlite_connection import array

__all__ = ["FIRST", "REST", "SQLValue", "columns", "pack", "unpack"]

SQLValue = int | float | str | bytes | None

_DIGITS = 9
"""Of the length of a pair's first part: more than SQLite can hold in a value (1e9 bytes)."""
_LENGTH = f"CAST(CAST(substr(value, 2, {_DIGITS}) AS TEXT) AS INTEGER)"

FIRST = f"CASE substr(value, 1, 1) WHEN x'30' THEN NULL ELSE substr(value, {_DIGITS + 2}, {_LENGTH}) END"
REST = f"substr(value, {_DIGITS + 2} + {_LENGTH})"
"""The two parts of a pair, in a SELECT from `carray(?)`."""


def pack(pairs: Iterable[tuple[bytes | None, bytes]]) -> object:
    """At least one pair, as the argument of `carray(?)`. The row id there counts them from 1."""
    return array(
        b"0%09d%b" % (0, rest) if first is None else b"1%09d%b%b" % (len(first), first, rest) for first, rest in pairs
    )


def columns(first: str, rest: str) -> str:
    """Four columns that hold all pairs of a subquery's rows in its order: lengths and bytes, of either part.

    CAST to text and back only changes the type: SQLite neither checks nor converts the bytes (its databases are UTF-8).
    """
    return (
        f"group_concat(coalesce(length({first}), -1)), CAST(group_concat(CAST({first} AS TEXT), '') AS BLOB), "
        f"group_concat(length({rest})), CAST(group_concat(CAST({rest} AS TEXT), '') AS BLOB)"
    )


def unpack(packed: Sequence[SQLValue]) -> tuple[list[bytes | None], list[bytes]]:
    """Both parts of each pair from the four columns."""
    first_lengths, firsts, rest_lengths, rests = packed
    return _split_optional(_lengths(first_lengths), firsts), _split(_lengths(rest_lengths), rests)


def _lengths(joined: SQLValue) -> list[int]:
    return [] if joined is None else [int(length) for length in str(joined).split(",")]


def _split(lengths: list[int], joined: SQLValue) -> list[bytes]:
    whole = joined if isinstance(joined, bytes) else b""
    return [whole[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]


def _split_optional(lengths: list[int], joined: SQLValue) -> list[bytes | None]:
    if joined is None:
        return [None] * len(lengths)
    if min(lengths) >= 0:
        return list(_split(lengths, joined))
    parts = _split([max(length, 0) for length in lengths], joined)
    return [None if length < 0 else part for length, part in zip(lengths, parts, strict=True)]
