"""Numbers of a look in plain words: rates in points, the rest in their own unit or in percent.

Owns how effects are said in reasons. Decides nothing.
"""

from splitgauge.schemas.analysis import Comparison
from splitgauge.schemas.metric import Metric

__all__ = ["amount", "effect_sentence", "units_and_jobs"]

_OUT_OF_REACH_UNITS = 100_000_000
"""More than this is no plan: the arms look the same, and the number says only how much."""

_UNITS = {"latency_ms": " ms", "ttft_ms": " ms", "cost": " USD"}


def amount(metric: Metric, value: float, *, relative: bool = False) -> str:
    """A difference on the metric.

    >>> from splitgauge.schemas.metric import ROUTER_METRICS
    >>> amount(ROUTER_METRICS["success"], -0.0123), amount(ROUTER_METRICS["latency_ms"], 41.26)
    ('-1.2 points', '41.26 ms')
    """
    if relative:
        return f"{100 * value:.3g} %"
    if metric.kind == "proportion":
        return f"{_points(value)} points"
    return f"{value:.4g}{_UNITS.get(metric.name, '')}"


def effect_sentence(comparison: Comparison, metric: Metric, *, level: float) -> str:
    """What the comparison shows, with the always-valid interval at error `level`."""
    if comparison.effect is None:
        return f"{comparison.variant} has no {comparison.metric} to compare with {comparison.against} yet"
    higher = "higher" if comparison.effect >= 0 else "lower"
    text = (
        f"{comparison.variant}'s {comparison.metric} is {amount(metric, abs(comparison.effect))} {higher} than "
        f"{comparison.against}'s"
    )
    if comparison.sequential_lower is None or comparison.sequential_upper is None:
        return text
    low, high = comparison.sequential_lower, comparison.sequential_upper
    said = (_points(low), _points(high)) if metric.kind == "proportion" else (f"{low:.4g}", f"{high:.4g}")
    return f"{text} ({100 * (1 - level):.4g} % always-valid interval {said[0]} to {said[1]})"


def units_and_jobs(units: int | None, jobs: int | None) -> str:
    """What is still needed, as far as it can be said."""
    if units is None:
        return "how much more is needed cannot be said yet"
    if units == 0:
        return "the goal needs no more units"
    if units > _OUT_OF_REACH_UNITS:
        return "as things stand the goal is out of reach"
    text = f"about {units} more units"
    return f"{text} ({jobs} requests)" if jobs is not None else text


def _points(value: float) -> str:
    return f"{100 * value:.1f}"
