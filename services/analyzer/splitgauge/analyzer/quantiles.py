"""Quantiles of a look: p50, p90, p95 and p99 of the latencies, and the quantiles that an experiment declares.

Read from the window's histograms, epochs together, and shown per variant: they decide nothing, so no arms are compared
and no look corrects another. Owns which quantiles there are, and by how much a unit's values go together: as much as
they do for the share under a limit that the experiment declares nearest to the quantile.
"""

from collections.abc import Sequence
from typing import TypeAlias

from splitgauge.analyzer.numbers import Numbers, column
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import QuantileValue
from splitgauge.schemas.metric import Metric
from splitgauge.schemas.tables import Cell, WindowData
from splitgauge.statistics import (
    Cells,
    Histogram,
    design_effect,
    histogram_of,
    histogram_quantiles,
    merged,
    quantile_values_needed,
)

__all__ = ["LEVELS", "QuantileTable", "quantile_name", "read_quantiles"]

LEVELS = (0.5, 0.9, 0.95, 0.99)
"""Shown of the router's own metrics that have quantiles."""

QuantileTable: TypeAlias = dict[str, dict[str, dict[str, QuantileValue]]]
"""By variant, metric and name of the quantile."""


def quantile_name(level: float) -> str:
    """As people say it.

    >>> quantile_name(0.95), quantile_name(0.999)
    ('p95', 'p99.9')
    """
    return f"p{100 * level:g}"


def read_quantiles(state: ExperimentState, window: WindowData, numbers: Numbers) -> QuantileTable:
    """All quantiles of an experiment, for metrics of which a variant has values."""
    metrics = [metric for metric in numbers.metrics.values() if metric.sketched]
    table: QuantileTable = {}
    for place, variant in enumerate(numbers.variants):
        by_epoch = (window.epochs.get(str(epoch), {}).get(variant, Cell()) for epoch in numbers.epochs)
        cells = [cell for cell in by_epoch if cell.histograms]
        shares = _shares(numbers, place, cells)
        table[variant] = {
            metric.name: _of_metric(state, metric, histogram, shares.get(metric.name, []))
            for metric in metrics
            if (histogram := merged(*(histogram_of(cell.histograms.get(metric.name, {})) for cell in cells))).n
        }
    return table


_Share: TypeAlias = tuple[float, float]
"""A share under a limit, and its design effect."""


def _shares(numbers: Numbers, variant: int, cells: Sequence[Cell]) -> dict[str, list[_Share]]:
    """By the metric that they are limits of."""
    found: dict[str, list[_Share]] = {}
    n, value, variance = numbers.overall
    for place, (name, metric) in enumerate(numbers.metrics.items()):
        if metric.source is None:
            continue
        share = Cells(n[variant, place], value[variant, place], variance[variant, place])
        requests = sum(cell.metrics[name].d for cell in cells if name in cell.metrics)
        [effect] = column(design_effect(share, [requests]))
        if effect is not None and effect > 0:
            found.setdefault(metric.source, []).append((float(share.value), effect))
    return found


def _of_metric(
    state: ExperimentState, metric: Metric, histogram: Histogram, shares: Sequence[_Share]
) -> dict[str, QuantileValue]:
    levels = LEVELS if metric.quantile is None else (metric.quantile,)
    alpha, n = state.specification.alpha, histogram.n
    nearest = [min(shares, key=lambda share: abs(share[0] - level))[1] if shares else None for level in levels]
    effects = [1.0 if effect is None else effect for effect in nearest]
    quantiles = histogram_quantiles(histogram, levels, alpha=alpha, effect_of_design=effects)
    needed = quantile_values_needed(levels, alpha=alpha, effect_of_design=effects)
    columns = {name: column(values) for name, values in quantiles._asdict().items()}
    return {
        quantile_name(level): QuantileValue(
            value=columns["value"][place],
            lower=columns["lower"][place],
            upper=columns["upper"][place],
            standard_error=columns["se"][place],
            values=n,
            design_effect=nearest[place],
            reason=None
            if n > needed[place]
            else f"its interval needs more than {needed[place]:.0f} values; there are {n}",
        )
        for place, level in enumerate(levels)
    }
