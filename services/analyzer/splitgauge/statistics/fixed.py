"""Fixed-horizon tests: z and Welch's t on an effect, and the tests of two counts (pooled z, Fisher's exact, Newcombe).

Valid once, at the planned end, and labelled so wherever they are shown. Owns nothing that may be looked at twice: that
is `confidence_sequence` and `count_sequence`. p-values come from survival functions, so that the far tail is not 0.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    aligned,
    broadcastable,
    counts,
    error_rates,
    finite,
    flags,
    one_of,
    require,
)
from splitgauge.statistics.arrays import every, select, single
from splitgauge.statistics.effects import Effect, known_se

__all__ = ["FEW_UNITS", "FixedTest", "ProportionTest", "proportion_test", "welch_test", "z_test"]

FEW_UNITS = 30
"""Units an arm below which a normal limit is not taken."""

_CHUNK = 4_000_000  # table entries of Fisher's test in memory at once (32 MB a column)
_NORMAL = single(np.inf)  # degrees of freedom of a normal limit
_TIES = 1 + 1e-7  # tables this close in probability count as equally likely, as R and scipy have it


class FixedTest(NamedTuple):
    """A test at a planned end, shape (comparisons,); float64 except for the flag."""

    effect: FloatArray
    """As given."""
    se: FloatArray
    """As given."""
    statistic: FloatArray
    """(effect - null) / se; nan where se is 0 or nan: without variance use an exact test, p is not 1."""
    df: FloatArray
    """Degrees of freedom used; inf for a normal limit."""
    p_value: FloatArray
    """Two-sided; nan where the statistic is."""
    p_greater: FloatArray
    """One-sided, of the alternative effect > null; nan where the statistic is."""
    p_less: FloatArray
    """One-sided, of the alternative effect < null; nan where the statistic is."""
    lower: FloatArray
    """Of the two-sided 1 - alpha interval; nan where the statistic is."""
    upper: FloatArray
    """Of the two-sided 1 - alpha interval; nan where the statistic is."""
    few_units: BoolArray
    """True where an arm has under 30 units: to be shown beside the result."""


class ProportionTest(NamedTuple):
    """A test of two rates at a planned end, shape (comparisons,); float64 except for the flag."""

    effect: FloatArray
    """rate_t - rate_c; nan while an arm has no unit."""
    se: FloatArray
    """Under the variance asked for."""
    statistic: FloatArray
    """z = effect / se, less the continuity correction if asked for; nan where se is 0."""
    p_value: FloatArray
    """Two-sided; Fisher's where `exact`, else of z. nan while an arm has no unit."""
    p_greater: FloatArray
    """One-sided, of the alternative rate_t > rate_c; of the same test."""
    p_less: FloatArray
    """One-sided, of the alternative rate_t < rate_c; of the same test."""
    lower: FloatArray
    """Newcombe's 1 - alpha interval of the difference; nan while an arm has no unit."""
    upper: FloatArray
    """See lower."""
    exact: BoolArray
    """True where the p-values are Fisher's: an arm without variance (all or none succeeded), or `method` exact."""


def z_test(effect: Effect, *, alpha: ArrayLike, null: ArrayLike = 0.0, few_units: int = FEW_UNITS) -> FixedTest:
    """z-test of an effect, for proportions.

    Args:
        effect: of each comparison, shape (comparisons,).
        alpha: two-sided error, in (0, 1), one or one a comparison.
        null: the effect under the null hypothesis, units of the effect.
        few_units: where an arm has fewer units, t with n_c + n_t - 2 degrees of freedom takes the place of z; 0: never.
    Returns: `FixedTest`; nan where se is 0 or undefined.
    Raises: ContractError where alpha is out of range, a standard error is negative, or shapes do not fit.
    Assumes: one look, at the planned end; independent units.
    Source: Wald's test with unpooled variance.

        >>> from splitgauge.statistics import absolute_effect, arm
        >>> found = z_test(absolute_effect(arm(1000, 0.1, 0.09), arm(1000, 0.13, 0.1131)), alpha=0.05)
        >>> round(float(found.p_value), 9), round(float(found.lower), 9)
        (0.03528532, 0.002067934)
    """
    few = _few(effect, few_units)
    df = select(few, np.maximum(effect.n - 2, 1.0), _NORMAL)
    return _test(effect, df, few, alpha, null)


