"""Numbers of a look in plain words: rates in points, the rest in their own unit or in percent.

Owns how effects, intervals and chances are said in reasons. Decides nothing.
"""

import math

from splitgauge.schemas.analysis import Comparison
from splitgauge.schemas.metric import Metric

__all__ = [
    "amount",
    "average_sentence",
    "between",
    "chance",
    "confidence",
    "counted_sentence",
    "effect_of",
    "effect_sentence",
    "factor",
    "multiple",
    "odds",
    "p_value",
    "percent",
    "units_and_jobs",
    "value_of",
]

_OUT_OF_REACH_UNITS = 100_000_000
"""More than this is no plan: the arms look the same, and the number says only how much."""

_UNITS = {"latency_ms": " ms", "ttft_ms": " ms", "cost": " USD"}

_LARGEST_ODDS = math.log(1e6)


def amount(metric: Metric, value: float, *, relative: bool = False) -> str:
    """A difference on the metric.

    >>> from splitgauge.schemas.metric import ROUTER_METRICS
    >>> amount(ROUTER_METRICS["success"], -0.0123), amount(ROUTER_METRICS["latency_ms"], 41.26)
    ('-1.2 points', '41.26 ms')
    """
    if relative:
        return percent(value)
    if metric.kind == "proportion":
        return f"{_points(value)} points"
    return f"{value:.4g}{_UNITS.get(metric.name, '')}"


def value_of(metric: Metric, value: float) -> str:
    """The metric of one variant.

    >>> from splitgauge.schemas.metric import ROUTER_METRICS
    >>> value_of(ROUTER_METRICS["success"], 0.9923), value_of(ROUTER_METRICS["cost"], 0.00123)
    ('99.23 %', '0.00123 USD')
    """
    return percent(value) if metric.kind == "proportion" else amount(metric, value)


def effect_of(metric: Metric, value: float) -> str:
    """A difference with its direction.

    >>> from splitgauge.schemas.metric import ROUTER_METRICS
    >>> effect_of(ROUTER_METRICS["success"], -0.0123)
    '1.2 points lower'
    """
    return f"{amount(metric, abs(value))} {'higher' if value >= 0 else 'lower'}"


def p_value(p: float) -> str:
    """How likely chance alone is.

    >>> p_value(0.01234), p_value(1e-30)
    ('0.012', 'under 0.0001')
    """
    return "under 0.0001" if p < 1e-4 else f"{p:.2g}"


def percent(share: float) -> str:
    """A share of one.

    >>> percent(0.05), percent(0.99234), percent(1.0)
    ('5 %', '99.23 %', '100 %')
    """
    return f"{100 * share:.4g} %"


def chance(probability: float) -> str:
    """A probability, which a normal limit knows only so far.

    >>> chance(0.97512), chance(1e-57), chance(1.0)
    ('97.51 %', 'under 0.01 %', 'over 99.99 %')
    """
    if probability < 1e-4:
        return "under 0.01 %"
    return "over 99.99 %" if probability > 1 - 1e-4 else percent(probability)


def confidence(level: float) -> str:
    """How sure an interval is whose error over all looks is `level`."""
    return f"with {percent(1 - level)} confidence at any look"


def between(metric: Metric, low: float, high: float) -> str:
    """An interval of a difference.

    >>> from splitgauge.schemas.metric import ROUTER_METRICS
    >>> between(ROUTER_METRICS["success"], 0.01, 0.03), between(ROUTER_METRICS["success"], -0.03, -0.01)
    ('1.0 to 3.0 points higher', '1.0 to 3.0 points lower')
    >>> between(ROUTER_METRICS["latency_ms"], -2.0, 7.5)
    'between 2 ms lower and 7.5 ms higher'
    """
    if low >= 0 or high <= 0:
        near, far = sorted((abs(low), abs(high)))
        number, unit = amount(metric, near).partition(" ")[0], amount(metric, far)
        return f"{number} to {unit} {'higher' if low >= 0 else 'lower'}"
    return f"between {amount(metric, -low)} lower and {amount(metric, high)} higher"


