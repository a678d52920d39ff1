"""Guardrails of a look: is a challenger shown to be worse, is it shown not to be worse by the margin, or neither yet?

Owns which failures are counted, how the alpha of a rollback is divided, and which test a pass takes. Must not know
what follows from a finding (`verdict`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from splitgauge.analyzer.estimates import estimate
from splitgauge.analyzer.numbers import RARE_OUTCOMES, FloatArray, Numbers, Row, column
from splitgauge.analyzer.wording import amount, confidence, odds
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import GuardrailFinding
from splitgauge.schemas.experiment import Guardrail
from splitgauge.schemas.metric import Metric
from splitgauge.statistics import first_failures, guardrail_sequence, rare_rate_guardrail

__all__ = ["BURN_IN_UNITS", "find_harm"]

BURN_IN_UNITS = 100
"""Units an arm before a one-sided sequence may show harm: it is asymptotic (measured: statistics.md, burn-in)."""

_FIRST_FAILURES = 10
"""In both arms together, before the exact count process may show harm."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """One element per row. Harm in the margin's kind, as it will be recorded; `failures` are units."""

    harm: list[float | None]
    lower: list[float | None]
    upper: list[float | None]
    units_control: FloatArray
    units_challenger: FloatArray
    failures: FloatArray
    rare: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Counted:
    """The exact count process of each row."""

    log_bayes_factor: list[float | None]
    observed: list[int]
    expected: list[float | None]
    harm: list[bool]


def find_harm(state: ExperimentState, numbers: Numbers) -> list[GuardrailFinding]:
    """One finding per challenger that is still in and guardrail, in that order."""
    pairs = [(name, guardrail) for name in state.challengers for guardrail in state.specification.guardrails]
    if not pairs:
        return []
    rows = [Row(name, state.control, guardrail.metric) for name, guardrail in pairs]
    guardrails = [guardrail for _, guardrail in pairs]
    counted = _counted_failures(state, numbers, rows)
    found = _sequences(state, numbers, rows, guardrails)
    return [
        _finding(state, row, guardrail, numbers=found, place=place, counted=counted)
        for place, (row, guardrail) in enumerate(zip(rows, guardrails, strict=True))
    ]


def counts_failures(metric: Metric) -> bool:
    """Whether the exact count process is of this metric: an operational one whose failures are events of units."""
    return metric.operational and (
        metric.kind == "proportion" or (metric.kind == "count" and metric.direction == "down")
    )


def _alphas(state: ExperimentState, rows: Sequence[Row]) -> tuple[FloatArray, float]:
    """One-sided error of harm by the sequence, by row, and by the count process.

    Rollbacks are OR-ed, so that alpha is divided over guardrails and challengers, all that the experiment began with;
    where both tests watch, each has half.
    """
    specification = state.specification
    each = _alpha(state) / (len(specification.guardrails) * len(specification.challenger_names))
    both = [counts_failures(specification.all_metrics[row.metric]) for row in rows]
    return np.where(both, each / 2, each), each / 2


def _alpha(state: ExperimentState) -> float:
    own = state.specification.guardrail_alpha
    return own if own is not None else state.specification.alpha


def _failures(numbers: Numbers, rows: Sequence[Row]) -> tuple[FloatArray, FloatArray]:
    """Units with a failure per epoch of both arms: misses where up is good, hits where down is."""
    missed, hit = numbers.counted(numbers.misses, rows), numbers.counted(numbers.hits, rows)
    up = [numbers.metrics[row.metric].direction == "up" for row in rows]
    return np.where(up, missed[0], hit[0]), np.where(up, missed[1], hit[1])


def _counted_failures(state: ExperimentState, numbers: Numbers, rows: Sequence[Row]) -> _Counted:
    """Step 1: exact at every n. A unit counts once, at its first failure."""
    control, treatment = _failures(numbers, rows)
    watched = [counts_failures(numbers.metrics[row.metric]) for row in rows]
    share = np.where(watched, numbers.pair_shares(rows), 0.0)
    alpha = _alphas(state, rows)[1]
    found = first_failures(control, treatment, share, alpha=alpha)
    log_bf = column(found.log_e_value)
    # Where units fail in an arm without slots the factor is infinite and recorded as null: that is no fair comparison.
    shown = np.array([value is not None and value >= -np.log(alpha) for value in log_bf])
    harm = shown & (found.observed > found.expected) & (found.failures >= _FIRST_FAILURES)
    return _Counted(log_bf, found.observed.astype(int).tolist(), column(found.expected), [bool(one) for one in harm])


