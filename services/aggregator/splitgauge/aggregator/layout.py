"""Where a unit's numbers stand in its row, and how its metrics follow from them.

A row is one line of 64-bit integers: five fields of the unit, then per metric what was added up (m) and how many values
there were (d), then the covariates, then what of the goal came early. Owns the columns; knows no unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.exact import Matrix
from splitgauge.aggregator.observation import FIXED_POINT_LIMIT
from splitgauge.aggregator.values import fixed_point
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.metric import ROUTER_METRICS, Metric

__all__ = ["CELL", "FIRST_AT", "FLAGS", "MISSING", "PAIRS", "REQUESTS", "RowLayout", "column_of"]

CELL, FIRST_AT, FLAGS, REQUESTS, MISSING, PAIRS = range(6)
"""Columns: number of the unit's cell, first exposure, flags, own requests, missing ones; first of the pairs (m, d)."""


def column_of(place: int) -> int:
    """Column of m of the metric at a place (the router's own come first); its d is the next."""
    return PAIRS + 2 * place


class Limit(NamedTuple):
    """A proportion that follows from one of the router's metrics: 1 where its value is at most `most`."""

    place: int
    source: int
    most: int
    one: int


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The columns of one experiment.

    Attributes:
        metrics: all of them, the router's own first.
        places: place of a reported metric by name.
        limits: shares of requests under a limit.
        request_places: places of what every outcome tells: the router's own, then those of `limits`.
        sketched: places of metrics whose values are kept in histograms.
        denominators: per metric the column of d, `ONE` for each exposed unit, `OTHER - p` for the m of place p.
        caps: per metric the largest total of a unit, None where there is none.
        covariates: per metric the column of x, None without a covariate.
        has_covariates: whether any metric has one.
        goal: place of the goal.
        early: by place, the column of the early part of m where it is kept; that of d is the next.
        early_requests: column of the early requests, where the goal is counted over requests.
        early_goal, early_denominator: columns of the early m and d of the goal; None where d is one for each unit.
        early_denominator_cap: the largest early d, None where there is none.
        early_copies: pairs of a column and the one of its early part.
        width: columns in all.
    """

    metrics: tuple[Metric, ...]
    places: Mapping[str, int]
    limits: tuple[Limit, ...]
    request_places: tuple[int, ...]
    sketched: frozenset[int]
    denominators: tuple[int, ...]
    caps: tuple[int | None, ...]
    covariates: tuple[int | None, ...]
    has_covariates: bool
    goal: int
    early: Mapping[int, int]
    early_requests: int | None
    early_goal: int
    early_denominator: int | None
    early_denominator_cap: int | None
    early_copies: tuple[tuple[int, int], ...]
    width: int

    ONE = -1
    OTHER = -2

    @classmethod
    def of(cls, specification: ExperimentSpecification) -> "RowLayout":
        """The layout of an experiment; its metrics are frozen once it is active."""
        metrics = tuple(specification.all_metrics.values())
        names = [metric.name for metric in metrics]
        width = column_of(len(metrics))
        covariates: list[int | None] = []
        for metric in metrics:
            covariates.append(width if metric.covariate is not None else None)
            width += metric.covariate is not None
        denominators = tuple(_denominator(metric, place, names) for place, metric in enumerate(metrics))
        caps = tuple(_total_cap(metric) for metric in metrics)
        goal = names.index(specification.goal.metric)
        other = cls.OTHER - denominators[goal] if denominators[goal] <= cls.OTHER else None
        early = {place: width + 2 * number for number, place in enumerate([goal] if other is None else [goal, other])}
        limits = tuple(_limits(metrics, names))
        copies = [(column_of(place) + of, column + of) for place, column in early.items() for of in (0, 1)]
        if denominators[goal] == REQUESTS:
            copies.append((REQUESTS, width + len(copies)))
        early_columns = dict(copies)
        return cls(
            metrics=metrics,
            places={metric.name: place for place, metric in enumerate(metrics) if metric.reported},
            limits=limits,
            request_places=(*range(len(ROUTER_METRICS)), *(limit.place for limit in limits)),
            sketched=frozenset(place for place, metric in enumerate(metrics) if metric.sketched),
            denominators=denominators,
            caps=caps,
            covariates=tuple(covariates),
            has_covariates=width > column_of(len(metrics)),
            goal=goal,
            early=early,
            early_requests=early_columns.get(REQUESTS),
            early_goal=early[goal],
            early_denominator=early_columns.get(denominators[goal]) if other is None else early[other],
            early_denominator_cap=None if other is None else caps[other],
            early_copies=tuple(copies),
            width=width + len(copies),
        )

    def with_limits(self, values: Matrix, present: NDArray[np.bool_]) -> tuple[Matrix, NDArray[np.bool_]]:
        """The columns of outcomes (`values.router_columns`), with those of the shares under a limit after them."""
        if not self.limits:
            return values, present
        sources = [limit.source for limit in self.limits]
        most = [min(limit.most, FIXED_POINT_LIMIT) for limit in self.limits]
        ones = [limit.one for limit in self.limits]
        shares = np.where(values[sources] <= np.array(most)[:, None], np.array(ones)[:, None], 0)
        return np.vstack([values, shares]), np.vstack([present, present[sources]])

    def covariate_values(self, known: Mapping[str, float]) -> list[tuple[int, int]]:
        """(column, x) of a unit, from the covariates of its first assignment. Raises: as `fixed_point`."""
        values: list[tuple[int, int]] = []
        for metric, column in zip(self.metrics, self.covariates, strict=True):
            if metric.covariate is not None and column is not None:
                value = known.get(metric.covariate.attribute, metric.covariate.default)
                carrier = Metric(name=metric.name, scale=metric.covariate.scale)
                values.append((column, fixed_point(value, carrier)))
        return values


def _denominator(metric: Metric, place: int, names: list[str]) -> int:
    over = metric.counted_over
    if over == "units":
        return RowLayout.ONE
    if over == "requests":
        return REQUESTS
    if over == "reports":
        return column_of(place) + 1
    return RowLayout.OTHER - names.index(over.removeprefix("metric:"))


def _limits(metrics: Sequence[Metric], names: list[str]) -> Iterator[Limit]:
    for place, metric in enumerate(metrics):
        if metric.source is not None and metric.under is not None:
            source = names.index(metric.source)
            # Exactly what was written: 0.29 times a million is 289999.99999999994 in floating point.
            most = floor(Fraction(str(metric.under)) * metrics[source].scale)
            yield Limit(place, source, most, metric.scale)


def _total_cap(metric: Metric) -> int | None:
    return round(metric.cap * metric.scale) if metric.cap is not None and metric.level == "unit" else None
