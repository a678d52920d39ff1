"""Values as they enter the fold: fixed point, exact from then on (statistics.md, Aggregates).

Owns rounding, range and what each kind of metric accepts. A value that does not fit is refused with the code that its
dead letter will carry; it never becomes something else.
"""

from collections.abc import Callable
from math import isfinite, nan
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.exact import Matrix
from splitgauge.aggregator.observation import FIXED_POINT_LIMIT, Measured
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.metric import ROUTER_METRICS, Metric

__all__ = ["check_measured", "fixed_point", "raw_values", "router_columns"]

_SCALES = np.array([metric.scale for metric in ROUTER_METRICS.values()], dtype=np.float64)[:, None]
_LATENCY = list(ROUTER_METRICS).index("latency_ms")

_values: Callable[[Measured], tuple[Any, ...]] = attrgetter(*ROUTER_METRICS)


def fixed_point(value: float, metric: Metric) -> int:
    """A reported value as an integer, value 1 being `metric.scale`.

    Raises: ContractError, code `not-finite` or `out-of-range`.

    >>> fixed_point(2.5, Metric(name="rating", scale=1))
    2
    """
    if not isfinite(value):
        raise ContractError(f"{value!r} is not finite", where=f"/data/metrics/{metric.name}", code="not-finite")
    if metric.kind == "proportion" and value not in {0, 1}:
        raise _out_of_range(value, metric.name, "a proportion takes true, false, 0 or 1")
    if metric.kind == "count" and (value < 0 or value != int(value)):
        raise _out_of_range(value, metric.name, "a count is a whole number, not below 0")
    if metric.cap is not None and metric.level == "request":
        value = min(value, metric.cap)
    if metric.fold == "any":
        return metric.scale if value else 0
    return _scaled(value, metric.scale, metric.name)


def raw_values(measured: Measured) -> tuple[float, ...]:
    """What was measured of one outcome, in the order of ROUTER_METRICS; nan where it was not to be had."""
    values = _values(measured)
    return tuple([nan if value is None else value for value in values]) if None in values else values


def check_measured(measured: Measured, *, complete: bool) -> None:
    """Raises: ContractError, code `not-finite` or `out-of-range`, if what counts of an outcome does not fit.

    Latency counts over complete answers only. What was decoded as `BoundedMeasured` fits.
    """
    floats = (("latency_ms", measured.latency_ms if complete else None), ("ttft_ms", measured.ttft_ms))
    for name, value in (*floats, ("cost", measured.cost)):
        if value is not None:
            _scaled(value, ROUTER_METRICS[name].scale, name)


def router_columns(measured: NDArray[np.float64], complete: NDArray[np.bool_]) -> tuple[Matrix, NDArray[np.bool_]]:
    """What counts of outcomes, checked, a line for each of ROUTER_METRICS: fixed point, and where there is anything.

    Latency counts over complete answers only.
    """
    present = ~np.isnan(measured)
    present[_LATENCY] &= complete
    return np.rint(np.where(present, measured, 0) * _SCALES).astype(np.int64), present


def _scaled(value: float, scale: int, name: str) -> int:
    scaled = value * scale
    if -FIXED_POINT_LIMIT < scaled < FIXED_POINT_LIMIT:
        return round(scaled)
    if not isfinite(value):
        raise ContractError(f"{value!r} is not finite", where=f"/data/metrics/{name}", code="not-finite")
    raise _out_of_range(value, name, f"times its scale {scale} it has to stay below 2^53")


def _out_of_range(value: float, name: str, remedy: str) -> ContractError:
    return ContractError(
        f"{value!r} is out of range", where=f"/data/metrics/{name}", remedy=remedy, code="out-of-range"
    )
