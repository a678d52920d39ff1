"""Every challenger against control on every metric: effects, fixed and always-valid results, posterior, units needed.

Owns the numbers of a look's comparisons and the corrections over challengers and metrics. Must not know guardrails,
health or the decision rule. All floats come out as they will be recorded, and the rule reads nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitgauge.analyzer.beliefs import direction_of, in_metric_units, posteriors
from splitgauge.analyzer.estimates import estimate
from splitgauge.analyzer.numbers import RARE_OUTCOMES, FloatArray, Numbers, Row, column
from splitgauge.analyzer.sequences import RelativeSequence, Sequences, relative_sequence, sequences
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import AnalysisData, Comparison
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.statistics import (
    Arms,
    Effect,
    FixedTest,
    Posterior,
    absolute_effect,
    e_bh,
    holm,
    proportion_test,
    welch_test,
    z_test,
)

__all__ = [
    "compare",
    "compare_leader",
    "holm_over_challengers",
    "in_the_running",
    "lacking",
    "leader_level_of",
    "level_of",
    "shown_metrics",
]

_TINY = float(np.finfo(np.float64).tiny)
"""A p-value in the far tail is small, never 0."""


@dataclass(frozen=True, slots=True)
class _Results:
    """All numbers of some rows, shape (rows,)."""

    fixed: FixedTest
    fixed_p: FloatArray
    sequence: Sequences
    posterior: Posterior
    effect: Effect
    unadjusted: Effect
    reduction: FloatArray
    relative: RelativeSequence


def level_of(state: ExperimentState) -> float:
    """Two-sided error of one challenger's intervals: alpha over all that the experiment began with."""
    return state.specification.alpha / len(state.specification.challenger_names)


def leader_level_of(state: ExperimentState) -> float:
    """The same of two challengers against each other, over all pairs."""
    challengers = len(state.specification.challenger_names)
    return state.specification.alpha / (challengers * (challengers - 1) / 2)


def compare(state: ExperimentState, numbers: Numbers, previous: AnalysisData | None) -> list[Comparison]:
    """The challengers that are still in, on every metric that the specification names or anybody has data of."""
    rows = _rows(state, numbers)
    if not rows:
        return []
    level = level_of(state)
    records = _records(state, numbers, rows, level=level)
    records = [_with_minimum(record, previous) for record in records]
    return _with_corrections(state, records)


def shown_metrics(state: ExperimentState, numbers: Numbers) -> list[str]:
    """Without the router's metrics that nobody named and nobody has data of."""
    specification = state.specification
    named = {specification.goal.metric, *(guardrail.metric for guardrail in specification.guardrails)}
    seen = numbers.cells.n.sum(axis=(0, 1)) > 0
    return [
        name
        for name, has_data in zip(numbers.metrics, seen, strict=True)
        if has_data or name in named or name not in ROUTER_METRICS
    ]


def compare_leader(state: ExperimentState, numbers: Numbers, comparisons: Sequence[Comparison]) -> Comparison | None:
    """With several challengers in: the best on the goal against the next best; every pair shares the alpha."""
    goal = state.specification.goal.metric
    sign = direction_of(state, goal)
    effects = {
        one.variant: sign * one.effect
        for one in comparisons
        if one.metric == goal and one.effect is not None and in_the_running(state, one)
    }
    if len(effects) < 2:
        return None
    leader, runner_up, *_ = sorted(effects, key=lambda name: -effects[name])
    return _records(state, numbers, [Row(leader, runner_up, goal)], level=leader_level_of(state))[0]


def lacking(state: ExperimentState, goal: Comparison) -> str | None:
    """What a challenger's goal still lacks before anything is concluded from it; None: nothing."""
    minimum = state.specification.minimum
    for name, units in ((goal.against, goal.units_against), (goal.variant, goal.units)):
        if units < minimum.units:
            return f"{units} units of {name} have {goal.metric}, of at least {minimum.units}"
    few = goal.rarer_outcomes is not None and goal.rarer_outcomes < RARE_OUTCOMES
    if few and goal.engine != "rare":
        return (
            f"{goal.metric} of {goal.variant} and {goal.against}: only {goal.rarer_outcomes} units have its rarer "
            f"outcome, of at least {RARE_OUTCOMES}; before that its rates cannot be compared"
        )
    if goal.effect is None or goal.sequential_p is None:
        return f"{goal.metric} of {goal.variant} and {goal.against}: {goal.reason or 'no data'}"
    return None


