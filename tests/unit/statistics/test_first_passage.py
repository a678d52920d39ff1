"""Leaving the mixture boundary: against identities that hold exactly, and against itself."""

import numpy as np
import pytest

from splitgauge.statistics.first_passage import first_passage

WITHIN = 1e-4


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.005])
def test_without_drift_it_leaves_with_probability_alpha_in_the_end(alpha: float) -> None:
    # The mixture martingale is continuous and vanishes: its maximum reaches 1/alpha with probability alpha (Doob). By
    # time s it is still above c with a probability of order c / sqrt(s), hence the long horizon.
    assert first_passage(0.0, 1e7, alpha=alpha).left[-1] == pytest.approx(alpha, rel=0.01)


@pytest.mark.parametrize("horizon", [0.3, 1.0, 8.0, 30.0])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_mixed_over_its_own_prior_of_drifts_it_leaves_1_over_alpha_times_as_often(horizon: float, alpha: float) -> None:
    # At the boundary the mixture's likelihood ratio is 1/alpha: P_0(left) = alpha times the mean of P_drift(left).
    drifts = np.linspace(-7, 7, 141)
    weights = np.exp(-(drifts**2) / 2) / np.sqrt(2 * np.pi) * (drifts[1] - drifts[0])
    mixed = sum(
        weight * first_passage(float(drift), horizon, alpha=alpha).left[-1]
        for drift, weight in zip(drifts, weights, strict=True)
    )
    assert mixed == pytest.approx(first_passage(0.0, horizon, alpha=alpha).left[-1] / alpha, abs=5 * WITHIN, rel=0.003)


def test_direction_makes_no_difference() -> None:
    up, down = (first_passage(drift, 8.0, alpha=0.05) for drift in (1.3, -1.3))
    np.testing.assert_allclose(up.left, down.left, rtol=1e-12)


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one() -> None:
    long = first_passage(1.3, 8.0, alpha=0.05)
    for horizon in (1.0, 3.0, 6.0):
        short = first_passage(1.3, horizon, alpha=0.05)
        assert short.left[-1] == pytest.approx(np.interp(horizon, long.time, long.left), abs=WITHIN)


def test_a_start_next_to_0_changes_nothing_and_a_late_one_is_one_look() -> None:
    whole, late = first_passage(1.3, 8.0, alpha=0.05), first_passage(1.3, 8.0, alpha=0.05, start=1e-3)
    assert late.left[-1] == pytest.approx(whole.left[-1], abs=WITHIN)
    assert late.mean_time == pytest.approx(whole.mean_time, rel=WITHIN)
    nearly, once = (first_passage(1.3, 8.0, alpha=0.05, start=start) for start in (8 - 1e-9, 9.0))
    assert once.left.tolist() == [pytest.approx(nearly.left[-1], abs=WITHIN)]
    assert once.mean_time == 8.0


def test_probabilities_rise_to_1_and_times_stay_below_the_horizon() -> None:
    for drift in (0.0, 0.7, 5.0, 40.0):
        for start in (0.0, 0.02, 2.0):
            found = first_passage(drift, 8.0, alpha=0.05, start=start)
            assert (np.diff(found.left) >= 0).all()
            assert (found.left >= 0).all()
            assert (found.left <= 1).all()
            assert start <= found.mean_time <= 8.0


def test_the_mean_is_the_area_above_the_curve() -> None:
    found = first_passage(1.3, 8.0, alpha=0.05, start=0.5)
    area = found.time[0] + np.trapezoid(1 - found.left, found.time)
    assert found.mean_time == pytest.approx(area, rel=1e-3)


def test_a_strong_drift_leaves_where_it_meets_the_boundary() -> None:
    found = first_passage(100.0, 8.0, alpha=0.05)
    bound = np.sqrt(2 * (found.mean_time + 1) * (np.log1p(found.mean_time) / 2 - np.log(0.05)))
    assert found.left[-1] == pytest.approx(1.0, abs=WITHIN)
    assert 100.0 * found.mean_time == pytest.approx(bound, rel=0.01)


def test_what_the_nodes_cannot_resolve_is_no_number() -> None:
    found = first_passage(1e6, 8.0, alpha=0.05)
    assert np.isnan(found.left).all()
    assert np.isnan(found.mean_time)