def average_sentence(comparison: Comparison, metric: Metric, *, values: tuple[float | None, float | None]) -> str:
    """How far the two are apart, and where each of them is: `values` of control and challenger."""
    if comparison.effect is None:
        return f"{comparison.variant} has no {comparison.metric} to compare with {comparison.against} yet"
    adjusted = "" if comparison.adjusted_by is None else f", adjusted for {comparison.adjusted_by},"
    text = (
        f"{comparison.variant}'s {comparison.metric}{adjusted} is {effect_of(metric, comparison.effect)} than "
        f"{comparison.against}'s"
    )
    ours, theirs = values
    return (
        text
        if ours is None or theirs is None
        else (f"{text} ({value_of(metric, theirs)} against {value_of(metric, ours)})")
    )


def effect_sentence(
    comparison: Comparison, metric: Metric, *, values: tuple[float | None, float | None], level: float
) -> str:
    """What the comparison shows, with the interval that holds at every look at error `level`."""
    if comparison.counted is not None:
        return counted_sentence(comparison, level=level)
    text = average_sentence(comparison, metric, values=values)
    if comparison.effect is None:
        return text
    low, high = comparison.sequential_lower, comparison.sequential_upper
    if low is None or high is None:
        return f"{text}; nothing varies yet, so that no bound can be given"
    return f"{text}; {confidence(level)} it is {between(metric, low, high)}"


def counted_sentence(comparison: Comparison, *, level: float) -> str:
    """The same of rare outcomes, from their counts."""
    counted, metric = comparison.counted, comparison.metric
    if counted is None or counted.units + counted.units_against == 0:
        return f"no unit of {comparison.variant} or {comparison.against} has the rarer outcome of {metric} yet"
    had = f"{'had' if counted.outcome == 'hit' else 'missed'} {metric} at least once"
    text = (
        f"{counted.units} of {comparison.units} units of {comparison.variant} {had}, {counted.units_against} of "
        f"{comparison.units_against} units of {comparison.against}"
    )
    low, high = comparison.sequential_lower or 0.0, comparison.sequential_upper
    said = f"{multiple(low)} to {multiple(high)} times" if high is not None else f"at least {multiple(low)} times"
    rate = "" if counted.rate_ratio is None else f" ({multiple(counted.rate_ratio - 1)} times the rate)"
    return f"{text}{rate}; {confidence(level)} it is {said} the rate of {comparison.against}"


def multiple(more: float) -> str:
    """A ratio, given less one.

    >>> multiple(0.5), multiple(-1.0), multiple(11.337)
    ('1.5', '0', '12.3')
    """
    return f"{1 + more:.3g}"


def factor(log_e: float) -> str:
    """A Bayes factor, from its logarithm.

    >>> factor(math.log(85.3)), factor(math.log(0.21)), factor(1e5)
    ('85', '0.21', 'over 1000000')
    """
    if log_e > _LARGEST_ODDS:
        return f"over {math.exp(_LARGEST_ODDS):.0f}"
    value = math.exp(log_e)
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def odds(log_e: float) -> str:
    """How seldom chance alone brings an e-value that high, at any look (Ville's inequality).

    >>> odds(math.log(315.08)), odds(1e5)
    ('in at most 1 of 315 experiments', 'in at most 1 of 1000000 experiments')
    """
    return f"in at most 1 of {math.floor(math.exp(max(0.0, min(log_e, _LARGEST_ODDS))) + 1e-6)} experiments"


def units_and_jobs(units: int | None, jobs: int | None) -> str:
    """What is still needed, as far as it can be said."""
    if units is None:
        return "how much more is needed cannot be said yet"
    if units == 0:
        return "the goal has units enough"
    if units > _OUT_OF_REACH_UNITS:
        return "as things stand the goal is out of reach"
    text = f"about {units} more units"
    return f"{text} ({jobs} requests)" if jobs is not None else text


def _points(value: float) -> str:
    """One decimal, and another where there would be nothing but zeros."""
    points = 100 * value
    return f"{points:.2g}" if 0.001 <= abs(points) < 1 else f"{points + 0.0:.1f}"
