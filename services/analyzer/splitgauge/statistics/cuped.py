"""Variance reduction with a covariate that no variant can have touched (CUPED), from moments, for means and ratios.

Owns the coefficient theta and the adjusted cells. Adjusted cells are cells like any other: `guarded`, `combine_epochs`,
`absolute_effect`, every sequence and posterior take them as they are. Only the relative effect needs more than its arms
(`adjusted_relative_effect`), because its denominator is the control as it is. Must not know tests.

    Moments of both arms -> adjusted_ratios -> combine_epochs -> absolute_effect -> any engine
    per epoch               or adjusted_means \\-> adjusted_relative_effect        -> any engine
"""

from typing import NamedTuple

import numpy as np

from splitgauge.statistics.aggregates import Cells, Moments, means, ratios
from splitgauge.statistics.arguments import BoolArray, FloatArray, aligned, broadcastable, counts, non_negative
from splitgauge.statistics.effects import Effect, absolute_effect
from splitgauge.statistics.strata import combine_epochs, guarded

__all__ = ["Adjusted", "adjusted_means", "adjusted_ratios", "adjusted_relative_effect", "variance_reduction"]

_DUST = 1e-14  # of the unadjusted variance; less than what rounding leaves of a covariate that explains everything


class Adjusted(NamedTuple):
    """Both arms of each comparison after adjustment, float64, shape (epochs, comparisons) but for theta."""

    control: Cells
    """Control's value as it is, with the variance of a unit's y - theta x."""
    treatment: Cells
    """The challenger's value as it would be with control's covariate, y1 - theta (x1 - x0), and the same variance."""
    theta: FloatArray
    """Metric units per unit of the covariate, shape (comparisons,); 0 where the covariate or the metric does not
    vary; nan where no epoch counts or a moment is nan."""
    control_shift_variance: FloatArray
    """Variance of theta x over control's units, metric units squared; what a relative effect needs besides the arms."""
    control_shift_covariance: FloatArray
    """Covariance of y - theta x and theta x over control's units, metric units squared; near 0, as theta is pooled."""
    unadjusted: tuple[Cells, Cells]
    """Control and challenger without adjustment."""


class _Linear(NamedTuple):
    """One arm with its metric linearised to one number y a unit, so that means and ratios are the same from here on."""

    cells: Cells
    covariance: FloatArray
    """Of y and x."""
    mean_x: FloatArray
    var_x: FloatArray


def adjusted_means(control: Moments, treatment: Moments) -> Adjusted:
    """Means of units' totals (`means`) adjusted for a covariate.

    Args:
        control, treatment: moments of the arms with their covariate's, one cell per epoch and comparison, shape
            (epochs, comparisons) (or (epochs,) for one).
    Returns: `Adjusted`. Where the covariate does not vary over the units of both arms (none declared: all zeros), or
        the metric varies in neither, theta is 0 and everything is as without adjustment.
    Raises: ContractError where n is no count, a variance is negative, or shapes do not fit.
    Assumes: the covariate was known before the first exposure. theta is a function of the pooled data at a look; its
        own noise is of lower order (about 1/n of the variance), so that looks keep their error (simulated).
    Source: Deng, Xu, Kohavi, Walker 2013 (WSDM), equation 4: theta = Cov(y, x)/Var(x) of both arms pooled as one
        sample, variance s_yy - 2 theta s_xy + theta^2 s_xx. Over epochs, the sums of products about each epoch's own
        mean are added, so that a thin epoch does not get a theta of its own.

        >>> from splitgauge.statistics import exact_moments
        >>> x, y = np.array([[1, 2, 3, 4], [2, 3, 4, 5]]), np.array([[1, 3, 5, 8], [4, 7, 8, 10]])
        >>> arms = [exact_moments(n=[4], m=[sum(m)], d=[4], mm=[sum(m * m)], dd=[4], md=[sum(m)], x=[sum(v)],
        ...                       xx=[sum(v * v)], mx=[sum(m * v)], dx=[sum(v)]) for v, m in zip(x, y)]
        >>> found = adjusted_means(*arms)
        >>> round(float(found.theta), 6), found.treatment.value.round(6).tolist(), found.control.value.tolist()
        (2.25, [5.0], [4.25])
    """
    return _adjusted(*(_Linear(means(arm), arm.cov_mx, arm.mean_x, arm.var_x) for arm in (control, treatment)))


