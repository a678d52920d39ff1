"""The asymptotic confidence sequence: known values, duality, and what it says without variance."""

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError


def effect(value: float, se: float = 1.0, n: int = 1000) -> st.Effect:
    return st.effect(value, se, n_control=n // 2, n_treatment=n // 2)


def test_half_width_is_the_published_formula() -> None:
    r2, n, alpha = 0.0015, 1000, 0.05
    found = st.two_sided_sequence(effect(0.0, 0.1, n), alpha=alpha, r2=r2)
    expected = 0.1 * np.sqrt(n) * np.sqrt(2 * (n * r2 + 1) / (n**2 * r2) * np.log(np.sqrt(n * r2 + 1) / alpha))
    assert float(found.half_width) == pytest.approx(expected, rel=1e-14)


def test_one_sided_half_width_and_p_are_the_published_formulas() -> None:
    r2, n, alpha, se, x = 0.0012, 1000, 0.05, 0.1, 0.3
    found = st.one_sided_sequence(effect(x, se, n), alpha=alpha, r2=r2)
    root = np.sqrt(n * r2 + 1)
    width = se * np.sqrt(n) * np.sqrt(2 * (n * r2 + 1) / (n**2 * r2) * np.log(1 + root / (2 * alpha)))
    p = root / (2 * np.expm1(x**2 * n**2 * r2 / (2 * se**2 * n * (n * r2 + 1))))
    assert float(found.half_width) == pytest.approx(width, rel=1e-14)
    assert float(found.p_greater) == pytest.approx(p, rel=1e-12)
    assert float(found.p_less) == 1.0
    assert float(found.log_e_less) == -np.inf


def test_a_bound_that_touches_the_null_has_p_alpha() -> None:
    r2 = 0.001
    two = st.two_sided_sequence(effect(0.0), alpha=0.01, r2=r2)
    one = st.one_sided_sequence(effect(0.0), alpha=0.01, r2=r2)
    at_two = st.two_sided_sequence(effect(float(two.half_width)), alpha=0.01, r2=r2)
    at_one = st.one_sided_sequence(effect(-float(one.half_width)), alpha=0.01, r2=r2)
    assert float(at_two.p_value) == pytest.approx(0.01, rel=1e-12)
    assert float(at_one.p_less) == pytest.approx(0.01, rel=1e-12)


def test_it_is_tightest_near_the_planned_size() -> None:
    n = np.arange(100, 50_000, 100)
    r2 = st.mixture_variance(5000, alpha=0.05)
    unit = st.effect(np.zeros(n.shape), 1.0, n_control=n // 2, n_treatment=n - n // 2)
    width = st.two_sided_sequence(unit, alpha=0.05, r2=r2).half_width
    assert n[np.argmin(width)] == pytest.approx(5000, rel=0.1)


def test_without_variance_it_says_nothing() -> None:
    found = st.two_sided_sequence(effect(1.0, 0.0), alpha=0.05, r2=0.001)
    one = st.one_sided_sequence(effect(1.0, 0.0), alpha=0.05, r2=0.001)
    assert all(np.isnan(field) for field in (*found, *one))


def test_huge_effects_have_finite_log_e_values() -> None:
    found = st.two_sided_sequence(effect(1e5), alpha=0.05, r2=0.001)
    one = st.one_sided_sequence(effect(1e5), alpha=0.05, r2=0.001)
    assert float(found.p_value) == 0.0
    assert np.isfinite(found.log_e_value)
    assert np.isfinite(one.log_e_greater)


@pytest.mark.parametrize(("alpha", "r2", "named"), [(0.5, 0.001, "alpha"), (0.05, 0.0, "r2"), (0.05, np.nan, "r2")])
def test_arguments_out_of_range_are_refused(alpha: float, r2: float, named: str) -> None:
    with pytest.raises(ContractError) as caught:
        st.one_sided_sequence(effect(0.0), alpha=alpha, r2=r2)
    assert caught.value.where == named


def test_a_plan_of_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match="above 0"):
        st.mixture_variance(0, alpha=0.05)