def welch_test(effect: Effect, *, alpha: ArrayLike, null: ArrayLike = 0.0) -> FixedTest:
    """Welch's t-test of an effect, for means and ratios, absolute or relative.

    Args:
        effect: of each comparison, shape (comparisons,), with Welch-Satterthwaite degrees of freedom on the
            untransformed variances (`absolute_effect`, `relative_effect`).
        alpha: two-sided error, in (0, 1), one or one a comparison.
        null: the effect under the null hypothesis, units of the effect.
    Returns: `FixedTest`; nan where se is 0 or undefined. few_units flags arms under 30 units, where Welch's degrees of
        freedom already lie below n_c + n_t - 2.
    Raises: ContractError where alpha is out of range, a standard error is negative, or shapes do not fit.
    Assumes: one look, at the planned end; independent units.
    Source: Welch 1947, Biometrika 34; for ratios Deng, Knoblich, Lu 2018 (KDD).

        >>> from splitgauge.statistics import absolute_effect, arm
        >>> found = welch_test(absolute_effect(arm(3, 1.0, 0.5), arm(3, 2.0, 0.7)), alpha=0.05)
        >>> round(float(found.p_value), 6), bool(found.few_units)
        (0.190961, True)
    """
    return _test(effect, effect.df, _few(effect, FEW_UNITS), alpha, null)


@np.errstate(all="ignore")
def proportion_test(
    n_control: ArrayLike,
    successes_control: ArrayLike,
    n_treatment: ArrayLike,
    successes_treatment: ArrayLike,
    *,
    alpha: ArrayLike,
    method: str = "unpooled",
    continuity: bool = False,
) -> ProportionTest:
    """Test of two rates from counts, exact where an arm has no variance.

    Args:
        n_control, n_treatment: units, counts, shape (comparisons,).
        successes_control, successes_treatment: of them, counts.
        alpha: two-sided error, in (0, 1).
        method: `unpooled` or `pooled` variance of z (Fisher's test where all or none of an arm succeeded), or `exact`
            (Fisher's throughout, but where it would add up over four million tables: there z has all the digits that
            matter, and stands).
        continuity: take half a unit of each arm off the difference before z.
    Returns: `ProportionTest`; nan while an arm has no unit.
    Raises: ContractError where something is no count, successes exceed n, shapes do not fit, or the method is unknown.
    Assumes: one look, at the planned end; one outcome per unit.
    Source: Newcombe 1998, Statistics in Medicine 17, method 10 (interval); Fisher 1935, two-sided by the sum of
        the tables no likelier than the one seen; Yates 1934 (continuity).

        >>> found = proportion_test(1000, 1000, 1000, 990, alpha=0.05)
        >>> round(float(found.p_value), 5), bool(found.exact)
        (0.00191, True)
    """
    one_of("method", method, ("unpooled", "pooled", "exact"))
    level = error_rates("alpha", alpha)
    n_c, s_c = counts("n_control", n_control), counts("successes_control", successes_control)
    n_t, s_t = counts("n_treatment", n_treatment), counts("successes_treatment", successes_treatment)
    shape = broadcastable(n_control=n_c, successes_control=s_c, n_treatment=n_t, successes_treatment=s_t, alpha=level)
    require("successes_control", s_c, s_c <= n_c, "successes are at most n")
    require("successes_treatment", s_t, s_t <= n_t, "successes are at most n")
    n_c, s_c, n_t, s_t = (np.broadcast_to(a, shape) for a in (n_c, s_c, n_t, s_t))
    some = (n_c > 0) & (n_t > 0)
    p_c, p_t = s_c / np.where(some, n_c, np.nan), s_t / np.where(some, n_t, np.nan)
    together = (s_c + s_t) / (n_c + n_t)
    if method == "pooled":
        variance = together * (1 - together) * (1 / n_c + 1 / n_t)
    else:
        variance = p_c * (1 - p_c) / n_c + p_t * (1 - p_t) / n_t
    se = np.sqrt(variance)
    half_units = 0.5 / n_c + 0.5 / n_t if flags("continuity", continuity).all() else 0.0
    apart = np.sign(p_t - p_c) * np.maximum(np.abs(p_t - p_c) - half_units, 0.0)
    statistic = apart / np.where(se > 0, se, np.nan)
    constant = (s_c == 0) | (s_c == n_c) | (s_t == 0) | (s_t == n_t)
    wanted = some & (constant | (method == "exact"))
    fisher = np.full((3, *shape), np.nan)
    fisher[:, wanted] = _fisher(n_c[wanted], s_c[wanted], n_t[wanted], s_t[wanted])
    exact = ~np.isnan(fisher[0])
    normal = 2 * special.ndtr(-np.abs(statistic)), special.ndtr(-statistic), special.ndtr(statistic)
    p_value, greater, less = (np.where(exact, one, other) for one, other in zip(fisher, normal, strict=True))
    lower, upper = _newcombe(n_c, p_c, n_t, p_t, -special.ndtri(level / 2))
    return ProportionTest(p_t - p_c, se, statistic, p_value, greater, less, lower, upper, np.asarray(exact))


def _few(effect: Effect, few_units: int) -> BoolArray:
    return np.asarray((effect.n_control < few_units) | (effect.n_treatment < few_units))


