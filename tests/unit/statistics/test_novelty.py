"""Early against late: moments against the same on units, what counts as wearing off, and how often it is wrong."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

Array: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]


def moments_of(units: IntArray, *, scale: int = 1) -> st.NoveltyMoments:
    """Of units with their m_early, d_early, m_late, d_late, shape (cells, units, 4)."""
    columns = {name: units[..., place] for place, name in enumerate(st.NOVELTY_COLUMNS)}
    products: list[list[int]] = np.stack(
        [(columns[a] * columns[b]).sum(axis=-1) for a, b in st.NOVELTY_PRODUCTS], axis=-1
    ).tolist()
    sums: list[list[int]] = units.sum(axis=1).tolist()
    return st.novelty_moments(n=[units.shape[1]] * len(units), sums=sums, products=products, scale=scale)


def cells(
    early: float, late: float, *, n: float = 1000.0, size: float | None = None, covariance: float = 0.2
) -> st.NoveltyMoments:
    """One epoch, unit variances."""
    effective = n if size is None else size
    return st.NoveltyMoments(*(np.array([f]) for f in (n, early, late, 1.0, 1.0, covariance, n, effective)))


def stacked(*parts: st.NoveltyMoments) -> st.NoveltyMoments:
    return st.NoveltyMoments(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def test_moments_are_the_delta_method_over_the_matrix_of_the_four_columns() -> None:
    units = np.random.default_rng(1).integers(0, 9, (1, 60, 4))
    found = moments_of(units, scale=10)
    matrix, (m_e, d_e, m_l, d_l) = np.cov(units[0].T), units[0].mean(axis=0)
    early = np.array([1 / d_e, -m_e / d_e**2, 0, 0]) / 10
    late = np.array([0, 0, 1 / d_l, -m_l / d_l**2]) / 10
    assert float(found.early[0]) == pytest.approx(m_e / d_e / 10, rel=1e-15)
    assert float(found.var_early[0]) == pytest.approx(early @ matrix @ early, rel=1e-12)
    assert float(found.var_late[0]) == pytest.approx(late @ matrix @ late, rel=1e-12)
    assert float(found.covariance[0]) == pytest.approx(early @ matrix @ late, rel=1e-12)


def test_a_value_per_unit_has_the_plain_variance() -> None:
    values = np.random.default_rng(2).integers(0, 100, (1, 40, 2))
    one = np.ones((1, 40, 1), dtype=np.int64)
    found = moments_of(np.concatenate([values[..., :1], one, values[..., 1:], one], axis=-1))
    assert float(found.var_early[0]) == pytest.approx(values[0, :, 0].var(ddof=1), rel=1e-12)
    assert float(found.covariance[0]) == pytest.approx(float(np.cov(values[0].T)[0, 1]), rel=1e-12)
    assert float(found.effective_late[0]) == 40.0


def test_units_that_have_not_come_back_do_not_count_as_late_ones() -> None:
    units = np.random.default_rng(3).integers(1, 9, (1, 50, 4))
    units[0, 5:, 2:] = 0
    units[0, :, 3] = np.minimum(units[0, :, 3], 1)
    found = moments_of(units)
    assert float(found.effective_late[0]) == 5.0
    assert float(found.late[0]) == pytest.approx(units[0, :5, 2].mean())


def test_large_means_with_small_spread_keep_their_digits() -> None:
    base = 10**14
    columns = [[base, 1, base + 1, 1], [base + 1, 1, base, 1], [base + 2, 1, base + 2, 1]]
    sums = [sum(column) for column in zip(*columns, strict=True)]
    place = {name: index for index, name in enumerate(st.NOVELTY_COLUMNS)}
    products = [sum(row[place[a]] * row[place[b]] for row in columns) for a, b in st.NOVELTY_PRODUCTS]
    found = st.novelty_moments(n=[3], sums=[sums], products=[products])
    assert (float(found.var_early[0]), float(found.var_late[0]), float(found.covariance[0])) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize("n", [0, 1])
def test_cells_without_two_units_have_no_variance(n: int) -> None:
    found = st.novelty_moments(
        n=[n], sums=[[3 * n, n, 2 * n, n]], products=[[9 * n, 3 * n, 6 * n, 3 * n, n, 2 * n, n, 4 * n, 2 * n, n]]
    )
    assert np.isnan(found.var_early[0])
    assert bool(np.isnan(found.early[0])) == (n == 0)


def test_the_difference_of_ages_has_their_covariance_in_its_error() -> None:
    found = st.novelty_test(cells(5.0, 5.0), cells(6.0, 5.2))
    assert float(found.early) == pytest.approx(1.0)
    assert float(found.late) == pytest.approx(0.2)
    assert float(found.difference) == pytest.approx(0.8)
    assert float(found.se) == pytest.approx(np.sqrt(2 * (1 + 1 - 2 * 0.2) / 1000), rel=1e-12)


@pytest.mark.parametrize(
    ("early", "late", "shrinks", "strong"),
    [
        (1.0, 0.2, True, True),
        (1.0, 0.6, False, False),  # by less than half, however surely
        (0.05, 0.0, True, False),  # by more than half, but that may be chance
        (1.0, -0.5, True, True),
        (-1.0, 0.0, False, False),  # what began badly and got better has not worn off
        (0.5, 1.0, False, False),
    ],
)
def test_strong_is_a_good_effect_that_surely_shrinks_by_over_half(
    early: float, late: float, shrinks: bool, strong: bool
) -> None:
    up = st.novelty_test(cells(5.0, 5.0), cells(5.0 + early, 5.0 + late))
    down = st.novelty_test(cells(5.0, 5.0), cells(5.0 - early, 5.0 - late), direction=-1)
    for found in (up, down):
        assert (bool(found.shrinks), bool(found.strong)) == (shrinks, strong)


def test_an_epoch_that_has_hardly_grown_old_weighs_little() -> None:
    old = (cells(5.0, 5.0), cells(6.0, 6.0))
    young = (cells(5.0, 5.0, size=10.0), cells(6.0, 0.0, size=10.0))
    found = st.novelty_test(*(stacked(a, b) for a, b in zip(old, young, strict=True)))
    assert float(found.late) == pytest.approx((500 * 1.0 + 5 * -5.0) / 505)
    assert float(found.early) == pytest.approx(1.0)


def test_an_epoch_without_late_units_is_left_out() -> None:
    old = (cells(5.0, 5.0), cells(6.0, 6.0))
    young = tuple(
        arm._replace(late=np.array([np.nan]), var_late=np.array([np.nan])) for arm in (cells(5, 5), cells(9, 9))
    )
    both = st.novelty_test(*(stacked(a, b) for a, b in zip(old, young, strict=True)))
    alone = st.novelty_test(*old)
    assert [float(field) for field in both] == [float(field) for field in alone]
    nothing = st.novelty_test(*young)
    assert np.isnan(nothing.difference)
    assert np.isnan(nothing.p_value)
    assert not bool(nothing.strong)


def test_arms_that_do_not_vary_have_no_p() -> None:
    flat = [
        arm._replace(**dict.fromkeys(("var_early", "var_late", "covariance"), np.zeros(1)))
        for arm in (cells(5, 5), cells(6, 5))
    ]
    found = st.novelty_test(*flat)
    assert float(found.se) == 0.0
    assert np.isnan(found.p_value)
    assert bool(found.shrinks)
    assert not bool(found.strong)


@pytest.mark.parametrize("field", ["early", "late", "var_early", "var_late", "covariance", "effective_late"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_gives_none(field: str, value: float) -> None:
    found = st.novelty_test(cells(5.0, 5.0)._replace(**{field: np.array([value])}), cells(6.0, 5.0))
    assert not np.isfinite(found.p_value)
    assert not bool(found.strong)


@settings(max_examples=50, deadline=None)
@given(scale=some.integers(1, 10**9), seed=some.integers(0, 10**6))
def test_units_of_measurement_change_no_p(scale: int, seed: int) -> None:
    units = np.random.default_rng(seed).integers(1, 50, (2, 30, 4))
    plain, scaled = (moments_of(units, scale=one) for one in (1, scale))

    def test(both: st.NoveltyMoments) -> st.Novelty:
        return st.novelty_test(*(st.NoveltyMoments(*(field[[arm]] for field in both)) for arm in (0, 1)))

    assert float(test(scaled).p_value) == pytest.approx(float(test(plain).p_value), rel=1e-9)
    assert float(test(scaled).difference) * scale == pytest.approx(float(test(plain).difference), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"n": [-1]}, "n"),
        ({"scale": 0}, "scale"),
        ({"sums": [[1, 2, 3]]}, "sums"),
        ({"sums": [[1.5, 2, 3, 4]]}, "sums"),
        ({"products": [[1] * 9]}, "products"),
        ({"products": [[0, 6, 12, 6, 2, 4, 2, 8, 4, 2]]}, "products"),
        ({"sums": []}, "sums"),
    ],
)
def test_sums_that_cannot_be_are_refused_by_name(broken: dict[str, Any], named: str) -> None:
    given_: dict[str, Any] = {
        "n": [2],
        "sums": [[6, 2, 4, 2]],
        "products": [[20, 6, 12, 6, 2, 4, 2, 8, 4, 2]],
        "scale": 1,
    } | broken
    with pytest.raises(ContractError) as caught:
        st.novelty_moments(**given_)
    assert caught.value.where == named


def simulated(seed: int, *, lift_early: float, lift_late: float, runs: int = 500) -> st.Novelty:
    """400 units an arm, each with a taste of its own and up to 10 values at either age; later values are higher in both
    arms alike."""
    generator = np.random.default_rng(seed)
    shape = (2 * runs, 400)
    arm = np.repeat([0.0, 1.0], runs)[:, None]
    taste = generator.gamma(2.0, 5.0, shape)
    d_early, d_late = generator.integers(1, 10, shape), generator.integers(0, 10, shape)
    m_early = generator.poisson(d_early * taste * (1 + lift_early * arm))
    m_late = generator.poisson(d_late * taste * 1.5 * (1 + lift_late * arm))
    found = moments_of(np.stack([m_early, d_early, m_late, d_late], axis=-1))
    control, treatment = (
        st.NoveltyMoments(*(field[None, part] for field in found)) for part in (slice(runs), slice(runs, None))
    )
    return st.novelty_test(control, treatment)


def test_an_effect_that_stays_is_flagged_at_most_at_its_error() -> None:
    """Late values are higher by half in both arms, so that an effect of 30 % early is the same as one of 20 % late."""
    for early, late in ((0.0, 0.0), (0.3, 0.2)):
        found = simulated(51, lift_early=early, lift_late=late)
        at_most = 0.01 + 3 * np.sqrt(0.01 * 0.99 / 500)
        assert float(np.mean(found.p_value < 0.01)) <= at_most
        assert float(np.mean(found.strong)) <= 0.01


def test_an_effect_that_wears_off_is_flagged() -> None:
    assert float(np.mean(simulated(52, lift_early=0.3, lift_late=0.0).strong)) > 0.95
