"""Bytes of JSON: the same object, the same bytes, on every machine (events.md, rule 13).

Owns the encoding of what is written to the log and hashed; knows no model.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from splitgauge.schemas.errors import MalformedError

__all__ = ["MAX_SAFE_INTEGER", "canonical", "decode", "encode", "sha256_hex"]

MAX_SAFE_INTEGER = 2**53 - 1
"""Readers in other languages hold numbers as float64: integers beyond this travel as decimal text."""

_SIGNIFICANT_DIGITS = 12
"""numpy with other vector instructions differs in the last bits of exp and log, never in the first 12 digits."""


def encode(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """JSON with sorted keys, as orjson writes it."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value in `data`. Raises: MalformedError that names the place."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        message = f"not JSON: {exc.msg}"
        raise MalformedError(message, where=f"line {exc.lineno} column {exc.colno}") from exc


def canonical(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """`value` in the form that analyses are hashed in.

    Floats get 12 significant digits, -0 becomes 0, what is not finite becomes null (its reason stands beside it, put
    there by whoever knows it), integers beyond 2^53 - 1 become decimal text, keys become text.

    >>> canonical({"p": 0.1 + 0.2, "z": -0.0, "n": 2**60, "e": float("inf")})
    {'p': 0.3, 'z': 0.0, 'n': '1152921504606846976', 'e': None}
    """
    if isinstance(value, float):
        return _canonical_float(value)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str(value)
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, Sequence):
        return [canonical(item) for item in cast("Sequence[object]", value)]
    message = f"{type(value).__name__} is no JSON value"
    raise MalformedError(message)


def _canonical_float(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{_SIGNIFICANT_DIGITS - 1}e}") + 0.0


def sha256_hex(data: bytes) -> str:
    """SHA-256 as lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()