@np.errstate(all="ignore")
def _test(effect: Effect, df: FloatArray, few: BoolArray, alpha: ArrayLike, null: ArrayLike) -> FixedTest:
    level, centre = error_rates("alpha", alpha), finite("null", null)
    se = known_se(effect)
    broadcastable(effect=effect.value, se=se, alpha=level, null=centre)
    statistic = (effect.value - centre) / se
    below, quantile = _tails(df, -np.abs(statistic), level / 2)
    half = -quantile * se
    above, greater = 1 - below, statistic > 0
    found = FixedTest(
        effect=effect.value,
        se=effect.se,
        statistic=statistic,
        df=df,
        p_value=2 * below,
        p_greater=select(greater, below, above),
        p_less=select(greater, above, below),
        lower=effect.value - half,
        upper=effect.value + half,
        few_units=few,
    )
    return FixedTest(*aligned(*found))


def _tails(df: FloatArray, statistic: FloatArray, tail: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probability below ``statistic``, and the quantile of ``tail``."""
    # At 1e10 degrees of freedom t and z agree to every digit there is, and z is much cheaper.
    if every(df > 1e10):
        return special.ndtr(statistic), special.ndtri(tail)
    return special.stdtr(df, statistic), special.stdtrit(df, tail)


def _newcombe(
    n_c: FloatArray, p_c: FloatArray, n_t: FloatArray, p_t: FloatArray, z: FloatArray
) -> tuple[FloatArray, FloatArray]:
    low_c, high_c = _wilson(n_c, p_c, z)
    low_t, high_t = _wilson(n_t, p_t, z)
    difference = p_t - p_c
    return difference - np.hypot(p_t - low_t, high_c - p_c), difference + np.hypot(high_t - p_t, p_c - low_c)


def _wilson(n: FloatArray, p: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    shrink = 1 + z**2 / n
    # Rounding may carry a bound past the estimate where p is 0 or 1.
    return np.clip((centre - half) / shrink, 0.0, p), np.clip((centre + half) / shrink, p, 1.0)


def _fisher(n_c: FloatArray, s_c: FloatArray, n_t: FloatArray, s_t: FloatArray) -> FloatArray:
    """p of each 2x2 table, two-sided, of rate_t > rate_c and of rate_t < rate_c, shape (3, tables); nan where there are
    too many tables to add up.

    All rows' tables lie in one flat array, in chunks that bound the memory.
    """
    k = s_c + s_t
    # The rarer outcome has the shorter list of tables; the p-value is the same, its sides change places.
    flip = 2 * k > n_c + n_t
    k, seen = np.where(flip, n_c + n_t - k, k), np.where(flip, n_t - s_t, s_t)
    low, high = np.maximum(0.0, k - n_c), np.minimum(k, n_t)
    # Beyond 45 standard deviations (and a Poisson tail) there is no probability that float64 could hold.
    mean = k * n_t / (n_c + n_t)
    reach = 45 * np.sqrt(mean * n_c / (n_c + n_t)) + 250
    low, high = np.maximum(low, np.floor(mean - reach)), np.minimum(high, np.ceil(mean + reach))
    lengths = high - low + 1
    out = np.full((3, seen.size), np.nan)
    out[:, seen < low] = [[0.0], [1.0], [0.0]]
    out[:, seen > high] = [[0.0], [0.0], [1.0]]
    todo = np.flatnonzero(np.isnan(out[0]) & (lengths <= _CHUNK))
    starts = np.concatenate(([0.0], np.cumsum(lengths[todo])))
    first = 0
    while first < todo.size:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _CHUNK, side="right")) - 1)
        rows = todo[first:last]
        out[:, rows] = _tables(n_c[rows], n_t[rows], k[rows], seen[rows], low[rows], lengths[rows].astype(np.int64))
        first = last
    return np.where(flip, out[[0, 2, 1]], out)


def _tables(
    n_c: FloatArray, n_t: FloatArray, k: FloatArray, seen: FloatArray, low: FloatArray, lengths: npt.NDArray[np.int64]
) -> FloatArray:
    begin = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    table = np.arange(float(lengths.sum())) - np.repeat(begin - low, lengths)
    c, t, total = np.repeat(n_c, lengths), np.repeat(n_t, lengths), np.repeat(k, lengths)
    # Each table from the one before, by the ratio of their probabilities: logarithms of factorials of 1e12 units would
    # have no digits left. Every row starts again at 0.
    step = np.log((total - table + 1) * (t - table + 1)) - np.log(table * (c - total + table))
    step[begin] = 0.0
    step[begin[1:]] = -np.add.reduceat(step, begin)[:-1]
    log_p = np.cumsum(step)
    weight = np.exp(log_p - np.repeat(np.maximum.reduceat(log_p, begin), lengths))
    at = np.repeat(weight[begin + (seen - low).astype(np.int64)], lengths)
    observed = np.repeat(seen, lengths)
    counted = weight <= at * _TIES, table >= observed, table <= observed
    whole = np.add.reduceat(weight, begin)
    return np.array(
        [np.minimum(np.add.reduceat(np.where(which, weight, 0.0), begin) / whole, 1.0) for which in counted]
    )
