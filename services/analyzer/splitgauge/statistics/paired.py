"""The effect where the same requests reached both arms (shadow): pairs, analysed as one sample of differences.

Owns the way from a unit's sums over its pairs to an `Effect`, which every engine then takes as any other. Must not know
which requests make a pair.
"""

from collections.abc import Sequence

import numpy as np

from splitgauge.statistics.effects import Effect
from splitgauge.statistics.novelty import novelty_moments

__all__ = ["PAIR_COLUMNS", "paired_effect"]

PAIR_COLUMNS = ("m_control", "d_control", "m_treatment", "d_treatment")
"""What is kept of each unit: both arms' totals m and denominators d over the requests that have both outcomes."""


@np.errstate(all="ignore")
def paired_effect(
    *,
    n: Sequence[int],
    sums: Sequence[Sequence[int]],
    products: Sequence[Sequence[int]],
    scale: int | Sequence[int] = 1,
    d_scale: int | Sequence[int] = 1,
) -> Effect:
    """Challenger minus control over the same requests of the same units.

    Args:
        n: units with at least one pair, Python ints, shape (comparisons,).
        sums: over units, of each of `PAIR_COLUMNS` in that order, Python ints of any size, shape (comparisons, 4).
        products: over units, of the ten products of two of them, the upper triangle row by row (m_c m_c, m_c d_c,
            m_c m_t, m_c d_t, d_c d_c, d_c m_t, d_c d_t, m_t m_t, m_t d_t, d_t d_t), shape (comparisons, 10).
        scale, d_scale: fixed-point scales of m and of d, ints of at least 1, one for all or one a comparison.
    Returns: `Effect` in metric units, sum m_t / sum d_t less sum m_c / sum d_c, their covariance over units included;
        each unit counts in both arms, df is n - 1. nan while n < 2 or a denominator is 0.
    Raises: ContractError where lengths differ, n is no count, a scale is below 1, or the sums are impossible.
    Assumes: independent units. The arms have the same ones, so that there is no unequal split to guard against.
    Source: Deng, Knoblich, Lu 2018 (KDD), variance by the delta method, for two ratios of the same units.

    Example: two units with one request each, answered by both; the challenger is better by 1 and by 3.

        >>> found = paired_effect(n=[2], sums=[(6, 2, 10, 2)], products=[(20, 6, 34, 6, 2, 10, 2, 58, 10, 2)])
        >>> found.value.tolist(), found.se.tolist(), found.n.tolist()
        ([2.0], [1.0], [4.0])
    """
    # Two ages of the same units or two arms of the same units: the algebra is the same.
    pair = novelty_moments(n=n, sums=sums, products=products, scale=scale, d_scale=d_scale)
    variance = np.maximum(pair.var_early + pair.var_late - 2 * pair.covariance, 0.0)
    se = np.sqrt(variance / pair.n)
    return Effect(pair.late - pair.early, se, np.where(np.isnan(se), np.nan, pair.n - 1), pair.n, pair.n)
