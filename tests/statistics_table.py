"""Every public function of splitgauge.statistics once, with what each of its arguments is: for the tests of contracts
and properties that hold for all of them.

A row names the arguments of a call with a valid value and a kind each; fields of a composite argument (an effect, an
arm) as `effect.value`. What follows from a kind, what breaks it and which extremes it may have, is said here once.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitgauge import statistics as st

__all__ = ["BREAKS", "EXTREMES", "MEASURED", "TABLE", "Row", "result_fields"]

BREAKS: dict[str, tuple[Any, ...]] = {
    "value": ("much", None, 1j),
    "variance": (-1.0, -1e-300, "much"),
    "count": (-1, 0.5, math.nan, math.inf, -math.inf, "much"),
    "total": (-1.0, 1e9),
    "p_value": (-0.1, 1.1),
    "error": (0.0, 1.0, -0.05, 5, math.nan, math.inf, "much", None),
    "one_sided_error": (0.0, 0.5, 0.7, -0.05, math.nan),
    "positive": (0.0, -1.0, math.nan, math.inf),
    "positive_or_infinite": (0.0, -1.0, math.nan),
    "at_least_zero": (-1.0,),
    "finite": (math.nan, math.inf, -math.inf),
    "share": (-0.1, 1.1, math.nan),
    "inner_share": (0.0, 1.0, -0.1, 1.1, math.nan),
    "direction": (0, 2, -0.5, math.nan),
    "sides": (0, 3),
    "choice": ("nonsense",),
    "fractions": (
        [0.5, 0.4],
        [0.5, 0.5],
        [0.5, 1.2],
        [0.0, 1.0],
        [],
        [math.nan],
        [-0.5, 1.0],
        [0.01 * k for k in range(1, 30)],
    ),
    "whole": ([-1], [0.5], ["much"]),
    "integer": ([0.5], ["much"]),
    "scale": (0, -1, 0.5),
    "free": (),
}
"""By kind: values that are refused."""

EXTREMES: dict[str, tuple[Any, ...]] = {
    "value": (0.0, 1.0, -1.0, 1e15, -1e15, 1e-300, 1e300),
    "variance": (0.0, 1.0, 1e-300, 1e-12, 1e15, 1e300),
    "count": (0, 1, 2, 3, 1000, 10**12),
    "total": (0.0,),
    "p_value": (0.0, 1e-300, 0.5, 1.0),
    "error": (0.05, 1e-12, 0.999),
    "one_sided_error": (0.05, 1e-12, 0.499),
    "positive": (1.0, 1e-9, 1e12),
    "positive_or_infinite": (1.0, 1e-9, math.inf),
    "at_least_zero": (0.0, 1.0, 1e12),
    "finite": (0.0, 1.0, -1e15),
    "share": (0.0, 0.5, 1.0, 1e-300),
    "inner_share": (0.5, 1e-300, 1 - 1e-12),
    "direction": (1, -1),
}
"""By kind: values that are allowed and far out; kinds that are left out keep the row's value."""

