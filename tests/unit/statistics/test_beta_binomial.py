"""The exact posterior of two proportions, against integrals in 30 digits, closed forms, limits and symmetries."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import special

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError

COUNTS = some.integers(0, 20_000).flatmap(lambda n: some.tuples(some.just(n), some.integers(0, n)))


def posterior(n_c: Any, s_c: Any, n_t: Any, s_t: Any, **more: Any) -> st.BetaPosterior:
    more.setdefault("alpha", 0.05)
    return st.beta_binomial_posterior(n_c, s_c, n_t, s_t, **more)


@pytest.mark.parametrize(
    ("counts", "beats", "choosing", "staying"),
    [
        ((1000, 100, 1000, 130), 0.9821650661163506, 9.237449150470706e-05, 0.03003249425198375),
        ((10, 0, 2000, 3), 0.021706154961808076, 0.08136249108634408, 2.7159751012743827e-05),
        ((0, 0, 50, 0), 0.019230769230769232, 0.4811320754716981, 0.000362844702467344),
        ((30, 30, 25, 20), 0.006344477546066424, 0.19114997698105599, 0.00017775475883375757),
        ((9000, 450, 1000, 90), 0.9999996781191122, 4.1579914666038596e-10, 0.040718385906537286),
    ],
)
def test_probability_and_losses_equal_those_of_mpmath_in_30_digits(
    counts: tuple[int, int, int, int], beats: float, choosing: float, staying: float
) -> None:
    found = posterior(*counts)
    np.testing.assert_allclose(found.probability_to_beat, beats, rtol=1e-11)
    np.testing.assert_allclose(found.loss_choosing, choosing, rtol=1e-11)
    np.testing.assert_allclose(found.loss_staying, staying, rtol=1e-11)


@pytest.mark.parametrize("ones", [0, 1, 7])
def test_a_uniform_rate_below_a_beta_one_is_a_closed_form(ones: int) -> None:
    # P(T > C) with C uniform is E[T] = (s + 1)/(n + 2).
    found = posterior(0, 0, 8, ones)
    np.testing.assert_allclose(found.probability_to_beat, (ones + 1) / 10, rtol=1e-12)


def test_the_difference_of_two_uniform_rates_is_triangular() -> None:
    found = posterior(0, 0, 0, 0, alpha=0.1)
    # Below d < 0 lies (1 + d)^2 / 2.
    assert float(found.lower) == pytest.approx(np.sqrt(0.1) - 1, rel=1e-11)
    assert float(found.upper) == pytest.approx(1 - np.sqrt(0.1), rel=1e-11)
    assert float(found.probability_to_beat) == pytest.approx(0.5, rel=1e-13)
    assert float(found.loss_choosing) == pytest.approx(1 / 6, rel=1e-12)


@pytest.mark.parametrize(
    ("counts", "lower", "upper"),
    [
        ((100, 10, 100, 13), -0.06002721415636449, 0.11978376260286880),
        ((0, 0, 50, 0), -0.9578138609791691, -0.005769230770996871),
        ((30, 30, 25, 20), -0.3692690151290572, -0.04055361616444256),
        ((100, 0, 100, 100), 0.9458354896369378, 0.9976038043445229),
    ],
)
def test_the_interval_of_the_difference_holds_its_probability(
    counts: tuple[int, int, int, int], lower: float, upper: float
) -> None:
    """The bounds whose tails mpmath's quadrature puts at 0.025 to 1e-8 or better."""
    found = posterior(*counts)
    np.testing.assert_allclose([found.lower, found.upper], [lower, upper], rtol=1e-9)


@pytest.mark.parametrize(
    ("control", "treatment"),
    [
        ((0.0039, 4.0), (1_183_104.2, 5.7)),
        ((0.0017, 4.7), (3_728_620.2, 8.4)),
        ((0.02, 30.0), (0.02, 20.0)),
        ((0.05, 0.02), (0.3, 0.001)),
        ((2.0, 0.3), (0.5, 900.0)),
    ],
)
def test_the_interval_holds_its_probability_where_priors_put_nearly_all_on_one_end(
    control: tuple[float, float], treatment: tuple[float, float]
) -> None:
    found = posterior(0, 0, 0, 0, prior_control=control, prior_treatment=treatment)
    generator, draws = np.random.default_rng(5), 400_000
    difference = generator.beta(*treatment, draws) - generator.beta(*control, draws)
    five_errors = 5 * np.sqrt(0.025 * 0.975 / draws)
    # A bound is right to 1e-8 of the standard deviation, and around 0 much may lie within that.
    close = 1e-8 * difference.std()
    for bound, tail in ((float(found.lower), difference), (-float(found.upper), -difference)):
        assert np.mean(tail < bound - close) < 0.025 + five_errors
        assert np.mean(tail <= bound + close) > 0.025 - five_errors


def test_the_intervals_of_the_rates_are_the_quantiles_of_their_betas() -> None:
    found = posterior(1000, 100, 500, 499, prior_control=(2.0, 5.0), prior_treatment=(0.5, 0.5))
    np.testing.assert_allclose(special.betainc(102, 905, [found.lower_control, found.upper_control]), [0.025, 0.975])
    np.testing.assert_allclose(
        special.betainc(499.5, 1.5, [found.lower_treatment, found.upper_treatment]), [0.025, 0.975]
    )
    assert float(found.rate_control) == pytest.approx(102 / 1007)


