"""The two arms of each comparison: adjusted for the covariate of their metric where one is declared, guarded for
sequences, plain for what is judged once.

Owns which of these a number is made from. Must not know tests, guardrails or verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitgauge.analyzer.numbers import FloatArray, Numbers, Row, unit_of
from splitgauge.statistics import (
    Adjusted,
    Arms,
    Cells,
    Effect,
    adjusted_ratios,
    adjusted_relative_effect,
    combine_epochs,
    relative_effect,
    variance_reduction,
)

__all__ = ["Estimates", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimates:
    """Arms of each row, shape (rows,), metric units.

    Attributes:
        plain, guarded: adjusted where a covariate is declared; the second with variances raised for unequal splits.
        plain_unadjusted, guarded_unadjusted: the same without adjustment.
        relative: effect as a fraction of control, from guarded arms.
        reduction: share of the effect's variance that the covariate took away; nan where none is declared.
    """

    plain: Arms
    guarded: Arms
    plain_unadjusted: Arms
    guarded_unadjusted: Arms
    relative: Effect
    reduction: FloatArray


def estimate(numbers: Numbers, rows: Sequence[Row], *, factor: FloatArray | None = None) -> Estimates:
    """The arms of each row over the epochs that had both.

    Args:
        factor: what control's mean is multiplied with where it is compared (1 + margin), so that its variance holds
            then, too: an adjusted challenger shares control's covariate. Left out: 1.
    """
    control, treatment = numbers.pairs(rows)
    rates = np.array([numbers.metrics[row.metric].kind == "proportion" for row in rows])
    plain, guarded = _arms(control, treatment, rates)
    declared = np.array([row.metric in numbers.covaried for row in rows])
    reduction = np.full(len(rows), np.nan)
    if not declared.any():
        relative = relative_effect(guarded.control, guarded.treatment)
        return Estimates(plain, guarded, plain, guarded, relative, reduction)
    covaried = [row for row in rows if row.metric in numbers.covaried]
    adjusted = adjusted_ratios(*numbers.moments(covaried))
    reduction[declared] = variance_reduction(adjusted)
    tilt = np.ones(len(covaried)) if factor is None else factor[declared]
    unit = np.array([unit_of(numbers.metrics, row.metric) for row in covaried])
    # Arms that do not vary have nothing to adjust: whatever is found is chance, and would pass for a variance.
    still = _still(control, treatment)
    ours, theirs = _tilted(adjusted, tilt)
    after = _arms(
        _replaced(control, ours, declared, unit=unit, keep=still),
        _replaced(treatment, theirs, declared, unit=unit, keep=still),
        rates,
    )
    relative = relative_effect(after[1].control, after[1].treatment)
    # Not from the arms: the challenger's has control's covariate in it, and the two are not independent any more.
    se = relative.se.copy()
    se[declared] = np.where(still[:, declared].any(axis=0), se[declared], adjusted_relative_effect(adjusted).se)
    return Estimates(*after, plain, guarded, relative._replace(se=se), reduction)


@np.errstate(all="ignore")
def _tilted(adjusted: Adjusted, factor: FloatArray) -> tuple[Cells, Cells]:
    """Adjusted cells, with control's variance as it is where its mean is multiplied by k: the challenger's value has
    control's covariate in it, so that control enters as k (y - theta x) + (k - 1) theta x."""
    factor = np.where(factor == 0, 1.0, factor)
    shift = 2 * factor * (factor - 1) * adjusted.control_shift_covariance
    shift = shift + (factor - 1) ** 2 * adjusted.control_shift_variance
    variance = np.maximum(adjusted.control.variance, adjusted.control.variance + shift / factor**2)
    return adjusted.control._replace(variance=variance), adjusted.treatment


@np.errstate(all="ignore")
def _replaced(
    before: Cells,
    after: Cells,
    declared: npt.NDArray[np.bool_],
    *,
    unit: FloatArray,
    keep: npt.NDArray[np.bool_],
) -> Cells:
    """Cells with the adjusted ones where declared: per unit with data, as the others are, and not per analysed unit."""
    value, variance = before.value.copy(), before.variance.copy()
    value[:, declared] = after.value * unit
    variance[:, declared] = after.variance * unit**2 * before.n[:, declared] / after.n
    return Cells(before.n, np.where(keep, before.value, value), np.where(keep, before.variance, variance))


def _arms(control: Cells, treatment: Cells, rates: npt.NDArray[np.bool_]) -> tuple[Arms, Arms]:
    return (
        combine_epochs(control, treatment, guard=False),
        combine_epochs(*_with_variance(control, treatment, rates), guard=True),
    )


def _with_variance(control: Cells, treatment: Cells, rates: npt.NDArray[np.bool_]) -> tuple[Cells, Cells]:
    """Rates of two arms that do not vary, but differ: always right against never. Were they the same, their common rate
    would vary by p (1 - p); without it the clearest difference there is would never be shown."""
    still = rates & _still(control, treatment) & (control.value != treatment.value)
    units = np.where(still, control.n + treatment.n, 1.0)
    rate = (control.n * control.value + treatment.n * treatment.value) / units
    spread = rate * (1 - rate)
    return (
        control._replace(variance=np.where(still, spread, control.variance)),
        treatment._replace(variance=np.where(still, spread, treatment.variance)),
    )


def _still(control: Cells, treatment: Cells) -> npt.NDArray[np.bool_]:
    return np.asarray((control.variance == 0) & (treatment.variance == 0))
