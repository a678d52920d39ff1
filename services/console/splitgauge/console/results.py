"""The results of an experiment as JSON: what was counted, what was analysed, what follows. Pure.

Owns the shape of `GET /api/v1/ab-tests/{id}/results`. The counts come from the newest window, the statistics from the
last accepted look, which may be a little older; each names its positions.
"""

from typing import Any

from splitgauge.console.representation import Json, number, traffic_percents, winner_name
from splitgauge.experiments.assignment import SLOTS
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.experiments.state import ExperimentState
from splitgauge.schemas import instants
from splitgauge.schemas.analysis import VariantNumbers
from splitgauge.schemas.tables import Cell, VariantTotals, WindowData

__all__ = ["results_json"]

_MICRO = 1_000_000
_PICO = 10**12
_NEITHER_WAY = "client_gone"
"""A caller who left says nothing about the endpoint."""


def results_json(state: ExperimentState, window: WindowData | None, look: AcceptedLook | None) -> Json:
    """Results now. Before any data numbers are 0 or null, and the winner is `inconclusive`."""
    data = look.data if look is not None else None
    return {
        "id": state.id,
        "name": state.specification.name,
        "status": state.status,
        "revision": state.revision,
        "coverage_percent": number(100 * state.coverage_slots / SLOTS),
        "variants": [
            _variant(name, percent, window=window, look=look) for name, percent in traffic_percents(state).items()
        ],
        "winner": _winner(state, look),
        "comparisons": _dumped(data.comparisons) if data else [],
        "leader": data.leader.model_dump(mode="json") if data and data.leader else None,
        "planned_looks": _dumped(data.state.planned_looks) if data else [],
        "novelty": data.novelty.model_dump(mode="json") if data and data.novelty else None,
        "guardrails": _dumped(data.guardrails) if data else [],
        "health": data.health.model_dump(mode="json") if data else None,
        "verdict": data.verdict.model_dump(mode="json") if data else None,
        "goal": state.specification.goal.metric,
        "engine": state.specification.engine_of(state.specification.goal.metric),
        "as_of": window.as_of if window is not None else None,
        "positions": {str(key): upto for key, upto in sorted(window.positions.items())} if window is not None else {},
        "counts": window.counts.model_dump(mode="json") if window is not None else None,
        "analysis_id": look.id if look is not None else None,
        "analysis": look
        and {
            "id": look.id,
            "sha256": look.sha256,
            "revision": look.data.revision,
            "looked_at": look.data.looked_at,
            "as_of": look.data.as_of,
            "positions": {str(key): upto for key, upto in sorted(look.data.positions.items())},
        },
    }


def _variant(name: str, percent: float, *, window: WindowData | None, look: AcceptedLook | None) -> Json:
    totals = (window.totals.get(name) if window is not None else None) or VariantTotals()
    cells = [epoch[name] for epoch in window.epochs.values() if name in epoch] if window is not None else []
    numbers = look.data.variants.get(name) if look is not None else None
    exact = totals.model_dump(mode="json")
    return {
        "name": name,
        "traffic_percent": percent,
        "job_count": totals.jobs,
        "avg_latency_ms": _ratio(totals.latency_ms, totals.answered * _MICRO),
        "latency_ms": _quantiles(numbers),
        "success_rate": _success_percent(totals),
        "total_tokens": exact["output_tokens"],
        "cost": totals.cost / _PICO,
        "throughput": _throughput(totals),
        "units": sum(cell.units for cell in cells),
        "input_tokens": exact["input_tokens"],
        "cached_input_tokens": exact["cached_input_tokens"],
        "output_tokens": exact["output_tokens"],
        "avg_ttft_ms": _ratio(totals.ttft_ms, totals.ttft_count * _MICRO),
        "answered": totals.answered,
        "missing": totals.missing,
        "crossovers": _crossovers(cells),
        "statuses": totals.statuses,
        "reasons": totals.reasons,
        "probability_to_be_best": numbers.probability_to_be_best if numbers else None,
        "expected_loss": numbers.expected_loss if numbers else None,
        "first_at": totals.first_at,
        "last_at": totals.last_at,
        "metrics": {key: value.model_dump(mode="json") for key, value in numbers.metrics.items()} if numbers else {},
    }


def _quantiles(numbers: VariantNumbers | None) -> dict[str, float | None]:
    """p50, p90, p95 and p99 of the latency, of analysed requests; their intervals stand in `metrics`."""
    latency = numbers.metrics.get("latency_ms") if numbers is not None else None
    return {name: quantile.value for name, quantile in latency.quantiles.items()} if latency is not None else {}


def _success_percent(totals: VariantTotals) -> float | None:
    judged = sum(count for status, count in totals.statuses.items() if status != _NEITHER_WAY)
    return _ratio(100 * totals.answered, judged)


def _throughput(totals: VariantTotals) -> float | None:
    """Jobs a second between the first and the last: one job, or all at once, have no rate."""
    if totals.first_at is None or totals.last_at is None:
        return None
    return _ratio(totals.jobs * _MICRO, instants.from_text(totals.last_at) - instants.from_text(totals.first_at))


def _ratio(numerator: int, denominator: int) -> float | None:
    """To 12 significant digits, as all that is computed from the exact sums."""
    return float(f"{numerator / denominator:.11e}") if denominator > 0 else None


def _crossovers(cells: list[Cell]) -> int:
    return sum(cell.crossovers for cell in cells)


def _winner(state: ExperimentState, look: AcceptedLook | None) -> str:
    """Of a completed experiment what was decided; before that what the last look says."""
    if state.status == "completed" or look is None:
        return winner_name(state, state.winner)
    winner = look.data.verdict.winner
    return "control" if winner == state.control else winner


def _dumped(items: list[Any]) -> list[Json]:
    return [item.model_dump(mode="json") for item in items]
