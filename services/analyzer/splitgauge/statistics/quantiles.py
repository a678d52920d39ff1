"""Quantiles: which ranks bound them, how precise they are, and the arms they make for differences.

Owns ranks (of the fixed and of the time-uniform interval), the design effect of values that come in clusters, and the
standard error from an interval. Ranks are turned into values by whoever holds the values: sorted, or a `Histogram`.
Quantiles describe; what decides is the share of values under a threshold, which is a rate.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from splitgauge.statistics.aggregates import Cells
from splitgauge.statistics.arguments import (
    ArrayLike,
    FloatArray,
    aligned,
    broadcastable,
    counts,
    error_rates,
    floats,
    non_negative,
    positive,
    require,
)
from splitgauge.statistics.count_sequence import rate_log_mixture
from splitgauge.statistics.crossing import crossing
from splitgauge.statistics.histogram import Histogram, value_at_rank
from splitgauge.statistics.strata import Arm

__all__ = [
    "QuantileRanks",
    "Quantiles",
    "design_effect",
    "histogram_quantiles",
    "quantile_arm",
    "quantile_ranks",
    "quantile_ranks_sequence",
    "quantile_values_needed",
]


class QuantileRanks(NamedTuple):
    """Ranks among the values in rising order that bound a quantile, float64, shape (quantiles,)."""

    rank: FloatArray
    """Of the estimate: ceil(n level), the smallest value with at least that share at or under it; nan while n = 0."""
    lower: FloatArray
    """1 for the smallest value; nan where so few values bound the quantile by none of them."""
    upper: FloatArray
    """n for the largest value; nan likewise."""


class Quantiles(NamedTuple):
    """Quantiles read from a histogram, float64, shape (quantiles,)."""

    value: FloatArray
    """Point estimate, the values' unit, at most 1/64 from the sample's quantile; nan without values."""
    lower: FloatArray
    """Lower end of the interval; nan with so few values that it has none."""
    upper: FloatArray
    """Upper end likewise."""
    se: FloatArray
    """Standard error, nan where the interval lacks an end."""


@np.errstate(all="ignore")
def quantile_values_needed(level: ArrayLike, *, alpha: ArrayLike, effect_of_design: ArrayLike = 1.0) -> FloatArray:
    """How many values a quantile needs: its fixed interval lies within the sample with more than so many.

    Args:
        level: of the quantile, in (0, 1): .99 for the p99.
        alpha: two-sided error of the interval, in (0, 1).
        effect_of_design: of clustered values, above 0, see `design_effect`.
    Returns: z^2 D max(level / (1 - level), (1 - level) / level), z the normal quantile of 1 - alpha/2, D the design
        effect; broadcast.
    Raises: ContractError where an argument is out of range or shapes do not fit.
    Assumes: as `quantile_ranks`.
    Source: from level + z sqrt(D level (1 - level) / n) < 1.

        >>> quantile_values_needed([0.5, 0.95, 0.99], alpha=0.05).round(1).tolist()
        [3.8, 73.0, 380.3]
    """
    p, error, d = (
        error_rates("level", level),
        error_rates("alpha", alpha),
        positive("effect_of_design", effect_of_design),
    )
    broadcastable(level=p, alpha=error, effect_of_design=d)
    odds = p / (1 - p)
    return np.asarray(special.ndtri(error / 2) ** 2 * d * np.maximum(odds, 1 / odds))


@np.errstate(all="ignore")
def quantile_ranks(
    n: ArrayLike, level: ArrayLike, *, alpha: ArrayLike, effect_of_design: ArrayLike = 1.0
) -> QuantileRanks:
    """The ranks of a quantile and of its interval at one look that was planned.

    Args:
        n: values, counts.
        level: of the quantile, in (0, 1).
        alpha: two-sided error of the interval, in (0, 1).
        effect_of_design: of clustered values, above 0, see `design_effect`.
    Returns: `QuantileRanks`: floor(n level - z s) (at least 1) and ceil(n level + z s), s^2 = n D level (1 - level);
        both nan while n is at most `quantile_values_needed`.
    Raises: ContractError where n is no count, an argument is out of range, or shapes do not fit.
    Assumes: independent clusters, enough of them for a normal limit of the share of values under the quantile.
    Source: Deng, Knoblich, Lu 2018 (KDD), confidence interval of a percentile by the outer interval, the standard error
        of the share under it by the delta method.

        >>> ranks = quantile_ranks([1000, 300], 0.99, alpha=0.05)
        >>> ranks.rank.tolist(), ranks.lower.tolist(), ranks.upper.tolist()
        ([990.0, 297.0], [983.0, nan], [997.0, nan])
    """
    units, p, error = counts("n", n), error_rates("level", level), error_rates("alpha", alpha)
    d = positive("effect_of_design", effect_of_design)
    broadcastable(n=units, level=p, alpha=error, effect_of_design=d)
    known = units > quantile_values_needed(p, alpha=error, effect_of_design=d)
    reach = -special.ndtri(error / 2) * np.sqrt(units * d * p * (1 - p))
    lower = np.maximum(np.floor(units * p - reach), 1.0)
    upper = np.minimum(np.ceil(units * p + reach), units)
    return QuantileRanks(*aligned(_rank(units, p), np.where(known, lower, np.nan), np.where(known, upper, np.nan)))


@np.errstate(all="ignore")
def quantile_ranks_sequence(
    n: ArrayLike, level: ArrayLike, *, alpha: ArrayLike, concentration: ArrayLike = 10.0
) -> QuantileRanks:
    """The ranks of a confidence sequence of a quantile: valid at every look together.

    Args:
        n: values so far, counts.
        level: of the quantile, in (0, 1).
        alpha: error over all looks and both sides together, in (0, 1).
        concentration: c of the mixture, above 0; `rate_tuning(n_opt, alpha=alpha)` is tightest around n_opt values.
    Returns: `QuantileRanks`: floor(n level - b) + 1 and ceil(n level + b'), where b and b' are how far the number of
        values under the quantile may be from n level before the mixture reaches 1/alpha; nan where it never does.
    Raises: ContractError where n is no count, an argument is out of range, or shapes do not fit.
    Assumes: independent values of one distribution, ties allowed. Several values of one user are not: use the first.
    Source: Howard and Ramdas 2022, Bernoulli 28(3), confidence sequence of a fixed quantile, with the beta-binomial
        boundary (Howard, Ramdas, McAuliffe, Sekhon 2021, Annals of Statistics 49(2), Proposition 6); the ranks as in
        their library, confseq (demo/quantiles.py).

        >>> ranks = quantile_ranks_sequence([10_000, 20], 0.5, alpha=0.05, concentration=1000.0)
        >>> ranks.lower.tolist(), ranks.upper.tolist()
        ([4849.0, nan], [5152.0, nan])
    """
    units, p, error = counts("n", n), error_rates("level", level), error_rates("alpha", alpha)
    c = positive("concentration", concentration)
    shape = broadcastable(n=units, level=p, alpha=error, concentration=c)
    units, p, error, c = (np.broadcast_to(a, shape) for a in (units, p, error, c))
    logit, threshold = special.logit(p), -np.log(error)

    def within(s: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(rate_log_mixture(logit, units, s, c) < threshold)

    def reached(s: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.asarray(rate_log_mixture(logit, units, s, c) >= threshold)

    centre, none, all_ = units * p, np.zeros(shape), units + 0.0
    lower = np.floor(crossing(within, none, centre)) + 1
    upper = np.ceil(crossing(within, all_, centre))
    # Not "where it is not within": a mixture that is nan has reached nothing.
    return QuantileRanks(
        _rank(units, p), np.where(reached(none), lower, np.nan), np.where(reached(all_), upper, np.nan)
    )


@np.errstate(all="ignore")
def design_effect(cells: Cells, n: ArrayLike, *, rate: ArrayLike | None = None) -> FloatArray:
    """By how much clusters inflate the variance of a share of values.

    Args:
        cells: the share as a ratio over clusters (`ratios`): m counts a cluster's values under a threshold, d all of
            its values.
        n: values of all clusters, counts.
        rate: what the share estimates, in (0, 1); left out: the share itself.
    Returns: (variance / clusters) / (rate (1 - rate) / n), shape broadcast; 1 where every cluster has one value (but
        for n/(n-1)); nan where the rate is 0 or 1, without values or with fewer than two clusters.
    Raises: ContractError where n is no count, rate is out of range, or shapes do not fit.
    Assumes: independent clusters.
    Source: Deng, Knoblich, Lu 2018 (KDD), adjustment of a percentile's interval for clusters; Kish 1965 for the term.

        >>> from splitgauge.statistics.aggregates import exact_moments, ratios
        >>> twins = ratios(exact_moments(n=[100], m=[100], d=[200], mm=[200], dd=[400], md=[200]))
        >>> design_effect(twins, 200).round(2).tolist()
        [2.02]
    """
    values, clusters = counts("n", n), counts("cells.n", cells.n)
    share = np.asarray(cells.value) if rate is None else error_rates("rate", rate)
    variance = non_negative("cells.variance", cells.variance)
    broadcastable(cells=clusters, variance=variance, rate=share, n=values)
    independent = np.where((share > 0) & (share < 1), share * (1 - share), np.nan) / values
    found = variance / clusters / independent
    return np.where(np.isfinite(found), found, np.nan)


@np.errstate(all="ignore")
def quantile_arm(
    n: ArrayLike,
    value: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    level: ArrayLike,
    alpha: ArrayLike,
    n_interval: ArrayLike | None = None,
    effect_of_design: ArrayLike = 1.0,
) -> Arm:
    """A quantile as one arm of a comparison, from its estimate and the ends of its outer interval.

    Args:
        n: values, counts.
        value, lower, upper: the quantile and the ends of its interval for independent values, the values' unit.
        level: of the quantile, in (0, 1).
        alpha: error of that interval, in (0, 1).
        n_interval: values for which the interval's ranks were taken, counts; left out: n.
        effect_of_design: of clustered values, above 0, see `design_effect`; 1 if the ranks have it already.
    Returns: `Arm` with mean_variance = D (n_interval / n) ((n - 1) / n) ((upper - lower) / (2 z))^2 and df = n - 1, for
        `absolute_effect`, `relative_effect` and `welch_test`; both nan while n is at most `quantile_values_needed` for
        independent values, and where the interval has no width: its ends could not be told apart.
    Raises: ContractError where n or n_interval is no count, upper is below lower, an argument is out of range, or
        shapes do not fit.
    Assumes: a quantile that is nearly normal, that is, a density around it.
    Source: Deng, Knoblich, Lu 2018 (KDD), outer interval with adjustment afterwards; for n_interval GrowthBook's
        gbstats, `QuantileStatistic`.

        >>> one = quantile_arm(1966, 247.2445, 237.713, 255.591, level=0.5, alpha=0.05)
        >>> round(float(np.sqrt(one.mean_variance)), 3)
        4.56
    """
    units, at = counts("n", n), floats("value", value)
    ranked = units if n_interval is None else counts("n_interval", n_interval)
    low, high = floats("lower", lower), floats("upper", upper)
    p, error = error_rates("level", level), error_rates("alpha", alpha)
    d = positive("effect_of_design", effect_of_design)
    broadcastable(n=units, value=at, lower=low, upper=high, n_interval=ranked, level=p, alpha=error, design=d)
    width = require("upper", np.asarray(high - low), ~(high < low), "upper is at least lower")
    spread = (width / (2 * special.ndtri(error / 2))) ** 2 * d * (ranked / units) * ((units - 1) / units)
    known = (units > quantile_values_needed(p, alpha=error)) & np.isfinite(spread) & (width > 0)
    return Arm(*aligned(units, at, np.where(known, spread, np.nan), np.where(known, units - 1, np.nan)))


@np.errstate(all="ignore")
def histogram_quantiles(
    histogram: Histogram, level: ArrayLike, *, alpha: ArrayLike, effect_of_design: ArrayLike = 1.0
) -> Quantiles:
    """Quantiles of the values in a histogram, with their intervals at one look.

    Args:
        histogram: of the values; nan among them are left out.
        level: of the quantiles, in (0, 1), shape (quantiles,).
        alpha: two-sided error of each interval, in (0, 1).
        effect_of_design: of clustered values, above 0, see `design_effect`.
    Returns: `Quantiles`; the interval reaches to the outer ends of the buckets that hold the ranks of `quantile_ranks`,
        so it contains the interval of the values themselves; se from the ranks' places within their buckets.
    Raises: ContractError where an argument is out of range or shapes do not fit.
    Assumes: as `quantile_ranks`.
    Source: as `quantile_ranks`.

        >>> from splitgauge.statistics.histogram import histogram_of
        >>> found = histogram_quantiles(histogram_of(np.arange(1.0, 1001.0)), [0.5, 0.99], alpha=0.05)
        >>> found.value.round(1).tolist(), found.lower.tolist(), found.upper.tolist()
        ([500.5, 990.5], [468.0, 976.0], [536.0, 1000.0])
    """
    n = float(histogram.n)
    p, error = error_rates("level", level), error_rates("alpha", alpha)
    d = positive("effect_of_design", effect_of_design)
    ranks = quantile_ranks(n, p, alpha=error, effect_of_design=d)
    inner = value_at_rank(histogram, ranks.lower), value_at_rank(histogram, ranks.upper)
    # The ranks have the design effect already.
    arm = quantile_arm(n, 0.0, *inner, level=p, alpha=error)
    return Quantiles(
        *aligned(
            value_at_rank(histogram, ranks.rank),
            value_at_rank(histogram, ranks.lower, side="lower"),
            value_at_rank(histogram, ranks.upper, side="upper"),
            np.sqrt(arm.mean_variance),
        )
    )


def _rank(n: FloatArray, level: FloatArray) -> FloatArray:
    # 100 times .07 is 7.000000000000001.
    return np.asarray(np.where(n > 0, np.maximum(np.ceil(n * level * (1 - 1e-14)), 1.0), np.nan))
