"""Group-sequential tests: few looks, at information fractions declared beforehand, with the narrowest intervals there.

Owns boundaries by error spending, where a test stops, and the sizes of a plan. Must not know the looks of a running
test: those are `group_sequential_looks`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    error_rates,
    floats,
    require,
)
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.recursion import Looks, next_boundary, stopping_probabilities
from splitgauge.statistics.spending import Spending, check_sides, information_fractions, one_number, spent_alpha

__all__ = [
    "Design",
    "GroupSequentialBoundaries",
    "GroupSequentialPlan",
    "GroupSequentialStopping",
    "boundaries_of",
    "group_sequential_boundaries",
    "group_sequential_drift",
    "group_sequential_stopping",
]


class Design(NamedTuple):
    """How a test spends its error, checked and hashable."""

    alpha: float
    spending: Spending
    phi: float
    sides: int

    @classmethod
    def checked(cls, alpha: ArrayLike, spending: Spending, phi: ArrayLike, sides: int) -> "Design":
        """Raises: ContractError where alpha or phi is not one number, or anything is out of range."""
        spent_alpha(1.0, alpha=alpha, spending=spending, phi=phi, sides=sides)
        return cls(one_number("alpha", floats("alpha", alpha)), spending, one_number("phi", floats("phi", phi)), sides)


class GroupSequentialBoundaries(NamedTuple):
    """A design, one element per look; float64, shape (looks,)."""

    fraction: FloatArray
    """As given."""
    alpha_spent: FloatArray
    """Up to and with this look, both sides together."""
    boundary: FloatArray
    """Of |z| (of z, one-sided): crossed where it is above; inf where what may be spent is below 1e-308."""
    nominal_alpha: FloatArray
    """Error of the look by itself: the p-value of a fixed test that lies on the boundary."""


class GroupSequentialStopping(NamedTuple):
    """What a design does under given drifts, float64."""

    above: FloatArray
    """Probability to stop at each look above the boundary, shape (*drifts, looks)."""
    below: FloatArray
    """Probability to stop at each look below minus the boundary, shape (*drifts, looks); 0 one-sided."""
    expected_fraction: FloatArray
    """Of the planned information at the end of the test, shape drifts; without a crossing it ends at the last look."""


class GroupSequentialPlan(NamedTuple):
    """Sizes of a design, as multiples of the fixed test with the same alpha and power; float64, shape of power."""

    drift: FloatArray
    """Expectation of z at information 1 with which the design has the power asked for."""
    planned_ratio: FloatArray
    """Inflation factor: planned units (information 1) over the fixed test's units."""
    expected_ratio: FloatArray
    """Expected units over the fixed test's, when the effect is the planned one."""
    expected_ratio_null: FloatArray
    """Expected units over the fixed test's, when there is no effect."""


def group_sequential_boundaries(
    fractions: Sequence[float] | FloatArray,
    *,
    alpha: float,
    spending: Spending = "obrien_fleming",
    phi: float = 2.0,
    sides: int = 2,
) -> GroupSequentialBoundaries:
    """The boundaries of a design at its looks; the first k depend on the first k fractions only.

    Args:
        fractions: information of each look, n / planned n, shape (looks,): at most 20, in (0, 1], each at least 0.0001
            above the one before.
        alpha: error over all looks together and both sides, in (0, 1).
        spending, phi: see `spent_alpha`.
        sides: 2 (symmetric: a crossing on either side stops the test), or 1 (above).
    Returns: `GroupSequentialBoundaries`; never nan.
    Raises: ContractError where a fraction is past 1 or does not go forward, or another argument is out of range.
    Assumes: z-statistics with independent increments (estimates from units that accrue), in the normal limit.
    Source: Lan and DeMets 1983, Biometrika 70 (spending); Armitage, McPherson, Rowe 1969, Journal of the Royal
        Statistical Society A 132 (recursion). Checked against gsdesign, spotify-confidence and published tables.

        >>> group_sequential_boundaries([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05).boundary.round(4).tolist()
        [4.8769, 3.357, 2.6803, 2.2898, 2.031]
    """
    looks = information_fractions("fractions", fractions)
    spent, bounds = boundaries_of(Design.checked(alpha, spending, phi, sides), looks)
    boundary = np.array(bounds)
    return GroupSequentialBoundaries(np.array(looks), np.array(spent), boundary, sides * special.ndtr(-boundary))


