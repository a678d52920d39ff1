"""What may be concluded at any look: the sequence of each comparison, and what it still lacks, by the metric's engine.

Owns which sequence an engine takes (the asymptotic one, or that of rare outcomes' counts) and how far it is from a
conclusion. Must not know corrections, roles or verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from splitgauge.analyzer.numbers import FloatArray, Numbers, Row, column
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import CountedOutcome
from splitgauge.statistics import (
    Arms,
    Effect,
    Remaining,
    absolute_effect,
    conditional_power,
    effect,
    mixture_variance,
    rate_ratio_sequence,
    remaining_units,
    two_sided_sequence,
)

__all__ = ["RelativeSequence", "Sequences", "relative_sequence", "sequences"]

_CONCENTRATION = 100.0
"""Of the counts' Dirichlet prior: the sequence then grows with n counts as a normal mixture with r^2 = 1 / this, and is
tightest around 1,000 of them."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """All rows, shape (rows,); nan where undefined.

    Attributes:
        lower, upper: of the effect in metric units; of rare outcomes of their rate ratio less 1, inf without a bound.
        needed: more units of both arms for the asked power, or until the planned units.
        power: conditional, at the end of the test.
        counted: of rare outcomes what was counted.
    """

    p_value: FloatArray
    log_e_value: FloatArray
    lower: FloatArray
    upper: FloatArray
    needed: FloatArray
    power: FloatArray
    counted: tuple[CountedOutcome | None, ...]


@dataclass(frozen=True, slots=True)
class RelativeSequence:
    """Of effects as fractions of control, shape (rows,); nan where undefined."""

    value: FloatArray
    lower: FloatArray
    upper: FloatArray


def sequences(
    state: ExperimentState, numbers: Numbers, rows: Sequence[Row], arms: Arms, *, target: FloatArray, level: float
) -> Sequences:
    """Each row by its metric's engine.

    Args:
        arms: of each row, guarded.
        target: the effect worth finding, metric units; nan where none is declared.
        level: two-sided error of each row over all looks.
    """
    out = _asymptotic(state, rows, arms, target=target, level=level)
    rare = np.array([state.specification.engine_of(row.metric) == "rare" for row in rows])
    if not rare.any():
        return out
    counted = _rare(state, numbers, rows, arms, target=target, level=level)

    def pick(ours: FloatArray, theirs: FloatArray) -> FloatArray:
        return np.where(rare, theirs, ours)

    return Sequences(
        p_value=pick(out.p_value, counted.p_value),
        log_e_value=pick(out.log_e_value, counted.log_e_value),
        lower=pick(out.lower, counted.lower),
        upper=pick(out.upper, counted.upper),
        needed=pick(out.needed, counted.needed),
        power=pick(out.power, counted.power),
        counted=tuple(one if taken else None for one, taken in zip(counted.counted, rare, strict=True)),
    )


def relative_sequence(state: ExperimentState, rows: Sequence[Row], found: Effect, *, level: float) -> RelativeSequence:
    """The asymptotic sequence of relative effects; nan bounds where the sequence of a row is one of counts, which is
    relative already."""
    r2 = mixture_variance(state.specification.planned_units, alpha=level)
    sequence = two_sided_sequence(found, alpha=level, r2=r2)
    counts = np.array([state.specification.engine_of(row.metric) == "rare" for row in rows])
    return RelativeSequence(
        found.value, np.where(counts, np.nan, sequence.lower), np.where(counts, np.nan, sequence.upper)
    )


def _asymptotic(
    state: ExperimentState, rows: Sequence[Row], arms: Arms, *, target: FloatArray, level: float
) -> Sequences:
    specification = state.specification
    found = absolute_effect(arms.control, arms.treatment)
    r2 = mixture_variance(specification.planned_units, alpha=level)
    sequence = two_sided_sequence(found, alpha=level, r2=r2)
    planned = float(specification.planned_units)
    needed = _units_needed(state, found, target, alpha=level, r2=r2).units
    power = conditional_power(found, target, final_n=_final(found.n, needed, planned), alpha=level, r2=r2)
    at_planned_units = np.array([specification.engine_of(row.metric) in {"fixed", "group_sequential"} for row in rows])
    if at_planned_units.any():
        power = np.where(at_planned_units, conditional_power(found, target, final_n=planned, alpha=level), power)
        needed = np.where(at_planned_units, np.maximum(planned - found.n, 0.0), needed)
    return Sequences(
        sequence.p_value,
        sequence.log_e_value,
        sequence.lower,
        sequence.upper,
        needed,
        np.where(np.isnan(target), np.nan, power),
        (None,) * len(rows),
    )


@np.errstate(all="ignore")
def _rare(
    state: ExperimentState, numbers: Numbers, rows: Sequence[Row], arms: Arms, *, target: FloatArray, level: float
) -> Sequences:
    hits, misses = (numbers.counted(counts, rows) for counts in (numbers.hits, numbers.misses))
    # Which outcome is the rarer one is read from both arms together: that says nothing about either of them.
    hit = np.asarray(sum(arm.sum(axis=0) for arm in hits) <= sum(arm.sum(axis=0) for arm in misses))
    control, treatment = (np.where(hit, h, m) for h, m in zip(hits, misses, strict=True))
    share = numbers.pair_shares(rows)
    found = rate_ratio_sequence(control, treatment, share, alpha=level, concentration=_CONCENTRATION)
    rate = np.where(hit, arms.control.mean, 1 - arms.control.mean)
    wanted = 1 + np.where(hit, target, -target) / rate
    needed, power = _rare_prospects(
        state, arms, _labels(control, treatment, share), ratio=np.where(wanted > 0, wanted, np.nan), level=level
    )
    ratios = column(np.exp(found.log_ratio))
    units, against = treatment.sum(axis=0), control.sum(axis=0)
    return Sequences(
        found.p_value,
        found.log_e_value,
        np.expm1(found.lower),
        np.expm1(found.upper),
        needed,
        power,
        tuple(
            CountedOutcome(
                outcome="hit" if hit[place] else "miss",
                units=int(units[place]),
                units_against=int(against[place]),
                rate_ratio=ratios[place],
            )
            for place in range(len(rows))
        ),
    )


@dataclass(frozen=True, slots=True)
class _Labels:
    """The challenger's part of the units that had the outcome, as an effect against its `share` of the traffic."""

    part: Effect
    share: FloatArray


