"""When a Brownian motion with drift first leaves the mixture boundary: what stopping anywhere on the way is worth.

A confidence sequence excludes 0 at n units when |Z| sqrt(s) > b(s), with s = n r^2, Z the effect in standard errors,
b(s) = sqrt(2 (s + 1) (ln(s + 1) / 2 - ln alpha)); and Z sqrt(s) is a Brownian motion in time s. Owns the density of the
time at which it leaves the band between -b and b: an integral equation, solved once without drift; every drift follows
by its likelihood ratio at the boundary (Girsanov). Must not know units, effects or designs.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import FloatArray

__all__ = ["Passage", "first_passage"]

_NODES = 256
"""Probabilities come out within 5e-5 (measured against 1,600 nodes and the exact identities in the tests)."""
_BENDING = 4
"""Nodes stand at start + (horizon - start) v^4, v even in (0, 1]: dense at the start, where the density may be
infinite."""
_CERTAIN = 6.0
"""Standard errors beyond the boundary at which leaving is taken as certain (1e-9)."""
_ONE_LOOK = 1e-9
"""Part of the horizon within which two looks are one."""
_RESOLVED = 0.999
"""Below it, what is certain was missed between the nodes."""

_LATER, _EARLIER = np.tril_indices(_NODES, -1)


class Passage(NamedTuple):
    """Of one motion, up to each node of time; float64, shape (nodes,)."""

    time: FloatArray
    """The first is the start, the last the horizon, or an earlier time by which leaving is certain."""
    left: FloatArray
    """Probability of having left the band by then, on either side."""
    mean_time: float
    """Mean of the time of leaving, or of the horizon where it comes first."""


@np.errstate(all="ignore")
def first_passage(drift: float, horizon: float, *, alpha: float, start: float = 0.0, scale: float = 1.0) -> Passage:
    """Probabilities that W(s) + drift s has left the band (-scale b(s), scale b(s)) at some time from start on.

    Args:
        drift: per unit of time, finite. horizon: above 0. alpha: in (0, 1).
        start: before it nobody looks, at least 0. scale: above 0.
    Returns: `Passage`; where start is at or past the horizon there is one look, at the horizon. nan where the drift
        is so strong that it leaves within less time than the nodes resolve (from some 50 standard errors on).
    Raises: nothing.
    Assumes: looking without a pause; looks now and then find a little less.
    Source: Buonocore, Giorno, Nobile, Ricciardi 1990, J. Appl. Probab. 27 (two boundaries, kernel without singularity).

        >>> passage = first_passage(0.0, 1e6, alpha=0.05)
        >>> float(passage.left[-1].round(3))  # a martingale that vanishes: alpha exactly, in the end
        0.05
    """
    first = min(start, horizon)
    at_once = _outside(drift, first, alpha, scale) if first > 0 else 0.0
    if first >= horizon * (1 - _ONE_LOOK) or (first > 0 and _certain(drift, first, alpha, scale)):
        return Passage(np.array([first]), np.array([at_once]), first)
    end = horizon
    while end / 2 > first and _certain(drift, end / 2, alpha, scale):
        end /= 2  # the nodes then stand where something happens
    time, step, factor = _driftless(alpha, end, first, scale)
    bound = scale * _boundary(time, alpha)
    up, down = (np.exp(-((bound - side * drift * time) ** 2) / (2 * time)) for side in (1, -1))
    mass = (up + down) / np.sqrt(2 * np.pi * time) * factor * step
    # Trapezoids: at the start the density times the width of a node vanishes.
    left = np.minimum(at_once + np.cumsum(mass) - mass / 2, 1.0)
    if end < horizon and left[-1] < _RESOLVED:
        return Passage(np.array([horizon]), np.array([np.nan]), float("nan"))
    mass[-1] /= 2
    mean = at_once * first + float((mass * time).sum()) + max(1 - at_once - float(mass.sum()), 0.0) * end
    return Passage(np.append(first, time), np.append(at_once, left), min(mean, end))


def _boundary(time: FloatArray | float, alpha: float) -> FloatArray:
    return np.asarray(np.sqrt(2 * (time + 1) * (0.5 * np.log1p(time) - np.log(alpha))))


def _outside(drift: float, time: float, alpha: float, scale: float) -> float:
    bound, root = scale * _boundary(time, alpha), np.sqrt(time)
    tails = np.asarray(special.ndtr(np.array([drift, -drift]) * root - bound / root), dtype=np.float64)
    return float(tails.sum())


def _certain(drift: float, time: float, alpha: float, scale: float) -> bool:
    return bool(abs(drift) * np.sqrt(time) - scale * _boundary(time, alpha) / np.sqrt(time) >= _CERTAIN)


class _Nodes(NamedTuple):
    """What does not depend on the scale. The kernel's parts are of pairs (later, earlier), the boundary's upper and
    lower side at the earlier node, shape (2, pairs)."""

    since: FloatArray
    step: FloatArray
    bound: FloatArray
    slope: FloatArray
    exponent: FloatArray
    weight: FloatArray


@lru_cache(maxsize=16)
@np.errstate(all="ignore")
def _nodes(alpha: float, horizon: float, start: float) -> _Nodes:
    v = np.arange(1, _NODES + 1) / _NODES
    since = (horizon - start) * v**_BENDING
    step = (horizon - start) * _BENDING * v ** (_BENDING - 1) / _NODES
    time = start + since
    root = 0.5 * np.log1p(time) - np.log(alpha)
    bound = np.sqrt(2 * (time + 1) * root)
    slope = (2 * root + 1) / (2 * bound)
    gap = since[_LATER] - since[_EARLIER]
    # The bridge from 0 to the boundary now, at the boundary then: three normal densities in one.
    variance = time[_EARLIER] * gap / time[_LATER]
    level = np.array([[1.0], [-1.0]]) * bound[_EARLIER]
    exponent = -((level - bound[_LATER] * time[_EARLIER] / time[_LATER]) ** 2) / (2 * variance)
    weight = (slope[_LATER] - (bound[_LATER] - level) / gap) * step[_EARLIER] / np.sqrt(2 * np.pi * variance)
    # Nodes too near to each other to tell apart are next to nothing in time.
    return _Nodes(since, step, bound, slope, exponent, np.where(variance > 0, weight, 0.0))


@lru_cache(maxsize=1024)
@np.errstate(all="ignore")
def _driftless(alpha: float, horizon: float, start: float, scale: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Nodes, their widths, and the density of leaving upwards without drift as a multiple of the motion's own density
    at the boundary: that multiple stays of order 1 / time where the densities themselves vanish."""
    nodes = _nodes(alpha, horizon, start)
    kernel = np.zeros((_NODES, _NODES))
    kernel[_LATER, _EARLIER] = scale * (nodes.weight * np.exp(scale**2 * nodes.exponent)).sum(axis=0)
    edge = float(scale * _boundary(start, alpha))
    factor = _source(nodes.since, scale * nodes.bound, scale * nodes.slope, start=start, edge=edge)
    # By hand: a solver of triangular systems this small spends its time waking up threads.
    for node in range(1, _NODES):
        factor[node] += kernel[node, :node] @ factor[:node]
    factor.flags.writeable = False  # it is shared through the cache
    return start + nodes.since, nodes.step, factor


def _source(since: FloatArray, bound: FloatArray, slope: FloatArray, *, start: float, edge: float) -> FloatArray:
    """What arrives from those inside the band at the start: a normal, cut off at the edges, and bridged."""
    if start == 0:
        return np.asarray(bound / since - slope)
    time = start + since
    centre, spread = bound * start / time, np.sqrt(start * since / time)
    high, low = (edge - centre) / spread, (-edge - centre) / spread
    inside = special.ndtr(high) - special.ndtr(low)
    density = (np.exp(-(high**2) / 2) - np.exp(-(low**2) / 2)) / np.sqrt(2 * np.pi)
    return np.asarray((bound * inside - (centre * inside - spread * density)) / since - slope * inside)
