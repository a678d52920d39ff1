"""The distribution of a test statistic at looks of which each may stop the test: recursive numerical integration.

Owns the recursion of Armitage, McPherson and Rowe: on the scale S = Z sqrt(t) the statistic is a Brownian motion with
drift, so the density of those that have not stopped by one look follows from that by the look before through one
integral. Must not know spending functions, effects or looks of an experiment.

The quadrature is Gauss-Legendre on panels as narrow as the narrower of the two increments around a look; the error is
far below 1e-9 of a boundary. A density under drift is that under none times exp(drift S - drift^2 t / 2), so that one
recursion serves all drifts.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import FloatArray

__all__ = ["Looks", "next_boundary", "stopping_probabilities"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_PANEL = 2.5  # of a panel's width to the standard deviation of an increment
_FAR = 40.0  # standard errors: nothing that float64 can hold lies beyond
_NEVER_BACK = 10.0  # standard errors on the side without a boundary: from there nobody reaches the other side
_ROWS = 96  # of the transition matrix at once
_MOST_STEPS = 100


class Looks(NamedTuple):
    """Looks that have been taken, hashable."""

    information: tuple[float, ...]
    """Increasing; the unit is the planned information."""
    boundaries: tuple[float, ...]
    """The test stopped where Z was above it, or |Z| if two-sided; inf: it could not stop."""
    sides: int
    """2: symmetric; 1: only above."""


class _Survivors(NamedTuple):
    """The part of the distribution of S that has not stopped, as point masses on a quadrature's nodes."""

    at: FloatArray
    mass: FloatArray


@np.errstate(all="ignore")
def next_boundary(taken: Looks, information: float, crossing: float) -> float:
    """The boundary of Z at ``information``, after the looks ``taken``, that is passed with probability ``crossing``.

    Args:
        taken: looks before this one.
        information: above that of all of these.
        crossing: of one side, in [0, 1), under no effect.
    Returns: the boundary; inf where crossing is 0.
    Raises: ContractError where ``taken`` leave no such probability: these are not the looks of one test.
    Source: Armitage, McPherson, Rowe 1969, Journal of the Royal Statistical Society A 132.

        >>> round(next_boundary(Looks((0.5,), (2.0,), 2), 1.0, 0.01), 6)
        2.144329
    """
    if crossing <= 0:
        return math.inf
    boundary = -float(special.ndtri(crossing))
    if not taken.information:
        return boundary
    before = _survivors(taken, information)
    left = float(before.mass.sum())
    if crossing >= left / taken.sides:
        raise ContractError(
            f"with probability {left!r} they have not stopped the test, too little for {crossing!r} a side now",
            where="taken",
            remedy="give the looks of one test as they were taken",
        )
    spread = math.sqrt(information - taken.information[-1])
    scale, log_mass, wanted = math.sqrt(information) / spread, np.log(before.mass), math.log(crossing)
    start = before.at / spread
    # Newton on the logarithm of the tail. It is concave (a log-concave density that is cut off and convolved stays
    # log-concave: Prekopa 1973), so the steps come down from any start on the right without overshooting.
    for _ in range(_MOST_STEPS):
        x = boundary * scale - start
        log_tail = _log_sum(log_mass + special.log_ndtr(-x))
        log_density = _log_sum(log_mass - x * x / 2) + math.log(scale) - 0.5 * math.log(2 * math.pi)
        step = (log_tail - wanted) * math.exp(log_tail - log_density)
        boundary += step
        if abs(step) <= 1e-14 * max(1.0, abs(boundary)):
            break
    return boundary


@np.errstate(all="ignore")
def stopping_probabilities(looks: Looks, drift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probability to stop at each look, above and below.

    Args:
        looks: all looks of the design.
        drift: expectation of Z at information 1, shape (drifts,).
    Returns: above and below, each of shape (drifts, looks); below is 0 where the test is one-sided.
    Source: as `next_boundary`; the factor of the drift is Girsanov's.

        >>> above, below = stopping_probabilities(Looks((0.5, 1.0), (2.0, 2.0), 2), np.array([0.0, 3.0]))
        >>> above.round(6).tolist()
        [[0.02275, 0.015236], [0.548281, 0.309901]]
    """
    above, below = np.zeros((2, drift.size, len(looks.information)))
    for k, (information, boundary) in enumerate(zip(looks.information, looks.boundaries, strict=True)):
        before = _before(looks, k)
        last = looks.information[k - 1] if k else 0.0
        tilt = np.exp(np.multiply.outer(drift, before.at) - drift[:, None] ** 2 * last / 2 + np.log(before.mass))
        ahead = before.at + drift[:, None] * (information - last)
        spread, edge = math.sqrt(information - last), boundary * math.sqrt(information)
        above[:, k] = (tilt * special.ndtr((ahead - edge) / spread)).sum(axis=1)
        if looks.sides == 2:
            below[:, k] = (tilt * special.ndtr((-edge - ahead) / spread)).sum(axis=1)
    return above, below


def _before(looks: Looks, k: int) -> _Survivors:
    if k == 0:
        return _Survivors(np.zeros(1), np.ones(1))
    return _survivors(Looks(looks.information[:k], looks.boundaries[:k], looks.sides), looks.information[k])


@lru_cache(maxsize=512)
def _survivors(looks: Looks, following: float) -> _Survivors:
    """Those that pass all ``looks``, on nodes fine enough to go on to a look at information ``following``."""
    information, boundary = looks.information[-1], looks.boundaries[-1]
    last = looks.information[-2] if len(looks.information) > 1 else 0.0
    spread = math.sqrt(information - last)
    unit = math.sqrt(information)
    upper = min(boundary, _FAR) * unit
    lower = -upper if looks.sides == 2 else -_NEVER_BACK * unit
    nodes, weights = _mesh(lower, upper, _PANEL * min(spread, math.sqrt(following - information)))
    mass = weights * _density(nodes, _before(looks, len(looks.information) - 1), spread)
    nodes.flags.writeable = mass.flags.writeable = False  # the cache hands out the same arrays again
    return _Survivors(nodes, mass)


def _density(at: FloatArray, before: _Survivors, spread: float) -> FloatArray:
    """Of S one increment on, at nodes in order; a few rows of the transition matrix at a time, and of these only where
    the increment can reach, so that looks close together need neither much memory nor much time."""
    density = np.empty(at.shape)
    for first in range(0, at.size, _ROWS):
        block = at[first : first + _ROWS]
        near = slice(*np.searchsorted(before.at, (block[0] - _FAR * spread, block[-1] + _FAR * spread)))
        step = np.subtract.outer(block / spread, before.at[near] / spread)
        density[first : first + _ROWS] = np.exp(-0.5 * step * step) @ before.mass[near]
    return density / (spread * math.sqrt(2 * math.pi))


def _mesh(lower: float, upper: float, width: float) -> tuple[FloatArray, FloatArray]:
    panels = max(1, math.ceil((upper - lower) / width))
    half = (upper - lower) / (2 * panels)
    centres = lower + half * (2 * np.arange(panels) + 1)
    return np.add.outer(centres, half * _NODES).ravel(), np.tile(half * _WEIGHTS, panels)


def _log_sum(terms: FloatArray) -> float:
    largest = float(terms.max())
    return largest + math.log(float(np.exp(terms - largest).sum()))
