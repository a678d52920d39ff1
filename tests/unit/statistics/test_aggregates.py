"""Exact sums to moments: nothing cancels, nothing impossible passes."""

from fractions import Fraction

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError


def sums_of(m: list[int], d: list[int], x: list[int] | None = None) -> dict[str, list[int]]:
    covariate = x or [0] * len(m)
    return {
        "n": [len(m)],
        "m": [sum(m)],
        "d": [sum(d)],
        "mm": [sum(v * v for v in m)],
        "dd": [sum(v * v for v in d)],
        "md": [sum(a * b for a, b in zip(m, d, strict=True))],
        "x": [sum(covariate)],
        "xx": [sum(v * v for v in covariate)],
        "mx": [sum(a * b for a, b in zip(m, covariate, strict=True))],
        "dx": [sum(a * b for a, b in zip(d, covariate, strict=True))],
    }


def test_all_moments_equal_those_of_the_rows() -> None:
    m, d, x = [3, 1, 4, 1, 5], [2, 7, 1, 8, 2], [8, 1, 8, 2, 8]
    found = st.exact_moments(**sums_of(m, d, x))
    covariance = np.cov([m, d, x])
    assert found.n.tolist() == [5.0]
    expected = np.array(
        [
            5.0,
            np.mean(m),
            np.mean(d),
            covariance[0, 0],
            covariance[1, 1],
            covariance[0, 1],
            np.var(np.array(m) - sum(m) / sum(d) * np.array(d), ddof=1),
            np.mean(x),
            covariance[2, 2],
            covariance[0, 2],
            covariance[1, 2],
        ],
        dtype=np.float64,
    )
    np.testing.assert_allclose(np.array(found)[:, 0], expected, rtol=1e-14)


def test_fixed_point_scales_are_taken_out() -> None:
    plain = st.exact_moments(**sums_of([3, 1, 4], [1, 2, 1], [5, 9, 2]))
    scaled = st.exact_moments(
        **sums_of([3_000_000, 1_000_000, 4_000_000], [1, 2, 1], [5_000, 9_000, 2_000]), scale=10**6, x_scale=[1000]
    )
    assert [a.tolist() for a in scaled] == [a.tolist() for a in plain]


def test_large_means_with_small_spread_keep_every_digit() -> None:
    base = 10**21
    found = st.exact_moments(**sums_of([base, base + 1, base + 5], [1, 1, 1]))
    assert found.var_m.tolist() == [7.0]


def test_a_perfect_ratio_has_exactly_no_variance() -> None:
    d = [1, 17, 3, 999_983]
    cells = st.ratios(st.exact_moments(**sums_of([333_333 * v for v in d], d)))
    assert cells.variance.tolist() == [0.0]
    assert cells.value.tolist() == [333_333.0]


def test_ratio_variance_is_correctly_rounded() -> None:
    m, d = [7, 0, 3, 12], [3, 1, 4, 5]
    ratio = Fraction(sum(m), sum(d))
    mean_d = Fraction(sum(d), 4)
    exact = sum((a - ratio * b) ** 2 for a, b in zip(m, d, strict=True)) / 3 / mean_d**2
    cells = st.ratios(st.exact_moments(**sums_of(m, d)))
    assert cells.variance[0] == pytest.approx(float(exact), rel=1e-15)


def test_empty_and_single_unit_cells_are_nan_where_undefined() -> None:
    found = st.exact_moments(n=[0, 1], m=[0, 5], d=[0, 1], mm=[0, 25], dd=[0, 1], md=[0, 5])
    np.testing.assert_array_equal(found.mean_m, [np.nan, 5.0])
    np.testing.assert_array_equal(found.var_m, [np.nan, np.nan])
    np.testing.assert_array_equal(found.var_residual, [np.nan, np.nan])


def test_no_cells_give_no_cells() -> None:
    found = st.exact_moments(n=[], m=[], d=[], mm=[], dd=[], md=[])
    assert all(field.shape == (0,) for field in found)


def test_a_ratio_without_denominator_is_nan() -> None:
    cells = st.ratios(st.exact_moments(**sums_of([0, 0, 0], [0, 0, 0])))
    assert np.isnan(cells.value[0])
    assert np.isnan(cells.variance[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mm": [1]}, "mm"),
        ({"dd": [1]}, "dd"),
        ({"md": [10**9]}, "md"),
        ({"n": [-1]}, "n"),
        ({"m": [1, 2]}, "m"),
        ({"m": [1.5]}, "m"),
        ({"scale": 0}, "scale"),
        ({"mm": [10**700]}, "scale"),
    ],
)
def test_impossible_sums_are_refused_by_name(change: dict[str, object], named: str) -> None:
    arguments: dict[str, object] = {**sums_of([3, 1, 4], [1, 2, 1]), **change}
    with pytest.raises(ContractError) as caught:
        st.exact_moments(**arguments)  # type: ignore[arg-type]  # what a careless caller hands in
    assert caught.value.where == named


def test_fixed_width_integers_do_not_overflow() -> None:
    big = np.array([2**62], dtype=np.int64)
    found = st.exact_moments(n=[2], m=big, d=[2], mm=[2**123], dd=[2], md=big)  # type: ignore[arg-type]  # numpy's integers
    assert found.mean_m.tolist() == [2.0**61]
    assert found.var_m.tolist() == [0.0]


def test_rates_have_the_binomial_variance() -> None:
    cells = st.proportions([10, 0, 4], [3, 0, 4])
    np.testing.assert_allclose(cells.variance, [0.21, np.nan, 0.0])


def test_more_successes_than_units_are_refused() -> None:
    with pytest.raises(ContractError, match="successes are at most n"):
        st.proportions([10], [11])


@pytest.mark.parametrize("name", ["md", "mx", "dx"])
def test_a_correlation_above_one_is_refused(name: str) -> None:
    sums = sums_of([3, 1, 4], [2, 7, 1], [8, 1, 8])
    with pytest.raises(ContractError) as caught:
        st.exact_moments(**sums | {name: [sums[name][0] + 100]})
    assert caught.value.where == name
    assert "impossible" in str(caught.value)
