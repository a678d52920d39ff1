"""The distribution over looks: against other integrations of the same normal vector, and tables of half a century."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, special
from scipy.stats import multivariate_normal

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics.recursion import Looks, next_boundary, stopping_probabilities

Array = npt.NDArray[np.float64]

NO_DRIFT = np.zeros(1)


def first_crossing(information: Array, bounds: Array, drift: float) -> float:
    """Probability to be inside at all looks but the last and above there, by scipy's integration over the vector."""
    correlation = np.sqrt(np.minimum.outer(information, information) / np.maximum.outer(information, information))
    upper, lower = bounds.copy(), -bounds
    upper[-1], lower[-1] = np.inf, bounds[-1]
    inside = multivariate_normal.cdf(
        upper,
        drift * np.sqrt(information),
        correlation,
        maxpts=400_000,
        abseps=1e-6,
        releps=1e-8,
        lower_limit=lower,
    )
    return float(inside)


@pytest.mark.parametrize("drift", [0.0, -1.5])
@pytest.mark.parametrize(
    ("information", "bounds"),
    [((0.5, 1.0), (2.0, 2.2)), ((0.3, 0.31, 1.0), (2.5, 2.6, 2.0)), ((0.1, 0.7, 0.9), (1.5, 2.5, 2.1))],
)
def test_stopping_equals_the_integral_of_the_normal_vector(
    information: tuple[float, ...], bounds: tuple[float, ...], drift: float
) -> None:
    above, below = stopping_probabilities(Looks(information, bounds, 2), np.array([drift]))
    t, b = np.array(information), np.array(bounds)
    for k in range(1, len(information) + 1):
        assert above[0, k - 1] == pytest.approx(first_crossing(t[:k], b[:k], drift), abs=2e-6)
        assert below[0, k - 1] == pytest.approx(first_crossing(t[:k], b[:k], -drift), abs=2e-6)


def test_boundaries_equal_simpsons_rule_where_looks_are_close_together() -> None:
    # The peers' trapezoids (a step of 0.05 standard deviations of the increment before) say 2.6217 at the fourth look.
    information, crossing = np.array([0.05, 0.1, 0.5, 0.51, 1.0]), np.array([0.05, 0.1, 0.5, 0.51, 1.0]) ** 2 * 0.025
    ours: list[float] = []
    for k, step in enumerate(np.diff(crossing, prepend=0.0)):
        before = Looks(tuple(information[:k].tolist()), tuple(ours), 1)
        ours.append(next_boundary(before, float(information[k]), float(step)))
    theirs = by_simpsons_rule(information, np.diff(crossing, prepend=0.0), nodes=1501)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    np.testing.assert_allclose(ours[3], 2.620603436760, rtol=1e-11)


