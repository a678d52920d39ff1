"""Whether an effect wears off: what units did soon after their first exposure against what the same units did later.

Owns the moments of the two ages and the test between them. Must not know when it is asked: flagging at p < .01 at every
look fires in 19 % of runs without any effect, so a verdict asks only where it would promote.
"""

from collections.abc import Sequence
from operator import index
from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    aligned,
    broadcastable,
    counts,
    error_rates,
    floats,
    non_negative,
    signs,
)

__all__ = ["NOVELTY_COLUMNS", "NOVELTY_PRODUCTS", "Novelty", "NoveltyMoments", "novelty_moments", "novelty_test"]

NOVELTY_COLUMNS = ("m_early", "d_early", "m_late", "d_late")
"""What is kept of each unit: its metric's totals m and denominators d up to 3 days after its first exposure (early) and
after that (late). A unit without a value at an age has 0 and 0 there."""

NOVELTY_PRODUCTS = (
    ("m_early", "m_early"),
    ("m_early", "d_early"),
    ("m_early", "m_late"),
    ("m_early", "d_late"),
    ("d_early", "d_early"),
    ("d_early", "m_late"),
    ("d_early", "d_late"),
    ("m_late", "m_late"),
    ("m_late", "d_late"),
    ("d_late", "d_late"),
)
"""The products summed over units, in this order: the upper triangle of their matrix, row by row."""


class NoveltyMoments(NamedTuple):
    """Early and late estimate of each cell (epoch and variant), float64, shape (cells,) or any shape made of it."""

    n: FloatArray
    """Units."""
    early: FloatArray
    """sum m_early / sum d_early, metric units; nan where that sum of denominators is 0."""
    late: FloatArray
    """sum m_late / sum d_late, metric units; nan where that sum of denominators is 0."""
    var_early: FloatArray
    """Of one unit's linearised contribution, metric units squared, so that Var(early) = var_early / n; nan while n < 2
    or early is nan."""
    var_late: FloatArray
    """Likewise of late."""
    covariance: FloatArray
    """Likewise of early with late, from the same units; nan where one of them is."""
    effective_early: FloatArray
    """(sum d_early)^2 / sum d_early^2: as many units with equal denominators would weigh the same; 0 without any."""
    effective_late: FloatArray
    """Likewise of late."""


class Novelty(NamedTuple):
    """The effect early and late of each comparison, shape (comparisons,); float64 but for the flags. All nan, and the
    flags false, where no epoch has two effective units of each age in both arms."""

    early: FloatArray
    """Effect up to 3 days after units' first exposure, metric units."""
    late: FloatArray
    """Effect after that, metric units."""
    difference: FloatArray
    """early - late, metric units."""
    se: FloatArray
    """Standard error of the difference, the covariance of the two ages included."""
    df: FloatArray
    """Degrees of freedom of se; nan where se is 0."""
    p_value: FloatArray
    """Two-sided, of early = late; nan where se is 0 or nan. For one look."""
    shrinks: BoolArray
    """True where the early effect is good and the late one is less than half of it, as estimated."""
    strong: BoolArray
    """True where it shrinks and p_value < alpha."""


def novelty_moments(
    *,
    n: Sequence[int],
    sums: Sequence[Sequence[int]],
    products: Sequence[Sequence[int]],
    scale: int | Sequence[int] = 1,
    d_scale: int | Sequence[int] = 1,
) -> NoveltyMoments:
    """Early and late estimate of each cell from exact sums over its units.

    Args:
        n: units of each cell, Python ints, shape (cells,); those without a value may be in or out.
        sums: over units, of each of `NOVELTY_COLUMNS` in that order, Python ints of any size, shape (cells, 4).
        products: over units, of each of `NOVELTY_PRODUCTS` in that order, shape (cells, 10).
        scale, d_scale: fixed-point scales of m and of d, ints of at least 1, one for all cells or one a cell.
    Returns: `NoveltyMoments`, shape (cells,); nan as there.
    Raises: ContractError where lengths differ, n is no count, a scale is below 1, or the sums are impossible (they
        would give a negative variance).
    Assumes: the sums are of the same units.
    Source: Deng, Knoblich, Lu 2018 (KDD), variance of a ratio metric by the delta method, for two ratios of the same
        units.

    Example: two units, each with one value early and one late; the second halves.

        >>> found = novelty_moments(n=[2], sums=[(6, 2, 4, 2)], products=[(20, 6, 12, 6, 2, 4, 2, 8, 4, 2)])
        >>> found.early.tolist(), found.late.tolist(), found.var_early.tolist(), found.covariance.tolist()
        ([3.0], [2.0], [2.0], [0.0])
    """
    size = len(n)
    units = _row("n", n, size)
    scales, d_scales = (
        _row(name, given if isinstance(given, Sequence | np.ndarray) else [given] * size, size)
        for name, given in (("scale", scale), ("d_scale", d_scale))
    )
    for name, column, least in (("n", units, 0), ("scale", scales, 1), ("d_scale", d_scales, 1)):
        if any(value < least for value in column):
            raise ContractError(
                f"{min(column)} is below {least}", where=name, remedy=f"give whole numbers of at least {least}"
            )
    cells = zip(
        units, _rows("sums", sums, (size, 4)), _rows("products", products, (size, 10)), scales, d_scales, strict=True
    )
    rows = [_cell(*cell) for cell in cells]
    return NoveltyMoments(*np.array(rows, dtype=np.float64).reshape(size, 8).T)


