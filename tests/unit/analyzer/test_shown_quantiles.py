"""Quantiles in a look: which there are, what their intervals know of units, and that they decide nothing."""

from collections import Counter

import numpy as np
import pytest

from look_stories import CORRECT, EXPERIMENT, PERSON, Story, rate, sums, window
from splitgauge.experiments.commands import reweight_experiment
from splitgauge.schemas.analysis import MetricValue, QuantileValue
from splitgauge.schemas.tables import Cell
from splitgauge.statistics import bucket_of, histogram_of, histogram_quantiles

FAST = {"name": "fast", "kind": "proportion", "scale": 1, "source": "latency_ms", "under": 400}
SLOWEST = {"name": "slowest", "kind": "proportion", "scale": 1, "source": "latency_ms", "under": 900}
WAIT = {"name": "wait", "kind": "quantile", "quantile": 0.9, "direction": "down"}

LATENCIES = np.random.default_rng(1).lognormal(6, 0.4, (400, 5))
"""Of 400 units with 5 requests each."""


def counted(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dict[int, int]:
    return dict(Counter(bucket_of(values).ravel().tolist()))


def seen(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], **more: dict[int, int]) -> Cell:
    units, each = values.shape
    latency = [(round(1e6 * float(row.sum())), each) for row in values]
    metrics = {
        "success": rate(units, 3, requests=each),
        "correct": rate(units, 50),
        "latency_ms": latency,
        "fast": [(int((row <= 400).sum()), each) for row in values],
        "slowest": [(int((row <= 900).sum()), each) for row in values],
        "wait": latency,
    }
    return Cell(
        exposed=units,
        units=units,
        requests=units * each,
        metrics={name: sums(made) for name, made in metrics.items()},
        histograms={"latency_ms": counted(values), **more},
    )


def shown(story: Story, *cells: Cell, metric: str = "latency_ms") -> MetricValue:
    epochs = [{"control": cell, "challenger": seen(LATENCIES * 1.1)} for cell in cells]
    return story.look(window(*epochs)).data.variants["control"].metrics[metric]


def test_latencies_have_four_quantiles_and_each_its_interval() -> None:
    found = shown(Story(), seen(LATENCIES)).quantiles
    assert list(found) == ["p50", "p90", "p95", "p99"]
    for level, quantile in zip((0.5, 0.9, 0.95, 0.99), found.values(), strict=True):
        assert quantile.value == pytest.approx(np.quantile(LATENCIES, level, method="inverted_cdf"), rel=1 / 64)
        assert quantile.values == 2_000
        assert quantile.value is not None
        assert quantile.lower is not None
        assert quantile.upper is not None
        assert quantile.lower < quantile.value < quantile.upper


def test_without_a_share_under_a_limit_values_count_as_independent() -> None:
    found = shown(Story(), seen(LATENCIES)).quantiles["p50"]
    assert found.design_effect is None
    alone = histogram_quantiles(histogram_of(LATENCIES), 0.5, alpha=0.05)
    assert found.lower == pytest.approx(float(alone.lower))


def test_the_nearest_share_under_a_limit_says_how_much_values_of_a_unit_go_together() -> None:
    same = np.repeat(LATENCIES[:, :1], 5, axis=1)
    story = Story(metrics=[CORRECT, FAST, SLOWEST])
    found = shown(story, seen(same)).quantiles
    assert found["p50"].design_effect == pytest.approx(5 * 400 / 399)
    assert found["p99"].design_effect == pytest.approx(5 * 400 / 399)
    independent = shown(Story(), seen(same)).quantiles
    assert width(found["p50"]) > 1.8 * width(independent["p50"])
    apart = shown(story, seen(LATENCIES)).quantiles
    assert apart["p50"].design_effect == pytest.approx(1, abs=0.3)
    assert apart["p50"].design_effect != apart["p99"].design_effect


def width(quantile: QuantileValue) -> float:
    assert quantile.upper is not None
    assert quantile.lower is not None
    return quantile.upper - quantile.lower


def test_epochs_are_read_together() -> None:
    story = Story()
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, {"control": 2, "challenger": 1}, PERSON))
    whole, halves = seen(LATENCIES), [seen(LATENCIES[:200]), seen(LATENCIES[200:])]
    assert shown(story, *halves).quantiles == shown(Story(), whole).quantiles


def test_too_few_values_have_an_estimate_and_a_reason() -> None:
    found = shown(Story(), seen(LATENCIES[:40])).quantiles
    assert found["p95"].reason is None
    assert found["p99"].value is not None
    assert (found["p99"].lower, found["p99"].upper, found["p99"].standard_error) == (None, None, None)
    assert found["p99"].reason == "its interval needs more than 380 values; there are 200"


def test_without_values_there_are_none() -> None:
    cell = seen(LATENCIES).model_copy(update={"histograms": {}})
    assert shown(Story(), cell).quantiles == {}


def test_a_declared_quantile_is_the_metrics_value_and_is_compared_with_nothing() -> None:
    story = Story(metrics=[CORRECT, WAIT])
    cell = seen(LATENCIES, wait=counted(LATENCIES / 10))
    found = shown(story, cell, metric="wait")
    assert found.value == pytest.approx(np.quantile(LATENCIES, 0.9) / 10, rel=0.02)
    assert list(found.quantiles) == ["p90"]
    assert found.standard_error == found.quantiles["p90"].standard_error
    data = story.look(window({"control": cell, "challenger": cell})).data
    assert "wait" not in {comparison.metric for comparison in data.comparisons}
    assert "latency_ms" in {comparison.metric for comparison in data.comparisons}


def test_a_share_under_a_limit_decides_like_any_rate() -> None:
    story = Story(metrics=[CORRECT, FAST], goal={"metric": "fast"}, guardrails=[{"metric": "success", "margin": 0.05}])
    slower, faster = seen(LATENCIES), seen(LATENCIES * 0.6)
    data = story.look(window({"control": slower, "challenger": faster})).data
    [goal] = [one for one in data.comparisons if one.role == "goal"]
    assert goal.metric == "fast"
    assert goal.effect is not None
    assert goal.effect > 0.2
    assert data.verdict.kind == "promote"


def test_a_share_under_a_limit_does_not_wait_for_the_attribution_window() -> None:
    cell = seen(LATENCIES)
    story = Story(metrics=[CORRECT, FAST], attribution_window_s=3_600.0)
    data = story.look(window({"control": cell, "challenger": cell})).data
    assert data.variants["control"].metrics["fast"].units == 400
    assert data.variants["control"].metrics["correct"].units == 0
