"""The looks of a running group-sequential test: when one is due, what it spends, and that its numbers agree."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from scipy.stats import norm

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

SPENDINGS: tuple[st.Spending, ...] = get_args(st.Spending)
FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)


def effect(value: Any, se: Any = 1.0) -> st.Effect:
    return st.effect(value, se, n_control=500, n_treatment=500)


def walk(
    fractions: Sequence[float], z: Any = 0.0, *, planned: Sequence[float] = FIVE, alpha: float = 0.05, **design: Any
) -> list[st.GroupSequentialLook]:
    """What is said at these moments, the looks that were due being kept."""
    taken: list[st.TakenLook] = []
    said: list[st.GroupSequentialLook] = []
    for fraction in fractions:
        look = st.group_sequential_look(effect(z), fraction, planned=planned, taken=taken, alpha=alpha, **design)
        said.append(look)
        if look.due:
            taken.append(look.taken())
    return said


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", SPENDINGS)
def test_looks_as_planned_have_the_boundaries_of_the_design(spending: st.Spending, sides: int) -> None:
    looks = walk(FIVE, spending=spending, sides=sides)
    design = st.group_sequential_boundaries(FIVE, alpha=0.05, spending=spending, sides=sides)
    assert [look.due for look in looks] == [True] * 5
    assert [look.number for look in looks] == [1, 2, 3, 4, 5]
    assert [look.ended for look in looks] == [False] * 4 + [True]
    np.testing.assert_allclose([look.boundary for look in looks], design.boundary, rtol=1e-12)
    np.testing.assert_allclose([look.alpha_spent for look in looks], design.alpha_spent, rtol=1e-15)


def test_a_look_counts_at_the_first_moment_past_a_declared_fraction_and_spends_what_it_has() -> None:
    looks = walk([0.1, 0.23, 0.31, 0.39, 0.41, 0.41])
    assert [look.due for look in looks] == [False, True, False, False, True, False]
    assert [look.number for look in looks] == [0, 1, 1, 1, 2, 2]
    design = st.group_sequential_boundaries([0.23, 0.41], alpha=0.05)
    np.testing.assert_allclose([looks[1].boundary, looks[4].boundary], design.boundary, rtol=1e-12)
    assert [look.alpha_spent for look in looks[:4]] == [0.0, *[design.alpha_spent[0]] * 3]


def test_looks_that_were_jumped_over_are_skipped_and_their_alpha_is_not_lost() -> None:
    looks = walk([0.2, 0.7, 1.0])
    assert [look.number for look in looks] == [1, 3, 5]
    design = st.group_sequential_boundaries([0.2, 0.7, 1.0], alpha=0.05)
    np.testing.assert_allclose([look.boundary for look in looks], design.boundary, rtol=1e-12)
    assert looks[-1].alpha_spent == 0.05


def test_between_looks_nothing_is_said() -> None:
    quiet = walk([0.2, 0.3], z=[9.0, -9.0])[1]
    assert not quiet.due
    assert not quiet.crossed.any()
    assert np.isnan(quiet.boundary)
    for field in (quiet.statistic, quiet.half_width, quiet.lower, quiet.upper, quiet.p_value):
        assert np.isnan(field).all()
        assert field.shape == (2,)


def test_a_test_that_overruns_spends_what_is_left_and_keeps_its_alpha() -> None:
    planned = [0.5, 1.0]
    at_end, over = walk([0.5, 1.0], planned=planned)[1], walk([0.5, 1.4], planned=planned)[1]
    assert over.ended
    assert over.fraction == 1.4
    assert over.alpha_spent == at_end.alpha_spent == 0.05
    # With more of its information new, the last look repeats less of the first: its boundary must be higher.
    assert over.boundary > at_end.boundary
    first = walk([0.5], planned=planned)[0]
    true_fractions = np.array([0.5, 1.4]) / 1.4
    stops = st.group_sequential_stopping(true_fractions, [first.boundary, over.boundary])
    assert float((stops.above + stops.below).sum()) == pytest.approx(0.05, rel=1e-9)


def test_after_the_last_look_none_is_due() -> None:
    after = walk([0.5, 1.1, 1.1, 1.3])
    assert [look.due for look in after] == [True, True, False, False]
    assert [look.ended for look in after] == [False, True, True, True]


def test_a_look_next_to_the_end_is_the_last() -> None:
    looks = walk([0.99995, 1.0])
    assert looks[0].ended
    assert looks[0].alpha_spent == 0.05
    assert not looks[1].due


def test_a_look_too_close_to_the_last_waits_until_there_is_more_to_see() -> None:
    looks = walk([0.39995, 0.4, 0.4001])
    assert [look.due for look in looks] == [True, False, True]
    end = walk([0.99985, 0.99992, 1.0])
    assert [look.due for look in end] == [True, False, True]
    assert [look.ended for look in end] == [False, False, True]


def test_a_design_that_ends_before_one_keeps_the_rest_of_its_alpha() -> None:
    looks = walk([0.3, 0.9, 0.95, 1.0], planned=[0.3, 0.9])
    assert [look.due for look in looks] == [True, True, False, False]
    assert looks[-1].ended
    assert looks[-1].alpha_spent == st.spent_alpha(0.9, alpha=0.05)


def test_the_repeated_interval_is_the_boundary_in_standard_errors() -> None:
    now = st.group_sequential_look(effect([0.5, -2.0], [0.1, 0.7]), 0.4, planned=[0.4, 1.0], alpha=0.05, null=0.1)
    np.testing.assert_allclose(now.statistic, [4.0, -3.0])
    np.testing.assert_allclose(now.half_width, now.boundary * np.array([0.1, 0.7]))
    np.testing.assert_allclose([now.lower, now.upper], np.array([0.5, -2.0]) + np.outer([-1, 1], now.half_width))
    one = st.group_sequential_look(effect([0.5], 0.1), 0.4, planned=[0.4, 1.0], alpha=0.05, sides=1)
    assert one.upper.tolist() == [np.inf]
    np.testing.assert_allclose(one.lower, 0.5 - 0.1 * one.boundary)


def test_a_single_look_at_the_end_has_the_p_of_the_fixed_test() -> None:
    z = np.array([-30.0, -5.0, -1.0, 0.5, 1.9599, 1.96, 4.0])
    for spending in SPENDINGS:
        two = walk([1.0], z, planned=[1.0], spending=spending)[0]
        one = walk([1.0], z, planned=[1.0], spending=spending, sides=1)[0]
        np.testing.assert_allclose(two.p_value, 2 * norm.sf(np.abs(z)), rtol=1e-9)
        np.testing.assert_allclose(one.p_value[2:], norm.sf(z[2:]), rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    z=some.floats(-8, 8),
    spending=some.sampled_from(SPENDINGS),
    sides=some.sampled_from([1, 2]),
    alpha=some.sampled_from([0.2, 0.05, 0.001]),
    fractions=some.sampled_from([(0.2,), (0.25, 0.6), (0.5, 1.0), (0.2, 0.4, 0.6, 0.8, 1.2)]),
)
@example(z=2.0310320433100573, spending="obrien_fleming", sides=2, alpha=0.05, fractions=FIVE)
def test_p_the_interval_and_the_crossing_agree(
    z: float, spending: st.Spending, sides: int, alpha: float, fractions: tuple[float, ...]
) -> None:
    last = walk(fractions, [z], spending=spending, sides=sides, alpha=alpha)[-1]
    crossed, p = bool(last.crossed[0]), float(last.p_value[0])
    assert crossed == (p < alpha)
    assert crossed == bool((last.lower[0] > 0) | (last.upper[0] < 0))
    if 1e-250 < p < 0.9999 and abs(p - alpha) > 1e-9 * alpha:
        # The definition: at alpha = p the boundary of this look is z itself.
        again = walk(fractions, [z], spending=spending, sides=sides, alpha=p)[-1]
        assert again.boundary == pytest.approx(z if sides == 1 else abs(z), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("spending", SPENDINGS)
def test_p_falls_as_z_grows(spending: st.Spending, sides: int) -> None:
    z = np.linspace(0.0 if sides == 2 else -4.0, 12.0, 41)
    p = walk(FIVE[:3], z, spending=spending, sides=sides)[-1].p_value
    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()
    assert (np.diff(p[(p < 1) & (z < 10)]) < 0).all()


def test_the_far_tail_is_small_but_never_nothing() -> None:
    found = walk(FIVE[:2], [38.0, 1e9], spending="pocock")[-1]
    assert (found.p_value >= 1e-300).all()
    assert (found.p_value < 1e-200).all()


def test_swapping_the_arms_turns_signs_and_changes_no_p() -> None:
    there, back = walk([0.2, 0.7], [1.5, 3.0])[-1], walk([0.2, 0.7], [-1.5, -3.0])[-1]
    assert there.p_value.tolist() == back.p_value.tolist()
    assert there.crossed.tolist() == back.crossed.tolist() == [False, True]
    assert there.lower.tolist() == (-back.upper).tolist()


def test_what_is_undefined_gives_no_number() -> None:
    values, errors = [np.nan, np.inf, 1.0, 1.0, 1.0], [1.0, 1.0, np.nan, 0.0, np.inf]
    found = st.group_sequential_look(effect(values, errors), 0.5, planned=[0.5, 1.0], alpha=0.05)
    for field in (found.statistic, found.half_width, found.lower, found.upper, found.p_value):
        assert np.isnan(field).all()
    assert not found.crossed.any()
    one = st.group_sequential_look(effect(values, errors), 0.5, planned=[0.5, 1.0], alpha=0.05, sides=1)
    assert np.isnan([*one.lower, *one.upper, *one.p_value]).all()


def test_a_look_too_early_to_spend_anything_cannot_cross() -> None:
    found = walk([1e-5], [9.0], planned=[1e-5, 1.0])[0]
    assert found.due
    assert not found.crossed[0]
    assert found.lower[0] == -np.inf
    assert found.upper[0] == np.inf
    assert found.p_value[0] > 0.05


def test_no_comparisons_give_no_results() -> None:
    found = st.group_sequential_look(effect([]), 0.5, planned=[0.5, 1.0], alpha=0.05)
    assert found.p_value.shape == found.crossed.shape == (0,)
    assert found.due


LOOK = st.TakenLook(0.5, 0.003, 2.9)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fraction": 0.4}, "fraction"),
        ({"fraction": -0.1, "taken": []}, "fraction"),
        ({"fraction": np.nan}, "fraction"),
        ({"fraction": np.inf}, "fraction"),
        ({"fraction": [0.6, 0.7]}, "fraction"),
        ({"taken": [LOOK, LOOK]}, "taken"),
        ({"taken": [LOOK, LOOK._replace(fraction=0.4)]}, "taken"),
        ({"taken": [LOOK, st.TakenLook(0.55, 0.002, 2.9)]}, "taken"),
        ({"taken": [LOOK._replace(alpha_spent=np.nan)]}, "taken"),
        ({"taken": [LOOK._replace(boundary=np.nan)]}, "taken"),
        ({"taken": [LOOK._replace(fraction=0.0)]}, "taken"),
        ({"planned": [0.5, 1.2]}, "planned"),
        ({"planned": [0.5, 0.2]}, "planned"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": [0.05]}, "alpha"),
        ({"phi": 0.0}, "phi"),
        ({"sides": 3}, "sides"),
        ({"spending": "none"}, "spending"),
        ({"null": np.nan}, "null"),
    ],
)
def test_bad_input_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"fraction": 0.6, "planned": [0.5, 1.0], "taken": [LOOK], "alpha": 0.05, **wrong}
    with pytest.raises(ContractError) as caught:
        st.group_sequential_look(effect([1.0]), arguments.pop("fraction"), **arguments)
    assert caught.value.where == named
    assert caught.value.remedy
