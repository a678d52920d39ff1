"""Whether two arms got the same kind of units: the covariate, which no variant can have touched, must not differ.

Owns the e-value of that. Must not know what is done about an alarm, nor burn-in: 100 units an arm is the analyzer's.
"""

from typing import NamedTuple

import numpy as np

from splitgauge.statistics.aggregates import Cells, Moments
from splitgauge.statistics.arguments import (
    ArrayLike,
    BoolArray,
    FloatArray,
    aligned,
    broadcastable,
    counts,
    error_rates,
    non_negative,
)
from splitgauge.statistics.confidence_sequence import mixture_variance, two_sided_sequence
from splitgauge.statistics.effects import absolute_effect
from splitgauge.statistics.strata import combine_epochs, guarded

__all__ = ["Balance", "covariate_balance"]


class Balance(NamedTuple):
    """The covariate of a challenger's units against control's at one look, shape (comparisons,); float64 but for
    alarm. Nan where no epoch has two units in both arms, or the covariate does not vary at all."""

    difference: FloatArray
    """Mean of the challenger's units less control's, units of the covariate; 0 where it does not vary at all."""
    se: FloatArray
    """Its standard error if there is no imbalance; 0 where it does not vary at all."""
    log_e_value: FloatArray
    """Natural logarithm of the e-value against balance."""
    p_value: FloatArray
    """Always valid: min(1, 1/e)."""
    alarm: BoolArray
    """True where e >= 1/alpha."""


@np.errstate(all="ignore")
def covariate_balance(
    control: Moments, treatment: Moments, *, alpha: ArrayLike = 0.001, planned_n: ArrayLike = 5000.0
) -> Balance:
    """Sequential test that the covariate's mean is the same in both arms.

    Args:
        control, treatment: moments of the arms, of which n, mean_x and var_x are read; one cell per epoch and
            comparison, shape (epochs, comparisons) (or (epochs,) for one).
        alpha: false alarms over all looks together, in (0, 1); .001 is an alarm at e = 1,000.
        planned_n: units of both arms together at which it shall see most, above 0.
    Returns: `Balance`, shape (comparisons,). Epochs are strata as in `combine_epochs`. Variances are those of the
        guard, and at least that of both arms' units as one sample, which is what they are if nothing is wrong: so an
        arm of zeros against one of ones is an alarm, too, and not a difference without an error.
    Raises: ContractError where alpha or planned_n is out of range, n is no count, a variance is negative, or shapes do
        not fit.
    Assumes: as `two_sided_sequence`: independent units, enough of them for a normal limit (100 an arm).
    Source: Waudby-Smith et al. 2024, Annals of Statistics 52(6), as `two_sided_sequence`; Robbins 1970, normal mixture.

        >>> from splitgauge.statistics import exact_moments
        >>> def arm(ones):
        ...     n, none = [1000], [0]
        ...     return exact_moments(n=n, m=none, d=n, mm=none, dd=n, md=none, x=[ones], xx=[ones], mx=none, dx=[ones])
        >>> bool(covariate_balance(arm(300), arm(310)).alarm), bool(covariate_balance(arm(300), arm(400)).alarm)
        (False, True)
    """
    level = error_rates("alpha", alpha)
    n_c, n_t = counts("control.n", control.n), counts("treatment.n", treatment.n)
    v_c, v_t = non_negative("control.var_x", control.var_x), non_negative("treatment.var_x", treatment.var_x)
    broadcastable(control=n_c, treatment=n_t, control_var_x=v_c, treatment_var_x=v_t)
    apart = n_c * n_t / (n_c + n_t) * (treatment.mean_x - control.mean_x) ** 2
    together = ((n_c - 1) * v_c + (n_t - 1) * v_t + apart) / (n_c + n_t - 1)
    arms = combine_epochs(
        *(
            cells._replace(variance=np.maximum(cells.variance, together))
            for cells in guarded(Cells(n_c, control.mean_x, v_c), Cells(n_t, treatment.mean_x, v_t))
        ),
        guard=False,
    )
    effect = absolute_effect(arms.control, arms.treatment)
    found = two_sided_sequence(effect, alpha=level, r2=mixture_variance(planned_n, alpha=level))
    alarm = np.asarray(found.log_e_value >= -np.log(level))
    return Balance(*aligned(effect.value, effect.se, found.log_e_value, found.p_value, alarm))
