"""Where the unit of a request is found: whose requests belong together. Pure.

Owns the order of places. An empty unit is none; numbers count as their text, as user ids often are numbers.
"""

from collections.abc import Callable
from typing import Any

from splitgauge.router.inquiry import Inquiry
from splitgauge.router.json_value import is_array, is_object

__all__ = ["UnitChoice", "default_unit", "unit_choice"]

UnitChoice = Callable[[Inquiry], str | None]
"""The unit as the caller named it, or None: the request is its own."""

UNIT_HEADER = "x-splitgauge-unit"
_OPENAI_FIELDS = ("safety_identifier", "user")


def default_unit(inquiry: Inquiry) -> str | None:
    """What the caller says outright, our header, then OpenAI's own fields."""
    unit = inquiry.unit or inquiry.headers.get(UNIT_HEADER)
    if unit:
        return unit
    document = inquiry.document
    if inquiry.operation.provider != "openai" or not is_object(document):
        return None
    return next((text for name in _OPENAI_FIELDS if (text := _text(document.get(name)))), None)


def unit_choice(specification: str | None) -> UnitChoice:
    """What an experiment chose: `header:NAME` or `body:/json/pointer`; the default where it says nothing.

    A request without the chosen unit falls back to the default ones, so that one user stays one user.
    """
    if specification is None:
        return default_unit
    kind, _, place = specification.partition(":")
    if kind == "header":
        name = place.lower()
        return lambda inquiry: inquiry.headers.get(name) or default_unit(inquiry)
    # RFC 6901, section 4: ~1 before ~0
    path = [part.replace("~1", "/").replace("~0", "~") for part in place.split("/")[1:]]
    return lambda inquiry: _text(_at(inquiry.document, path)) or default_unit(inquiry)


def _at(document: object, path: list[str]) -> object:
    here: Any = document
    for part in path:
        if is_object(here):
            here = here.get(part)
        elif is_array(here) and part.isdecimal():
            here = here[int(part)] if int(part) < len(here) else None
        else:
            return None
    return here


def _text(value: object) -> str | None:
    """A unit from JSON: text, or a whole number; anything else names nobody."""
    if isinstance(value, str):
        return value or None
    return str(value) if type(value) is int else None
