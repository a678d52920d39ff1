"""Probability to be best and expected losses of several arms, and the Bayesian decision."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import special

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

ARMS = some.lists(
    some.tuples(some.floats(-3, 3), some.floats(0.01, 2)).map(lambda pair: (pair[0], pair[1])), min_size=2, max_size=5
)


@pytest.mark.parametrize(("ahead", "sds"), [(0.3, (1, 1e-4)), (3.0, (1, 1e-3)), (-8.0, (1, 1)), (1e-3, (1e-6, 1))])
def test_two_arms_are_the_normal_posterior_of_their_difference(ahead: float, sds: tuple[float, float]) -> None:
    found = st.best_arm([0.0, ahead], sds)
    effect = st.effect(ahead, np.hypot(*sds), n_control=100, n_treatment=100)
    expected = st.normal_posterior(effect, alpha=0.05)
    np.testing.assert_allclose(found.probability_best[1], expected.probability_to_beat, rtol=1e-10)
    losses = [expected.loss_staying, expected.loss_choosing]
    # In far tails the panels leave nine digits.
    np.testing.assert_allclose(found.expected_loss, losses, rtol=1e-10, atol=1e-15)


def test_equal_arms_share_the_probability_and_lose_the_expected_maximum() -> None:
    found = st.best_arm([5.0, 5.0, 5.0], 2.0)
    np.testing.assert_allclose(found.probability_best, 1 / 3, rtol=1e-12)
    # E[max of two] - mean of a third, and what is kept by being the maximum of three: E[(M - X)+] = E max3 - mean.
    np.testing.assert_allclose(found.expected_loss, 2 * 3 / (2 * np.sqrt(np.pi)), rtol=1e-12)


def test_down_is_good_turns_the_order_round() -> None:
    up, down = (
        st.best_arm([1.0, 2.0, 4.0], [1.0, 0.5, 2.0]),
        st.best_arm([-1.0, -2.0, -4.0], [1.0, 0.5, 2.0], direction=-1),
    )
    np.testing.assert_allclose(up.probability_best, down.probability_best, rtol=1e-12)
    np.testing.assert_allclose(up.expected_loss, down.expected_loss, rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(ARMS)
def test_probabilities_add_up_and_units_do_not_matter(arms: list[tuple[float, float]]) -> None:
    mean, sd = np.array(arms).T
    found, scaled = st.best_arm(mean, sd), st.best_arm(1e6 * (mean + 7), 1e6 * sd)
    np.testing.assert_allclose(found.probability_best.sum(), 1, rtol=1e-9)
    np.testing.assert_allclose(scaled.probability_best, found.probability_best, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled.expected_loss / 1e6, found.expected_loss, rtol=1e-6, atol=1e-9)


def test_rows_that_are_undefined_are_nan_and_leave_the_others_alone() -> None:
    mean = np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, 2.0], [np.inf, 2.0]])
    sd = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    found = st.best_arm(mean, sd, direction=[1, 1, 1, -1])
    for field in found:
        assert np.isnan(field).tolist() == [[False] * 2, [True] * 2, [True] * 2, [True] * 2]
    assert float(found.probability_best[0, 1]) == pytest.approx(0.7602499389)


@pytest.mark.parametrize("far", [150.0, 1e6, 1e15, 1e300])
def test_an_arm_far_behind_loses_its_distance_and_changes_nothing_among_the_others(far: float) -> None:
    found, near = st.best_arm([-far, 0.3, 0.0], [2.0, 1.0, 0.5]), st.best_arm([0.3, 0.0], [1.0, 0.5])
    np.testing.assert_allclose(found.probability_best, [0.0, *near.probability_best], rtol=1e-12)
    np.testing.assert_allclose(found.expected_loss[1:], near.expected_loss, rtol=1e-12)
    maximum = 0.3 + float(near.expected_loss[0])
    np.testing.assert_allclose(found.expected_loss[0], far + maximum, rtol=1e-12)


def test_an_arm_far_ahead_is_the_best_and_loses_nothing() -> None:
    found = st.best_arm([1e15, 0.3, 0.0], [2.0, 1.0, 0.5])
    np.testing.assert_allclose(found.probability_best, [1.0, 0.0, 0.0], rtol=1e-12)
    np.testing.assert_allclose(found.expected_loss, [0.0, 1e15, 1e15], rtol=1e-12)


@pytest.mark.parametrize("sds", [(1.0, 1e-300), (1e200, 1e-200), (1e-5, 1e-5), (1.0, 1e-7)])
def test_sds_of_other_orders_give_a_right_number_or_none(sds: tuple[float, float]) -> None:
    found = st.best_arm([0.0, 0.7 * sds[0]], sds)
    right = float(special.ndtr(0.7 * sds[0] / math.hypot(*sds)))
    assert np.isnan(found.probability_best).all() or float(found.probability_best[1]) == pytest.approx(right, abs=1e-6)
    assert np.isnan(found.expected_loss).all() == np.isnan(found.probability_best).all()


def test_more_rows_than_a_block_give_what_each_gives_alone() -> None:
    generator = np.random.default_rng(4)
    mean, sd = generator.normal(size=(300, 3)), generator.uniform(0.1, 1, (300, 3))
    together, alone = st.best_arm(mean, sd), st.best_arm(mean[280], sd[280])
    np.testing.assert_allclose(together.probability_best[280], alone.probability_best, rtol=1e-13)
    assert st.best_arm(np.zeros((0, 3)), np.zeros((0, 3))).expected_loss.shape == (0, 3)


@pytest.mark.parametrize(
    ("mean", "sd", "direction", "named"),
    [
        ([1.0, 2.0], [1.0, -1.0], 1, "sd"),
        ([1.0, 2.0], [1.0, 1.0], 0, "direction"),
        (1.0, 1.0, 1, "mean"),
        ([1.0], [1.0], 1, "mean"),
        ([1.0, 2.0], [1.0, 1.0, 1.0], 1, "mean"),
    ],
)
def test_what_breaks_the_contract_is_refused(mean: object, sd: object, direction: int, named: str) -> None:
    with pytest.raises(ContractError) as caught:
        st.best_arm(np.asarray(mean), np.asarray(sd), direction=direction)
    assert caught.value.where == named


def test_nothing_is_decided_without_a_bayes_factor_however_small_the_loss() -> None:
    found = st.bayes_decision([2.99, 3.0], 1e-9, 0.3, alpha=0.05, loss_threshold=0.01)
    assert found.evident.tolist() == [False, True]
    assert found.choose.tolist() == [False, True]
    assert found.stay.tolist() == [False, False]


def test_nothing_is_decided_while_the_expected_loss_matters() -> None:
    found = st.bayes_decision(5.0, [0.02, 0.01, 0.3], [0.3, 0.3, 0.01], alpha=0.05, loss_threshold=0.01)
    assert found.choose.tolist() == [False, True, False]
    assert found.stay.tolist() == [False, False, True]
    assert found.evident.tolist() == [True, True, True]


def test_what_is_undefined_decides_nothing() -> None:
    found = st.bayes_decision(
        [np.nan, 9.0, 9.0], [0.0, np.nan, 0.0], [1.0, 1.0, np.nan], alpha=0.05, loss_threshold=1.0
    )
    assert not found.choose.any()
    assert not found.stay.any()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"alpha": 0.0, "loss_threshold": 1.0}, "alpha"),
        ({"alpha": 0.05, "loss_threshold": 0.0}, "loss_threshold"),
    ],
)
def test_a_decision_without_an_error_rate_or_a_threshold_is_refused(more: dict[str, float], named: str) -> None:
    with pytest.raises(ContractError) as caught:
        st.bayes_decision(1.0, 1.0, 1.0, **more)
    assert caught.value.where == named