@np.errstate(all="ignore")
def group_sequential_stopping(
    fractions: Sequence[float] | FloatArray, boundary: ArrayLike, *, drift: ArrayLike = 0.0, sides: int = 2
) -> GroupSequentialStopping:
    """Where a test with given boundaries stops, under given effects: its power is the sum over the looks.

    Args:
        fractions: as in `group_sequential_boundaries`, shape (looks,).
        boundary: of |z| (of z, one-sided) at each look, shape (looks,), of any origin; above 0 where two-sided; inf:
            no stopping there.
        drift: expectation of z at information 1 (effect / se at the planned size), shape (drifts,) or one number.
        sides: 2 or 1.
    Returns: `GroupSequentialStopping`; nan where drift is nan or infinite.
    Raises: ContractError where fractions or sides break the contract, or boundaries are nan, too few or too many.
    Assumes: as `group_sequential_boundaries`.
    Source: Armitage, McPherson, Rowe 1969; Jennison and Turnbull 2000, Group Sequential Methods, chapter 19.

        >>> found = group_sequential_stopping([0.5, 1.0], [2.178, 2.178], drift=[0.0, 3.0])
        >>> (found.above + found.below).sum(axis=-1).round(4).tolist(), found.expected_fraction.round(4).tolist()
        ([0.05, 0.813], [0.9853, 0.7613])
    """
    looks = information_fractions("fractions", fractions)
    bounds = floats("boundary", boundary)
    if bounds.shape != (len(looks),):
        raise ContractError(
            f"shape {bounds.shape} is not that of {len(looks)} looks", where="boundary", remedy="give one for each look"
        )
    check_sides(sides)
    require("boundary", bounds, bounds > (0 if sides == 2 else -np.inf), "a boundary is above 0, or any if one-sided")
    drifts = floats("drift", drift)
    flat = np.where(np.isfinite(drifts), drifts, np.nan).ravel()
    above, below = stopping_probabilities(Looks(looks, tuple(bounds.tolist()), sides), flat)
    fraction = np.array(looks)
    early = ((above + below) * (fraction[-1] - fraction)).sum(axis=1)
    shape = drifts.shape
    return GroupSequentialStopping(
        above.reshape(*shape, -1), below.reshape(*shape, -1), (fraction[-1] - early).reshape(shape)
    )


@np.errstate(all="ignore")
def group_sequential_drift(
    fractions: Sequence[float] | FloatArray,
    *,
    alpha: float,
    power: ArrayLike,
    spending: Spending = "obrien_fleming",
    phi: float = 2.0,
    sides: int = 2,
) -> GroupSequentialPlan:
    """The drift with which a design has a power, and what it costs and saves against the fixed test.

    Args:
        fractions, alpha, spending, phi, sides: as in `group_sequential_boundaries`.
        power: probability to stop on the effect's own side by the last look, above alpha / sides, below 1; any shape.
    Returns: `GroupSequentialPlan`, shape of power; units = ratio * 2 * `required_units` for both arms together. nan
        where alpha is so small that no look can be crossed.
    Raises: ContractError as `group_sequential_boundaries`; where power is not above alpha / sides and below 1.
    Assumes: as `group_sequential_boundaries`; the fixed test is the z-test with the same alpha and sides.
    Source: Jennison and Turnbull 2000, Group Sequential Methods, chapters 2 and 7 (inflation factor, drift).

        >>> plan = group_sequential_drift([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05, power=0.8)
        >>> round(float(plan.drift), 4), round(float(plan.planned_ratio), 4), round(float(plan.expected_ratio), 4)
        (2.836, 1.0247, 0.8237)
    """
    looks = information_fractions("fractions", fractions)
    design = Design.checked(alpha, spending, phi, sides)
    _, bounds = boundaries_of(design, looks)
    one_side = design.alpha / sides
    wanted = error_rates("power", power)
    require("power", wanted, wanted > one_side, "it is above alpha / sides")
    quantile = special.ndtri(wanted.ravel())

    def enough(drift: FloatArray) -> BoolArray:
        return np.asarray(stopping_probabilities(Looks(looks, bounds, sides), drift)[0].sum(axis=1) >= wanted.ravel())

    # Any one look alone has the power from here on; 1 more for those who stopped on the wrong side before.
    fraction, boundary = np.array(looks), np.array(bounds)
    most = np.min((boundary[:, None] + quantile) / np.sqrt(fraction)[:, None], axis=0) + 1
    drift = crossing(enough, np.zeros_like(most), np.where(most < np.inf, most, np.nan))
    planned = (drift / (quantile - special.ndtri(one_side))) ** 2
    fields = (
        drift,
        planned,
        planned * group_sequential_stopping(fraction, boundary, drift=drift, sides=sides).expected_fraction,
        planned * group_sequential_stopping(fraction, boundary, sides=sides).expected_fraction,
    )
    return GroupSequentialPlan(*(field.reshape(wanted.shape) for field in fields))


def boundaries_of(
    design: Design, information: tuple[float, ...], *, times: tuple[float, ...] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Error spent and boundary at each look, one after the other.

    Args:
        design: how it spends.
        information: of the looks, increasing.
        times: where the spending function is read, in (0, 1]; None: at the information.

        >>> boundaries_of(Design(0.05, "power", 1.0, 1), (0.5, 1.0))[0]
        (0.025, 0.05)
    """
    return _boundaries_of(design, information, information if times is None else times)


@lru_cache(maxsize=256)
def _boundaries_of(
    design: Design, information: tuple[float, ...], times: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    alpha, spending, phi, sides = design
    spent = spent_alpha(times, alpha=alpha, spending=spending, phi=phi, sides=sides)
    bounds: tuple[float, ...] = ()
    for k, step in enumerate(np.diff(spent, prepend=0.0)):
        bounds = (*bounds, next_boundary(Looks(information[:k], bounds, sides), information[k], float(step) / sides))
    return tuple(spent.tolist()), bounds
