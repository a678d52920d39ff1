"""Results made again by another way: integrals for closed forms, counting for integrals, simulation for formulas."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from splitgauge import statistics as st

NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def integral(f: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], low: float, high: float) -> float:
    x = (low + high) / 2 + (high - low) / 2 * NODES
    return float(f(x) @ WEIGHTS) * (high - low) / 2


def density(x: npt.NDArray[np.float64], mean: float, sd: float) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi)))


def test_the_two_sided_e_value_is_the_average_likelihood_ratio_over_a_normal_prior() -> None:
    n, value, se, r2 = 2000, 0.05, 0.0143, 0.002
    found = st.two_sided_sequence(st.effect(value, se, n_control=1000, n_treatment=1000), alpha=0.05, r2=r2)
    spread = se * math.sqrt(n * r2)
    likelihood = integral(lambda d: density(d, value, se) * density(d, 0.0, spread), -0.3, 0.3)
    expected = math.log(likelihood / float(density(np.array([0.0]), value, se)[0]))
    assert float(found.log_e_value) == pytest.approx(expected, rel=1e-10)


def test_the_one_sided_p_is_the_alpha_whose_bound_touches_the_null() -> None:
    now = st.effect(0.05, 0.0143, n_control=1000, n_treatment=1000)
    low, high = 1e-9, 0.4999
    for _ in range(100):
        middle = (low + high) / 2
        touches = float(st.one_sided_sequence(now, alpha=middle, r2=0.002).lower) < 0
        low, high = (middle, high) if touches else (low, middle)
    assert float(st.one_sided_sequence(now, alpha=0.05, r2=0.002).p_greater) == pytest.approx(low, rel=1e-9)


def test_the_rate_ratios_interval_ends_where_the_averaged_likelihood_says() -> None:
    c, t, w, k = 37, 71, 0.3, 100.0
    found = st.rate_ratio_sequence([c], [t], w, alpha=0.05, concentration=k)
    prior = special.betaln(k * w, k * (1 - w))

    def log_e(theta: float) -> float:
        tilted = w * math.exp(theta) / (1 - w + w * math.exp(theta))
        at_tilted = t * math.log(tilted) + c * math.log1p(-tilted)
        return math.log(
            integral(
                lambda p: np.exp(
                    (k * w - 1 + t) * np.log(p) + (k * (1 - w) - 1 + c) * np.log1p(-p) - prior - at_tilted
                ),
                0.0,
                1.0,
            )
        )

    assert [log_e(float(end)) for end in (found.lower, found.upper)] == pytest.approx([math.log(20)] * 2, rel=1e-9)
    assert float(found.log_e_value) == pytest.approx(log_e(0.0), rel=1e-10)


def test_a_sample_ratio_over_epochs_is_the_average_of_products() -> None:
    epochs = [([500, 560], [0.5, 0.5]), ([300, 80], [0.8, 0.2])]

    def log_factor(k: float) -> float:
        total = 0.0
        for counts, shares in epochs:
            total += math.lgamma(k) - math.lgamma(k + sum(counts))
            total += sum(
                math.lgamma(k * w + c) - math.lgamma(k * w) - c * math.log(w)
                for c, w in zip(counts, shares, strict=True)
            )
        return total

    found = st.sample_ratio([counts for counts, _ in epochs], [shares for _, shares in epochs])
    expected = math.log((math.exp(log_factor(100.0)) + math.exp(log_factor(10_000.0))) / 2)
    assert float(found.log_e_value) == pytest.approx(expected, rel=1e-8)


def test_e_bh_rejects_the_longest_list_that_reaches_its_line() -> None:
    generator = np.random.default_rng(5)
    for log_e in generator.normal(2.0, 2.0, (200, 8)):
        lengths = [k for k in range(1, 9) if np.sort(log_e)[-k] >= math.log(8 / (k * 0.1))]
        expected = log_e >= np.sort(log_e)[-max(lengths)] if lengths else np.zeros(8, dtype=np.bool_)
        assert st.e_bh(log_e, alpha=0.1).tolist() == expected.tolist()


def test_conditional_power_is_the_share_of_futures_that_reject() -> None:
    n, end, value, se, target = 1000, 3000, 0.05, 0.1, 0.12
    found = st.conditional_power(st.effect(value, se, n_control=500, n_treatment=500), target, final_n=end, alpha=0.05)
    rest = np.random.default_rng(6).normal(target, se * math.sqrt(n / (end - n)), 400_000)
    final = (n * value + (end - n) * rest) / end
    rejects = np.abs(final) > -special.ndtri(0.025) * se * math.sqrt(n / end)
    assert float(found) == pytest.approx(float(rejects.mean()), abs=4 * 0.5 / math.sqrt(rest.size))


def test_the_mixture_is_tuned_within_five_percent_of_its_optimum() -> None:
    wanted = 1 - 2 * math.log(0.05)
    x = wanted  # -W_{-1}(-alpha^2/e): the x > 1 with x - ln x = 1 - 2 ln alpha
    for _ in range(60):
        x = wanted + math.log(x)
    optimum = (x - 1) / 5000
    assert float(st.mixture_variance(5000, alpha=0.05)) == pytest.approx(optimum, rel=0.05)


@pytest.mark.parametrize(("relative", "margin", "factor"), [(True, 0.05, 1.05), (False, 5.0, 1.0)])
@pytest.mark.parametrize("direction", [-1, 1])
def test_noninferiority_is_welch_against_control_moved_by_the_margin(
    relative: bool, margin: float, factor: float, direction: int
) -> None:
    generator = np.random.default_rng(7)
    control, treatment = generator.normal(100.0, 30.0, 90), generator.normal(99.0, 40.0, 120)
    arms = [st.arm(y.size, y.mean(), y.var(ddof=1)) for y in (control, treatment)]
    found = st.noninferiority_test(*arms, margin=margin, relative=relative, direction=direction, alpha=0.05)
    moved = control * (1 - direction * (factor - 1)) - (0.0 if relative else direction * 5.0)
    excess = -direction * (treatment.mean() - moved.mean())
    se = math.sqrt(treatment.var(ddof=1) / 120 + moved.var(ddof=1) / 90)
    assert float(found.excess) == pytest.approx(excess, rel=1e-12)
    assert float(found.excess_se) == pytest.approx(se, rel=1e-12)
    p_value = np.asarray(special.stdtr(found.df, excess / se), dtype=np.float64)
    assert float(found.p_pass) == pytest.approx(float(p_value), rel=1e-12)
    assert bool(found.passed) == bool(found.p_pass < 0.05) == bool(found.excess_upper < 0)


def test_noninferiority_of_an_empty_arm_passes_nothing() -> None:
    found = st.noninferiority_test(
        st.arm(0, np.nan, np.nan), st.arm(9, 1.0, 1.0), margin=1.0, relative=False, direction=1, alpha=0.05
    )
    assert np.isnan(found.p_pass)
    assert not found.passed
