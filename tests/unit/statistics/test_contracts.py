"""What every function refuses, and what this package may know."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

Call: TypeAlias = Callable[[Any], Any]

EFFECT = st.effect([0.1, 0.2], [0.1, 0.1], n_control=[50, 50], n_treatment=[50, 50])
PLANNED = st.planned_mean([1.0, 1.0], [0.1, 0.2])
ARM = st.arm([50, 50], [1.0, 2.0], [1.0, 1.0])
PAIR = np.array([[1.0, 2.0]])
"""One epoch, two comparisons."""
MOMENTS = st.Moments(*([PAIR] * 11))._replace(n=50 * PAIR)
AGES = st.NoveltyMoments(*([PAIR] * 8))._replace(n=50 * PAIR, effective_early=50 * PAIR, effective_late=50 * PAIR)

HISTOGRAM = st.histogram_of([float(value) for value in range(99)])

BY_ALPHA: dict[str, Call] = {
    "quantile_arm": lambda alpha: st.quantile_arm([99, 99], 1.0, 0.0, 2.0, level=0.5, alpha=alpha),
    "quantile_ranks": lambda alpha: st.quantile_ranks([99, 99], 0.5, alpha=alpha),
    "quantile_ranks_sequence": lambda alpha: st.quantile_ranks_sequence([99, 99], 0.5, alpha=alpha),
    "quantile_values_needed": lambda alpha: st.quantile_values_needed([0.5, 0.9], alpha=alpha),
    "histogram_quantiles": lambda alpha: st.histogram_quantiles(HISTOGRAM, [0.5, 0.9], alpha=alpha),
    "welch_test": lambda alpha: st.welch_test(EFFECT, alpha=alpha),
    "z_test": lambda alpha: st.z_test(EFFECT, alpha=alpha),
    "proportion_test": lambda alpha: st.proportion_test([9, 9], [1, 2], [9, 9], [2, 3], alpha=alpha),
    "mixture_variance": lambda alpha: st.mixture_variance([10.0, 20.0], alpha=alpha),
    "two_sided_sequence": lambda alpha: st.two_sided_sequence(EFFECT, alpha=alpha, r2=0.1),
    "one_sided_sequence": lambda alpha: st.one_sided_sequence(EFFECT, alpha=alpha, r2=0.1),
    "normal_posterior": lambda alpha: st.normal_posterior(EFFECT, alpha=alpha),
    "beta_binomial_posterior": lambda alpha: st.beta_binomial_posterior([9, 9], [1, 2], [9, 9], [2, 3], alpha=alpha),
    "bayes_decision": lambda alpha: st.bayes_decision([3.0, 4.0], 0.1, 0.2, alpha=alpha, loss_threshold=0.1),
    "first_failures": lambda alpha: st.first_failures([[1, 2]], [[3, 4]], 0.5, alpha=alpha),
    "rate_sequence": lambda alpha: st.rate_sequence([9, 9], [1, 2], alpha=alpha),
    "rate_tuning": lambda alpha: st.rate_tuning([9, 9], alpha=alpha),
    "rate_ratio_sequence": lambda alpha: st.rate_ratio_sequence([[1, 2]], [[3, 4]], 0.5, alpha=alpha),
    "rare_rate_guardrail": lambda alpha: st.rare_rate_guardrail([9, 9], 0, [9, 9], 0, margin=0.1, alpha=alpha),
    "fixed_units": lambda alpha: st.fixed_units(PLANNED, alpha=alpha, power=0.8),
    "fixed_power": lambda alpha: st.fixed_power(PLANNED, 500.0, alpha=alpha),
    "sequential_units": lambda alpha: st.sequential_units(PLANNED, alpha=alpha, power=0.8, r2=0.01),
    "sequential_power": lambda alpha: st.sequential_power(PLANNED, 500.0, alpha=alpha, r2=0.01),
    "spent_alpha": lambda alpha: st.spent_alpha([0.2, 0.7], alpha=alpha),
    "required_units": lambda alpha: st.required_units([1.0, 1.0], 0.1, alpha=alpha, power=0.8),
    "remaining_units": lambda alpha: st.remaining_units(EFFECT, 0.1, alpha=alpha),
    "conditional_power": lambda alpha: st.conditional_power(EFFECT, 0.1, final_n=500.0, alpha=alpha),
    "covariate_balance": lambda alpha: st.covariate_balance(MOMENTS, MOMENTS._replace(mean_x=2 * PAIR), alpha=alpha),
    "novelty_test": lambda alpha: st.novelty_test(AGES, AGES._replace(early=1.3 * PAIR), alpha=alpha),
    "e_bh": lambda alpha: st.e_bh([[1.0, 2.0], [3.0, 4.0]], alpha=alpha),
}


def fields_of(result: Any) -> list[npt.NDArray[np.float64]]:
    fields: list[Any] = list(result) if hasattr(result, "_fields") else [result]
    return [np.broadcast_to(np.asarray(field, dtype=np.float64), (2, *np.shape(field)[1:])) for field in fields]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.05, 5, np.nan, np.inf, [0.05, 0.0], "much"])
@pytest.mark.parametrize("name", sorted(BY_ALPHA))
def test_an_error_rate_out_of_range_is_refused_by_name(name: str, alpha: Any) -> None:
    with pytest.raises(ContractError) as caught:
        BY_ALPHA[name](alpha)
    assert caught.value.where == "alpha"
    assert caught.value.remedy


@pytest.mark.parametrize("name", sorted(BY_ALPHA))
def test_an_alpha_per_comparison_is_taken_row_by_row(name: str) -> None:
    alphas = [0.01, 0.2]
    together = BY_ALPHA[name](np.array(alphas))
    for place, alpha in enumerate(alphas):
        alone = BY_ALPHA[name](alpha)
        for whole, one in zip(fields_of(together), fields_of(alone), strict=True):
            np.testing.assert_allclose(whole[place], one[place], rtol=1e-12)


@pytest.mark.parametrize("name", sorted(BY_ALPHA))
def test_shapes_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ContractError, match="shapes do not fit together"):
        BY_ALPHA[name](np.array([0.1, 0.1, 0.1]))


COUNTED: list[tuple[Call, str]] = [
    (lambda n: st.arm(n, 1.0, 1.0), "n"),
    (lambda n: st.proportions(n, 0), "n"),
    (lambda n: st.effect(1.0, 1.0, n_control=n, n_treatment=1), "n_control"),
    (lambda n: st.proportion_test(9, 1, n, 0, alpha=0.05), "n_treatment"),
    (lambda n: st.log_bayes_factor([n, 1], [0.5, 0.5], concentration=1.0), "counts_per_arm"),
    (lambda n: st.sample_ratio([[n, 1]], [0.5, 0.5]), "counts_per_arm"),
    (lambda n: st.chi_square_test([[n, 1]], [0.5, 0.5]), "counts_per_arm"),
    (lambda n: st.adjusted_means(MOMENTS._replace(n=n), MOMENTS), "control.n"),
    (lambda n: st.adjusted_ratios(MOMENTS, MOMENTS._replace(n=n)), "treatment.n"),
    (lambda n: st.covariate_balance(MOMENTS, MOMENTS._replace(n=n)), "treatment.n"),
    (lambda n: st.novelty_test(AGES._replace(n=n), AGES), "control.n"),
    (lambda n: st.first_failures([n], [1], 0.5, alpha=0.05), "control"),
    (lambda n: st.rate_sequence(n, 0, alpha=0.05), "n"),
    (lambda n: st.quantile_arm(n, 1.0, 0.0, 2.0, level=0.5, alpha=0.05), "n"),
    (lambda n: st.quantile_ranks(n, 0.5, alpha=0.05), "n"),
    (lambda n: st.quantile_ranks_sequence(n, 0.5, alpha=0.05), "n"),
    (lambda n: st.design_effect(st.cells(9, 0.5, 0.25), n), "n"),
    (lambda n: st.beta_binomial_posterior(n, 0, 9, 0, alpha=0.05), "n_control"),
    (lambda n: st.rate_ratio_sequence([1], [n], 0.5, alpha=0.05), "treatment"),
    (lambda n: st.rare_rate_guardrail(n, 0, 9, 0, margin=0.1, alpha=0.05), "n_control"),
]


@pytest.mark.parametrize("count", [-1, 0.5, np.nan, np.inf])
@pytest.mark.parametrize(("call", "named"), COUNTED)
def test_what_is_no_count_is_refused_by_name(call: Call, named: str, count: float) -> None:
    with pytest.raises(ContractError) as caught:
        call(count)
    assert caught.value.where == named


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: st.arm(9, 1.0, -1.0), "variance"),
        (lambda: st.absolute_effect(ARM._replace(mean_variance=np.array([1.0, -1.0])), ARM), "control.mean_variance"),
        (lambda: st.normal_posterior(EFFECT, alpha=0.05, direction=0), "direction"),
        (lambda: st.normal_posterior(EFFECT, alpha=0.05, prior_sd=0.0), "prior_sd"),
        (lambda: st.normal_posterior(EFFECT, alpha=0.05, prior_mean=np.nan), "prior_mean"),
        (lambda: st.z_test(EFFECT, alpha=0.05, null=np.inf), "null"),
        (lambda: st.mixture_variance(5000, alpha=0.05, sides=3), "sides"),
        (lambda: st.rate_sequence(9, 1, alpha=0.05, concentration=0.0), "concentration"),
        (lambda: st.first_failures([1], [1], 1.5, alpha=0.05), "share"),
        (lambda: st.covariate_balance(MOMENTS, MOMENTS, planned_n=0.0), "planned_n"),
        (lambda: st.novelty_test(AGES, AGES, direction=0), "direction"),
        (lambda: st.novelty_test(AGES, AGES._replace(var_late=-PAIR)), "treatment.var_late"),
        (lambda: st.remaining_units(EFFECT, 0.1, alpha=0.05, power=1.0), "power"),
        (lambda: st.conditional_power(EFFECT, 0.1, final_n=0, alpha=0.05), "final_n"),
        (lambda: st.bonferroni(0.5), "p_values"),
    ],
)
def test_other_breaks_are_refused_by_name(call: Callable[[], Any], named: str) -> None:
    with pytest.raises(ContractError) as caught:
        call()
    assert caught.value.where == named


def test_no_comparisons_give_no_results() -> None:
    none: list[float] = []
    arm = st.arm(none, none, none)
    effect = st.absolute_effect(arm, arm)
    for found in (
        st.welch_test(effect, alpha=0.05),
        st.two_sided_sequence(effect, alpha=0.05, r2=0.1),
        st.normal_posterior(effect, alpha=0.05),
        st.proportion_test(none, none, none, none, alpha=0.05),
        st.rate_sequence(none, none, alpha=0.05),
        st.remaining_units(effect, 0.1, alpha=0.05),
    ):
        assert all(np.shape(field) == (0,) for field in found)


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_it_knows_nothing_of_splitgauge_but_the_errors() -> None:
    allowed = (
        "splitgauge.statistics",
        "splitgauge.schemas.errors",
        "numpy",
        "scipy",
        "collections",
        "functools",
        "itertools",
        "math",
        "numbers",
        "operator",
        "typing",
    )
    paths = sorted(Path(next(iter(st.__path__))).glob("*.py"))
    strangers = {(path.name, name) for path in paths for name in imported(path) if not name.startswith(allowed)}
    assert paths
    assert strangers == set()
