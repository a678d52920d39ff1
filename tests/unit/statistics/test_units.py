"""From rows to moments: exact, in any order, per unit, and nothing that is missing becomes a unit or a value."""

from typing import Any

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

RNG = np.random.default_rng(20261123)
UNIT = RNG.integers(0, 50, 400)
SPEND = RNG.lognormal(size=400).round(6)
AGE = RNG.normal(40.0, 10.0, 50).round(6)


def same(one: st.Moments, other: st.Moments) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_moments_of_rows_are_those_of_the_units_totals() -> None:
    found = st.unit_moments(UNIT, SPEND, x=AGE[UNIT])
    units = np.unique(UNIT)
    table = np.array([[SPEND[u == UNIT].sum(), (u == UNIT).sum(), AGE[u]] for u in units]).T
    expected = np.cov(table)
    assert found.n.tolist() == [float(len(units))]
    np.testing.assert_allclose(
        np.concatenate([found.mean_m, found.mean_d, found.mean_x]), table.mean(axis=1), rtol=1e-12
    )
    np.testing.assert_allclose(
        np.concatenate([found.var_m, found.var_d, found.var_x, found.cov_md, found.cov_mx, found.cov_dx]),
        expected[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]],
        rtol=1e-11,
    )


def test_the_order_of_rows_changes_no_bit() -> None:
    order = RNG.permutation(len(UNIT))
    assert same(
        st.unit_moments(UNIT, SPEND, x=AGE[UNIT]), st.unit_moments(UNIT[order], SPEND[order], x=AGE[UNIT][order])
    )


def test_labels_are_only_labels() -> None:
    assert same(st.unit_moments(UNIT, SPEND), st.unit_moments([f"user-{u:03d}" for u in UNIT], SPEND.tolist()))


def test_values_fold_within_their_unit() -> None:
    unit, value = ["a", "b", "a", "a"], [2.0, 0.0, -1.0, 0.5]
    means = [float(st.unit_moments(unit, value, fold=fold).mean_m[0]) for fold in ("sum", "any", "max")]
    assert means == [0.75, 0.5, 1.0]


def test_a_unit_without_a_value_counts_where_it_stands() -> None:
    found = st.unit_moments(["a", "b"], [3.0, 0.0], d=[1, 0])
    assert st.means(found).value.tolist() == [1.5]
    assert st.ratios(found).value.tolist() == [3.0]


def test_of_a_units_covariates_the_first_counts() -> None:
    assert st.unit_moments(["a", "a", "b"], 1.0, x=[1.0, 9.0, 3.0]).mean_x.tolist() == [2.0]


def test_sums_past_machine_words_stay_exact() -> None:
    most = 2**53 - 1
    apart = st.unit_moments(["a"] * 2000 + ["b"] * 2000, [most] * 2000 + [most - 1] * 2000, scale=1)
    assert apart.mean_m.tolist() == [float((2 * most - 1) * 1000)]
    assert apart.var_m.tolist() == [2000.0**2 / 2]


def test_no_rows_are_no_units() -> None:
    found = st.unit_moments([], [])
    assert found.n.tolist() == [0.0]
    assert np.isnan(found.mean_m).all()


@pytest.mark.parametrize(
    "unit",
    [
        [1.0, np.nan],
        ["a", None],
        np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
        [["a", "b"]],
        "a",
        [("a",), 3],
    ],
)
def test_rows_of_nobody_are_refused(unit: Any) -> None:
    with pytest.raises(ContractError) as caught:
        st.unit_moments(unit, [1.0, 2.0])
    assert caught.value.where == "unit"


def test_values_that_the_fixed_point_cannot_hold_are_refused() -> None:
    with pytest.raises(ContractError) as caught:
        st.unit_moments(["a"], 2.0**53, scale=1)
    assert caught.value.where == "m"


def test_more_values_than_labels_are_refused() -> None:
    with pytest.raises(ContractError) as caught:
        st.unit_moments(["a"], [1.0, 2.0])
    assert caught.value.where == "unit"