MEASURED = ("value", "variance")
"""Kinds that may be nan or infinite: then no finite number comes out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One public function."""

    call: Callable[..., Any]
    given: dict[str, tuple[Any, str]]
    """By argument: a valid value, its kind."""
    composite: Mapping[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    """By composite argument: its type."""
    by_element: bool = True
    """Whether the function takes one comparison per element of any shape; else its arrays have axes of their own."""
    kept: tuple[str, ...] = ()
    """Fields of the result that repeat an argument or count: they stay finite."""
    apart: tuple[tuple[str, str], ...] = ()
    """(argument, field): the field does not depend on the argument, both by the ends of their names."""
    rtol: float = 1e-9
    """To which a comparison among others is what it is alone."""
    named: dict[str, str] = field(default_factory=dict[str, str])
    """By argument: the name that a refusal gives it, where another one says more."""

    def run(self, **changed: Any) -> Any:
        """The call with some arguments changed."""
        flat = {name: value for name, (value, _) in self.given.items()} | changed
        arguments: dict[str, Any] = {name: value for name, value in flat.items() if "." not in name}
        for name, make in self.composite.items():
            parts = {key.split(".", 1)[1]: value for key, value in flat.items() if key.startswith(f"{name}.")}
            arguments[name] = make(**{key: _array(part) for key, part in parts.items()})
        return self.call(**arguments)

    def of_kind(self, *kinds: str) -> list[str]:
        """Arguments of a kind."""
        return [name for name, (_, kind) in self.given.items() if kind in kinds]


def _array(value: Any) -> Any:
    return value if isinstance(value, str | complex | None) else np.asarray(value, dtype=np.float64)


def result_fields(result: Any) -> dict[str, Any]:
    """The arrays of a result by name, those of composite fields as `control.value`."""
    if not issubclass(type(result), tuple):
        return {"": result}
    found: dict[str, Any] = {}
    parts: list[Any] = list(result)
    names: Iterable[str] = getattr(result, "_fields", map(str, range(len(parts))))
    for name, value in zip(names, parts, strict=True):
        found |= {f"{name}.{rest}".strip("."): inner for rest, inner in result_fields(value).items()}
    return found


def _effect(name: str = "effect") -> dict[str, tuple[Any, str]]:
    return {
        f"{name}.value": (0.1, "value"),
        f"{name}.se": (0.05, "variance"),
        f"{name}.df": (500.0, "free"),
        f"{name}.n_control": (400.0, "free"),
        f"{name}.n_treatment": (300.0, "free"),
    }


def _arm(name: str, mean: float) -> dict[str, tuple[Any, str]]:
    return {
        f"{name}.n": (400.0, "free"),
        f"{name}.mean": (mean, "value"),
        f"{name}.mean_variance": (0.01, "variance"),
        f"{name}.df": (399.0, "free"),
    }


def _cells(name: str, value: float) -> dict[str, tuple[Any, str]]:
    return {
        f"{name}.n": (400.0, "count"),
        f"{name}.value": (value, "value"),
        f"{name}.variance": (4.0, "variance"),
    }


def _moments(name: str, mean_x: float = 2.0, *, read: str = "var_m") -> dict[str, tuple[Any, str]]:
    """Of all variances, the function takes ``read`` as the metric's (or the covariate's)."""
    numbers = {"mean_m": 1.0, "mean_d": 1.0, "var_m": 4.0, "var_d": 0.0, "cov_md": 0.0, "var_residual": 4.0}
    numbers |= {"mean_x": mean_x, "var_x": 9.0, "cov_mx": 3.0, "cov_dx": 0.0}
    rest = {f"{name}.{key}": ([value], "variance" if key == read else "free") for key, value in numbers.items()}
    return {f"{name}.n": ([400.0], "count"), **rest}


def _ages(name: str, late: float) -> dict[str, tuple[Any, str]]:
    return {
        f"{name}.n": ([400.0], "count"),
        f"{name}.early": ([1.0], "value"),
        f"{name}.late": ([late], "value"),
        f"{name}.var_early": ([4.0], "variance"),
        f"{name}.var_late": ([4.0], "variance"),
        f"{name}.covariance": ([1.0], "free"),
        f"{name}.effective_early": ([400.0], "free"),
        f"{name}.effective_late": ([400.0], "free"),
    }


def _planned() -> dict[str, tuple[Any, str]]:
    return {
        "planned.effect": (0.1, "free"),
        "planned.variance": (4.0, "free"),
        "planned.test_variance": (4.0, "free"),
    }


def _two_counts() -> dict[str, tuple[Any, str]]:
    return {
        "n_control": (90, "count"),
        "successes_control": (9, "count"),
        "n_treatment": (80, "count"),
        "successes_treatment": (14, "count"),
    }


ALPHA = {"alpha": (0.05, "error")}
EFFECT = {"effect": st.Effect}
ARMS = {"control": st.Arm, "treatment": st.Arm}
SPENDING: dict[str, tuple[Any, str]] = {
    "spending": ("pocock", "choice"),
    "phi": (2.0, "positive"),
    "sides": (2, "sides"),
}

ESTIMATE = (("mean", "se"), ("mean_variance", "value"))
"""The standard error of a difference does not depend on the means, nor the difference on the variances."""
CELLS = {"control": st.Cells, "treatment": st.Cells}
MOMENTS = {"control": st.Moments, "treatment": st.Moments}
AGES = {"control": st.NoveltyMoments, "treatment": st.NoveltyMoments}
SUMS: dict[str, tuple[Any, str]] = {
    "n": ([3], "whole"),
    "m": ([6], "integer"),
    "d": ([3], "integer"),
    "mm": ([14], "whole"),
    "dd": ([3], "whole"),
    "md": ([6], "integer"),
    "x": ([3], "integer"),
    "xx": ([5], "whole"),
    "mx": ([7], "integer"),
    "dx": ([3], "integer"),
    "scale": (1, "scale"),
    "x_scale": (1, "scale"),
}


def _power_of(effect: Any) -> Any:
    return st.fixed_power(st.planned_mean(4.0, effect), 500.0, alpha=0.05)


def _merged(histograms: list[st.Histogram]) -> st.Histogram:
    return st.merged(*histograms)


def _moments_of_three() -> st.Moments:
    return st.exact_moments(n=[3], m=[6], d=[3], mm=[14], dd=[3], md=[6], x=[3], xx=[5], mx=[7], dx=[3])


def _adjusted() -> st.Adjusted:
    return st.adjusted_means(_moments_of_three(), _moments_of_three())


TABLE: dict[str, Row] = {
    "exact_moments": Row(st.exact_moments, SUMS, by_element=False),
    "unit_moments": Row(
        st.unit_moments,
        {
            "unit": (["a", "b", "a"], "free"),
            "m": ([1.0, 0.5, 2.0], "finite"),
            "fold": ("sum", "choice"),
            "d": (1, "count"),
            "x": (0.0, "finite"),
            "scale": (1000, "scale"),
            "x_scale": (1000, "scale"),
        },
        by_element=False,
    ),
    "means": Row(st.means, {"moments": (_moments_of_three(), "free")}, by_element=False),
    "ratios": Row(st.ratios, {"moments": (_moments_of_three(), "free")}, by_element=False),
    "guarded": Row(
        st.guarded,
        {**_cells("control", 1.0), **_cells("treatment", 1.2)},
        CELLS,
        kept=("n", "value"),
        apart=(("value", "variance"), ("control.variance", "1.variance"), ("treatment.variance", "0.variance")),
    ),
    "combine_epochs": Row(
        st.combine_epochs,
        {
            **{name: ([value], kind) for name, (value, kind) in _cells("control", 1.0).items()},
            **{name: ([value], kind) for name, (value, kind) in _cells("treatment", 1.2).items()},
            "guard": (True, "free"),
        },
        CELLS,
        by_element=False,
        kept=("control.n", "treatment.n"),
    ),
    "adjusted_means": Row(
        st.adjusted_means,
        {**_moments("control"), **_moments("treatment", 2.1)},
        MOMENTS,
        by_element=False,
        named={"control.var_m": "control.variance", "treatment.var_m": "treatment.variance"},
    ),
    "adjusted_ratios": Row(
        st.adjusted_ratios,
        {**_moments("control", read="var_residual"), **_moments("treatment", 2.1, read="var_residual")},
        MOMENTS,
        by_element=False,
        named={"control.var_residual": "control.variance", "treatment.var_residual": "treatment.variance"},
    ),
    "adjusted_relative_effect": Row(
        st.adjusted_relative_effect, {"adjusted": (_adjusted(), "free"), "guard": (True, "free")}, by_element=False
    ),
    "variance_reduction": Row(st.variance_reduction, {"adjusted": (_adjusted(), "free")}, by_element=False),
    "covariate_balance": Row(
        st.covariate_balance,
        {
            **_moments("control", read="var_x"),
            **_moments("treatment", 2.1, read="var_x"),
            **ALPHA,
            "planned_n": (5000.0, "positive"),
        },
        MOMENTS,
        by_element=False,
    ),
    "novelty_moments": Row(
        st.novelty_moments,
        {
            "n": ([2], "whole"),
            "sums": ([[6, 2, 4, 2]], "free"),
            "products": ([[20, 6, 12, 6, 2, 4, 2, 8, 4, 2]], "free"),
            "scale": (1, "scale"),
            "d_scale": (1, "scale"),
        },
        by_element=False,
    ),
    "paired_effect": Row(
        st.paired_effect,
        {
            "n": ([2], "whole"),
            "sums": ([[6, 2, 10, 2]], "free"),
            "products": ([[20, 6, 34, 6, 2, 10, 2, 58, 10, 2]], "free"),
            "scale": (1, "scale"),
            "d_scale": (1, "scale"),
        },
        by_element=False,
    ),
    "novelty_test": Row(
        st.novelty_test,
        {**_ages("control", 1.0), **_ages("treatment", 1.1), "direction": (1, "direction"), **ALPHA},
        AGES,
        by_element=False,
    ),
    "arm": Row(
        st.arm,
        {"n": (9, "count"), "mean": (1.0, "value"), "variance": (2.0, "variance")},
        kept=("n", "df"),
        apart=(("mean", "mean_variance"), ("variance", "mean")),
    ),
    "cells": Row(
        st.cells,
        {"n": (9, "count"), "value": (1.0, "value"), "variance": (2.0, "variance")},
        kept=("n", "value", "variance"),
    ),
    "proportions": Row(st.proportions, {"n": (90, "count"), "successes": (9, "count")}),
    "effect": Row(
        st.effect,
        {
            "value": (0.1, "value"),
            "se": (0.1, "variance"),
            "n_control": (9, "count"),
            "n_treatment": (9, "count"),
            "df": (16.0, "at_least_zero"),
        },
        kept=("value", "se", "df", "n_control", "n_treatment"),
    ),
    "absolute_effect": Row(
        st.absolute_effect,
        {**_arm("control", 1.0), **_arm("treatment", 1.2)},
        ARMS,
        kept=("df", "n_control", "n_treatment"),
        apart=ESTIMATE,
    ),
    "relative_effect": Row(
        st.relative_effect,
        {**_arm("control", 1.0), **_arm("treatment", 1.2)},
        ARMS,
        kept=("df", "n_control", "n_treatment"),
        apart=(("mean_variance", "value"),),
    ),
    "z_test": Row(
        st.z_test,
        {**_effect(), **ALPHA, "null": (0.0, "finite"), "few_units": (30, "free")},
        EFFECT,
        kept=("effect", "se", "df", "few_units"),
    ),
    "welch_test": Row(
        st.welch_test, {**_effect(), **ALPHA, "null": (0.0, "finite")}, EFFECT, kept=("effect", "se", "df", "few_units")
    ),
    "two_sided_sequence": Row(
        st.two_sided_sequence, {**_effect(), **ALPHA, "r2": (0.001, "positive"), "null": (0.0, "finite")}, EFFECT
    ),
    "one_sided_sequence": Row(
        st.one_sided_sequence,
        {**_effect(), "alpha": (0.05, "one_sided_error"), "r2": (0.001, "positive"), "null": (0.0, "finite")},
        EFFECT,
    ),
    "mixture_variance": Row(
        st.mixture_variance, {"planned_n": (5000.0, "positive"), "alpha": (0.05, "error"), "sides": (2, "sides")}
    ),
    "normal_posterior": Row(
        st.normal_posterior,
        {
            **_effect(),
            **ALPHA,
            "direction": (1, "direction"),
            "prior_mean": (0.0, "finite"),
            "prior_sd": (1.0, "positive_or_infinite"),
        },
        EFFECT,
    ),
    "bayes_decision": Row(
        st.bayes_decision,
        {
            "log_e_value": (3.0, "free"),
            "loss_choosing": (0.01, "free"),
            "loss_staying": (0.2, "free"),
            **ALPHA,
            "loss_threshold": (0.1, "free"),
        },
    ),
    "beta_binomial_posterior": Row(
        st.beta_binomial_posterior,
        {
            **_two_counts(),
            **ALPHA,
            "direction": (1, "direction"),
            "prior_control": ((1.0, 1.0), "free"),
            "prior_treatment": ((1.0, 1.0), "free"),
        },
        rtol=1e-5,  # the ends of intervals, searched as finely as the widest of the comparisons wants
    ),
    "best_arm": Row(
        st.best_arm,
        {"mean": ([0.1, 0.2, 0.3], "value"), "sd": ([0.1, 0.1, 0.1], "variance"), "direction": (1, "direction")},
        by_element=False,
    ),
    "proportion_test": Row(
        st.proportion_test,
        {**_two_counts(), **ALPHA, "method": ("unpooled", "choice"), "continuity": (False, "free")},
    ),
    "share_test": Row(
        st.share_test,
        {
            "count": (4, "count"),
            "n": (9, "count"),
            "share": (0.5, "inner_share"),
            "method": ("exact", "choice"),
            "continuity": (False, "free"),
        },
    ),
    "chi_square_test": Row(
        st.chi_square_test,
        {"counts_per_arm": ([[40, 50]], "count"), "share": ([0.5, 0.5], "share")},
        by_element=False,
    ),
    "log_bayes_factor": Row(
        st.log_bayes_factor,
        {"counts_per_arm": ([40, 50], "count"), "share": ([0.5, 0.5], "share"), "concentration": (100.0, "positive")},
        by_element=False,
    ),
    "sample_ratio": Row(
        st.sample_ratio, {"counts_per_arm": ([[40, 50]], "count"), "share": ([0.5, 0.5], "share")}, by_element=False
    ),
    "first_failures": Row(
        st.first_failures,
        {
            "control": ([3, 4], "count"),
            "treatment": ([5, 6], "count"),
            "share": ([0.5, 0.4], "share"),
            **ALPHA,
            "min_failures": (10, "free"),
        },
        by_element=False,
    ),
    "rate_sequence": Row(
        st.rate_sequence,
        {"n": (90, "count"), "total": (9.5, "total"), **ALPHA, "concentration": (10.0, "positive")},
    ),
    "rate_tuning": Row(st.rate_tuning, {"n_opt": (100.0, "positive"), **ALPHA}),
    "rate_ratio_sequence": Row(
        st.rate_ratio_sequence,
        {
            "control": ([30, 40], "count"),
            "treatment": ([50, 60], "count"),
            "share": ([0.5, 0.4], "share"),
            **ALPHA,
            "concentration": (100.0, "positive"),
        },
        by_element=False,
    ),
    "rare_rate_guardrail": Row(
        st.rare_rate_guardrail,
        {
            "n_control": (90, "count"),
            "failures_control": (1.5, "total"),
            "n_treatment": (80, "count"),
            "failures_treatment": (2.5, "total"),
            "margin": (0.1, "positive"),
            **ALPHA,
        },
    ),
    "guardrail_sequence": Row(
        st.guardrail_sequence,
        {
            **_arm("control", 1.0),
            **_arm("treatment", 1.2),
            "margin": (0.1, "positive"),
            "relative": (False, "free"),
            "direction": (-1, "direction"),
            "harm_alpha": (0.05, "one_sided_error"),
            "pass_alpha": (0.05, "one_sided_error"),
            "planned_n": (5000.0, "positive"),
        },
        ARMS,
        apart=(*ESTIMATE, ("mean_variance", "harm"), ("mean_variance", "excess")),
    ),
    "noninferiority_test": Row(
        st.noninferiority_test,
        {
            **_arm("control", 1.0),
            **_arm("treatment", 1.2),
            "margin": (0.1, "positive"),
            "relative": (False, "free"),
            "direction": (-1, "direction"),
            "alpha": (0.05, "one_sided_error"),
        },
        ARMS,
        apart=(*ESTIMATE, ("mean_variance", "excess"), (".mean", "df")),
    ),
    "required_units": Row(
        st.required_units,
        {"variance": (4.0, "variance"), "effect": (0.1, "value"), **ALPHA, "power": (0.8, "error")},
    ),
    "remaining_units": Row(
        st.remaining_units,
        {**_effect(), "target": (0.1, "value"), **ALPHA, "power": (0.8, "error"), "r2": (0.001, "positive")},
        EFFECT,
    ),
    "conditional_power": Row(
        st.conditional_power,
        {**_effect(), "target": (0.1, "value"), "final_n": (2000.0, "positive"), **ALPHA, "r2": (0.001, "positive")},
        EFFECT,
    ),
    "fixed_units": Row(st.fixed_units, {**_planned(), **ALPHA, "power": (0.8, "error")}, {"planned": st.PlannedEffect}),
    "fixed_power": Row(
        st.fixed_power, {**_planned(), "n": (500.0, "positive"), **ALPHA}, {"planned": st.PlannedEffect}
    ),
    "sequential_power": Row(
        st.sequential_power,
        {
            **_planned(),
            "n": (500.0, "positive"),
            **ALPHA,
            "r2": (0.001, "positive"),
            "earliest_n": (0.0, "at_least_zero"),
        },
        {"planned": st.PlannedEffect},
    ),
    "sequential_units": Row(
        st.sequential_units,
        {
            **_planned(),
            **ALPHA,
            "power": (0.8, "error"),
            "r2": (0.001, "positive"),
            "earliest_n": (0.0, "at_least_zero"),
        },
        {"planned": st.PlannedEffect},
    ),
    "planned_mean": Row(
        st.planned_mean,
        {
            "variance": (4.0, "variance"),
            "effect": (0.1, "value"),
            "treatment_variance": (4.0, "variance"),
            "share": (0.5, "inner_share"),
            "test": ("unpooled", "choice"),
        },
        kept=("effect", "variance", "test_variance"),
    ),
    "planned_proportion": Row(
        st.planned_proportion,
        {
            "baseline": (0.5, "share"),
            "effect": (0.1, "free"),
            "share": (0.5, "inner_share"),
            "test": ("unpooled", "choice"),
        },
    ),
    "linearised_variance": Row(
        st.linearised_variance,
        {
            "mean_m": (1.0, "value"),
            "mean_d": (2.0, "free"),
            "variance_m": (4.0, "variance"),
            "variance_d": (1.0, "variance"),
            "covariance": (0.5, "value"),
        },
    ),
    "duration_days": Row(
        st.duration_days,
        {"units": (500.0, "free"), "units_per_day": (100.0, "positive"), "share": (0.5, "free")},
    ),
    "detectable_effect": Row(
        st.detectable_effect,
        {
            "power_of": (_power_of, "free"),
            "power": (0.8, "error"),
            "largest": (9.0, "finite"),
        },
        by_element=False,
    ),
    "group_power": Row(
        st.group_power,
        {
            **_planned(),
            "n": (500.0, "positive"),
            "fractions": ([0.5, 1.0], "fractions"),
            "boundary": ([2.2, 2.2], "free"),
            "earliest_n": (0.0, "at_least_zero"),
        },
        {"planned": st.PlannedEffect},
        by_element=False,
    ),
    "group_units": Row(
        st.group_units,
        {
            **_planned(),
            "power": (0.8, "error"),
            "fractions": ([0.5, 1.0], "fractions"),
            "boundary": ([2.2, 2.2], "free"),
        },
        {"planned": st.PlannedEffect},
        by_element=False,
    ),
    "group_sequential_boundaries": Row(
        st.group_sequential_boundaries, {"fractions": ([0.5, 1.0], "fractions"), **ALPHA, **SPENDING}, by_element=False
    ),
    "group_sequential_drift": Row(
        st.group_sequential_drift,
        {"fractions": ([0.5, 1.0], "fractions"), **ALPHA, "power": (0.8, "error"), **SPENDING},
        by_element=False,
    ),
    "group_sequential_stopping": Row(
        st.group_sequential_stopping,
        {
            "fractions": ([0.5, 1.0], "fractions"),
            "boundary": ([2.2, 2.2], "free"),
            "drift": (0.0, "free"),
            "sides": (2, "sides"),
        },
        by_element=False,
    ),
    "group_sequential_look": Row(
        st.group_sequential_look,
        {
            **_effect(),
            "fraction": (0.6, "free"),
            "planned": ([0.5, 1.0], "fractions"),
            "taken": ((), "free"),
            **ALPHA,
            **SPENDING,
            "null": (0.0, "finite"),
        },
        EFFECT,
        by_element=False,
    ),
    "spent_alpha": Row(st.spent_alpha, {"fraction": (0.5, "share"), **ALPHA, **SPENDING}),
    "quantile_ranks": Row(
        st.quantile_ranks,
        {"n": (99, "count"), "level": (0.5, "inner_share"), **ALPHA, "effect_of_design": (1.0, "free")},
    ),
    "quantile_ranks_sequence": Row(
        st.quantile_ranks_sequence,
        {"n": (99, "count"), "level": (0.5, "inner_share"), **ALPHA, "concentration": (10.0, "positive")},
    ),
    "quantile_values_needed": Row(
        st.quantile_values_needed, {"level": (0.5, "inner_share"), **ALPHA, "effect_of_design": (1.0, "positive")}
    ),
    "quantile_arm": Row(
        st.quantile_arm,
        {
            "n": (99, "count"),
            "value": (1.0, "value"),
            "lower": (0.5, "free"),
            "upper": (1.5, "value"),
            "level": (0.5, "inner_share"),
            **ALPHA,
            "n_interval": (99, "free"),
            "effect_of_design": (1.0, "free"),
        },
        kept=("n", "mean", "df"),
        apart=(("value", "mean_variance"),),
    ),
    "design_effect": Row(
        st.design_effect,
        {**_cells("cells", 0.5), "cells.value": (0.5, "free"), "n": (800, "count"), "rate": (0.5, "inner_share")},
        {"cells": st.Cells},
    ),
    "histogram_of": Row(st.histogram_of, {"values": ([1.0, 2.0], "free")}, by_element=False),
    "merged": Row(_merged, {"histograms": ([st.histogram_of([1.0])], "free")}, by_element=False),
    "bucket_of": Row(st.bucket_of, {"values": (1.0, "free")}, by_element=False),
    "bucket_edges": Row(st.bucket_edges, {"buckets": (65472, "free")}, by_element=False),
    "representative": Row(st.representative, {"buckets": (65472, "free")}, by_element=False),
    "value_at_rank": Row(
        st.value_at_rank,
        {"histogram": (st.histogram_of([1.0, 2.0]), "free"), "rank": (1.0, "free"), "side": ("within", "choice")},
        by_element=False,
    ),
    "histogram_quantiles": Row(
        st.histogram_quantiles,
        {
            "histogram": (st.histogram_of(np.arange(99.0)), "free"),
            "level": (0.5, "inner_share"),
            **ALPHA,
            "effect_of_design": (1.0, "free"),
        },
    ),
    "bonferroni": Row(st.bonferroni, {"p_values": ([0.1, 0.2], "p_value")}, by_element=False),
    "holm": Row(st.holm, {"p_values": ([0.1, 0.2], "p_value")}, by_element=False),
    "benjamini_hochberg": Row(st.benjamini_hochberg, {"p_values": ([0.1, 0.2], "p_value")}, by_element=False),
    "e_bh": Row(st.e_bh, {"log_e_values": ([1.0, 2.0], "free"), **ALPHA}, by_element=False),
}
