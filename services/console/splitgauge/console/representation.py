"""Workloads, experiments and decisions as JSON. Pure: a function of the state alone, so that the answer to a repeated
idempotency key, rendered from the state back then, is the same answer.
"""

from fractions import Fraction
from typing import Any

from splitgauge.experiments.assignment import SLOTS
from splitgauge.experiments.history import Judged
from splitgauge.experiments.state import ExperimentState, WorkloadState
from splitgauge.schemas import instants

__all__ = [
    "Json",
    "decision_json",
    "experiment_json",
    "number",
    "subject_json",
    "traffic_percents",
    "winner_name",
    "workload_json",
]

Json = dict[str, Any]


def subject_json(subject: WorkloadState | ExperimentState) -> Json:
    """Either, as its own route shows it."""
    return workload_json(subject) if isinstance(subject, WorkloadState) else experiment_json(subject)


def workload_json(state: WorkloadState) -> Json:
    """A workload: its definition, the id as it was given, and what it serves."""
    promotion = state.promotion
    return {
        **state.workload.model_dump(mode="json", exclude_none=True),
        "revision": state.revision,
        "retired": state.retired,
        "serves": state.serves.model_dump(mode="json", exclude_none=True),
        "promotion": promotion and {"experiment_id": promotion.experiment_id, "variant": promotion.variant},
    }


def experiment_json(state: ExperimentState) -> Json:
    """An experiment: where it stands, and its specification with all defaults."""
    recommendation = state.recommendation
    return {
        "id": state.id,
        "name": state.specification.name,
        "status": state.status,
        "revision": state.revision,
        "base_workload_id": state.specification.base_workload_id,
        "control": state.control,
        "variants": [
            {"name": name, "traffic_percent": percent, "rolled_back": name in state.removed}
            for name, percent in traffic_percents(state).items()
        ],
        "coverage_percent": number(100 * state.coverage_slots / SLOTS),
        "epoch": state.epochs[-1].number if state.epochs else None,
        "ramp_step": state.step,
        "winner": winner_name(state, state.winner) if state.status == "completed" else None,
        "recommendation": recommendation and recommendation.model_dump(mode="json", exclude_none=True),
        "defined_at": instants.to_text(state.defined_at_us),
        "activated_at": _instant(state.activated_at_us),
        "paused_at": _instant(state.paused_at_us),
        "completed_at": _instant(state.completed_at_us),
        "specification": state.specification.model_dump(mode="json", exclude_none=True),
    }


def winner_name(state: ExperimentState, winner: str | None) -> str:
    """`control`, a challenger's name, or `inconclusive`; control is called so whatever its variant is called."""
    if winner is None:
        return "inconclusive"
    return "control" if winner == state.control else winner


def traffic_percents(state: ExperimentState) -> dict[str, float]:
    """What each variant gets of the split: of a draft as its weights say, else as the slots stand."""
    if state.epochs:
        return {name: number(100 * share) for name, share in state.table.shares().items()}
    # Fractions, because the sum of finite weights can be beyond the largest float.
    weights = {name: Fraction(weight) for name, weight in state.specification.weights.items()}
    total = sum(weights.values())
    return {name: number(round(float(100 * weight / total), 2)) for name, weight in weights.items()}


def number(value: float) -> float:
    """Without a fraction where there is none: 80, not 80.0; and without the dust of binary fractions."""
    rounded = round(value, 9)
    return int(rounded) if rounded.is_integer() else rounded


def decision_json(judged: Judged) -> Json:
    """A decision of the timeline, and whether it counts."""
    decision, envelope = judged.decision, judged.envelope
    return {
        "offset": judged.offset,
        "id": envelope and envelope.id,
        "time": envelope and envelope.time,
        "accepted": judged.accepted,
        "refusal": str(judged.refusal) if judged.refusal is not None else None,
        **(decision.model_dump(mode="json", exclude_none=True, exclude={"idempotency_key"}) if decision else {}),
    }


def _instant(at_us: int | None) -> str | None:
    return None if at_us is None else instants.to_text(at_us)
