"""What every function of this package asks of its arguments, checked once, at the edge, with cheap array operations.

Owns: the conversion to float64, and the wording of contract breaks. Must not know any method.
A nan in a measured value is no contract break (it makes that element nan); a nan where a count, an error rate or a
margin belongs is one.
"""

from collections.abc import Callable
from math import isfinite
from numbers import Real
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arrays import ArrayLike, BoolArray, FloatArray, every, single

__all__ = [
    "ArrayLike",
    "BoolArray",
    "FloatArray",
    "aligned",
    "broadcastable",
    "counts",
    "error_rates",
    "finite",
    "flags",
    "floats",
    "non_negative",
    "one_of",
    "positive",
    "require",
    "shares",
    "signs",
]

_FLOAT64 = np.dtype(np.float64)
_mask_of = cast("Callable[[ArrayLike], BoolArray]", np.ma.getmaskarray)


def floats(name: str, value: ArrayLike) -> FloatArray:
    """``value`` as float64, nan where it is masked; anything that is no real number is refused by name.

    One number becomes a numpy scalar, not an array of no dimensions: it has the same methods, and its arithmetic takes
    a fifth of the time.
    """
    if isinstance(value, float):
        return single(value)
    if type(value) is np.ndarray and value.dtype is _FLOAT64:
        return value[()]
    try:
        array: npt.NDArray[Any] = np.asarray(value)
        if np.ma.is_masked(value):
            # What lies under a mask is no value; numpy alone would take it for one.
            array = np.where(_mask_of(value), np.nan, array)
        kind = array.dtype.kind
        if kind in "biuf" or (kind == "O" and all(isinstance(item, Real) for item in array.flat)):
            return array.astype(np.float64)[()]
    except (TypeError, ValueError, OverflowError) as exc:
        raise _no_numbers(name, value) from exc
    raise _no_numbers(name, value)


def require(name: str, value: FloatArray, holds: BoolArray, rule: str) -> FloatArray:
    """``value`` where ``holds`` is true throughout; else a ContractError that shows the first element breaking
    ``rule``."""
    if every(holds):
        return value
    broken = np.broadcast_to(value, np.shape(holds))[~holds]
    raise ContractError(
        f"{float(broken.flat[0])!r} breaks the rule: {rule}", where=name, remedy=f"give {name} so that {rule}"
    )


def finite(name: str, value: ArrayLike) -> FloatArray:
    """Parameters that are no measurement: never nan, never infinite."""
    if isinstance(value, float) and isfinite(value):
        return single(value)
    array = floats(name, value)
    return require(name, array, np.isfinite(array), "it is finite")


def counts(name: str, value: ArrayLike) -> FloatArray:
    """Whole numbers of things: finite, at least 0."""
    array = floats(name, value)
    return require(
        name, array, (array >= 0) & (np.floor(array) == array) & (array < np.inf), "a count is whole and at least 0"
    )


def error_rates(name: str, value: ArrayLike, *, below: float = 1.0) -> FloatArray:
    """Probabilities of an error: strictly between 0 and ``below``."""
    # One number for all comparisons is the usual case, and much cheaper to check as one.
    if isinstance(value, float) and 0 < value < below:
        return single(value)
    array = floats(name, value)
    return require(name, array, (array > 0) & (array < below), f"it lies strictly between 0 and {below:g}")


def non_negative(name: str, value: ArrayLike) -> FloatArray:
    """Variances, standard errors, sums of shares: at least 0, or nan where they are undefined."""
    array = floats(name, value)
    return require(name, array, ~(array < 0), "it is at least 0")


def positive(name: str, value: ArrayLike, *, finite: bool = True) -> FloatArray:
    """Margins, scales, planned sizes: above 0."""
    if isinstance(value, float) and value > 0 and (value < np.inf or not finite):
        return single(value)
    array = floats(name, value)
    return require(
        name,
        array,
        (array > 0) & ((array < np.inf) | (not finite)),
        "it is above 0" + (" and finite" if finite else ""),
    )


def shares(name: str, value: ArrayLike, *, whole: bool = True) -> FloatArray:
    """Shares of traffic: in [0, 1]; along the last axis they add up to 1 if they are the ``whole``."""
    array = floats(name, value)
    require(name, array, (array >= 0) & (array <= 1), "a share lies between 0 and 1")
    if whole:
        total = array.sum(axis=-1)
        require(name, total, np.abs(total - 1) < 1e-9, "the shares of all arms add up to 1")
    return array


def signs(name: str, value: ArrayLike) -> FloatArray:
    """Directions: +1 or -1."""
    array = floats(name, value)
    return require(name, array, np.abs(array) == 1, "a direction is +1 or -1")


def flags(name: str, value: ArrayLike) -> BoolArray:
    """True or False, also as 1 or 0; no other number, and no word: a "no" would be true."""
    if isinstance(value, bool):
        return np.asarray(value)
    array = floats(name, value)
    return np.asarray(require(name, array, (array == 0) | (array == 1), "it is True or False") == 1)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """A choice by name."""
    if value not in allowed:
        raise ContractError(f"{value!r} is not one of {', '.join(allowed)}", where=name, remedy="choose one of these")
    return value


def aligned(*fields: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """The fields of a result with one element per comparison in each, those given once for all included."""
    if len({field.shape for field in fields}) == 1:
        return fields
    return tuple(np.broadcast_arrays(*fields))


def broadcastable(**arrays: FloatArray) -> tuple[int, ...]:
    """The common shape of the arrays, which numpy's broadcasting must allow."""
    shapes = {array.shape for array in arrays.values()} - {()}
    if len(shapes) < 2:
        return shapes.pop() if shapes else ()
    try:
        # Not np.broadcast_shapes, which takes longer than a whole test of one comparison.
        return np.broadcast(*arrays.values()).shape
    except ValueError as exc:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ContractError(
            f"shapes do not fit together: {listed}",
            where=next(iter(arrays)),
            remedy="give one element per comparison in each, or one for all",
        ) from exc


def _no_numbers(name: str, value: ArrayLike) -> ContractError:
    return ContractError(f"{value!r} is no array of numbers", where=name, remedy="give real numbers")
