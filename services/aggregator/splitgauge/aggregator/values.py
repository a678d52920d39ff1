"""Values as they enter the fold: fixed point, exact from then on (statistics.md, Aggregates).

Owns rounding, range and what each kind of metric accepts. A value that does not fit is refused with the code that its
dead letter will carry; it never becomes something else.
"""

from math import isfinite

from splitgauge.aggregator.observation import FIXED_POINT_LIMIT, Measured
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.metric import ROUTER_METRICS, Metric

__all__ = ["RouterValues", "fixed_point", "router_values"]

_MICRO = ROUTER_METRICS["latency_ms"].scale
_COST_SCALE = ROUTER_METRICS["cost"].scale
_LIMIT = float(FIXED_POINT_LIMIT)

RouterValues = tuple[int | None, int | None, int | None, int | None, int | None, int | None, int | None]
"""Of one outcome, in the order of ROUTER_METRICS."""


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


def router_values(measured: Measured, *, complete: bool) -> RouterValues:
    """What counts of an outcome, in the order of ROUTER_METRICS: fixed point, None where there is nothing to count.

    Latency counts over complete answers only. Raises: ContractError, code `not-finite` or `out-of-range`.
    """
    success = measured.success
    latency = measured.latency_ms if complete else None
    ttft, cost = measured.ttft_ms, measured.cost
    # `_scaled` is written out: three calls for every outcome are a third of what this costs.
    if latency is not None:
        scaled = latency * _MICRO
        latency = round(scaled) if -_LIMIT < scaled < _LIMIT else _scaled(latency, _MICRO, "latency_ms")
    if ttft is not None:
        scaled = ttft * _MICRO
        ttft = round(scaled) if -_LIMIT < scaled < _LIMIT else _scaled(ttft, _MICRO, "ttft_ms")
    if cost is not None:
        scaled = cost * _COST_SCALE
        cost = round(scaled) if -_LIMIT < scaled < _LIMIT else _scaled(cost, _COST_SCALE, "cost")
    return (
        None if success is None else 1 if success else 0,
        latency,
        ttft,
        measured.input_tokens,
        measured.cached_input_tokens,
        measured.output_tokens,
        cost,
    )


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
