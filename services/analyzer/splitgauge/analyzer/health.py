"""Whether a look's numbers can be trusted: sample ratio, crossovers, missing outcomes, covariates, too little data.

Owns the checks of step 4 of the decision rule and their thresholds. Must not know what a verdict makes of them.
"""

import math
from dataclasses import dataclass

import numpy as np

from splitgauge.analyzer.guardrails import BURN_IN_UNITS
from splitgauge.analyzer.numbers import Numbers, Row, column
from splitgauge.analyzer.wording import odds, percent
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import AnalysisData, Health
from splitgauge.schemas.codec import canonical
from splitgauge.statistics import covariate_balance, first_failures, sample_ratio

__all__ = ["ALARM_E_VALUE", "check_health"]

ALARM_E_VALUE = 100.0
"""Of the sample ratio, and of missing outcomes: 0.15 % false alarms over any number of looks (measured)."""

_IMBALANCE_E_VALUE = 1_000.0
"""Of a covariate, for each challenger and each covariate by itself."""

_CROSSOVER_SHARE = 0.01
_CROSSOVERS = 10


@dataclass(frozen=True, slots=True)
class _SampleRatio:
    log_e: float | None
    alarm: bool


@dataclass(frozen=True, slots=True)
class _Imbalance:
    log_e: float | None
    problem: str | None


def check_health(state: ExperimentState, numbers: Numbers, previous: AnalysisData | None) -> Health:
    """The health of a look. An alarm of the sample ratio stays: units that came wrongly do not become right."""
    ratio = _sample_ratio(numbers)
    latched = ratio.alarm or (previous is not None and previous.health.sample_ratio_latched)
    crossovers, exposed = int(numbers.crossovers.sum()), int(numbers.exposed.sum())
    share = crossovers / exposed if exposed else 0.0
    missing_log_e = _missing(state, numbers)
    invalid: list[str] = []
    if latched:
        invalid.append(_sample_ratio_problem(numbers, ratio))
    if crossovers >= _CROSSOVERS and share > _CROSSOVER_SHARE:
        invalid.append(
            f"{crossovers} of {exposed} units got two variants under one split ({percent(share)}; up to "
            f"{percent(_CROSSOVER_SHARE)} is harmless)"
        )
    if missing_log_e is not None and missing_log_e >= math.log(ALARM_E_VALUE):
        lost = ", ".join(f"{name} {count}" for name, count in numbers.totals(numbers.missing_units).items())
        invalid.append(
            f"outcomes are missing more often in one arm than in the other (units with a missing one: {lost}); chance "
            f"alone does that {odds(missing_log_e)}"
        )
    imbalance = _imbalance(state, numbers)
    if imbalance.problem is not None:
        invalid.append(imbalance.problem)
    thin = _too_little(state, numbers)
    return Health(
        state="invalid" if invalid else "warning" if thin else "healthy",
        problems=[*invalid, *thin],
        sample_ratio_log_e=ratio.log_e,
        sample_ratio_latched=latched,
        crossovers=crossovers,
        crossover_share=canonical(share),
        missing=int(numbers.missing.sum()),
        missing_log_e=missing_log_e,
        covariate_log_e=imbalance.log_e,
    )


def _sample_ratio(numbers: Numbers) -> _SampleRatio:
    """Of all arms that an epoch's split has, those rolled back later included. inf where units came to an arm without
    slots; it is recorded as null, and the alarm says why."""
    log_e = sample_ratio(numbers.exposed, numbers.shares).log_e_value
    (recorded,) = column(np.atleast_1d(log_e))
    alarm = float(log_e) == math.inf if recorded is None else recorded >= math.log(ALARM_E_VALUE)
    return _SampleRatio(recorded, alarm)


def _sample_ratio_problem(numbers: Numbers, ratio: _SampleRatio) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in numbers.totals(numbers.exposed).items())
    expected = (numbers.exposed.sum(axis=1)[:, None] * numbers.shares).sum(axis=0)
    wanted = ", ".join(f"{name} {count:.0f}" for name, count in zip(numbers.variants, expected, strict=True))
    text = f"units do not arrive in the shares of the split: {counts}, where {wanted} were expected"
    if not ratio.alarm:
        return f"{text}; they did not at an earlier look, and that stays"
    return text if ratio.log_e is None else f"{text}; chance alone does that {odds(ratio.log_e)}"


def _missing(state: ExperimentState, numbers: Numbers) -> float | None:
    """The largest ln e-value over the challengers of units with a missing outcome against the arms' shares. Fewer in a
    challenger counts as much as more: it means that control's slow answers are left out."""
    rows = [Row(name, state.control, state.specification.goal.metric) for name in state.challengers]
    if not rows:
        return None
    against, variant, _ = numbers.places(rows)
    found = first_failures(
        numbers.missing_units[:, against],
        numbers.missing_units[:, variant],
        numbers.pair_shares(rows),
        alpha=1 / ALARM_E_VALUE,
    )
    (largest,) = column(found.log_e_value.max(keepdims=True))
    return largest


def _imbalance(state: ExperimentState, numbers: Numbers) -> _Imbalance:
    """Whether a covariate, which no variant can have touched, differs from control's in a challenger that has its
    burn-in. One that several metrics declare counts once."""
    attributes = {
        covariate.attribute: name
        for name, metric in reversed(list(numbers.metrics.items()))
        if (covariate := metric.covariate) is not None
    }
    rows = [Row(name, state.control, metric) for name in state.challengers for metric in attributes.values()]
    if not rows:
        return _Imbalance(None, None)
    control, treatment = numbers.moments(rows)
    enough = np.minimum(control.n.sum(axis=0), treatment.n.sum(axis=0)) >= BURN_IN_UNITS
    found = covariate_balance(
        control, treatment, alpha=1 / _IMBALANCE_E_VALUE, planned_n=state.specification.planned_units
    )
    known = [(one, place) for place, one in enumerate(column(found.log_e_value)) if one is not None and enough[place]]
    if not known:
        return _Imbalance(None, None)
    log_e, place = max(known)
    if log_e < math.log(_IMBALANCE_E_VALUE):
        return _Imbalance(log_e, None)
    attribute = list(attributes)[place % len(attributes)]
    difference = float(found.difference[place])
    return _Imbalance(
        log_e,
        f"units differed before the experiment: {attribute} of {rows[place].variant}'s was {abs(difference):.4g} "
        f"{'higher' if difference > 0 else 'lower'} on average than of {state.control}'s; chance alone does that "
        f"{odds(log_e)}",
    )


def _too_little(state: ExperimentState, numbers: Numbers) -> list[str]:
    minimum = state.specification.minimum
    units, requests = numbers.totals(numbers.units), numbers.totals(numbers.requests)
    return [
        f"{name} has {units[name]} units and {requests[name]} requests; "
        f"{minimum.units} and {minimum.requests} are the minimum"
        for name in (state.control, *state.challengers)
        if units[name] < minimum.units or requests[name] < minimum.requests
    ]
