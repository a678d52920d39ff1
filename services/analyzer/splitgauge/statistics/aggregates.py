"""From exact integer sums over units to moments, and from moments to one estimate per cell.

A cell is one experiment, epoch, variant and metric. Owns the only step where integers become floating point, so that it
happens after the cancellation: n*sum(mm) - sum(m)^2 is formed in whole numbers of any size, and divided once, correctly
rounded. Must not know about arms, effects or tests.
"""

from collections.abc import Sequence
from operator import index
from typing import NamedTuple

import numpy as np

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import ArrayLike, FloatArray, aligned, broadcastable, counts, floats, require

__all__ = ["Cells", "Moments", "cells", "exact_moments", "means", "proportions", "ratios"]


class Moments(NamedTuple):
    """Moments over the units of each cell, float64, shape (cells,). Variances and covariances divide by n - 1."""

    n: FloatArray
    """Units."""
    mean_m: FloatArray
    """Mean of the units' totals, metric units; nan while n = 0."""
    mean_d: FloatArray
    """Mean of the units' denominators, counts; nan while n = 0."""
    var_m: FloatArray
    """Variance of m, metric units squared; nan while n < 2."""
    var_d: FloatArray
    """Variance of d; nan while n < 2."""
    cov_md: FloatArray
    """Covariance of m and d; nan while n < 2."""
    var_residual: FloatArray
    """Variance of m - R d with R = sum m / sum d, that is s_mm - 2 R s_md + R^2 s_dd; nan while n < 2 or sum d = 0."""
    mean_x: FloatArray
    """Mean of the covariate, its units; nan while n = 0."""
    var_x: FloatArray
    """Variance of x; nan while n < 2."""
    cov_mx: FloatArray
    """Covariance of m and x; nan while n < 2."""
    cov_dx: FloatArray
    """Covariance of d and x; nan while n < 2."""


class Cells(NamedTuple):
    """One estimate per cell, float64, any common shape; Var(value) = variance / n."""

    n: FloatArray
    """Units."""
    value: FloatArray
    """Mean, rate or ratio, metric units; nan where it is undefined (no units, no denominator)."""
    variance: FloatArray
    """Variance of one unit's (linearised) contribution, metric units squared; nan where undefined (mostly n < 2)."""


def exact_moments(
    *,
    n: Sequence[int],
    m: Sequence[int],
    d: Sequence[int],
    mm: Sequence[int],
    dd: Sequence[int],
    md: Sequence[int],
    x: Sequence[int] | None = None,
    xx: Sequence[int] | None = None,
    mx: Sequence[int] | None = None,
    dx: Sequence[int] | None = None,
    scale: int | Sequence[int] = 1,
    x_scale: int | Sequence[int] = 1,
) -> Moments:
    """Moments of each cell from its exact sums; nothing cancels, whatever the size of the mean.

    Args:
        n: units of each cell, Python ints, shape (cells,). (For rows instead of sums: `unit_moments`.)
        m, d, mm, dd, md: sums over units of m, d, m*m, d*d, m*d, Python ints of any size, shape (cells,); m is fixed
            point (its unit is 1/scale), d a plain count.
        x, xx, mx, dx: sums of the covariate's terms, fixed point in 1/x_scale; all zeros when left out.
        scale, x_scale: fixed-point scales, ints of at least 1, one for all cells or one a cell.
    Returns: `Moments`; means are nan while n = 0, second moments while n < 2.
    Raises: ContractError where lengths differ, n is no count, a scale is below 1, or the sums are impossible (they
        would give a negative variance, n*mm < m*m, or a correlation above 1).
    Assumes: the sums are of the same units.
    Source: Deng, Knoblich, Lu 2018 (KDD), for which moments the delta method of ratio metrics needs.

    Example: a mean of 1e15 with a spread of 1 keeps all of its digits.

        >>> values = [10**15 - 1, 10**15, 10**15 + 1]
        >>> moments = exact_moments(n=[3], m=[sum(values)], d=[3], mm=[sum(v * v for v in values)], dd=[3],
        ...                         md=[sum(values)])
        >>> float(moments.mean_m[0]), float(moments.var_m[0])
        (1000000000000000.0, 1.0)
    """
    size = len(n)
    given = {"m": m, "d": d, "mm": mm, "dd": dd, "md": md, "x": x, "xx": xx, "mx": mx, "dx": dx}
    zeros = [0] * size
    sums = {name: zeros if column is None else _whole(name, column, size) for name, column in given.items()}
    n = _whole("n", n, size)
    _refuse_below("n", n, 0)
    s = _scales("scale", scale, size)
    sx = _scales("x_scale", x_scale, size)
    ones = [1] * size
    return Moments(
        n=np.array(n, dtype=np.float64),
        mean_m=_means(sums["m"], n, s),
        mean_d=_means(sums["d"], n, ones),
        var_m=_variances("mm", n, sums["m"], sums["mm"], s),
        var_d=_variances("dd", n, sums["d"], sums["dd"], ones),
        cov_md=_covariances(n, sums, ("m", "d"), (s, ones)),
        var_residual=_residuals(n, sums, s),
        mean_x=_means(sums["x"], n, sx),
        var_x=_variances("xx", n, sums["x"], sums["xx"], sx),
        cov_mx=_covariances(n, sums, ("m", "x"), (s, sx)),
        cov_dx=_covariances(n, sums, ("d", "x"), (ones, sx)),
    )