def in_the_running(state: ExperimentState, goal: Comparison) -> bool:
    """An arm whose weight was set to 0 cannot grow any more: it counts if it has enough, else it holds nobody up."""
    return state.table.counts()[goal.variant] > 0 or lacking(state, goal) is None


def holm_over_challengers(state: ExperimentState, p_values: dict[str, float | None]) -> dict[str, float | None]:
    """Holm over all challengers that the experiment began with; one that went, or has no p, counts as not rejected."""
    names = state.specification.challenger_names
    family = [np.nan if (p := p_values.get(name)) is None else p for name in names]
    return dict(zip(names, column(holm(family)), strict=True))


def _rows(state: ExperimentState, numbers: Numbers) -> list[Row]:
    return [
        Row(challenger, state.control, metric)
        for challenger in state.challengers
        for metric in shown_metrics(state, numbers)
        if numbers.metrics[metric].kind != "quantile"
    ]


def _records(state: ExperimentState, numbers: Numbers, rows: Sequence[Row], *, level: float) -> list[Comparison]:
    results = _results(state, numbers, rows, level)
    fixed, sequence, posterior, effect = results.fixed, results.sequence, results.posterior, results.effect
    adjusted = np.isfinite(results.reduction)
    rarer = _rarer_outcomes(numbers, rows)
    columns: dict[str, Sequence[float | None]] = {
        "effect": column(effect.value),
        "relative_effect": column(results.relative.value),
        "relative_lower": column(results.relative.lower),
        "relative_upper": column(results.relative.upper),
        "standard_error": column(effect.se),
        "fixed_p": column(np.maximum(results.fixed_p, _TINY)),
        "fixed_lower": column(fixed.lower),
        "fixed_upper": column(fixed.upper),
        "sequential_p": column(np.maximum(sequence.p_value, _TINY)),
        "sequential_lower": column(sequence.lower),
        "sequential_upper": column(sequence.upper),
        "log_e_value": column(sequence.log_e_value),
        "probability_to_beat_control": column(posterior.probability_to_beat),
        "credible_lower": column(posterior.lower),
        "credible_upper": column(posterior.upper),
        "expected_loss": column(posterior.loss_choosing),
        "expected_loss_of_staying": column(posterior.loss_staying),
        "variance_reduction": column(results.reduction),
        "unadjusted_effect": column(np.where(adjusted, results.unadjusted.value, np.nan)),
        "unadjusted_standard_error": column(np.where(adjusted, results.unadjusted.se, np.nan)),
        "conditional_power": column(sequence.power),
        "units_needed": [_whole(value) for value in np.ceil(sequence.needed).tolist()],
        "units": [int(n) for n in effect.n_treatment.tolist()],
        "units_against": [int(n) for n in effect.n_control.tolist()],
        "rarer_outcomes": [_whole(count) for count in rarer.tolist()],
    }
    return [
        Comparison.model_validate(
            {
                "variant": row.variant,
                "against": row.against,
                "metric": row.metric,
                "role": _role(state, row.metric),
                "engine": state.specification.engine_of(row.metric),
                "adjusted_by": _covariate(numbers, row.metric),
                "counted": sequence.counted[place],
                "reason": _why_null(columns["effect"][place], columns["sequential_p"][place]),
                **{name: values[place] for name, values in columns.items()},
            }
        )
        for place, row in enumerate(rows)
    ]


def _results(state: ExperimentState, numbers: Numbers, rows: Sequence[Row], level: float) -> _Results:
    metrics = [numbers.metrics[row.metric] for row in rows]
    found = estimate(numbers, rows)
    arms, unadjusted = found.guarded, found.guarded_unadjusted
    at_the_end = absolute_effect(found.plain.control, found.plain.treatment)
    z = z_test(at_the_end, alpha=level)
    welch = welch_test(at_the_end, alpha=level)
    rate = np.array([metric.kind == "proportion" for metric in metrics])
    fixed = FixedTest(*(np.where(rate, ours, theirs) for ours, theirs in zip(z, welch, strict=True)))
    return _Results(
        fixed=fixed,
        fixed_p=_with_exact_tests(numbers, rows, found.plain_unadjusted, fixed.p_value),
        sequence=sequences(state, numbers, rows, arms, target=_targets(state, rows, arms.control.mean), level=level),
        posterior=posteriors(state, rows, found.plain, level=level),
        effect=absolute_effect(arms.control, arms.treatment),
        unadjusted=absolute_effect(unadjusted.control, unadjusted.treatment),
        reduction=found.reduction,
        relative=relative_sequence(state, rows, found.relative, level=level),
    )


