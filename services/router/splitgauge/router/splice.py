"""Metadata put into the bytes of a JSON object, without touching any other byte.

Owns the one change that callers see in an answer. Parsing and writing again would change numbers (1.0, 1e2, 2^70),
the order of duplicate keys and white space; so the place is found in the bytes. Pure.
"""

import re
from typing import NamedTuple, cast

import orjson

from splitgauge.router.json_value import is_object

__all__ = ["METADATA", "splice"]

METADATA = "metadata"

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]')
"""Strings whole, so that brackets inside them do not count; numbers, literals and white space lie between."""


class _Member(NamedTuple):
    """A member of an object: its key, and where its value lies, white space around it included."""

    key: str
    start: int
    end: int


def splice(body: bytes, document: object, members: dict[str, str | None]) -> bytes:
    """The body with `members` in the `metadata` of its top-level object.

    A `metadata` that is there keeps its members; those of the same name get our value, as an inner router's answer
    passing an outer one must not name the inner experiment. `null` counts as empty.

    Args:
        body: UTF-8 JSON.
        document: what orjson reads in `body`.
        members: at least one.
    Returns: `body` itself where it is no object, or its `metadata` is neither an object nor null: nothing of the
        endpoint's answer is given up for ours, and the headers say the same.

    >>> splice(b'{"n": 1.0}', {"n": 1.0}, {"ab_test_id": "x"})
    b'{"n": 1.0,"metadata":{"ab_test_id":"x"}}'
    """
    if not is_object(document):
        return body
    if METADATA not in document:
        return _append(body, b'"metadata":' + orjson.dumps(members), empty=not document)
    there = document[METADATA]
    if there is not None and not is_object(there):
        return body
    # Parsers take the last of several members with one name, and so do we.
    member = next(member for member in reversed(_members(body, 0)) if member.key == METADATA)
    inner = body[member.start : member.end]
    ours = inner.replace(b"null", orjson.dumps(members)) if there is None else _merged(inner, members, empty=not there)
    return body[: member.start] + ours + body[member.end :]


def _merged(text: bytes, members: dict[str, str | None], *, empty: bool) -> bytes:
    ours = dict(members)
    # From the end on, so that earlier places stay where they are.
    for member in reversed(_members(text, text.index(b"{"))):
        if member.key in members:
            ours.pop(member.key, None)
            text = text[: member.start] + orjson.dumps(members[member.key]) + text[member.end :]
    return _append(text, orjson.dumps(ours)[1:-1], empty=empty) if ours else text


def _append(text: bytes, member: bytes, *, empty: bool) -> bytes:
    end = text.rindex(b"}")
    return b"".join((text[:end], b"" if empty else b",", member, text[end:]))


def _members(text: bytes, start: int) -> list[_Member]:
    """The members of the object that begins at the first brace from `start` on. The text is known to be JSON."""
    members: list[_Member] = []
    depth = 0
    key: str | None = None
    value_start = 0
    for match in _TOKEN.finditer(text, start):
        token = match[0]
        if depth == 1 and token in {b",", b"}"} and key is not None:
            members.append(_Member(key, value_start, match.start()))
            key = None
        if token in {b"{", b"["}:
            depth += 1
        elif token in {b"}", b"]"}:
            depth -= 1
            if depth == 0:
                break
        elif depth == 1 and key is None and token[:1] == b'"':
            key = cast("str", orjson.loads(token))
        elif depth == 1 and token == b":":
            value_start = match.end()
    return members
