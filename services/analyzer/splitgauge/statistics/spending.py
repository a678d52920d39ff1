"""Error spending: how much of alpha a group-sequential test may have used up by a given information.

Owns the spending functions of Lan and DeMets, and what every group-sequential function asks of a design. Must not know
boundaries.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import (
    ArrayLike,
    FloatArray,
    broadcastable,
    error_rates,
    floats,
    one_of,
    positive,
    require,
)

__all__ = [
    "MOST_LOOKS",
    "SMALLEST_STEP",
    "Spending",
    "check_sides",
    "information_fractions",
    "one_number",
    "spent_alpha",
]

Spending: TypeAlias = Literal["obrien_fleming", "pocock", "power"]
"""O'Brien-Fleming type (next to nothing at first), Pocock type (about the same at each look), power t^phi (between)."""

MOST_LOOKS = 20
"""A design with more looks is better served by a confidence sequence."""

SMALLEST_STEP = 1e-4
"""Share of the planned information that lies at least between two looks: closer ones would only repeat the last, and
the grid of the integration grows with one over the square root of the step."""


@np.errstate(all="ignore")
def spent_alpha(
    fraction: ArrayLike,
    *,
    alpha: ArrayLike,
    spending: Spending = "obrien_fleming",
    phi: ArrayLike = 2.0,
    sides: int = 2,
) -> FloatArray:
    """The error that may be spent by looks up to an information fraction, both sides together.

    Args:
        fraction: n / planned n, in [0, 1], any shape.
        alpha: error over all looks together and both sides, in (0, 1).
        spending: with a = alpha / sides, each side spends 2 (1 - Phi(z_{1-a/2} / sqrt t)) (`obrien_fleming`),
            a ln(1 + (e - 1) t) (`pocock`) or a t^phi (`power`).
        phi: above 0; only `power` reads it.
        sides: 2 (symmetric) or 1.
    Returns: cumulative error, of the arguments' common shape; 0 at 0, exactly alpha at 1. 0 also where it is below
        what float64 can hold.
    Raises: ContractError where a fraction is outside [0, 1], alpha, phi, sides or spending is out of range, or shapes
        do not fit.
    Assumes: nothing.
    Source: Lan and DeMets 1983, Biometrika 70; power family: Kim and DeMets 1987, Biometrika 74.

        >>> spent_alpha([0.2, 0.6, 1.0], alpha=0.05).round(6).tolist()
        [1e-06, 0.007616, 0.05]
        >>> spent_alpha([0.2, 0.6, 1.0], alpha=0.05, spending="pocock").round(6).tolist()
        [0.01477, 0.035426, 0.05]
    """
    one_of("spending", spending, ("obrien_fleming", "pocock", "power"))
    t, level, exponent = floats("fraction", fraction), error_rates("alpha", alpha), positive("phi", phi)
    require("fraction", t, (t >= 0) & (t <= 1), "an information fraction lies between 0 and 1")
    check_sides(sides)
    broadcastable(fraction=t, alpha=level, phi=exponent)
    if spending == "obrien_fleming":
        spent = 2 * sides * special.ndtr(special.ndtri(level / (2 * sides)) / np.sqrt(t))
    elif spending == "pocock":
        spent = level * np.log1p(np.expm1(1.0) * t)
    else:
        spent = level * t**exponent
    return np.where(t == 1, level, np.where(t == 0, 0.0, spent))


def check_sides(sides: int) -> None:
    """Raises: ContractError where a test is neither two-sided nor one-sided."""
    if sides not in (1, 2):
        raise ContractError(f"{sides} is neither 1 nor 2", where="sides", remedy="give 2 for a symmetric test, else 1")


def information_fractions(name: str, value: Sequence[float] | FloatArray) -> tuple[float, ...]:
    """The looks of a design, checked: 1 to 20, in (0, 1], each at least `SMALLEST_STEP` above the one before.

    Raises: ContractError that names the argument, the first value that breaks the rule, and the rule.

        >>> information_fractions("fractions", [0.5, 1])
        (0.5, 1.0)
    """
    t = floats(name, value)
    if t.ndim != 1 or not 1 <= t.size <= MOST_LOOKS:
        raise ContractError(
            f"shape {t.shape} is not that of 1 to {MOST_LOOKS} looks",
            where=name,
            remedy="give a list with the information fraction of each look",
        )
    require(name, t, (t > 0) & (t <= 1), "an information fraction lies in (0, 1]")
    # The tolerance: 0.0002 - 0.0001 may come out a bit below 0.0001.
    rises = np.diff(t, prepend=-1.0) >= SMALLEST_STEP * (1 - 1e-9)
    require(name, t, rises, f"looks go forward, each by at least {SMALLEST_STEP:g} of the planned information")
    return tuple(t.tolist())


def one_number(name: str, value: FloatArray) -> float:
    """A parameter of the whole design: one number, not one a comparison."""
    if value.ndim:
        raise ContractError(f"shape {value.shape} is not one number", where=name, remedy="call once for each design")
    return float(value)