def by_simpsons_rule(information: Array, crossing: Array, nodes: int) -> list[float]:
    """One-sided boundaries on an even grid from -9 standard errors, as plainly as can be."""
    unit = np.sqrt(information)
    weights = np.where(np.arange(nodes) % 2 == 1, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    bounds = [-float(special.ndtri(float(crossing[0])))]
    at = np.linspace(-9.0, bounds[0], nodes) * unit[0]
    density = np.exp(-0.5 * (at / unit[0]) ** 2) / (unit[0] * np.sqrt(2 * np.pi))
    for k in range(1, len(information)):
        mass = density * weights * (at[1] - at[0]) / 3
        spread = np.sqrt(information[k] - information[k - 1])
        bounds.append(_where_crossed(at, mass, spread, unit[k], crossing[k]))
        ahead = np.linspace(-9.0, bounds[-1], nodes) * unit[k]
        density = np.exp(-0.5 * ((ahead[:, None] - at) / spread) ** 2) @ mass / (spread * np.sqrt(2 * np.pi))
        at = ahead
    return bounds


def _where_crossed(at: Array, mass: Array, spread: float, unit: float, crossing: float) -> float:
    def excess(bound: float) -> float:
        return float((mass * special.ndtr((at - bound * unit) / spread)).sum() - crossing)

    return float(optimize.brentq(excess, 0.0, 9.0, xtol=1e-13))


# Jennison and Turnbull 2000, Group Sequential Methods, tables 2.1 and 2.3, two-sided alpha 0.05 and 0.01.
POCOCK = {0.05: {2: 2.178, 3: 2.289, 4: 2.361, 5: 2.413, 10: 2.555, 20: 2.672}, 0.01: {2: 2.772, 5: 2.986}}
OBRIEN_FLEMING = {0.05: {2: 1.977, 3: 2.004, 4: 2.024, 5: 2.040, 10: 2.087, 20: 2.126}, 0.01: {2: 2.580, 5: 2.621}}


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_the_error_of_pococks_and_obrien_flemings_tests_is_the_tables(exponent: float) -> None:
    for alpha, constants in (OBRIEN_FLEMING if exponent else POCOCK).items():
        for looks, constant in constants.items():
            t = np.arange(1, looks + 1) / looks
            errors = [
                2 * stopping_probabilities(Looks(tuple(t), tuple(bound * t**-exponent), 2), NO_DRIFT)[0].sum()
                for bound in (constant + 0.0005, constant - 0.0005)
            ]
            assert errors[0] < alpha < errors[1]


# Tables 2.2 and 2.4: the largest sample over that of the fixed test, two-sided alpha 0.05.
@pytest.mark.parametrize(
    ("exponent", "power", "ratios"),
    [
        (0.0, 0.8, {2: 1.110, 3: 1.166, 4: 1.202, 5: 1.229}),
        (0.0, 0.9, {2: 1.100, 3: 1.151, 4: 1.183, 5: 1.207}),
        (0.5, 0.8, {2: 1.008, 3: 1.017, 4: 1.024, 5: 1.028}),
        (0.5, 0.9, {2: 1.007, 3: 1.016, 4: 1.022, 5: 1.026}),
    ],
)
def test_the_sizes_of_these_tests_are_the_tables(exponent: float, power: float, ratios: dict[int, float]) -> None:
    fixed = special.ndtri(power) - special.ndtri(0.025)
    for looks, ratio in ratios.items():
        t = np.arange(1, looks + 1) / looks
        constant = _constant(t, exponent)
        bounds = Looks(tuple(t), tuple(constant * t**-exponent), 2)
        low, high = (
            stopping_probabilities(bounds, np.sqrt([r]) * fixed)[0].sum() for r in (ratio - 0.0005, ratio + 0.0005)
        )
        assert low < power < high


def _constant(t: Array, exponent: float) -> float:
    def excess(constant: float) -> float:
        bounds = Looks(tuple(t), tuple(constant * t**-exponent), 2)
        return float(2 * stopping_probabilities(bounds, NO_DRIFT)[0].sum() - 0.05)

    return float(optimize.brentq(excess, 1.9, 2.8))


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("crossing", [1e-250, 1e-20, 1e-3, 0.09])
def test_a_boundary_is_crossed_with_the_probability_asked_for(crossing: float, sides: int) -> None:
    bounds: tuple[float, ...] = ()
    information = (1e-6, 0.0002, 0.4, 0.4001, 0.9)
    for k, now in enumerate(information):
        bounds = (*bounds, next_boundary(Looks(information[:k], bounds, sides), now, crossing))
    above, _ = stopping_probabilities(Looks(information, bounds, sides), NO_DRIFT)
    np.testing.assert_allclose(above[0], crossing, rtol=1e-9)


def test_what_cannot_be_spent_gives_no_boundary_and_no_crossing() -> None:
    assert next_boundary(Looks((), (), 2), 0.5, 0.0) == np.inf
    through = Looks((0.5, 1.0), (np.inf, 1.959963984540054), 2)
    above, below = stopping_probabilities(through, np.array([0.0, 2.8]))
    assert above[:, 0].tolist() == below[:, 0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(above[:, 1], special.ndtr(np.array([0.0, 2.8]) - 1.959963984540054), rtol=1e-12)


def test_an_undefined_drift_gives_no_number() -> None:
    above, below = stopping_probabilities(Looks((0.5, 1.0), (2.0, 2.0), 2), np.array([np.nan, 0.0]))
    assert np.isnan(above[0]).all()
    assert np.isnan(below[0]).all()
    assert np.isfinite(above[1]).all()


def test_looks_that_cannot_be_of_one_test_are_refused() -> None:
    with pytest.raises(ContractError, match="too little for") as caught:
        next_boundary(Looks((0.5,), (0.01,), 2), 1.0, 0.01)
    assert caught.value.where == "taken"