@np.errstate(all="ignore")
def novelty_test(
    control: NoveltyMoments, treatment: NoveltyMoments, *, direction: ArrayLike = 1, alpha: ArrayLike = 0.01
) -> Novelty:
    """Whether the effect of a challenger wears off with the age of its units.

    Args:
        control, treatment: one cell per epoch and comparison, shape (epochs, comparisons) (or (epochs,) for one).
        direction: +1 where up is good, -1 where down is good; one or one a comparison.
        alpha: error of the flag, two-sided, in (0, 1).
    Returns: `Novelty`, shape (comparisons,). Epochs are strata and have the same weight early and late, that of the
        effective units k of their scarcer age, w = k_c k_t / (k_c + k_t), so that an epoch whose units have hardly
        grown old weighs little; an epoch with k under 2 in an arm is dropped. df by Satterthwaite with k - 1 a cell.
    Raises: ContractError where alpha or direction is out of range, n is no count, a variance is negative, or shapes do
        not fit.
    Assumes: one look (where a verdict would promote); independent units; effects that would not change by themselves:
        what changes with time in both arms alike is no effect and cancels.
    Source: Deng, Knoblich, Lu 2018 (KDD), delta method; Welch 1947 for the degrees of freedom. Two-sided, as every p of
        this package that does not say otherwise.

        >>> def cells(early, late):
        ...     n, one = np.array([1000.0]), np.array([1.0])
        ...     return NoveltyMoments(n, early * one, late * one, one, one, 0.2 * one, n, n)
        >>> found = novelty_test(cells(5.0, 5.0), cells(5.4, 5.05))
        >>> round(float(found.difference), 6), round(float(found.se), 6), bool(found.strong)
        (0.35, 0.056569, True)
    """
    level, good = error_rates("alpha", alpha), signs("direction", direction)
    arms = (_checked("control", control), _checked("treatment", treatment))
    shape = broadcastable(control=arms[0].n, treatment=arms[1].n)
    broadcastable(arms=np.empty(shape[1:]), alpha=level, direction=good)
    scarcer = [np.minimum(arm.effective_early, arm.effective_late) for arm in arms]
    # A sum is finite where all of its terms are.
    known = [np.isfinite(sum(arm[1:], arm.n)) for arm in arms]
    kept = known[0] & known[1] & (scarcer[0] >= 2) & (scarcer[1] >= 2)
    weight = np.where(kept, scarcer[0] * scarcer[1] / np.where(kept, scarcer[0] + scarcer[1], 1.0), 0.0)
    share = weight / weight.sum(axis=0)
    early, late = (
        (np.where(kept, theirs - ours, 0.0) * share).sum(axis=0)
        for ours, theirs in ((arms[0].early, arms[1].early), (arms[0].late, arms[1].late))
    )
    variance, df = _variance(arms, scarcer, kept=kept, share=share)
    difference, se = early - late, np.sqrt(variance)
    statistic = difference / np.where(se > 0, se, np.nan)
    p_value = np.asarray(2 * special.stdtr(df, -np.abs(statistic)), dtype=np.float64)
    shrinks = (good * early > 0) & (good * late < good * early / 2)
    return Novelty(*aligned(early, late, difference, se, df, p_value, shrinks, shrinks & (p_value < level)))


