"""The two kinds of pydantic base models: what people write is closed, what stands in the log stays open.

A misspelt guardrail must not pass silently; a reader of tomorrow's events must not lose what it does not know.
"""

from typing import Annotated, Any
from unicodedata import category

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
)

from splitgauge.schemas import instants
from splitgauge.schemas.codec import MAX_SAFE_INTEGER
from splitgauge.schemas.errors import MalformedError

__all__ = ["BigInteger", "EventData", "Instant", "Integer", "Listed", "Name", "Specification", "Title"]


class Specification(BaseModel):
    """Written by people: unknown fields are refused, and so is text or `true` for a number; values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EventData(BaseModel):
    """Stands in the log: unknown fields are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


def _instant(text: str) -> str:
    try:
        instants.from_text(text)
    except MalformedError as exc:
        raise ValueError(exc.message) from exc
    return text


def _title(text: str) -> str:
    # Terminals act on control characters, and half a surrogate pair cannot be encoded.
    fault = next((character for character in text if category(character) in {"Cc", "Cs", "Zl", "Zp"}), None)
    if fault is not None:
        message = f"a name is one line of printable text; this one has U+{ord(fault):04X}"
        raise ValueError(message)
    return text


def _integer(value: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds; pydantic judges the rest
    return int(value) if isinstance(value, str) and value.lstrip("-").isdecimal() else value


def _integer_or_text(value: int) -> int | str:
    return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str(value)


Listed = Strict(strict=False)
"""Beside a tuple of a specification: JSON and YAML have lists. What is in it stays strict."""

Instant = Annotated[str, AfterValidator(_instant)]
"""RFC 3339 with an offset; see `instants`."""

Integer = Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
"""One that every reader of JSON holds exactly, and so does the sum of many."""

BigInteger = Annotated[
    int, BeforeValidator(_integer), PlainSerializer(_integer_or_text, return_type=int | str, when_used="json")
]
"""An exact integer of any size: decimal text in JSON beyond 2^53 - 1."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Of a variant or a metric: letters, digits, `.`, `_`, `-`; it becomes a header value and a JSON key."""

Title = Annotated[str, AfterValidator(_title)]
"""A name that people read: one line, without control characters."""
