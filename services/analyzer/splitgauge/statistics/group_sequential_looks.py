"""The looks of a running group-sequential test: which are due, what they spend, and what they say.

Owns the step from one look to the next: looks need not come when they were declared, for what counts is the information
that a look really has. Must not know how looks are recorded, or what a crossing leads to.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    aligned,
    broadcastable,
    finite,
    require,
)
from splitgauge.statistics.effects import Effect, usable
from splitgauge.statistics.group_sequential import Design, boundaries_of
from splitgauge.statistics.recursion import Looks, next_boundary
from splitgauge.statistics.spending import SMALLEST_STEP, Spending, information_fractions, one_number, spent_alpha

__all__ = ["GroupSequentialLook", "TakenLook", "group_sequential_look"]

_FARTHEST = float(-special.ndtri(1e-300))
_NEAREST = {1: -7.0, 2: 1e-6}  # by sides, the quantile of one side from which on p is 1
_OUT_OF_REACH = 1e3  # instead of an infinite boundary, so that the root finder can reckon with it


class TakenLook(NamedTuple):
    """A look that was taken: what has to be kept of it for the ones that follow."""

    fraction: float
    """n / planned n when it was taken; above 1 only where the test overran."""
    alpha_spent: float
    """Up to and with this look, both sides together."""
    boundary: float
    """Of |z| (of z, one-sided); inf where it could not be crossed."""


class GroupSequentialLook(NamedTuple):
    """What there is to say at one moment; float64 arrays of shape (comparisons,), nan where se is 0 or undefined, and
    all nan (crossed: False) while no look is due."""

    due: bool
    """Whether this is a look of the design. False: show it if need be, decide nothing, and keep nothing of it."""
    number: int
    """How many of the declared looks are reached, those skipped included."""
    ended: bool
    """No declared look is left after this one: without a crossing the test ends undecided."""
    fraction: float
    """As given."""
    alpha_spent: float
    """Up to now, this look included if it is due."""
    boundary: float
    """Of |z| (of z, one-sided) at this look; nan while none is due."""
    statistic: FloatArray
    """z = (effect - null) / se."""
    crossed: BoolArray
    """|z| (z, one-sided) is above the boundary: exactly where the interval excludes null, and where p < alpha."""
    half_width: FloatArray
    """boundary * se, units of the effect; inf with the boundary."""
    lower: FloatArray
    """Of the repeated confidence interval: it covers the effect at all looks together with probability 1 - alpha."""
    upper: FloatArray
    """See lower; inf one-sided."""
    p_value: FloatArray
    """Repeated p-value: the smallest alpha with which the same design would have crossed at this look; in
    [1e-300, 1]."""

    def taken(self) -> TakenLook:
        """What to keep of a look that was due."""
        return TakenLook(self.fraction, self.alpha_spent, self.boundary)


_NO_LOOK = TakenLook(-1.0, 0.0, math.inf)  # no information would be too close to a very early first look


@np.errstate(all="ignore")
def group_sequential_look(
    effect: Effect,
    fraction: float,
    *,
    planned: Sequence[float],
    taken: Sequence[TakenLook] = (),
    alpha: float,
    spending: Spending = "obrien_fleming",
    phi: float = 2.0,
    sides: int = 2,
    null: ArrayLike = 0.0,
) -> GroupSequentialLook:
    """What a running test says now: whether a look is due, and if so its boundary, intervals and p-values.

    A look is due when n / planned n has reached a declared fraction that no look has reached before. If it is past
    several, those in between are skipped; their share of alpha is not lost, for spending goes by the fraction that the
    look really has. The last look spends all that is left, from a fraction of 0.9999 on. Where the test overruns, the
    last look lies past 1: it spends what is left up to alpha (the spending function stands still at 1), while the
    correlation with the looks before goes by the true information, so that alpha holds all the same.

    Args:
        effect: of each comparison at this moment, shape (comparisons,).
        fraction: n / planned n now, at least 0 and not below that of the last look taken; above 1 where it overran.
            Where units were taken back since, give that of the last look: none is due until there are more again.
        planned: the declared fractions, as in `group_sequential_boundaries`.
        taken: the looks taken so far, in order (`GroupSequentialLook.taken()` of each that was due).
        alpha: of the design, in (0, 1), after corrections; the same at every look.
        spending, phi, sides: as in `group_sequential_boundaries`, the same at every look; sides 1 tests
            effect > null (turn the sign of the effect for the other side).
        null: the effect under the null hypothesis, units of the effect.
    Returns: `GroupSequentialLook`.
    Raises: ContractError where fraction or taken go backwards, planned breaks the contract of fractions, or another
        argument is out of range.
    Assumes: as `group_sequential_boundaries`; that looks are taken when due, whatever the effect is (a look that is put
        off because of what it would show breaks the error).
    Source: Lan and DeMets 1983, Biometrika 70; repeated intervals and p-values: Jennison and Turnbull 1989, Journal of
        the Royal Statistical Society B 51. The p-value is monotone in |z|, as the boundary of each look falls when
        alpha grows: all three spending functions raise the chance to stop of those who are still in.

        >>> from splitgauge.statistics import effect
        >>> now = effect(0.03, 0.01, n_control=1000, n_treatment=1000)
        >>> first = group_sequential_look(now, 0.4, planned=[0.4, 0.7, 1.0], alpha=0.05)
        >>> first.due, round(first.boundary, 4), bool(first.crossed), round(float(first.p_value), 4)
        (True, 3.3569, False, 0.0853)
        >>> again = group_sequential_look(now, 0.72, planned=[0.4, 0.7, 1.0], taken=[first.taken()], alpha=0.05)
        >>> round(again.boundary, 4), bool(again.crossed), round(float(again.lower), 4)
        (2.4035, True, 0.006)
    """
    design = Design.checked(alpha, spending, phi, sides)
    declared = information_fractions("planned", planned)
    now = one_number("fraction", finite("fraction", fraction))
    _check_order(now, taken)
    centre = finite("null", null)
    _, se = usable(effect)
    broadcastable(effect=effect.value, se=se, null=centre)
    last = taken[-1] if taken else _NO_LOOK
    number = _reached(declared, now)
    due = number > _reached(declared, last.fraction) and now - last.fraction >= SMALLEST_STEP * (1 - 1e-9)
    if not due:
        number = _reached(declared, last.fraction)
    ended = number == len(declared)
    spent, boundary = _next(design, taken, now) if due else (last.alpha_spent, math.nan)
    statistic = (effect.value - centre) / np.where(due, se, np.nan)
    extent = np.abs(statistic) if sides == 2 else statistic
    crossed = np.asarray(extent > boundary)
    half = np.where(np.isnan(statistic), np.nan, boundary * se)
    upper = effect.value + half if sides == 2 else np.where(np.isnan(half), np.nan, np.inf)
    p_value = _repeated_p(design, (*(one.fraction for one in taken), now), extent, crossed)
    arrays = aligned(statistic, crossed, half, effect.value - half, upper, p_value)
    return GroupSequentialLook(due, number, ended, now, spent, boundary, *arrays)


def _check_order(now: float, taken: Sequence[TakenLook]) -> None:
    looks = np.array(taken, dtype=np.float64).reshape(-1, 3)
    fractions, spent, boundaries = looks.T
    rises = np.diff(fractions, prepend=0.0) >= SMALLEST_STEP * (1 - 1e-9)
    rises[:1] = fractions[:1] > 0
    require("taken", fractions, rises & np.isfinite(fractions), "the fractions of looks go forward")
    grows = (np.diff(spent, prepend=0.0) >= 0) & (spent < 1)
    require("taken", spent, grows, "the alpha spent is below 1 and never falls")
    require("taken", boundaries, ~np.isnan(boundaries), "a look that was taken has a boundary")
    least = np.asarray(fractions[-1] if fractions.size else 0.0)
    require("fraction", np.asarray(now), np.asarray(now >= least), f"it is not below the last look's {float(least)!r}")


def _reached(declared: tuple[float, ...], fraction: float) -> int:
    """How many declared looks ``fraction`` has reached; all, where it counts as the end."""
    return len(declared) if _time(fraction) == 1 else sum(one <= fraction for one in declared)


def _time(fraction: float) -> float:
    """Where the spending function is read: past the end it stands still, and so near to it no other look can follow."""
    return 1.0 if fraction > 1 - SMALLEST_STEP else fraction


def _next(design: Design, taken: Sequence[TakenLook], now: float) -> tuple[float, float]:
    """Alpha spent and boundary at ``now``, after the looks as they were taken."""
    alpha, spending, phi, sides = design
    spent = float(spent_alpha(_time(now), alpha=alpha, spending=spending, phi=phi, sides=sides))
    before = taken[-1].alpha_spent if taken else 0.0
    looks = Looks(tuple(one.fraction for one in taken), tuple(one.boundary for one in taken), sides)
    return max(spent, before), next_boundary(looks, now, (spent - before) / sides)


def _repeated_p(design: Design, information: tuple[float, ...], extent: FloatArray, crossed: BoolArray) -> FloatArray:
    found = np.full(np.shape(extent), np.nan)
    for place in np.ndindex(found.shape):
        if not math.isnan(extent[place]):
            found[place] = _p_value(design, information, float(extent[place]), bool(crossed[place]))
    return found


def _p_value(design: Design, information: tuple[float, ...], extent: float, crossed: bool) -> float:
    """The alpha whose boundary at the last look is ``extent``, sought as the quantile x of one side of it.

    On that scale boundaries are nearly straight lines. The look's own alpha is one end of the search, so that p and the
    crossing cannot disagree by a rounding; the fixed test's quantile is the other, for no boundary lies below it.
    """
    sides, own = design.sides, -float(special.ndtri(design.alpha / design.sides))
    times = tuple(_time(one) for one in information)
    low, high = (own, max(own, min(extent, _FARTHEST))) if crossed else (_NEAREST[sides], own)

    def excess(quantile: float) -> float:
        tried = design._replace(alpha=sides * float(special.ndtr(-quantile)))
        return min(boundaries_of(tried, information, times=times)[1][-1], _OUT_OF_REACH) - extent

    if excess(low) >= 0:
        quantile = low
    elif excess(high) <= 0:
        quantile = high
    else:
        quantile = float(optimize.brentq(excess, low, high, xtol=1e-14))
    p_value = sides * float(special.ndtr(-quantile))
    if crossed:
        return min(p_value, math.nextafter(design.alpha, 0.0))
    return 1.0 if quantile == low else max(p_value, design.alpha)