def _variance(
    arms: tuple[NoveltyMoments, NoveltyMoments], sizes: Sequence[FloatArray], *, kept: BoolArray, share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Variance of early - late over arms and epochs, and its degrees of freedom."""
    parts = [
        np.where(kept, np.maximum(arm.var_early + arm.var_late - 2 * arm.covariance, 0.0), 0.0)
        / np.where(kept, arm.n, 1.0)
        * share**2
        for arm in arms
    ]
    total: FloatArray = (parts[0] + parts[1]).sum(axis=0)
    spare = [np.where(kept, k - 1, 1.0) for k in sizes]
    # As shares of the total: squares of variances vanish at 1e-170 and overflow at 1e160.
    welch = sum(((part / total) ** 2 / df for part, df in zip(parts, spare, strict=True)), np.zeros(share.shape))
    return total, 1 / welch.sum(axis=0)


def _checked(name: str, cells: NoveltyMoments) -> NoveltyMoments:
    made = NoveltyMoments(
        counts(f"{name}.n", cells.n),
        floats(f"{name}.early", cells.early),
        floats(f"{name}.late", cells.late),
        non_negative(f"{name}.var_early", cells.var_early),
        non_negative(f"{name}.var_late", cells.var_late),
        floats(f"{name}.covariance", cells.covariance),
        non_negative(f"{name}.effective_early", cells.effective_early),
        non_negative(f"{name}.effective_late", cells.effective_late),
    )
    broadcastable(**{f"{name}.{field}": array for field, array in made._asdict().items()})
    return made


def _cell(
    n: int, sums: Sequence[int], products: Sequence[int], scale: int, d_scale: int
) -> tuple[float, float, float, float, float, float, float, float]:
    """In whole numbers up to the one division, so that nothing cancels (see `exact_moments`)."""
    m_e, d_e, m_l, d_l = sums
    me_me, me_de, me_ml, me_dl, de_de, de_ml, de_dl, ml_ml, ml_dl, dl_dl = products
    # Residuals m D - M d add up to 0 over units: their sums of products are centred.
    early = me_me * d_e * d_e - 2 * m_e * d_e * me_de + m_e * m_e * de_de
    late = ml_ml * d_l * d_l - 2 * m_l * d_l * ml_dl + m_l * m_l * dl_dl
    cross = d_e * d_l * me_ml - d_e * m_l * me_dl - m_e * d_l * de_ml + m_e * m_l * de_dl
    if early < 0 or late < 0 or cross * cross > early * late:
        raise ContractError(
            f"sums of products {products!r} are impossible beside sums {sums!r}",
            where="products",
            remedy="give sums over the same units, in the order of NOVELTY_PRODUCTS",
        )
    # Var(R) = sum of squared residuals / (D^2 (n - 1)) * n / D^2: per unit, times n.
    unit = n * d_scale * d_scale
    spare = (n - 1) * scale * scale
    return (
        float(n),
        _quotient(m_e * d_scale, d_e * scale),
        _quotient(m_l * d_scale, d_l * scale),
        _quotient(early * n * unit, d_e**4 * spare) if n > 1 else np.nan,
        _quotient(late * n * unit, d_l**4 * spare) if n > 1 else np.nan,
        _quotient(cross * n * unit, d_e**2 * d_l**2 * spare) if n > 1 else np.nan,
        _quotient(d_e * d_e, de_de) if de_de else 0.0,
        _quotient(d_l * d_l, dl_dl) if dl_dl else 0.0,
    )


def _quotient(numerator: int, denominator: int) -> float:
    if not denominator:
        return np.nan
    try:
        return numerator / denominator
    except OverflowError as exc:
        raise ContractError(
            "a moment exceeds what float64 can hold", where="sums", remedy="give sums of values below 2^53"
        ) from exc


def _rows(name: str, values: Sequence[Sequence[int]], shape: tuple[int, int]) -> list[list[int]]:
    if len(values) != shape[0]:
        raise ContractError(f"{len(values)} cells where n has {shape[0]}", where=name, remedy="give one per cell")
    return [_row(name, row, shape[1]) for row in values]


def _row(name: str, values: Sequence[int], size: int) -> list[int]:
    if len(values) != size:
        raise ContractError(f"{len(values)} numbers where {size} belong", where=name, remedy=f"give {size}")
    try:
        return [index(value) for value in values]
    except TypeError as exc:
        raise ContractError(f"{values!r} are not whole numbers", where=name, remedy="give exact integer sums") from exc
