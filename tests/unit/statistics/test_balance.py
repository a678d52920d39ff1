"""The covariate's e-value: what it says, what it must not say, and how often it is wrong."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

Array: TypeAlias = npt.NDArray[np.float64]


def moments(n: npt.ArrayLike, mean: npt.ArrayLike, variance: npt.ArrayLike) -> st.Moments:
    size, x, spread = (np.asarray(a, dtype=np.float64) for a in (n, mean, variance))
    none = np.zeros(np.broadcast(size, x, spread).shape)
    return st.Moments(size, none, none, none, none, none, none, x, spread, none, none)


def test_it_is_the_mixture_e_value_of_the_difference() -> None:
    found = st.covariate_balance(moments([400], [3.0], [4.0]), moments([500], [3.3], [4.0]), planned_n=2000)
    together = (399 * 4 + 499 * 4 + 400 * 500 / 900 * 0.3**2) / 899
    effect = st.effect(0.3, np.sqrt(together * (1 / 400 + 1 / 500)), n_control=400, n_treatment=500)
    r2 = st.mixture_variance(2000, alpha=0.001)
    expected = st.two_sided_sequence(effect, alpha=0.001, r2=r2)
    assert float(found.log_e_value) == pytest.approx(float(expected.log_e_value), rel=1e-12)
    assert float(found.p_value) == pytest.approx(float(expected.p_value), rel=1e-12)
    assert not bool(found.alarm)


def test_the_alarm_stands_exactly_where_the_e_value_reaches_a_thousand() -> None:
    differences = np.linspace(0.0, 1.5, 301)
    shape = (1, differences.size)
    found = st.covariate_balance(
        moments(np.full(shape, 300.0), np.zeros(shape), np.ones(shape)),
        moments(np.full(shape, 300.0), differences[None], np.ones(shape)),
    )
    assert found.alarm.tolist() == (found.log_e_value >= np.log(1000)).tolist()
    assert found.alarm.any()
    assert not found.alarm.all()


def test_a_covariate_that_is_the_variant_is_an_alarm_though_it_varies_in_no_arm() -> None:
    found = st.covariate_balance(moments([200], [0.0], [0.0]), moments([200], [1.0], [0.0]))
    assert bool(found.alarm)


def test_a_constant_covariate_says_nothing() -> None:
    found = st.covariate_balance(moments([200], [7.0], [0.0]), moments([200], [7.0], [0.0]))
    assert float(found.difference) == 0.0
    assert np.isnan(found.log_e_value)
    assert not bool(found.alarm)


@pytest.mark.parametrize("n", [0, 1])
def test_an_arm_without_two_units_says_nothing(n: int) -> None:
    found = st.covariate_balance(moments([n], [np.nan], [np.nan]), moments([200], [7.0], [1.0]))
    assert np.isnan(found.difference)
    assert not bool(found.alarm)


def test_epochs_of_other_levels_are_no_imbalance() -> None:
    """A quarter of the units in the second epoch, three quarters in the first: all units together differ by 5."""
    found = st.covariate_balance(moments([3000, 1000], [0.0, 10.0], [1.0, 1.0]), moments([1000, 3000], [0, 10], [1, 1]))
    assert float(found.difference) == 0.0
    assert not bool(found.alarm)


def test_what_is_no_number_is_no_alarm_and_no_number() -> None:
    found = st.covariate_balance(moments([200], [np.nan], [1.0]), moments([200], [7.0], [1.0]))
    assert np.isnan(found.log_e_value)
    assert not bool(found.alarm)


@pytest.mark.parametrize(
    ("broken", "named"),
    [(moments([2.5], [0.0], [1.0]), "control.n"), (moments([20], [0.0], [-1.0]), "control.var_x")],
)
def test_moments_that_cannot_be_are_refused_by_name(broken: st.Moments, named: str) -> None:
    with pytest.raises(ContractError) as caught:
        st.covariate_balance(broken, moments([20], [0.0], [1.0]))
    assert caught.value.where == named


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_arms_rarely_alarm_at_any_look(share: float) -> None:
    """A skewed covariate, a look every 20 units from 100 an arm on, 500 runs: one alarm in a thousand and three
    errors."""
    generator = np.random.default_rng(41)
    runs, looks = 500, slice(199, None, 20)
    x = generator.lognormal(0.0, 1.0, (runs, 3000))
    member = generator.random(x.shape) < share

    def over_time(inside: npt.NDArray[np.bool_]) -> st.Moments:
        n, total, square = (
            np.cumsum(np.where(inside, values, 0.0), axis=1)[None, :, looks] for values in (np.ones_like(x), x, x * x)
        )
        mean = total / n
        return moments(n, mean, np.maximum(square - n * mean**2, 0.0) / (n - 1))

    control, treatment = over_time(~member), over_time(member)
    found = st.covariate_balance(control, treatment)
    seen = (control.n[0] >= 100) & (treatment.n[0] >= 100)
    alarms = (found.alarm & seen).any(axis=1)
    assert float(np.asarray(alarms, dtype=np.float64).mean()) <= 0.001 + 3 * np.sqrt(0.001 * 0.999 / runs)
