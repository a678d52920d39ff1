"""The first difference between two JSON values, named. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

__all__ = ["FLOAT_TOLERANCE", "Difference", "first_difference"]

FLOAT_TOLERANCE = 1e-9
"""Relative. Another processor's vector instructions move the last digits of exp and log, never these."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two values part.

    Attributes:
        pointer: JSON pointer of the place.
        recorded, made: the values there; `missing` where one side has none.
        floats_only: all differences there are lie within the tolerance; this is the largest.
    """

    pointer: str
    recorded: str
    made: str
    floats_only: bool

    def __str__(self) -> str:
        return f"{self.pointer or '/'} is {self.recorded} in the record and {self.made} made again"


def first_difference(recorded: object, made: object) -> Difference | None:
    """The first difference beyond the tolerance; if there is none, the largest within it; None for equal values."""
    found = _Found()
    _walk(recorded, made, "", found)
    return found.beyond or found.within


class _Found:
    def __init__(self) -> None:
        self.beyond: Difference | None = None
        self.within: Difference | None = None
        self._largest = 0.0

    def add(self, pointer: str, recorded: object, made: object) -> None:
        gap = _relative_gap(recorded, made)
        if gap is None or gap > FLOAT_TOLERANCE:
            self.beyond = Difference(pointer, _show(recorded), _show(made), floats_only=False)
        elif gap > self._largest:
            self._largest = gap
            self.within = Difference(pointer, _show(recorded), _show(made), floats_only=True)


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


def _walk(recorded: object, made: object, pointer: str, found: _Found) -> None:
    if found.beyond is not None:
        return
    match recorded, made:
        case dict(), dict():
            left, right = cast("dict[str, object]", recorded), cast("dict[str, object]", made)
            for key in sorted({*left, *right}):
                _walk(left.get(key, _MISSING), right.get(key, _MISSING), f"{pointer}/{key}", found)
        case list(), list():
            _walk_lists(cast("list[object]", recorded), cast("list[object]", made), pointer, found)
        case _:
            if type(recorded) is not type(made) or recorded != made:
                found.add(pointer, recorded, made)


def _walk_lists(left: Sequence[object], right: Sequence[object], pointer: str, found: _Found) -> None:
    for index in range(max(len(left), len(right))):
        _walk(
            left[index] if index < len(left) else _MISSING,
            right[index] if index < len(right) else _MISSING,
            f"{pointer}/{index}",
            found,
        )


def _relative_gap(recorded: object, made: object) -> float | None:
    if not isinstance(recorded, float) or not isinstance(made, float):
        return None
    return abs(recorded - made) / max(abs(recorded), abs(made), math.ulp(0.0))


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