def _sequences(
    state: ExperimentState, numbers: Numbers, rows: Sequence[Row], guardrails: Sequence[Guardrail]
) -> _Numbers:
    specification = state.specification
    margin = np.array([guardrail.margin for guardrail in guardrails])
    relative = np.array([specification.margin_kind(guardrail) == "relative" for guardrail in guardrails])
    good = np.array([1.0 if numbers.metrics[row.metric].direction == "up" else -1.0 for row in rows])
    arms = estimate(numbers, rows, factor=np.where(relative, 1 - good * margin, 1.0)).guarded
    found = guardrail_sequence(
        arms.control,
        arms.treatment,
        margin=margin,
        relative=relative,
        direction=good,
        harm_alpha=_alphas(state, rows)[0],
        pass_alpha=_alpha(state),
        planned_n=specification.planned_units,
    )
    # What the margin is a part of: 1 metric unit, or control's mean.
    base = np.where(relative, np.abs(arms.control.mean), 1.0)
    base = np.where(base > 0, base, np.nan)
    above_margin = np.array([guardrail.roll_back_above == "margin" for guardrail in guardrails])
    lower = np.where(above_margin, found.excess_lower / base + margin, found.harm_lower / base)
    upper = found.excess_upper / base + margin
    control, treatment = _failures(numbers, rows)
    failures = (control + treatment).sum(axis=0)
    rate = np.array([numbers.metrics[row.metric].kind == "proportion" for row in rows])
    rare = rate & (failures < RARE_OUTCOMES)
    upper[rare] = _rare_upper(state, numbers, [row for row, few in zip(rows, rare, strict=True) if few])
    return _Numbers(
        harm=column(found.harm / base),
        lower=column(lower),
        upper=column(upper),
        units_control=arms.control.n,
        units_challenger=arms.treatment.n,
        failures=np.where(rate | [counts_failures(numbers.metrics[row.metric]) for row in rows], failures, np.nan),
        rare=rare,
    )


def _rare_upper(state: ExperimentState, numbers: Numbers, rows: Sequence[Row]) -> FloatArray:
    """Upper bound of the harm from the units' failure shares, exact at every n."""
    if not rows:
        return np.array([], dtype=np.float64)
    present = numbers.counted(numbers.cells.n, rows)
    shares = numbers.counted(numbers.success_shares, rows)
    up = np.array([numbers.metrics[row.metric].direction == "up" for row in rows])
    n_c, n_t = (arm.sum(axis=0) for arm in present)
    failed = [np.where(up, n - share, share).sum(axis=0) for n, share in zip(present, shares, strict=True)]
    # Shares are rounded to 1e-9 of a unit: their sum may pass 0 or n by that much.
    f_c, f_t = (np.clip(total, 0.0, n) for total, n in zip(failed, (n_c, n_t), strict=True))
    return rare_rate_guardrail(n_c, f_c, n_t, f_t, margin=1.0, alpha=_alpha(state)).harm_upper


def _finding(
    state: ExperimentState,
    row: Row,
    guardrail: Guardrail,
    *,
    numbers: _Numbers,
    place: int,
    counted: _Counted,
) -> GuardrailFinding:
    metric = state.specification.all_metrics[row.metric]
    operational = counts_failures(metric)
    harm, lower, upper = numbers.harm[place], numbers.lower[place], numbers.upper[place]
    burnt_in = min(numbers.units_control[place], numbers.units_challenger[place]) >= BURN_IN_UNITS
    enough = min(numbers.units_control[place], numbers.units_challenger[place]) >= state.specification.minimum.units
    threshold = guardrail.margin if guardrail.roll_back_above == "margin" else 0.0
    shown = burnt_in and lower is not None and lower > threshold
    at_once = operational and counted.harm[place]
    passed = upper is not None and upper < guardrail.margin and (enough or bool(numbers.rare[place]))
    verdict: Literal["pass", "harm", "undecided"] = "harm" if shown or at_once else "pass" if passed else "undecided"
    failures = float(numbers.failures[place])
    finding = GuardrailFinding(
        variant=row.variant,
        metric=row.metric,
        margin=guardrail.margin,
        margin_kind=state.specification.margin_kind(guardrail),
        state=verdict,
        operational_harm=at_once,
        harm=harm,
        harm_lower=lower,
        harm_upper=upper,
        log_bayes_factor=counted.log_bayes_factor[place] if operational else None,
        failures=int(failures) if np.isfinite(failures) else None,
        reason="",
    )
    return finding.model_copy(update={"reason": _reason(state, finding, counted=counted, place=place)})


def _reason(state: ExperimentState, finding: GuardrailFinding, *, counted: _Counted, place: int) -> str:
    metric = state.specification.all_metrics[finding.metric]
    relative = finding.margin_kind == "relative"
    margin = amount(metric, finding.margin, relative=relative)
    who = f"{finding.variant} against {state.control} on {finding.metric}"
    if finding.operational_harm:
        expected = counted.expected[place] or 0.0
        return (
            f"{who}: {counted.observed[place]} of {finding.failures} units with a failure are {finding.variant}'s, "
            f"where {expected:.4g} would be by its share of the traffic; among equal arms chance does that "
            f"{odds(finding.log_bayes_factor or 0.0)}"
        )
    if finding.harm is None:
        return f"{who}: no data in both arms yet"
    by = f"by {amount(metric, abs(finding.harm), relative=relative)}"
    text = f"{who}: no difference" if finding.harm == 0 else f"{who}: {'worse' if finding.harm > 0 else 'better'} {by}"
    if finding.state == "harm" and finding.harm_lower is not None:
        sure = confidence(_alphas(state, [Row(finding.variant, state.control, finding.metric)])[0].item())
        return f"{text}; {sure} by at least {amount(metric, finding.harm_lower, relative=relative)}"
    if finding.harm_upper is None:
        return f"{text}; nothing varies yet, so that no bound can be given"
    bound = amount(metric, abs(finding.harm_upper), relative=relative)
    said = f"worse by at most {bound}" if finding.harm_upper >= 0 else f"better by at least {bound}"
    return f"{text}; {confidence(_alpha(state))} {said}, where worse by under {margin} is a pass"