def means(moments: Moments) -> Cells:
    """The mean of the units' totals (sum m / n): metrics whose denominator is exposed units.

    Args:
        moments: of each cell, shape (cells,).
    Returns: `Cells`, value = mean_m, variance = var_m; nan as there.
    Raises: nothing.
    Assumes: independent units.
    Source: elementary.

        >>> cells = means(exact_moments(n=[4], m=[6], d=[4], mm=[14], dd=[4], md=[6]))
        >>> float(cells.value[0]), round(float(cells.variance[0]), 6)
        (1.5, 1.666667)
    """
    return Cells(moments.n, moments.mean_m, moments.var_m)


@np.errstate(all="ignore")
def ratios(moments: Moments) -> Cells:
    """The ratio of sums R = sum m / sum d with its linearised variance: metrics per request or per report.

    Args:
        moments: of each cell, shape (cells,).
    Returns: `Cells`, value = R and variance = (s_mm - 2 R s_md + R^2 s_dd) / mean_d^2, so that Var(R) = variance / n;
        nan where mean_d is 0 or n < 1, variance also while n < 2.
    Raises: nothing.
    Assumes: independent units; enough of them for the delta method (see `welch_test` for few).
    Source: Deng, Knoblich, Lu 2018 (KDD), variance of a ratio metric by the delta method. Equals cluster-robust (CR0)
        least squares times n/(n-1).

        >>> cells = ratios(exact_moments(n=[2], m=[3], d=[6], mm=[5], dd=[20], md=[10]))
        >>> float(cells.value[0]), float(cells.variance[0])
        (0.5, 0.0)
    """
    mean_d = np.where(moments.mean_d != 0, moments.mean_d, np.nan)
    return Cells(moments.n, moments.mean_m / mean_d, moments.var_residual / mean_d**2)


@np.errstate(all="ignore")
def proportions(n: ArrayLike, successes: ArrayLike) -> Cells:
    """Rates of 0/1 outcomes, one per unit, with the binomial variance p(1-p).

    Args:
        n: units, counts, any shape.
        successes: of them, counts, at most n, broadcastable with n.
    Returns: `Cells`, value = successes / n, variance = p(1-p); nan while n = 0.
    Raises: ContractError where n or successes is no count, or successes exceed n.
    Assumes: independent units, one outcome each.
    Source: elementary.

        >>> cells = proportions([1000, 0], [100, 0])
        >>> cells.value.tolist(), cells.variance.round(12).tolist()
        ([0.1, nan], [0.09, nan])
    """
    units, hits = counts("n", n), counts("successes", successes)
    broadcastable(n=units, successes=hits)
    require("successes", hits, hits <= units, "successes are at most n")
    rate = hits / np.where(units > 0, units, np.nan)
    return Cells(*aligned(units, rate, rate * (1 - rate)))


def cells(n: ArrayLike, value: ArrayLike, variance: ArrayLike) -> Cells:
    """Cells from arrays, checked.

    Args:
        n: units, counts. value: estimates, metric units. variance: per unit, at least 0 or nan; broadcastable.
    Returns: `Cells` as given, in float64.
    Raises: ContractError where n is no count, a variance is negative, or shapes do not fit.
    Assumes: nothing.
    Source: elementary.

        >>> cells([3], [1.0], [0.5]).variance.tolist()
        [0.5]
    """
    units, estimate = counts("n", n), floats("value", value)
    spread = require("variance", floats("variance", variance), ~(floats("variance", variance) < 0), "it is at least 0")
    broadcastable(n=units, value=estimate, variance=spread)
    return Cells(*aligned(units, estimate, spread))


