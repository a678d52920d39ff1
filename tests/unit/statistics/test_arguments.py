"""Whatever people hold their numbers in: the same numbers come out, or a refusal that names the argument."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

masked = cast("Callable[..., Any]", np.ma.array)
NO_NUMBERS = [
    None,
    "3",
    1j,
    [1, None],
    [[1, 2], [3]],
    np.array(["2026-01-01"], dtype="datetime64[D]"),
    np.array([3], dtype="timedelta64[s]"),
    np.array([], dtype=np.str_),
    10**400,
]


def _read_only() -> np.ndarray[Any, Any]:
    array = np.array([3, 5], dtype=np.int64)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "mean",
    [
        [3, 5],
        (3.0, 5.0),
        np.array([3, 5], dtype=np.int8),
        np.array([3, 5], dtype=np.uint64),
        np.array([3, 5], dtype=np.float32),
        np.array([3, 5], dtype=">f8"),
        np.array([3, 9, 5, 9], dtype=np.float64)[::2],
        np.array([Fraction(3), 5], dtype=object),
        masked([3, 5]),
        _read_only(),
    ],
)
def test_numbers_are_taken_in_any_shell(mean: Any) -> None:
    found = st.arm(10, mean, 1.0)
    assert found.mean.tolist() == [3.0, 5.0]
    assert all(field.dtype == np.float64 and type(field) is np.ndarray for field in found)


@pytest.mark.parametrize("mean", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_by_name(mean: Any) -> None:
    with pytest.raises(ContractError) as caught:
        st.arm(10, mean, 1.0)
    assert caught.value.where == "mean"


def test_narrow_integers_do_not_overflow() -> None:
    many = np.array([2_000_000_000], dtype=np.int32)
    found = st.absolute_effect(st.arm(many, many, 1.0), st.arm(many, -many, 1.0))
    assert found.value.tolist() == [-4e9]
    assert found.n.tolist() == [4e9]
    assert st.arm(2**70, 10**30, 1.0).mean == 1e30


def test_what_lies_under_a_mask_is_undefined() -> None:
    values = masked([1.0, 2.0], mask=[False, True])
    np.testing.assert_array_equal(st.arm(10, values, 1.0).mean, [1.0, np.nan])
    np.testing.assert_array_equal(st.holm(masked([0.01, 0.02], mask=[True, False])), [np.nan, 0.04])
    with pytest.raises(ContractError, match="count"):
        st.arm(masked([10, 10], mask=[False, True]), 1.0, 1.0)


@pytest.mark.parametrize("relative", ["no", np.nan, 2, None])
def test_a_margin_is_relative_or_not(relative: Any) -> None:
    arm = st.arm(5000, 100.0, 900.0)
    with pytest.raises(ContractError) as caught:
        st.guardrail_sequence(
            arm, arm, margin=0.05, relative=relative, direction=1, harm_alpha=0.05, pass_alpha=0.05, planned_n=5000
        )
    assert caught.value.where == "relative"


def test_results_share_no_memory_with_a_later_call() -> None:
    def of_counts() -> tuple[Any, ...]:
        return (
            *st.beta_binomial_posterior([100, 90], 10, [100, 90], 12, alpha=0.05),
            *st.group_sequential_boundaries([0.5, 1.0], alpha=0.05),
            *st.group_sequential_stopping([0.5, 1.0], [2.0, 2.0], drift=[0.0, 3.0]),
            *st.sequential_power(st.planned_proportion(0.1, [0.02]), 5000, alpha=0.05, r2=0.002),
        )

    before = [np.array(field) for field in of_counts()]
    for field in of_counts():
        if field.flags.writeable:
            field[...] = -7.0
    for field, expected in zip(of_counts(), before, strict=True):
        np.testing.assert_array_equal(field, expected)


@pytest.mark.parametrize("continuity", ["no", np.nan, 2])
def test_a_continuity_correction_is_on_or_off(continuity: Any) -> None:
    for call in (
        lambda: st.proportion_test(10, 5, 10, 6, alpha=0.05, continuity=continuity),
        lambda: st.share_test(5, 11, 0.5, method="normal", continuity=continuity),
    ):
        with pytest.raises(ContractError) as caught:
            call()
        assert caught.value.where == "continuity"


def test_the_fewest_failures_are_a_count() -> None:
    with pytest.raises(ContractError) as caught:
        st.first_failures([2], [18], 0.5, alpha=0.025, min_failures=cast("int", np.nan))
    assert caught.value.where == "min_failures"
