"""What is wrong with a value, in plain words: what it has to be, and what it is instead.

Owns the words for what pydantic finds. Text that was written is never repeated: it may be a secret.
"""

from collections.abc import Mapping
from typing import Any

from splitgauge.schemas.codec import encode

__all__ = ["in_words"]

_NUMBER = "has to be a number"
_WHOLE = "has to be a whole number"
_TEXT = "has to be text"
_LIST = "has to be a list"
_FIELDS = "has to be an object with named fields"

_WORDS = {
    "bool_type": "has to be true or false",
    "bool_parsing": "has to be true or false",
    "dict_type": _FIELDS,
    "finite_number": "has to be a finite number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "has to be above {gt}",
    "greater_than_equal": "has to be at least {ge}",
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_type": _WHOLE,
    "less_than": "has to be below {lt}",
    "less_than_equal": "has to be at most {le}",
    "list_type": _LIST,
    "literal_error": "has to be one of {expected}",
    "model_attributes_type": _FIELDS,
    "model_type": _FIELDS,
    "string_pattern_mismatch": "has to match {pattern}",
    "string_too_long": "has to be at most {max_length} characters long",
    "string_too_short": "has to be at least {min_length} characters long",
    "string_type": _TEXT,
    "string_unicode": "has to be text that can be encoded",
    "too_long": "has to have at most {max_length} entries; it has {actual_length}",
    "too_short": "has to have at least {min_length} entries; it has {actual_length}",
    "tuple_type": _LIST,
}
_LONG = 10**20
_SAID_BY_ITSELF = frozenset({"finite_number", "too_long", "too_short"})


def in_words(kind: str, message: str, context: Mapping[str, Any], value: object) -> str:
    """What pydantic found: its kind of fault, its own message, what that was made of, and the value.

    >>> in_words("greater_than", "Input should be greater than 0", {"gt": 0.0}, -1)
    'has to be above 0, not -1'
    >>> in_words("float_type", "Input should be a valid number", {}, "5")
    'has to be a number, not text'
    """
    if kind == "missing":
        return "is missing, and has no default"
    if kind == "extra_forbidden":
        return "unknown field"
    if kind not in _WORDS:
        # Our own validators speak for themselves.
        return message.removeprefix("Value error, ")
    said = _WORDS[kind].format(**{name: _plain(limit) for name, limit in context.items()})
    return said if kind in _SAID_BY_ITSELF else f"{said}{_instead(kind, value)}"


def _plain(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _instead(kind: str, value: object) -> str:
    if isinstance(value, str):
        return ", not text" if kind.endswith(("_type", "_parsing")) else ""
    if isinstance(value, Mapping):
        return ", not an object"
    if isinstance(value, list | tuple):
        return ", not a list"
    if value is None or isinstance(value, bool | float):
        return f", not {encode(value).decode()}"
    return f", not {value}" if isinstance(value, int) and abs(value) < _LONG else ""
