"""How the fold's functions are compiled, and the types that their arguments have.

Owns the compiler's options. Machine code is kept where `machine_code` says, so that only the first process
compiles.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from splitgauge.aggregator.compiled.machine_code import keeping

__all__ = ["Bytes", "Doubles", "Longs", "compiled", "long"]

P = ParamSpec("P")
R = TypeVar("R")

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]

long = cast("Callable[[object], int]", np.int64)
"""A number of an array, for Python's types; for the compiler a 64-bit integer, whatever it was."""


_OPTIONS: dict[str, Any] = {"_nrt": False}
"""An option that numba does not publish: else it counts references to each array at each call, half of all the time."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code. It gets arrays and numbers, and makes no arrays of its own."""
    with keeping() as kept:
        return cast("Callable[P, R]", njit(function, cache=kept, error_model="numpy", **_OPTIONS))
