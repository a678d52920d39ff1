"""Several comparisons at once: family-wise corrections of p-values, and e-BH for e-values.

The family lies along the last axis; a nan is a member that could not be tested: it counts in the family's size, is
never rejected, and stays nan. Works on always-valid p-values as well as on fixed ones.
"""

import numpy as np

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    broadcastable,
    error_rates,
    floats,
    require,
)

__all__ = ["benjamini_hochberg", "bonferroni", "e_bh", "holm"]


def bonferroni(p_values: ArrayLike) -> FloatArray:
    """Bonferroni-adjusted p-values.

    Args:
        p_values: in [0, 1] or nan, shape (..., family).
    Returns: min(1, family * p), same shape; nan where p is.
    Raises: ContractError where a p-value lies outside [0, 1].
    Assumes: nothing about dependence.
    Source: Bonferroni 1936.

        >>> bonferroni([0.01, 0.02, 0.8]).tolist()
        [0.03, 0.06, 1.0]
    """
    p = _p_values(p_values)
    return np.asarray(np.minimum(p * float(p.shape[-1]), 1.0))


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm-adjusted p-values: reject where at most alpha; family-wise error at most alpha.

    Args:
        p_values: in [0, 1] or nan, shape (..., family).
    Returns: adjusted p, same shape; nan where p is.
    Raises: ContractError where a p-value lies outside [0, 1].
    Assumes: nothing about dependence.
    Source: Holm 1979, Scandinavian Journal of Statistics 6.

        >>> holm([0.04, 0.01, 0.03]).tolist()
        [0.06, 0.03, 0.06]
    """
    p = _p_values(p_values)
    order, ranked = _ranked(p)
    remaining = _ranks(p)[::-1]
    adjusted = np.maximum.accumulate(np.minimum(ranked * remaining, 1.0), axis=-1)
    return _back(p, order, adjusted)


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Benjamini-Hochberg-adjusted p-values: reject where at most q; false discovery rate at most q.

    Args:
        p_values: in [0, 1] or nan, shape (..., family).
    Returns: adjusted p, same shape; nan where p is.
    Raises: ContractError where a p-value lies outside [0, 1].
    Assumes: independent or positively dependent p-values.
    Source: Benjamini and Hochberg 1995, JRSS B 57.

        >>> benjamini_hochberg([0.01, 0.02, 0.5]).round(12).tolist()
        [0.03, 0.03, 0.5]
    """
    p = _p_values(p_values)
    order, ranked = _ranked(p)
    scaled = np.minimum(ranked * (float(p.shape[-1]) / _ranks(p)), 1.0)
    adjusted = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    return _back(p, order, adjusted)


@np.errstate(all="ignore")
def e_bh(log_e_values: ArrayLike, *, alpha: ArrayLike) -> BoolArray:
    """e-BH: which members to reject at a false discovery rate of alpha.

    Args:
        log_e_values: natural logarithms of e-values, or nan, shape (..., family).
        alpha: false discovery rate, in (0, 1), one or shape (...).
    Returns: True where rejected, same shape as log_e_values: the k largest with e_(k) >= family / (k alpha).
    Raises: ContractError where alpha is out of range or shapes do not fit.
    Assumes: nothing about dependence or stopping.
    Source: Wang and Ramdas 2022, JRSS B 84(3), definition of the base e-BH procedure.

        >>> e_bh(np.log([250.0, 60.0, 3.0, 41.0, 0.2]), alpha=0.05).tolist()
        [True, True, False, True, False]
    """
    log_e, level = floats("log_e_values", log_e_values), error_rates("alpha", alpha)
    _refuse_scalar("log_e_values", log_e)
    broadcastable(log_e_values=log_e.sum(axis=-1), alpha=level)
    ranks = _ranks(log_e)
    known = np.where(np.isnan(log_e), -np.inf, log_e)
    descending = -np.sort(-known, axis=-1)
    needed = np.log(float(log_e.shape[-1])) - np.log(ranks) - np.log(level)[..., None]
    rejected = np.max(np.where(descending >= needed, ranks, 0.0), axis=-1, keepdims=True, initial=0.0)
    place = np.argsort(np.argsort(-known, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray(place < rejected)


def _p_values(value: ArrayLike) -> FloatArray:
    p = floats("p_values", value)
    _refuse_scalar("p_values", p)
    return require("p_values", p, ~((p < 0) | (p > 1)), "a p-value lies between 0 and 1")


def _refuse_scalar(name: str, family: FloatArray) -> None:
    if family.ndim == 0:
        raise ContractError(f"{family!r} is one number", where=name, remedy="give the family along the last axis")


def _ranks(family: FloatArray) -> FloatArray:
    """1 to the size of the family."""
    return np.arange(1.0, float(family.shape[-1]) + 1)


def _ranked(p: FloatArray) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], FloatArray]:
    known = np.where(np.isnan(p), 1.0, p)
    order = np.argsort(known, axis=-1, kind="stable")
    return order, np.take_along_axis(known, order, axis=-1)


def _back(p: FloatArray, order: np.ndarray[tuple[int, ...], np.dtype[np.intp]], adjusted: FloatArray) -> FloatArray:
    out = np.empty_like(p)
    np.put_along_axis(out, order, adjusted, axis=-1)
    return np.where(np.isnan(p), np.nan, out)
