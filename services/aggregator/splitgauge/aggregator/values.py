"""Values as they enter the fold: fixed point, exact from then on (statistics.md, Aggregates).

Owns rounding, range and what each kind of metric accepts. A value that does not fit is refused with the code that its
dead letter will carry; it never becomes something else.
"""

from math import isfinite

from splitgauge.aggregator.observation import Measured
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.metric import ROUTER_METRICS, Metric

__all__ = ["FIXED_POINT_LIMIT", "fixed_point", "router_values"]

FIXED_POINT_LIMIT = 2**53
"""|value * scale| below this: float64 holds every integer up to here, so rounding is exact."""

_MICRO = ROUTER_METRICS["latency_ms"].scale
_COST_SCALE = ROUTER_METRICS["cost"].scale
_SUCCESS, _LATENCY, _TTFT, _INPUT, _CACHED, _OUTPUT, _COST = range(len(ROUTER_METRICS))


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


def router_values(measured: Measured, *, complete: bool) -> list[tuple[int, int]]:
    """What counts of an outcome, as (place among ROUTER_METRICS, fixed point). Latency over complete answers only.

    Raises: ContractError, code `not-finite` or `out-of-range`.
    """
    values: list[tuple[int, int]] = []
    if measured.success is not None:
        values.append((_SUCCESS, 1 if measured.success else 0))
    if measured.latency_ms is not None and complete:
        values.append((_LATENCY, _scaled(measured.latency_ms, _MICRO, "latency_ms")))
    if measured.ttft_ms is not None:
        values.append((_TTFT, _scaled(measured.ttft_ms, _MICRO, "ttft_ms")))
    if measured.input_tokens is not None:
        values.append((_INPUT, _scaled(measured.input_tokens, 1, "input_tokens")))
    if measured.cached_input_tokens is not None:
        values.append((_CACHED, _scaled(measured.cached_input_tokens, 1, "cached_input_tokens")))
    if measured.output_tokens is not None:
        values.append((_OUTPUT, _scaled(measured.output_tokens, 1, "output_tokens")))
    if measured.cost is not None:
        values.append((_COST, _scaled(measured.cost, _COST_SCALE, "cost")))
    return values


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
