"""The chi-square test of the sample ratio, for one look at a planned end.

For comparison with what others report. It must not be looked at twice: at .001 over 250 looks it alarms falsely in
2.4 % of experiments, where `sample_ratio`, which decides, does in 0.15 %.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.arguments import ArrayLike, FloatArray, aligned, broadcastable, counts, shares

__all__ = ["ChiSquare", "chi_square_test"]


class ChiSquare(NamedTuple):
    """Chi-square test of counts against shares at one look, float64, shape (experiments,)."""

    statistic: FloatArray
    """Sum over arms and epochs of (count - expected)^2 / expected; inf where an arm of share 0 has units; nan without
    an epoch that has units and two arms."""
    df: FloatArray
    """Arms with a share, less one, over the epochs that have units."""
    p_value: FloatArray
    """Chance of a statistic at least as large; nan where that is, 0 where it is inf or p is below 1e-308."""


@np.errstate(all="ignore")
def chi_square_test(counts_per_arm: ArrayLike, share: ArrayLike) -> ChiSquare:
    """Whether units arrived in the assignment's shares, valid once.

    Args:
        counts_per_arm: units counted once, counts, shape (epochs, ..., arms), epochs along the first axis.
        share: assignment shares of each epoch, same shape or broadcastable, adding up to 1 over the last axis.
    Returns: `ChiSquare`, shape (...).
    Raises: ContractError where something is no count, shares do not add up, or shapes do not fit.
    Assumes: one look; units that fall into arms independently; at least about five expected in every arm.
    Source: Pearson 1900, Philosophical Magazine 50; p by the survival function.

        >>> found = chi_square_test([[5000, 5060]], [0.5, 0.5])
        >>> round(float(found.statistic), 9), float(found.df), round(float(found.p_value), 9)
        (0.357852883, 1.0, 0.549701114)
    """
    c, w = counts("counts_per_arm", counts_per_arm), shares("share", share)
    broadcastable(counts_per_arm=c, share=w)
    w = w / w.sum(axis=-1, keepdims=True)
    n = c.sum(axis=-1, keepdims=True)
    expected = n * w
    # An empty arm of share 0 adds nothing, and neither does an epoch without units.
    terms = np.where(c == expected, 0.0, (c - expected) ** 2 / expected)
    arms = np.where(n > 0, w > 0, False).sum(axis=-1)
    df: FloatArray = np.maximum(arms - 1, 0).sum(axis=0).astype(np.float64)
    statistic = np.where((df > 0) | (terms == np.inf).any(axis=(0, -1)), terms.sum(axis=(0, -1)), np.nan)
    p_value = np.where(statistic == np.inf, 0.0, special.gammaincc(df / 2, statistic / 2))
    return ChiSquare(*aligned(statistic, df, p_value))