def _labels(control: FloatArray, treatment: FloatArray, share: FloatArray) -> _Labels:
    both = (share > 0) & (share < 1)
    c, t = (np.where(both, counts, 0.0) for counts in (control, treatment))
    n_c, n_t = c.sum(axis=0), t.sum(axis=0)
    n = np.where(n_c + n_t > 0, n_c + n_t, np.nan)
    expected = ((c + t) * share).sum(axis=0) / n
    return _Labels(
        effect(n_t / n - expected, np.sqrt(expected * (1 - expected) / n), n_control=n_c, n_treatment=n_t), expected
    )


def _rare_prospects(
    state: ExperimentState, arms: Arms, labels: _Labels, *, ratio: FloatArray, level: float
) -> tuple[FloatArray, FloatArray]:
    """More units for a rate ratio that is wanted, and conditional power: units grow as their rare outcomes do."""
    part, share = labels.part, labels.share
    units = arms.control.n + arms.treatment.n
    odds = share / (1 - share) * ratio
    target = odds / (1 + odds) - share
    r2 = np.full(units.shape, 1 / _CONCENTRATION)
    remaining = _units_needed(state, part, target, alpha=level, r2=r2)
    planned = part.n * state.specification.planned_units / np.where(units > 0, units, np.nan)
    power = conditional_power(part, target, final_n=_final(part.n, remaining.units, planned), alpha=level, r2=r2)
    return units * remaining.growth, np.where(np.isnan(target), np.nan, power)


def _units_needed(
    state: ExperimentState, found: Effect, target: FloatArray, *, alpha: float, r2: FloatArray
) -> Remaining:
    # Without a target the effect as it stands now is what has to be shown.
    wanted = np.where(np.isnan(target), found.value, target)
    return remaining_units(found, wanted, alpha=alpha, power=max(0.5, state.specification.power), r2=r2)


def _final(n: FloatArray, needed: FloatArray, planned: ArrayLike) -> FloatArray:
    """Where a test ends that has no end: a sequence has the asked power for its target at n + `needed`. A shorter plan
    only says where it is tightest; an end there would give up tests that were never meant to be over by then."""
    grown = np.where(np.isfinite(needed), n + needed, n)
    return np.fmax(np.fmax(grown, planned), 1.0)
