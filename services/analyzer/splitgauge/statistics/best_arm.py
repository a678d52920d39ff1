"""Which of several arms is best: probabilities and expected losses from the posteriors of all arms together.

Owns the quadrature over independent normal posteriors. Must not know decisions: a probability to be best never decides
alone; the leader's expected loss under the threshold may stand beside an e-value (`bayes_decision`).
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import (
    ArrayLike,
    FloatArray,
    aligned,
    broadcastable,
    floats,
    non_negative,
    signs,
)

__all__ = ["BestArm", "best_arm"]

_REACH = 10.0  # standard deviations of an arm beyond which it weighs under 1e-22
_PANELS = 20  # of one standard deviation each
_CERTAIN = 1e4  # standard deviations: as good as infinite, and its logarithm can be taken back out of a sum
_GAP = 100.0  # largest sds between two arms: the lower one is the better with a probability under 1e-1000
_SUM_ERROR = 1e-6
_BLOCK = 256  # rows at a time: each has 160 nodes an arm, and as many values for each arm
_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))
_GAUSS_NODES, _GAUSS_WEIGHTS = (np.asarray(part, dtype=np.float64) for part in special.roots_legendre(8))


class BestArm(NamedTuple):
    """Standing of every arm among all, float64, shape (..., arms). nan in the whole row where an arm's mean or sd is
    undefined or its sd is 0."""

    probability_best: FloatArray
    """Probability that this arm is the best of all; adds up to 1 over the arms."""
    expected_loss: FloatArray
    """Expected loss of choosing this arm against the best of the others, units of the means, at least 0."""


@np.errstate(all="ignore")
def best_arm(mean: ArrayLike, sd: ArrayLike, *, direction: ArrayLike = 1) -> BestArm:
    """Probability of each arm to be best, and the expected loss of choosing it.

    Args:
        mean, sd: of the posterior of every arm's own mean (with a flat prior `Arm.mean` and the root of
            `Arm.mean_variance`), metric units, shape (..., arms), at least two arms, control included.
        direction: +1 where up is good, -1 where down is good; one, or shape (...).
    Returns: `BestArm`; nan where a mean or sd of the row is nan or infinite, or an sd is 0, and where the sds are so
        different (over 1e9 times) that the probabilities do not add up to 1. Absolute error at most 1e-9 otherwise
        (1e-6 where sds differ 1e7 times and more), the loss in units of the largest sd.
    Raises: ContractError where an sd is negative, a direction is neither +1 nor -1, or shapes do not fit.
    Assumes: normal posteriors, independent of each other: right for arms that share no units. Effects against one
        control are not (they share its noise): give the arms' means, not effects.
    Source: elementary: P(k best) is the integral of phi_k times the product of the others' Phi_j; E[(max_j X_j - X_k)+]
        that of Phi_k (1 - product of the others' Phi_j). Gauss-Legendre on panels of one standard deviation of each
        arm, so that no arm is a step between two nodes.

        >>> found = best_arm([0.10, 0.12, 0.13], [0.01, 0.01, 0.01])
        >>> found.probability_best.round(6).tolist(), found.expected_loss.round(6).tolist()
        ([0.007139, 0.237234, 0.755627], [0.032026, 0.012026, 0.002026])
    """
    centre, spread, good = floats("mean", mean), non_negative("sd", sd), signs("direction", direction)
    shape = broadcastable(mean=centre, sd=spread)
    if len(shape) == 0 or shape[-1] < 2:
        raise ContractError(f"shape {shape} is no set of arms", where="mean", remedy="give two or more arms last")
    broadcastable(mean=np.broadcast_to(centre, shape)[..., 0], direction=good)
    centre, spread, facing = np.broadcast_arrays(np.broadcast_to(centre, shape), spread, good[..., None])
    known = (np.isfinite(centre) & np.isfinite(spread) & (spread > 0)).all(axis=-1, keepdims=True)
    # Rows without an answer are worked through as standard normal ones, and blanked.
    unit = np.where(known, spread, 1.0).max(axis=-1, keepdims=True)
    ahead, beyond = _closed_up(np.where(known, facing * centre, 0.0), unit)
    scaled = np.where(known, spread / unit, 1.0)
    standings = _in_blocks(ahead.reshape(-1, shape[-1]), scaled.reshape(-1, shape[-1]))
    best, loss = (standing.reshape(centre.shape) for standing in standings)
    known = known & (np.abs(best.sum(axis=-1, keepdims=True) - 1) < _SUM_ERROR)
    return BestArm(*aligned(np.where(known, best, np.nan), np.where(known, loss * unit + beyond, np.nan)))


def _closed_up(mean: FloatArray, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means in units with every gap cut to `_GAP`, so that floats keep the digits of all arms, and by how much each arm
    then is nearer to the best: that is certain, and adds to its loss."""
    order = np.argsort(mean, axis=-1, kind="stable")
    gaps = np.diff(np.take_along_axis(mean, order, axis=-1), axis=-1)
    wide = gaps / unit > _GAP
    near, cut = np.where(wide, _GAP, gaps / unit), np.where(wide, gaps - _GAP * unit, 0.0)
    first = np.zeros((*mean.shape[:-1], 1))
    ahead, beyond = (np.concatenate([first, np.cumsum(part, axis=-1)], axis=-1) for part in (near, cut))
    rank = np.argsort(order, axis=-1)
    return np.take_along_axis(ahead, rank, axis=-1), np.take_along_axis(beyond[..., -1:] - beyond, rank, axis=-1)


def _in_blocks(m: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
    best, loss = np.empty(m.shape), np.empty(m.shape)
    for start in range(0, len(m), _BLOCK):
        rows = slice(start, start + _BLOCK)
        best[rows], loss[rows] = _standing(m[rows], s[rows])
    return best, loss


def _standing(m: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of rows of arms, up is good, shape (rows, arms)."""
    offsets = np.linspace(-_REACH, _REACH, _PANELS + 1)
    edges = np.sort((m[..., None] + s[..., None] * offsets).reshape(len(m), -1), axis=-1)
    half, middle = np.diff(edges)[..., None] / 2, (edges[:, 1:, None] + edges[:, :-1, None]) / 2
    x = (middle + half * _GAUSS_NODES).reshape(len(m), 1, -1)
    weight = (half * _GAUSS_WEIGHTS).reshape(len(m), 1, -1)
    z = np.clip((x - m[..., None]) / s[..., None], -_CERTAIN, _CERTAIN)
    below = special.log_ndtr(z)
    others = below.sum(axis=1, keepdims=True) - below
    density = np.exp(-0.5 * z**2) / (_ROOT_TWO_PI * s[..., None])
    best = (weight * density * np.exp(others)).sum(axis=-1)
    return best, (weight * np.exp(below) * -np.expm1(others)).sum(axis=-1)
