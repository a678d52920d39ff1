"""A/A experiments through the whole pure pipeline: observations, the partition's fold, windows, looks.

Both arms are the same model. Users come back: how often, how well they fare and how fast they are answered differs from
user to user far more than within one. A look is taken after every 50 outcomes; the first decision ends the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fold_stories import Decisions, Stored, assignment, outcome, report
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.tables import window_of
from splitgauge.analyzer import decisions_read, look
from splitgauge.experiments import ExperimentState, hash_slot
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.codec import decode
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import PartialData, WindowData

__all__ = ["Outcome", "Scenario", "run"]

_EXPERIMENT = "exp"
_STEP_US = 1_000_000
_LOOK_EVERY = 50
_DECIDING = {"roll_back", "control_wins", "promote"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens in a run.

    Attributes:
        users: of both arms together.
        requests: in a run.
        reweights: (after this many requests, control's and the challenger's weight).
        better: share of control's wrong answers that the challenger gets right; 0: the same model twice.
    """

    name: str
    users: int = 450
    requests: int = 4_000
    weights: tuple[float, float] = (1.0, 1.0)
    reweights: tuple[tuple[int, float, float], ...] = ()
    better: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run.

    Attributes:
        decision: the first, by the verdict's kind; None: there was none.
        last_step: of the decision rule, at the last look.
        goal_excluded_0: at any look, whatever the guardrails said.
        naive_z_over_2: whether a z-test that takes every request as independent would have stopped it at some look.
    """

    decision: str | None = None
    last_step: int = 0
    goal_excluded_0: bool = False
    naive_z_over_2: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """What one request meets, whichever arm answers it."""

    user: int
    success: bool
    latency_ms: float
    correct: bool
    correct_where_better: bool


def run(scenario: Scenario, seed: int) -> Outcome:
    """One A/A experiment, to its first decision or its end."""
    decisions = Decisions()
    decisions.start(
        _EXPERIMENT,
        metrics=[{"name": "correct", "kind": "proportion", "scale": 1}],
        goal={"metric": "correct"},
        guardrails=[{"metric": "success", "margin": 0.1}, {"metric": "latency_ms", "margin": 0.5}],
        minimum={"duration_s": 0.0},
        planned_units=scenario.users,
        variants=[
            {"name": name, "workload_id": f"base-{_EXPERIMENT}", "weight": weight}
            for name, weight in zip(("control", "challenger"), scenario.weights, strict=True)
        ],
    )
    fold = PartitionFold(0)
    previous: AcceptedLook | None = None
    seen = Outcome()
    reweights = {after: weights for after, *weights in scenario.reweights}
    for number, request in enumerate(_requests(scenario, np.random.default_rng(seed))):
        if number in reweights:
            decisions.reweight(_EXPERIMENT, *reweights[number])
        _observe(fold, decisions, number, request, seed=seed)
        if number % _LOOK_EVERY == _LOOK_EVERY - 1:
            window = window_of({0: PartialData.model_validate(decode(fold.partial(_EXPERIMENT)))})
            previous = _look(window, decisions, previous)
            seen = _told(seen, previous.data, window)
            if seen.decision is not None:
                break
    return seen


def _told(seen: Outcome, data: AnalysisData, window: WindowData) -> Outcome:
    [goal] = [one for one in data.comparisons if one.role == "goal"]
    enough = data.verdict.step != 5
    return Outcome(
        decision=data.verdict.kind if data.verdict.kind in _DECIDING else None,
        last_step=data.verdict.step,
        goal_excluded_0=seen.goal_excluded_0 or (enough and goal.adjusted_p is not None and goal.adjusted_p <= 0.05),
        naive_z_over_2=seen.naive_z_over_2 or (enough and abs(_naive_z(window)) > 1.96),
    )


def _naive_z(window: WindowData) -> float:
    """Of the goal, over all requests."""
    arms = [
        [epoch[name].metrics["correct"] for epoch in window.epochs.values() if name in epoch]
        for name in ("control", "challenger")
    ]
    (right_c, all_c), (right_t, all_t) = ([sum(one.m for one in arm), sum(one.d for one in arm)] for arm in arms)
    rate = (right_c + right_t) / (all_c + all_t)
    return float((right_t / all_t - right_c / all_c) / np.sqrt(rate * (1 - rate) * (1 / all_c + 1 / all_t)))


def _requests(scenario: Scenario, random: np.random.Generator) -> Iterator[_Request]:
    """Users with geometric activity, Beta(.6, 5.4) rates of wrong answers, lognormal speed, and one in twelve whose
    requests often fail."""
    activity = random.geometric(0.1, scenario.users).astype(np.float64)
    wrong = random.beta(0.6, 5.4, scenario.users)
    pace = random.lognormal(4.0, 0.8, scenario.users)
    failing = np.where(random.random(scenario.users) < 1 / 12, 0.2, 0.002)
    chosen = random.choice(scenario.users, scenario.requests, p=activity / activity.sum())
    noise = random.lognormal(0.0, 0.5, scenario.requests)
    luck = random.random((3, scenario.requests))
    for number, user in enumerate(chosen.tolist()):
        yield _Request(
            user=user,
            success=bool(luck[0, number] >= failing[user]),
            latency_ms=float(pace[user] * noise[number]),
            correct=bool(luck[1, number] >= wrong[user]),
            correct_where_better=bool(luck[1, number] >= wrong[user] or luck[2, number] < scenario.better),
        )


def _state(decisions: Decisions) -> ExperimentState:
    return decisions.history.newest.experiments[_EXPERIMENT]


def _observe(fold: PartitionFold, decisions: Decisions, number: int, request: _Request, *, seed: int) -> None:
    state = _state(decisions)
    unit = f"{seed}/{request.user}"
    epoch = state.epochs[-1]
    variant = epoch.table.variant_of(hash_slot(f"{_EXPERIMENT}/{seed}/split", unit))
    at = 1_790_000_000_000_000 + number * _STEP_US
    common = {"at": at, "epoch": epoch.number, "seen": decisions.end}
    request_id = f"r{number}"
    metrics = {"success": request.success, "latency_ms": request.latency_ms} if request.success else {"success": False}
    status = "complete" if request.success else "upstream_error"
    events = [
        assignment(request_id, unit, variant, **common),
        outcome(request_id, unit, variant, status=status, metrics=metrics, **common),
    ]
    if request.success:
        told = {"correct": request.correct_where_better if variant == "challenger" else request.correct}
        events.append(report(unit, told, request=request_id, experiment=_EXPERIMENT, **common))
    records = [Stored(fold.position + place, value) for place, value in enumerate(events)]
    result = fold.fold(records, decisions.history)
    assert (result.dead_letters, result.behind) == ([], None)


def _look(window: WindowData, decisions: Decisions, previous: AcceptedLook | None) -> AcceptedLook:
    taken = look(
        _state(decisions),
        window,
        looked_at=window.as_of or to_text(0),
        previous=previous,
        decisions=decisions_read(decisions.history, decisions.end),
    )
    return AcceptedLook(taken.id, taken.sha256, 0, taken.data)
