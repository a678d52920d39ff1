"""From a window's exact sums to arrays: one estimate per epoch, variant and metric, and the arms of comparisons.

Owns which sums are analysed (epochs, attribution days, units with data) and how they become `splitgauge.statistics`
cells. Must not know tests, guardrails or verdicts. Axes are epochs, variants, metrics, in the orders given here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from splitgauge.experiments import ExperimentState
from splitgauge.schemas import instants
from splitgauge.schemas.codec import canonical
from splitgauge.schemas.metric import Metric
from splitgauge.schemas.tables import SHARE_SCALE, Cell, MetricSums, WindowData
from splitgauge.statistics import Cells, Moments, exact_moments, ratios

__all__ = [
    "DAY_US",
    "RARE_OUTCOMES",
    "FloatArray",
    "Numbers",
    "Row",
    "analysed_cells",
    "column",
    "read_numbers",
    "rounded",
    "unit_of",
]

FloatArray = npt.NDArray[np.float64]

DAY_US = 86_400 * instants.SECOND_US

RARE_OUTCOMES = 25
"""Units with a rate's rarer outcome, in both arms together, under which it has no usable standard error."""

_SUMS = ("m", "d", "mm", "dd", "md")
_COVARIATE_SUMS = ("x", "xx", "mx", "dx")


def column(values: FloatArray) -> list[float | None]:
    """The values as an analysis records them: 12 significant digits, None where undefined (events.md, rule 13)."""
    recorded: list[float | None] = canonical(values.tolist())
    return recorded


def rounded(values: FloatArray) -> FloatArray:
    """The same as an array, nan where undefined: whatever decides reads these, so that it decides what is recorded."""
    return np.array([np.nan if value is None else value for value in column(values)], dtype=np.float64)


