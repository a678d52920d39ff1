"""Boundaries by error spending, where a test stops, and what a plan costs."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import norm

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

SPENDINGS: tuple[st.Spending, ...] = get_args(st.Spending)
FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)


@some.composite
def designs(draw: some.DrawFn) -> dict[str, Any]:
    """Arguments of `group_sequential_boundaries`."""
    steps = draw(some.lists(some.floats(0.001, 0.2), min_size=1, max_size=5))
    return {
        "fractions": np.cumsum(steps).clip(max=1.0),
        "alpha": draw(some.sampled_from([0.5, 0.1, 0.05, 0.005, 1e-6])),
        "spending": draw(some.sampled_from(SPENDINGS)),
        "phi": draw(some.floats(0.3, 6)),
        "sides": draw(some.sampled_from([1, 2])),
    }


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        ("obrien_fleming", [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]),
        ("pocock", [2.4380, 2.4268, 2.4102, 2.3966, 2.3860]),
        ("power", [3.0902, 2.7141, 2.4728, 2.2799, 2.1140]),
    ],
)
def test_five_equal_looks_have_the_published_boundaries(spending: st.Spending, published: list[float]) -> None:
    found = st.group_sequential_boundaries(FIVE, alpha=0.05, spending=spending, phi=2.0)
    np.testing.assert_allclose(found.boundary, published, atol=5.1e-5)
    np.testing.assert_allclose(found.nominal_alpha, 2 * norm.sf(found.boundary), rtol=1e-12)


def test_a_single_look_at_the_end_is_the_fixed_test() -> None:
    for spending in SPENDINGS:
        for sides in (1, 2):
            found = st.group_sequential_boundaries([1.0], alpha=0.03, spending=spending, sides=sides)
            np.testing.assert_allclose(found.boundary, norm.isf(0.03 / sides), rtol=1e-13)


@settings(max_examples=60, deadline=None)
@given(designs())
def test_the_test_stops_under_no_effect_with_exactly_what_was_spent(design: dict[str, Any]) -> None:
    found = st.group_sequential_boundaries(**design)
    stops = st.group_sequential_stopping(design["fractions"], found.boundary, sides=design["sides"])
    crossed = np.cumsum(stops.above + stops.below)
    np.testing.assert_allclose(crossed, found.alpha_spent, rtol=1e-9, atol=1e-300)
    expected = st.spent_alpha(
        design["fractions"], **{name: design[name] for name in ("alpha", "spending", "phi", "sides")}
    )
    assert found.alpha_spent.tolist() == expected.tolist()


@settings(max_examples=30, deadline=None)
@given(designs())
def test_the_boundary_of_a_look_depends_on_no_later_look(design: dict[str, Any]) -> None:
    whole = st.group_sequential_boundaries(**design).boundary
    for k in range(1, len(whole)):
        part = st.group_sequential_boundaries(**{**design, "fractions": design["fractions"][:k]}).boundary
        np.testing.assert_allclose(part, whole[:k], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(designs(), some.floats(1.05, 3.0))
def test_more_alpha_lowers_every_boundary(design: dict[str, Any], factor: float) -> None:
    low = st.group_sequential_boundaries(**design).boundary
    high = st.group_sequential_boundaries(**{**design, "alpha": min(design["alpha"] * factor, 0.95)}).boundary
    assert ((high < low) | np.isinf(low)).all()


def test_what_is_below_float64_is_never_crossed() -> None:
    found = st.group_sequential_boundaries([1e-5, 0.5, 1.0], alpha=0.05)
    assert found.alpha_spent[0] == 0
    assert found.boundary[0] == np.inf
    assert found.nominal_alpha[0] == 0
    np.testing.assert_allclose(
        found.boundary[1:], st.group_sequential_boundaries([0.5, 1.0], alpha=0.05).boundary, rtol=1e-12
    )


def test_two_looks_by_simulation() -> None:
    """100,000 draws: three binomial standard errors are 0.0021."""
    fractions = np.array([0.3, 0.8])
    bounds = st.group_sequential_boundaries(fractions, alpha=0.05, spending="pocock").boundary
    steps = np.random.default_rng(5).standard_normal((100_000, 2)) * np.sqrt([0.3, 0.5])
    z = np.cumsum(steps, axis=1) / np.sqrt(fractions)
    crossed = (np.abs(z) > bounds).any(axis=1).mean()
    assert crossed == pytest.approx(st.spent_alpha(0.8, alpha=0.05, spending="pocock"), abs=0.0021)


def test_drift_turned_round_stops_on_the_other_side() -> None:
    drifts = np.array([[0.5, 2.0], [3.0, -4.0]])
    bounds = st.group_sequential_boundaries(FIVE, alpha=0.05).boundary
    there, back = (st.group_sequential_stopping(FIVE, bounds, drift=sign * drifts) for sign in (1, -1))
    assert there.above.shape == (2, 2, 5)
    assert there.expected_fraction.shape == (2, 2)
    np.testing.assert_allclose(there.above, back.below, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(there.expected_fraction, back.expected_fraction, rtol=1e-12)


def test_an_undefined_drift_gives_no_number() -> None:
    found = st.group_sequential_stopping([0.5, 1.0], [2.5, 2.0], drift=[np.nan, np.inf, 1.0])
    for field in found:
        assert np.isnan(field[:2]).all()
        assert np.isfinite(field[2]).all()


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", SPENDINGS)
def test_a_plan_has_its_power_at_its_drift(spending: st.Spending, sides: int) -> None:
    powers = np.array([0.3, 0.8, 0.95])
    plan = st.group_sequential_drift(FIVE, alpha=0.05, power=powers, spending=spending, sides=sides)
    bounds = st.group_sequential_boundaries(FIVE, alpha=0.05, spending=spending, sides=sides).boundary
    found = st.group_sequential_stopping(FIVE, bounds, drift=plan.drift, sides=sides)
    np.testing.assert_allclose(found.above.sum(axis=1), powers, rtol=1e-12)
    fixed = norm.isf(0.05 / sides) + norm.ppf(powers)
    np.testing.assert_allclose(plan.planned_ratio, (plan.drift / fixed) ** 2, rtol=1e-12)
    assert (plan.planned_ratio > 1).all()
    assert (plan.expected_ratio < plan.expected_ratio_null).all()
    assert (plan.expected_ratio_null < plan.planned_ratio).all()


def test_one_look_costs_and_saves_nothing() -> None:
    plan = st.group_sequential_drift([1.0], alpha=0.05, power=0.8)
    np.testing.assert_allclose([*plan], [norm.isf(0.025) + norm.ppf(0.8), 1.0, 1.0, 1.0], rtol=1e-12)


def test_a_plan_that_can_never_cross_has_no_numbers() -> None:
    plan = st.group_sequential_drift([0.001], alpha=0.05, power=[0.8, 0.9])
    assert all(np.isnan(field).all() for field in plan)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: st.group_sequential_boundaries([0.5, 1.5], alpha=0.05), "fractions"),
        (lambda: st.group_sequential_boundaries([0.5, 0.4], alpha=0.05), "fractions"),
        (lambda: st.group_sequential_boundaries(FIVE, alpha=0.0), "alpha"),
        (lambda: st.group_sequential_boundaries(FIVE, alpha=[0.05, 0.1]), "alpha"),  # type: ignore[arg-type] # refused
        (lambda: st.group_sequential_boundaries(FIVE, alpha=0.05, phi=-1.0), "phi"),
        (lambda: st.group_sequential_boundaries(FIVE, alpha=0.05, sides=0), "sides"),
        (lambda: st.group_sequential_stopping(FIVE, [2.0, 2.0]), "boundary"),
        (lambda: st.group_sequential_stopping([0.5, 1.0], [2.0, np.nan]), "boundary"),
        (lambda: st.group_sequential_stopping([0.5, 1.0], [2.0, -1.0]), "boundary"),
        (lambda: st.group_sequential_stopping([0.5, 1.0], [2.0, 2.0], sides=3), "sides"),
        (lambda: st.group_sequential_drift(FIVE, alpha=0.05, power=0.02), "power"),
        (lambda: st.group_sequential_drift(FIVE, alpha=0.05, power=1.0), "power"),
    ],
)
def test_bad_input_is_refused_by_name(call: Any, named: str) -> None:
    with pytest.raises(ContractError) as caught:
        call()
    assert caught.value.where == named
    assert caught.value.remedy
