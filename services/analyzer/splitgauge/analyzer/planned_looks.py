"""The looks that the engines `fixed` and `group_sequential` conclude from, and what is carried of them.

Owns when such a look is due, and its results. Must not know what they lead to (`judgement`).
"""

import math
from collections.abc import Sequence

import numpy as np

from splitgauge.analyzer.comparisons import holm_over_challengers, lacking, level_of
from splitgauge.analyzer.numbers import column
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import AnalysisData, Comparison, LookState, PlannedLook, PlannedResult
from splitgauge.schemas.codec import canonical
from splitgauge.statistics import TakenLook, effect, group_sequential_look

__all__ = ["carry"]


def carry(
    state: ExperimentState, comparisons: Sequence[Comparison], previous: AnalysisData | None, looked_at: str
) -> LookState:
    """What is carried from the last accepted look, and this one if it is a planned one.

    A look that is due waits until nothing is lacking in any arm that gets traffic: by the counts of both arms, so that
    it does not wait for a result. One that was taken stands.
    """
    before = previous.state if previous is not None else LookState()
    engine = state.specification.engine_of(state.specification.goal.metric)
    slots = state.table.counts()
    goals = [one for one in comparisons if one.role == "goal" and slots[one.variant]]
    if engine not in {"fixed", "group_sequential"} or not goals or any(lacking(state, goal) for goal in goals):
        return before
    fraction = min(goal.units + goal.units_against for goal in goals) / state.specification.planned_units
    taken = before.planned_looks
    take = _fixed if engine == "fixed" else _group_sequential
    look = take(state, goals, taken, fraction=canonical(fraction), looked_at=looked_at)
    return before if look is None else LookState(planned_looks=[*taken, look])


def _fixed(
    state: ExperimentState,
    goals: Sequence[Comparison],
    taken: Sequence[PlannedLook],
    *,
    fraction: float,
    looked_at: str,
) -> PlannedLook | None:
    """The one test of the engine `fixed`, taken once all challengers have the planned units."""
    if taken or fraction < 1:
        return None
    adjusted = holm_over_challengers(state, {goal.variant: goal.fixed_p for goal in goals})
    return PlannedLook(
        looked_at=looked_at,
        number=1,
        planned=1,
        fraction=fraction,
        alpha_spent=level_of(state),
        boundary=None,
        results={
            goal.variant: PlannedResult(
                units=goal.units + goal.units_against,
                effect=goal.effect,
                standard_errors=None,
                lower=goal.fixed_lower,
                upper=goal.fixed_upper,
                p_value=goal.fixed_p,
                adjusted_p=adjusted[goal.variant],
            )
            for goal in goals
        },
    )


def _group_sequential(
    state: ExperimentState,
    goals: Sequence[Comparison],
    taken: Sequence[PlannedLook],
    *,
    fraction: float,
    looked_at: str,
) -> PlannedLook | None:
    """The next look of the plan, at the error that is left; None while none is due."""
    plan = state.specification.planned_looks
    # Units leave when they cross over, so that fewer may be there than at the look before.
    if taken and fraction <= taken[-1].fraction:
        return None
    found = group_sequential_look(
        effect(
            [_known(goal.effect) for goal in goals],
            [_known(goal.standard_error) for goal in goals],
            n_control=[goal.units_against for goal in goals],
            n_treatment=[goal.units for goal in goals],
        ),
        fraction,
        planned=plan.looks,
        taken=[_as_taken(look) for look in taken],
        alpha=level_of(state),
        spending=plan.spending,
        phi=plan.phi if plan.phi is not None else 1.0,
    )
    if not found.due:
        return None
    p_values = column(found.p_value)
    adjusted = holm_over_challengers(state, {goal.variant: p for goal, p in zip(goals, p_values, strict=True)})
    statistic, lower, upper = column(found.statistic), column(found.lower), column(found.upper)
    (boundary,) = column(np.array([found.boundary]))
    return PlannedLook(
        looked_at=looked_at,
        number=found.number,
        planned=len(plan.looks),
        fraction=fraction,
        alpha_spent=canonical(found.alpha_spent),
        boundary=boundary,
        results={
            goal.variant: PlannedResult(
                units=goal.units + goal.units_against,
                effect=goal.effect,
                standard_errors=statistic[place],
                lower=lower[place],
                upper=upper[place],
                p_value=p_values[place],
                adjusted_p=adjusted[goal.variant],
            )
            for place, goal in enumerate(goals)
        },
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _as_taken(look: PlannedLook) -> TakenLook:
    return TakenLook(look.fraction, look.alpha_spent, math.inf if look.boundary is None else look.boundary)