@pytest.mark.parametrize("n", [10**5, 10**8, 10**12])
def test_of_many_units_it_becomes_the_normal_posterior(n: int) -> None:
    more = int(2 * np.sqrt(2 * n * 0.1875))
    found = posterior(n, n // 4, n, n // 4 + more)
    arms = [st.arm(n, rate, rate * (1 - rate)) for rate in (0.25, (n // 4 + more) / n)]
    normal = st.normal_posterior(st.absolute_effect(*arms), alpha=0.05)
    close = 2e-2 / np.sqrt(n / 10**4) + 1e-8
    np.testing.assert_allclose(found.probability_to_beat, normal.probability_to_beat, rtol=close)
    np.testing.assert_allclose(found.loss_choosing, normal.loss_choosing, rtol=close)
    np.testing.assert_allclose([found.lower, found.upper], [normal.lower, normal.upper], rtol=5 * close)


def test_far_tails_keep_their_digits() -> None:
    found = posterior(40, 40, 40, 0)
    # The least of 41 uniforms above the greatest of 41 others: all orders of the two groups are equally likely.
    assert float(found.probability_to_beat) == pytest.approx(1 / special.comb(82, 41), rel=1e-10)


@settings(deadline=None, max_examples=60)
@given(COUNTS, COUNTS)
def test_swapping_arms_and_counting_failures_instead_turn_it_round(
    control: tuple[int, int], treatment: tuple[int, int]
) -> None:
    found = posterior(*control, *treatment)
    swapped = posterior(*treatment, *control)
    failures = posterior(control[0], control[0] - control[1], treatment[0], treatment[0] - treatment[1], direction=-1)
    np.testing.assert_allclose(found.probability_to_beat + swapped.probability_to_beat, 1, rtol=1e-9)
    np.testing.assert_allclose([found.lower, found.upper], [-swapped.upper, -swapped.lower], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.loss_choosing, swapped.loss_staying, rtol=1e-8)
    np.testing.assert_allclose(found.loss_choosing, failures.loss_choosing, rtol=1e-8)
    np.testing.assert_allclose(found.loss_staying - found.loss_choosing, found.difference, rtol=1e-8, atol=1e-14)
    assert float(found.lower) <= float(found.difference) <= float(found.upper) or min(control[0], treatment[0]) < 50
    assert all(np.isfinite(field) for field in found)


@pytest.mark.parametrize(
    "counts",
    [
        (0, 0, 10**12, 0),
        (10**12, 10**12, 0, 0),
        (10**12, 1, 10**12, 10**12 - 1),
        (1, 1, 10**9, 5 * 10**8),
        (10**12, 0, 10**12, 0),
    ],
)
def test_extreme_counts_give_finite_numbers(counts: tuple[int, int, int, int]) -> None:
    found = posterior(*counts)
    assert all(np.isfinite(field) for field in found)
    assert 0 <= float(found.probability_to_beat) <= 1
    assert -1 <= float(found.lower) < float(found.upper) <= 1


def test_a_batch_gives_what_each_comparison_gives_alone() -> None:
    generator = np.random.default_rng(3)
    n = generator.integers(0, 5000, (2, 70))
    hits = generator.binomial(n, 0.1)
    together = posterior(n[0], hits[0], n[1], hits[1])
    for place in range(0, 70, 10):
        alone = posterior(n[0, place], hits[0, place], n[1, place], hits[1, place])
        for whole, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[place], one, rtol=1e-9)


def test_what_is_remembered_cannot_be_altered_by_a_caller() -> None:
    posterior(50, 5, 50, 6).lower[...] = 7.0
    assert float(posterior(50, 5, 50, 6).lower) < 0


def test_no_comparisons_give_no_results() -> None:
    assert all(field.shape == (0,) for field in posterior([], [], [], []))


@pytest.mark.parametrize(
    ("arguments", "more", "named"),
    [
        ((10, 11, 10, 1), {}, "successes_control"),
        ((10, 1, 10, 11), {}, "successes_treatment"),
        ((10, 0.5, 10, 1), {}, "successes_control"),
        ((10, 1, np.nan, 1), {}, "n_treatment"),
        ((10, 1, 10, 1), {"direction": 0}, "direction"),
        ((10, 1, 10, 1), {"prior_control": (0.0, 1.0)}, "prior_control"),
        ((10, 1, 10, 1), {"prior_treatment": (1.0, np.nan)}, "prior_treatment"),
        ((10, 1, 10, 1), {"prior_treatment": (1.0, np.inf)}, "prior_treatment"),
    ],
)
def test_what_breaks_the_contract_is_refused_by_name(
    arguments: tuple[float, float, float, float], more: dict[str, Any], named: str
) -> None:
    with pytest.raises(ContractError) as caught:
        posterior(*arguments, **more)
    assert caught.value.where == named


@pytest.mark.parametrize("successes", [0, 3, 40])
@pytest.mark.parametrize("n", [10**6, 10**9, 10**12])
def test_rare_events_keep_their_digits_in_a_million_million_units(n: int, successes: int) -> None:
    found = st.beta_binomial_posterior(n, successes, n, successes, alpha=0.05)
    assert float(found.probability_to_beat) == pytest.approx(0.5, abs=1e-10)
    # Far from 1 a beta variable is a gamma one: E[(T - C)+] of two of them, a = successes + 1, unit scale.
    a = successes + 1
    expected = np.exp(special.gammaln(a + 0.5) - special.gammaln(a)) / np.sqrt(np.pi)
    assert float(found.loss_choosing) * n == pytest.approx(expected, rel=max(1e-9, 200 / n))
