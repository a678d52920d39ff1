"""Error spending: the published functions, exact ends, and what is refused."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import norm

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.spending import information_fractions

SPENDINGS: tuple[st.Spending, ...] = get_args(st.Spending)


def test_each_side_spends_the_published_function() -> None:
    t = np.array([0.05, 0.3, 0.99])
    for sides in (1, 2):
        a = 0.04 / sides
        obf = sides * 2 * (1 - norm.cdf(norm.ppf(1 - a / 2) / np.sqrt(t)))
        pocock = sides * a * np.log(1 + (np.e - 1) * t)
        np.testing.assert_allclose(st.spent_alpha(t, alpha=0.04, sides=sides), obf, rtol=1e-9, atol=1e-16)
        np.testing.assert_allclose(st.spent_alpha(t, alpha=0.04, spending="pocock", sides=sides), pocock, rtol=1e-14)
        np.testing.assert_allclose(
            st.spent_alpha(t, alpha=0.04, spending="power", phi=1.5, sides=sides), 0.04 * t**1.5, rtol=1e-14
        )


@given(
    alpha=some.floats(1e-300, 1 - 1e-9),
    spending=some.sampled_from(SPENDINGS),
    phi=some.floats(0.01, 20),
    sides=some.sampled_from([1, 2]),
    fractions=some.lists(some.floats(0, 1), min_size=2, max_size=6),
)
def test_spending_rises_from_nothing_to_exactly_alpha(
    alpha: float, spending: st.Spending, phi: float, sides: int, fractions: list[float]
) -> None:
    t = np.array([0.0, *sorted(fractions), 1.0])
    spent = st.spent_alpha(t, alpha=alpha, spending=spending, phi=phi, sides=sides)
    assert spent[0] == 0
    assert spent[-1] == alpha
    assert (np.diff(spent) >= -1e-15 * alpha).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fraction": 1.1}, "fraction"),
        ({"fraction": [0.5, -0.1]}, "fraction"),
        ({"fraction": np.nan}, "fraction"),
        ({"spending": "hwang"}, "spending"),
        ({"phi": 0.0}, "phi"),
        ({"phi": np.inf}, "phi"),
        ({"sides": 3}, "sides"),
    ],
)
def test_what_is_no_spending_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"fraction": 0.5, "alpha": 0.05, **wrong}
    with pytest.raises(ContractError) as caught:
        st.spent_alpha(arguments.pop("fraction"), **arguments)
    assert caught.value.where == named
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("fractions", "value"),
    [
        ([0.5, 1.0 + 1e-12], "1.000000000001"),
        ([0.0, 0.5], "0.0"),
        ([-0.2], "-0.2"),
        ([0.5, np.nan], "nan"),
        ([0.5, np.inf], "inf"),
        ([0.6, 0.4, 1.0], "0.4"),
        ([0.5, 0.5], "0.5"),
        ([0.5, 0.50001], "0.50001"),
        ([], "(0,)"),
        ([[0.5, 1.0]], "(1, 2)"),
        (0.5, "()"),
        ((np.arange(21) + 1) / 21, "(21,)"),
        (["half"], "half"),
    ],
)
def test_fractions_past_one_or_not_forward_are_refused_with_the_value_and_the_rule(fractions: Any, value: str) -> None:
    with pytest.raises(ContractError) as caught:
        information_fractions("fractions", fractions)
    assert caught.value.where == "fractions"
    assert value in caught.value.message
    assert caught.value.remedy


def test_twenty_looks_and_the_smallest_steps_are_taken() -> None:
    assert len(information_fractions("fractions", np.arange(1, 21) / 20)) == 20
    assert information_fractions("fractions", [1e-9, 0.0002, 0.0003]) == (1e-9, 0.0002, 0.0003)