def _targets(state: ExperimentState, rows: Sequence[Row], baseline: FloatArray) -> FloatArray:
    """The goal's minimum detectable effect in metric units, towards the good side; nan for other metrics."""
    goal = state.specification.goal
    if goal.minimum_detectable_effect is None:
        return np.full(len(rows), np.nan)
    size = goal.minimum_detectable_effect * in_metric_units(goal, baseline)
    return np.where([row.metric == goal.metric for row in rows], size * direction_of(state, goal.metric), np.nan)


def _with_exact_tests(numbers: Numbers, rows: Sequence[Row], cells: Arms, p_values: FloatArray) -> FloatArray:
    """Where an arm of a rate does not vary, z has half a variance or none: Fisher's test on units takes its place."""
    rate = np.array([numbers.metrics[row.metric].kind == "proportion" for row in rows])
    still = (cells.control.mean_variance == 0) | (cells.treatment.mean_variance == 0)
    # Over several epochs a table of all units together could show what no epoch has.
    one_epoch = numbers.shared(rows).sum(axis=0) == 1
    exact = rate & still & one_epoch
    if not exact.any():
        return p_values
    control, treatment = (missed.sum(axis=0) for missed in numbers.counted(numbers.misses, rows))
    n_c, n_t = cells.control.n, cells.treatment.n
    found = proportion_test(
        n_c[exact], (n_c - control)[exact], n_t[exact], (n_t - treatment)[exact], alpha=0.05, method="exact"
    )
    out = p_values.copy()
    out[exact] = found.p_value
    return out


def _rarer_outcomes(numbers: Numbers, rows: Sequence[Row]) -> FloatArray:
    """Of rates: units of both arms that had the rarer outcome; nan for other metrics. Units and not requests, because
    25 failures of one user are one user's."""
    hits, misses = (
        sum(arm.sum(axis=0) for arm in numbers.counted(counts, rows)) for counts in (numbers.hits, numbers.misses)
    )
    rate = [numbers.metrics[row.metric].kind == "proportion" for row in rows]
    return np.where(rate, np.minimum(hits, misses), np.nan)


def _with_minimum(record: Comparison, previous: AnalysisData | None) -> Comparison:
    before = [
        one.sequential_p_minimum
        for one in (previous.comparisons if previous is not None else [])
        if (one.variant, one.metric) == (record.variant, record.metric)
    ]
    known = [p for p in (*before, record.sequential_p) if p is not None]
    return record.model_copy(update={"sequential_p_minimum": min(known) if known else None})


def _with_corrections(state: ExperimentState, records: list[Comparison]) -> list[Comparison]:
    adjusted = holm_over_challengers(
        state, {record.variant: record.sequential_p for record in records if record.role == "goal"}
    )
    secondary = [place for place, record in enumerate(records) if record.role == "secondary"]
    log_e = [np.nan if (value := records[place].log_e_value) is None else value for place in secondary]
    found = e_bh(log_e, alpha=state.specification.alpha)
    discoveries = {place: bool(found[index]) for index, place in enumerate(secondary)}
    return [
        record.model_copy(
            update={
                "adjusted_p": adjusted[record.variant] if record.role == "goal" else None,
                "discovery": discoveries.get(place),
            }
        )
        for place, record in enumerate(records)
    ]


def _role(state: ExperimentState, metric: str) -> Literal["goal", "guardrail", "secondary"]:
    if metric == state.specification.goal.metric:
        return "goal"
    return "guardrail" if any(metric == one.metric for one in state.specification.guardrails) else "secondary"


def _covariate(numbers: Numbers, metric: str) -> str | None:
    covariate = numbers.metrics[metric].covariate
    return covariate.attribute if covariate is not None else None


def _why_null(effect: float | None, p: float | None) -> str | None:
    if effect is None:
        return "no epoch has two units with data in both arms"
    return None if p is not None else "nothing varies yet in either arm"


def _whole(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None