def unit_of(metrics: Mapping[str, Metric], name: str) -> float:
    """What a ratio of sums is multiplied with: a denominator that is another metric comes in that one's fixed point."""
    metric = metrics[name]
    return float(metrics[metric.counted_over.removeprefix("metric:")].scale) if metric.kind == "ratio" else 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: `variant` against `against` on a metric."""

    variant: str
    against: str
    metric: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a window says of an experiment.

    Attributes:
        shares: of the split table, shape (epochs, variants).
        exposed, units, requests, crossovers, missing, missing_units: counts, shape (epochs, variants).
        cells: estimate and linearised variance over units with data, shape (epochs, variants, metrics).
        hits, misses: units with m > 0 and with m < d, same shape.
        success_shares: sum over units of m / d (proportions), same shape.
        overall: each variant's estimate over all of its epochs at once, for display, shape (variants, metrics).
        covaried: of the metrics with a covariate, moments over all analysed units, shape (epochs, variants).
    """

    epochs: tuple[int, ...]
    variants: tuple[str, ...]
    metrics: Mapping[str, Metric]
    shares: FloatArray
    exposed: FloatArray
    units: FloatArray
    requests: FloatArray
    crossovers: FloatArray
    missing: FloatArray
    missing_units: FloatArray
    cells: Cells
    hits: FloatArray
    misses: FloatArray
    success_shares: FloatArray
    overall: Cells
    covaried: Mapping[str, Moments]

    def places(self, rows: Sequence[Row]) -> tuple[list[int], list[int], list[int]]:
        """Indices of the baseline, the challenger and the metric of each row."""
        variant = {name: index for index, name in enumerate(self.variants)}
        metric = {name: index for index, name in enumerate(self.metrics)}
        return (
            [variant[row.against] for row in rows],
            [variant[row.variant] for row in rows],
            [metric[row.metric] for row in rows],
        )

    def shared(self, rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
        """Epochs in which both variants of a row had slots, shape (epochs, rows)."""
        against, variant, _ = self.places(rows)
        return np.asarray((self.shares[:, against] > 0) & (self.shares[:, variant] > 0))

    def pair_shares(self, rows: Sequence[Row]) -> FloatArray:
        """The challenger's share of the two arms' traffic, shape (epochs, rows); 0 where one of them had none."""
        against, variant, _ = self.places(rows)
        both = self.shares[:, against] + self.shares[:, variant]
        share = self.shares[:, variant] / np.where(both > 0, both, 1.0)
        return np.where(self.shared(rows), share, 0.0)

    def pairs(self, rows: Sequence[Row]) -> tuple[Cells, Cells]:
        """Both arms of each row, empty in epochs that had one only, shape (epochs, rows)."""
        against, variant, metric = self.places(rows)
        shared = self.shared(rows)

        def pick(arm: list[int]) -> Cells:
            n, value, variance = (values[:, arm, metric] for values in self.cells)
            return Cells(np.where(shared, n, 0.0), value, variance)

        return pick(against), pick(variant)

    def moments(self, rows: Sequence[Row]) -> tuple[Moments, Moments]:
        """The same of metrics with a covariate, as moments over all analysed units."""
        against, variant, _ = self.places(rows)
        shared = self.shared(rows)

        def pick(arm: list[int]) -> Moments:
            columns = [
                [field[:, place] for field in self.covaried[row.metric]] for row, place in zip(rows, arm, strict=True)
            ]
            picked = Moments(*(np.stack(field, axis=1) for field in zip(*columns, strict=True)))
            return picked._replace(n=np.where(shared, picked.n, 0.0))

        return pick(against), pick(variant)

    def counted(self, counts: FloatArray, rows: Sequence[Row]) -> tuple[FloatArray, FloatArray]:
        """Counts per epoch of both arms, 0 in epochs that had one only, each of shape (epochs, rows)."""
        against, variant, metric = self.places(rows)
        shared = self.shared(rows)
        return np.where(shared, counts[:, against, metric], 0.0), np.where(shared, counts[:, variant, metric], 0.0)

    def totals(self, counts: FloatArray) -> dict[str, int]:
        """Counts of shape (epochs, variants) by variant, over all epochs."""
        return {name: int(total) for name, total in zip(self.variants, counts.sum(axis=0), strict=True)}


def read_numbers(state: ExperimentState, window: WindowData) -> Numbers:
    """The numbers of an experiment that was activated. Epochs that the state does not know are left out: the window
    was made from decisions that `state` has not read."""
    specification = state.specification
    variants = tuple(variant.name for variant in specification.variants)
    metrics = specification.all_metrics
    epochs = tuple(epoch.number for epoch in state.epochs)
    tables = [epoch.table.shares() for epoch in state.epochs]
    cells = [[window.epochs.get(str(epoch), {}).get(variant, Cell()) for variant in variants] for epoch in epochs]
    mature = _mature_days(state, window)
    sums = [[[_analysed(cell, metric, mature) for metric in metrics.values()] for cell in row] for row in cells]
    shape = (len(epochs), len(variants), len(metrics))

    def of_cells(name: str) -> FloatArray:
        return np.array([[getattr(cell, name) for cell in row] for row in cells], dtype=np.float64)

    def of_sums(name: str, scale: int = 1) -> FloatArray:
        return np.array(
            [getattr(one.sums, name) / scale for row in sums for cell in row for one in cell], dtype=np.float64
        ).reshape(shape)

    return Numbers(
        epochs=epochs,
        variants=variants,
        metrics=metrics,
        shares=np.array([[table[variant] for variant in variants] for table in tables], dtype=np.float64),
        exposed=of_cells("exposed"),
        units=of_cells("units"),
        requests=of_cells("requests"),
        crossovers=of_cells("crossovers"),
        missing=of_cells("missing"),
        missing_units=of_cells("missing_units"),
        cells=_estimates([one for row in sums for cell in row for one in cell], metrics, shape),
        hits=of_sums("hits"),
        misses=of_sums("misses"),
        success_shares=of_sums("shares", SHARE_SCALE),
        overall=_estimates([_added(column_) for column_ in _by_variant(sums)], metrics, shape[1:]),
        covaried=_covaried(sums, metrics),
    )


def analysed_cells(
    state: ExperimentState, window: WindowData, metric: Metric, *, epoch: int, variant: str
) -> list[Cell]:
    """The cells whose units count for a metric: the variant's own, or those of the days that are mature."""
    cell = window.epochs.get(str(epoch), {}).get(variant, Cell())
    return _parts(cell, metric, _mature_days(state, window))


class _Sums(NamedTuple):
    """Units with data on a metric, all analysed units (none where the metric is not known of), and the sums."""

    n: int
    units: int
    sums: MetricSums


def _mature_days(state: ExperimentState, window: WindowData) -> frozenset[str] | None:
    """Days of first exposure that ended at least the attribution window before `as_of`; None: no such window."""
    seconds = state.specification.attribution_window_s
    if seconds is None:
        return None
    as_of = instants.from_text(window.as_of) if window.as_of is not None else 0
    latest_start = as_of - round(seconds * instants.SECOND_US) - DAY_US
    days = {day for cells in window.epochs.values() for cell in cells.values() for day in cell.days}
    return frozenset(day for day in days if instants.from_text(f"{day}T00:00:00Z") <= latest_start)


def _analysed(cell: Cell, metric: Metric, mature: frozenset[str] | None) -> _Sums:
    return _added([_with_data(part, metric) for part in _parts(cell, metric, mature)])


def _parts(cell: Cell, metric: Metric, mature: frozenset[str] | None) -> list[Cell]:
    """Reported metrics wait for their attribution window; what the router measures itself comes at once."""
    if mature is None or not metric.reported:
        return [cell]
    return [day for name, day in cell.days.items() if name in mature]


def _with_data(cell: Cell, metric: Metric) -> _Sums:
    sums = cell.metrics.get(metric.name)
    if sums is None:
        return _Sums(0, 0, MetricSums())
    # A unit without a denominator has no numerator either, so that leaving it out changes no sum. Not so where the
    # denominator is another metric: revenue may come without a click.
    return _Sums(cell.units if metric.kind == "ratio" else sums.present, cell.units, sums)


def _by_variant(sums: Sequence[Sequence[Sequence[_Sums]]]) -> list[list[_Sums]]:
    """For each variant and metric, what its epochs have."""
    return [list(epochs) for variant in zip(*sums, strict=True) for epochs in zip(*variant, strict=True)]


def _added(parts: Sequence[_Sums]) -> _Sums:
    if len(parts) == 1:
        return parts[0]
    fields = (*_SUMS, *_COVARIATE_SUMS, "present", "hits", "misses", "shares")
    total = {name: sum(getattr(part.sums, name) for part in parts) for name in fields}
    return _Sums(sum(part.n for part in parts), sum(part.units for part in parts), MetricSums.model_validate(total))


def _estimates(sums: Sequence[_Sums], metrics: Mapping[str, Metric], shape: tuple[int, ...]) -> Cells:
    scales = [metric.scale for metric in metrics.values()] * (len(sums) // len(metrics))
    n, value, variance = ratios(exact_moments(n=[one.n for one in sums], **_columns(sums, _SUMS), scale=scales))
    units = np.array([unit_of(metrics, name) for name in metrics])
    return Cells(n.reshape(shape), value.reshape(shape) * units, variance.reshape(shape) * units**2)


def _covaried(cells: Sequence[Sequence[Sequence[_Sums]]], metrics: Mapping[str, Metric]) -> dict[str, Moments]:
    """A covariate is known of every unit, so that its moments are over all of them; those without data on the metric
    have no numerator and no denominator."""
    out: dict[str, Moments] = {}
    for place, metric in enumerate(metrics.values()):
        if metric.covariate is None:
            continue
        sums = [cell[place] for row in cells for cell in row]
        moments = exact_moments(
            n=[one.units for one in sums],
            **_columns(sums, (*_SUMS, *_COVARIATE_SUMS)),
            scale=metric.scale,
            x_scale=metric.covariate.scale,
        )
        out[metric.name] = Moments(*(field.reshape(len(cells), -1) for field in moments))
    return out


def _columns(sums: Sequence[_Sums], fields: Sequence[str]) -> dict[str, list[int]]:
    return {name: [getattr(one.sums, name) for one in sums] for name in fields}
