"""Epochs as strata: weights, dropped epochs, and the guard for unequal splits."""

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError


def test_one_epoch_is_the_plain_arm() -> None:
    control, treatment = st.cells([50], [2.0], [4.0]), st.cells([60], [3.0], [5.0])
    arms = st.combine_epochs(control, treatment, guard=False)
    plain = st.arm(60, 3.0, 5.0)
    assert [float(a) for a in arms.treatment] == pytest.approx([float(a) for a in plain], rel=1e-15)


def test_epochs_are_weighted_by_their_counts() -> None:
    control = st.cells([[100], [10]], [[1.0], [5.0]], [[2.0], [8.0]])
    treatment = st.cells([[100], [90]], [[2.0], [7.0]], [[3.0], [9.0]])
    arms = st.combine_epochs(control, treatment, guard=False)
    w1, w2 = 100 * 100 / 200, 10 * 90 / 100
    assert float(arms.control.mean[0]) == pytest.approx((w1 * 1 + w2 * 5) / (w1 + w2), rel=1e-15)
    expected = (w1**2 * 3 / 100 + w2**2 * 9 / 90) / (w1 + w2) ** 2
    assert float(arms.treatment.mean_variance[0]) == pytest.approx(expected, rel=1e-15)
    assert arms.control.n.tolist() == [110.0]


@pytest.mark.parametrize("thin", [(1, 50), (50, 1), (0, 0)])
def test_an_epoch_with_under_two_units_in_an_arm_is_dropped_from_both(thin: tuple[int, int]) -> None:
    control = st.cells([[100], [thin[0]]], [[1.0], [999.0]], [[2.0], [1.0]])
    treatment = st.cells([[100], [thin[1]]], [[2.0], [999.0]], [[3.0], [1.0]])
    arms = st.combine_epochs(control, treatment)
    assert arms.control.mean.tolist() == [1.0]
    assert arms.treatment.mean.tolist() == [2.0]
    assert arms.treatment.n.tolist() == [100.0]


def test_an_epoch_without_estimate_is_dropped() -> None:
    control = st.cells([[100], [10]], [[1.0], [np.nan]], [[2.0], [np.nan]])
    treatment = st.cells([[100], [10]], [[2.0], [5.0]], [[3.0], [1.0]])
    arms = st.combine_epochs(control, treatment)
    assert arms.treatment.mean.tolist() == [2.0]


def test_no_epoch_left_is_no_data() -> None:
    arms = st.combine_epochs(st.cells([[1]], [[1.0]], [[np.nan]]), st.cells([[1]], [[2.0]], [[np.nan]]))
    assert arms.control.n.tolist() == [0.0]
    assert all(np.isnan(field[0]) for field in arms.control[1:])
    effect = st.absolute_effect(*arms)
    found = st.two_sided_sequence(effect, alpha=0.05, r2=0.001)
    assert all(np.isnan(field[0]) for field in found)


def test_the_guard_takes_the_larger_of_own_and_pooled_variance() -> None:
    control, treatment = st.guarded(st.cells([95], [0.1], [4.0]), st.cells([5], [0.0], [0.0]))
    assert treatment.variance.tolist() == [94 * 4.0 / 98]
    assert control.variance.tolist() == [4.0]


def test_the_guard_widens_per_epoch_before_combining() -> None:
    control = st.cells([[95], [50]], [[0.1], [0.1]], [[4.0], [1.0]])
    treatment = st.cells([[5], [50]], [[0.1], [0.1]], [[0.0], [1.0]])
    by_hand = st.combine_epochs(*st.guarded(control, treatment), guard=False)
    assert [a.tolist() for a in st.combine_epochs(control, treatment).treatment] == [
        a.tolist() for a in by_hand.treatment
    ]


@pytest.mark.parametrize(
    ("n", "variance", "rule"),
    [(1.5, 1.0, "count"), (-1, 1.0, "count"), (np.nan, 1.0, "count"), (5, -0.1, "at least 0")],
)
def test_cells_refuse_what_is_no_cell(n: float, variance: float, rule: str) -> None:
    with pytest.raises(ContractError, match=rule):
        st.cells([n], [1.0], [variance])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ContractError, match="shapes do not fit"):
        st.arm([1, 2, 3], [1.0, 2.0], 1.0)