def adjusted_ratios(control: Moments, treatment: Moments) -> Adjusted:
    """Ratios of sums (`ratios`) adjusted for a covariate of the unit; `adjusted_means` where every denominator is 1.

    Args:
        control, treatment: as in `adjusted_means`.
    Returns: `Adjusted`, as there; y is a unit's linearised contribution R + (m - R d)/mean_d, R and mean_d of its arm.
    Raises: ContractError where n is no count, a variance is negative, or shapes do not fit.
    Assumes: as `adjusted_means`, and enough units for the delta method.
    Source: Deng, Xu, Kohavi, Walker 2013 (WSDM), appendix B; Deng, Knoblich, Lu 2018 (KDD) for the linearisation. The
        variance is that of the gradient (1/mean_d, -R/mean_d, -theta) over the moment matrix of (m, d, x).

        >>> from splitgauge.statistics import exact_moments
        >>> arm = exact_moments(n=[3], m=[12], d=[6], mm=[56], dd=[14], md=[28], x=[6], xx=[14], mx=[28], dx=[14])
        >>> found = adjusted_ratios(arm, arm._replace(mean_x=arm.mean_x + 1))
        >>> float(found.theta), found.treatment.value.tolist()
        (0.0, [2.0])
    """
    return _adjusted(_linear_ratio(control), _linear_ratio(treatment))


@np.errstate(all="ignore")
def adjusted_relative_effect(adjusted: Adjusted, *, guard: bool = True) -> Effect:
    """The relative effect (y1 - theta (x1 - x0) - y0)/|y0| of adjusted cells, with the exact gradient.

    Args:
        adjusted: from `adjusted_means` or `adjusted_ratios`.
        guard: raise variances with `guarded`, per epoch, as in `combine_epochs`.
    Returns: `Effect` as a fraction, shape (comparisons,); nan where control's mean is 0 or an arm is undefined. df are
        those of the absolute effect.
    Raises: as `combine_epochs`.
    Assumes: as `relative_effect`.
    Source: delta method. The derivative by y0 is -(y1 - theta (x1 - x0))/y0^2; with -y1/y0^2, as some have it, the
        variance is off wherever the arms' covariates differ.

        >>> from splitgauge.statistics import cells
        >>> one = np.array([1.0])
        >>> arms = cells([100], [10.0], [4.0]), cells([100], [11.0], [4.0])
        >>> found = adjusted_relative_effect(Adjusted(*arms, 2 * one, 5 * one, 0 * one, arms))
        >>> round(float(found.value), 6), round(float(found.se), 6)
        (0.1, 0.029816)
    """
    control, treatment = guarded(adjusted.control, adjusted.treatment) if guard else adjusted[:2]
    arms = combine_epochs(control, treatment, guard=False)
    base = np.where(arms.control.mean != 0, arms.control.mean, np.nan)
    k = arms.treatment.mean / base
    # Up to its sign and 1/y0 control enters as k y - theta x = k (y - theta x) + (k - 1) theta x.
    shift = 2 * k * (k - 1) * adjusted.control_shift_covariance + (k - 1) ** 2 * adjusted.control_shift_variance
    tilted = np.maximum(k**2 * control.variance + shift, 0.0)
    relative = combine_epochs(control._replace(variance=tilted), treatment, guard=False)
    se = np.hypot(np.sqrt(relative.treatment.mean_variance) / base, np.sqrt(relative.control.mean_variance) / base)
    absolute = absolute_effect(arms.control, arms.treatment)
    return absolute._replace(value=absolute.value / np.abs(base), se=se)


