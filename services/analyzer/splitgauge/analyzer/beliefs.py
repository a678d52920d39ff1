"""What is believed after a look: the posterior of every effect, and the standing of all arms on the goal.

Owns the prior that a goal declares. It decides nothing by itself: a posterior probability that is looked at again and
again crosses any line (statistics.md, Bayesian).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitgauge.analyzer.estimates import estimate
from splitgauge.analyzer.numbers import FloatArray, Numbers, Row, column
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.goal import Goal
from splitgauge.statistics import Arms, Posterior, absolute_effect, best_arm, normal_posterior

__all__ = ["Standing", "direction_of", "in_metric_units", "posteriors", "standings"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One variant among all on the goal, as it will be recorded; None where undefined."""

    probability_to_be_best: float | None
    expected_loss: float | None


def direction_of(state: ExperimentState, metric: str) -> int:
    """+1 where up is good."""
    return 1 if state.specification.all_metrics[metric].direction == "up" else -1


def in_metric_units(goal: Goal, baseline: FloatArray) -> FloatArray:
    """What the goal's minimum effect and prior are multiplied with; `baseline` is control's mean."""
    return np.abs(baseline) if goal.effect == "relative" else np.ones(baseline.shape)


def posteriors(state: ExperimentState, rows: Sequence[Row], arms: Arms, *, level: float) -> Posterior:
    """Of each row's effect, under the goal's prior where it declares one."""
    prior_mean, prior_sd = _prior(state, rows, arms.control.mean)
    return normal_posterior(
        absolute_effect(arms.control, arms.treatment),
        alpha=level,
        direction=np.array([float(direction_of(state, row.metric)) for row in rows]),
        prior_mean=prior_mean,
        prior_sd=prior_sd,
    )


def standings(state: ExperimentState, numbers: Numbers, challengers: Sequence[str]) -> dict[str, Standing]:
    """Control and these challengers among each other.

    Each challenger stands where its effect against control puts it, over the epochs that had both: means of arms that
    were there at different times cannot be compared. A prior narrows both arms of its effect alike.
    """
    if not challengers:
        return {}
    goal = state.specification.goal.metric
    rows = [Row(name, state.control, goal) for name in challengers]
    arms = estimate(numbers, rows).plain
    believed = posteriors(state, rows, arms, level=state.specification.alpha)
    narrowed = believed.sd**2 / (arms.control.mean_variance + arms.treatment.mean_variance)
    control = float((arms.control.mean_variance * narrowed).max())
    found = best_arm(
        np.concatenate([[0.0], believed.mean]),
        np.sqrt(np.concatenate([[control], arms.treatment.mean_variance * narrowed])),
        direction=direction_of(state, goal),
    )
    rounded = zip(column(found.probability_best), column(found.expected_loss), strict=True)
    return {name: Standing(*one) for name, one in zip((state.control, *challengers), rounded, strict=True)}


def _prior(state: ExperimentState, rows: Sequence[Row], baseline: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the goal's effect before the experiment, metric units; flat for other metrics, and
    where a relative one has nothing to be relative to."""
    goal = state.specification.goal
    unit = in_metric_units(goal, baseline)
    known = np.array([row.metric == goal.metric and goal.prior_sd is not None for row in rows]) & (unit > 0)
    mean, sd = (goal.prior_mean or 0.0) * unit, (goal.prior_sd or 0.0) * unit
    return np.where(known, mean, 0.0), np.where(known, sd, np.inf)