def _refuse_below(name: str, values: Sequence[int], least: int) -> None:
    for value in values:
        if value < least:
            raise ContractError(
                f"{value} is below {least}", where=name, remedy=f"give whole numbers of at least {least}"
            )


def _whole(name: str, values: Sequence[int], size: int) -> list[int]:
    """As Python ints: fixed-width ones would overflow silently, and a float is not exact."""
    if len(values) != size:
        raise ContractError(f"{len(values)} cells where n has {size}", where=name, remedy="give one per cell")
    try:
        return [index(value) for value in values]
    except TypeError as exc:
        raise ContractError(f"{values!r} are not whole numbers", where=name, remedy="give exact integer sums") from exc


def _quotient(numerator: int, denominator: int) -> float:
    try:
        return numerator / denominator
    except OverflowError as exc:
        raise ContractError(
            "a moment exceeds what float64 can hold", where="scale", remedy="give sums of values below 2^53"
        ) from exc


def _scales(name: str, scale: int | Sequence[int], size: int) -> Sequence[int]:
    column = _whole(name, scale if isinstance(scale, Sequence | np.ndarray) else [scale] * size, size)
    _refuse_below(name, column, 1)
    return column


# Python divides ints correctly rounded at any size; that is why these are loops over cells and not numpy.
def _means(total: Sequence[int], n: Sequence[int], scale: Sequence[int]) -> FloatArray:
    rows = zip(total, n, scale, strict=True)
    return np.array([_quotient(t, k * s) if k else np.nan for t, k, s in rows], dtype=np.float64)


def _variances(
    name: str, n: Sequence[int], total: Sequence[int], square: Sequence[int], scale: Sequence[int]
) -> FloatArray:
    out: list[float] = []
    for k, t, tt, s in zip(n, total, square, scale, strict=True):
        spread = k * tt - t * t
        if spread < 0:
            raise ContractError(
                f"sum of squares {tt} is too small for {k} units with sum {t}",
                where=name,
                remedy="give sums over the same units: n times the sum of squares is at least the squared sum",
            )
        out.append(_quotient(spread, k * (k - 1) * s * s) if k > 1 else np.nan)
    return np.array(out, dtype=np.float64)


def _covariances(
    n: Sequence[int], sums: dict[str, list[int]], pair: tuple[str, str], scales: tuple[Sequence[int], Sequence[int]]
) -> FloatArray:
    one, other = pair
    columns = (sums[name] for name in (one, other, one + one, other + other, one + other))
    out: list[float] = []
    for k, a, b, aa, bb, ab, s, q in zip(n, *columns, *scales, strict=True):
        together = k * ab - a * b
        # Cauchy-Schwarz: past it an adjusted variance would come out negative, and pass for none at all.
        if together * together > (k * aa - a * a) * (k * bb - b * b):
            raise _impossible(one + other, ab, aa, bb)
        out.append(_quotient(together, k * (k - 1) * s * q) if k > 1 else np.nan)
    return np.array(out, dtype=np.float64)


def _residuals(n: Sequence[int], sums: dict[str, list[int]], scale: Sequence[int]) -> FloatArray:
    """Sum of (m - R d)^2 over n - 1, in whole numbers: from rounded moments a perfect ratio would keep a dust of
    variance."""
    out: list[float] = []
    for k, m, d, mm, dd, md, s in zip(n, *(sums[name] for name in ("m", "d", "mm", "dd", "md")), scale, strict=True):
        squares = mm * d * d - 2 * m * d * md + m * m * dd
        if squares < 0:
            raise _impossible("md", md, mm, dd)
        out.append(_quotient(squares, d * d * (k - 1) * s * s) if k > 1 and d else np.nan)
    return np.array(out, dtype=np.float64)


def _impossible(name: str, products: int, squares: int, others: int) -> ContractError:
    return ContractError(
        f"sum of products {products} is impossible beside sums of squares {squares} and {others}",
        where=name,
        remedy="give sums over the same units",
    )