@np.errstate(all="ignore")
def variance_reduction(adjusted: Adjusted) -> FloatArray:
    """The share of the effect's variance that the covariate took away.

    Args:
        adjusted: from `adjusted_means` or `adjusted_ratios`.
    Returns: 1 - (adjusted variance / unadjusted variance) of the absolute effect, shape (comparisons,); 0 where nothing
        is adjusted, nan where neither arm varies or an arm is undefined. As many units as 1/(1 - it) times those that
        are there would have given the same without.
    Raises: as `combine_epochs`.
    Assumes: nothing; the variances are the arms' own, without the guard.
    Source: Deng, Xu, Kohavi, Walker 2013 (WSDM): the squared correlation of y and x, for equal arms.

        >>> from splitgauge.statistics import cells
        >>> before, after = (cells([100], [10.0], [4.0]), cells([100], [10.0], [3.0]))
        >>> zero = np.zeros(1)
        >>> float(variance_reduction(Adjusted(after, after, zero + 2, zero, zero, (before, before))))
        0.25
    """
    after, before = (
        sum(arm.mean_variance for arm in combine_epochs(*cells, guard=False))
        for cells in (adjusted[:2], adjusted.unadjusted)
    )
    return np.asarray(1 - after / np.where(before > 0, before, np.nan), dtype=np.float64)


@np.errstate(all="ignore")
def _linear_ratio(arm: Moments) -> _Linear:
    cells = ratios(arm)
    mean_d = np.where(arm.mean_d != 0, arm.mean_d, np.nan)
    return _Linear(cells, (arm.cov_mx - cells.value * arm.cov_dx) / mean_d, arm.mean_x, arm.var_x)


@np.errstate(all="ignore")
def _adjusted(control: _Linear, treatment: _Linear) -> Adjusted:
    theta = _theta(control, treatment)
    moved = theta * (treatment.mean_x - control.mean_x)
    # Not -0.0 nor 0 * nan: without a covariate everything stays as it is, to the last bit.
    plain = theta == 0
    value = np.where(plain, treatment.cells.value, treatment.cells.value - moved)
    variances = [np.where(plain, arm.cells.variance, _spread(arm, theta)) for arm in (control, treatment)]
    shift = theta * (control.covariance - theta * control.var_x)
    return Adjusted(
        control=Cells(*aligned(control.cells.n, control.cells.value, variances[0])),
        treatment=Cells(*aligned(treatment.cells.n, value, variances[1])),
        theta=theta,
        control_shift_variance=np.where(plain, 0.0, theta**2 * control.var_x),
        control_shift_covariance=np.where(plain, 0.0, shift),
        unadjusted=(control.cells, treatment.cells),
    )


def _spread(arm: _Linear, theta: FloatArray) -> FloatArray:
    spread = arm.cells.variance - 2 * theta * arm.covariance + theta**2 * arm.var_x
    return np.where(spread < _DUST * arm.cells.variance, 0.0, spread)


def _theta(control: _Linear, treatment: _Linear) -> FloatArray:
    """Slope of y on x over the units of both arms, about the mean of each epoch."""
    n_c, n_t = counts("control.n", control.cells.n), counts("treatment.n", treatment.cells.n)
    v_c, v_t = non_negative("control.var_x", control.var_x), non_negative("treatment.var_x", treatment.var_x)
    for name, arm in (("control.variance", control), ("treatment.variance", treatment)):
        non_negative(name, arm.cells.variance)
    y_c, y_t = control.cells.value, treatment.cells.value
    broadcastable(control=n_c, treatment=n_t, control_var_x=v_c, treatment_var_x=v_t)
    # The same epochs as in combine_epochs.
    kept = (n_c >= 2) & (n_t >= 2) & np.isfinite(y_c + control.cells.variance + y_t + treatment.cells.variance)
    between = n_c * n_t / (n_c + n_t) * (treatment.mean_x - control.mean_x)
    xx = (n_c - 1) * v_c + (n_t - 1) * v_t + between * (treatment.mean_x - control.mean_x)
    xy = (n_c - 1) * control.covariance + (n_t - 1) * treatment.covariance + between * (y_t - y_c)
    xx, xy = (_total(terms, kept) for terms in (xx, xy))
    # A constant covariate has no slope; nor has a metric that varies in no arm, whose arms' difference would pass for
    # one. What is nan stays nan.
    flat = (xx == 0) | (~np.isnan(xx + xy) & (_total(control.cells.variance + treatment.cells.variance, kept) == 0))
    slope = np.where(flat, 0.0, xy / np.where((xx > 0) & (xx < np.inf), xx, np.nan))
    return np.where(kept.any(axis=0), slope, np.nan)


def _total(terms: FloatArray, kept: BoolArray) -> FloatArray:
    total: FloatArray = np.where(kept, terms, 0.0).sum(axis=0)
    return total
