"""Where a condition changes along a line, for many lines at once: bisection over arrays.

Owns the one root finder of this package. Must not know what it looks for.
"""

from collections.abc import Callable

import numpy as np

from splitgauge.statistics.arguments import BoolArray, FloatArray

__all__ = ["crossing"]

_HALVINGS = 60  # a bracket of 1,600 shrinks to 1e-15


def crossing(holds: Callable[[FloatArray], BoolArray], outside: FloatArray, inside: FloatArray) -> FloatArray:
    """The point between ``outside``, where ``holds`` is false, and ``inside``, where it is true, at which it changes.

    Args:
        holds: the condition at one point per line; changes once between the two ends.
        outside, inside: ends of the brackets, shape (lines,), in either order.
    Returns: the points, shape (lines,); nan where an end is.
    Raises: nothing.
    Assumes: a condition that is undefined (nan) somewhere is false there.
    Source: bisection.

        >>> crossing(lambda x: x**2 < 2, np.array([9.0]), np.array([0.0])).round(12).tolist()
        [1.414213562373]
    """
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        within = holds(middle)
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    return (outside + inside) / 2
