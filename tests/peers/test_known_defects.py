"""Where a library of the field is wrong: the right value, where it comes from, and what the library says."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy import special

from peers.libraries import aggregates, bounds, moments, spotify, spotify_frame, tea, tests
from splitgauge import statistics as st

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers; that ours raise none is tested elsewhere


def difference(frame: Any, **options: Any) -> Any:
    """The one row of spotify-confidence's z-test."""
    return spotify.ZTest(frame, "sum", "squares", "n", ["group"]).difference("c", "t", **options).iloc[0]


def test_a_far_tail_is_not_zero() -> None:
    """1,000,000 against 1,012,000 units at 50/50: chi-square x = 12000^2 / 2012000 = 71.6, p = erfc(sqrt(x / 2)).

    That is 2.7e-17. spotify-confidence takes 1 - cdf, which is 0 from 1e-16 on.
    """
    control, treatment = 1_000_000, 1_012_000
    x = (treatment - control) ** 2 / (treatment + control)
    right = math.erfc(math.sqrt(x / 2))
    ours = st.chi_square_test([[control, treatment]], [0.5, 0.5])
    assert float(ours.p_value) == pytest.approx(right, rel=1e-9)
    frame = spotify_frame((control, 0, 0), (treatment, 0, 0))
    test = spotify.ZTest(frame, "sum", "squares", "n", ["group"])
    theirs = test.sample_ratio_test({"c": 0.5, "t": 0.5})[0]
    assert 0 < right < 1e-16
    assert theirs == 0.0


def test_no_variance_is_no_reason_to_have_no_p() -> None:
    """All of 1,000 against 990 of 1,000: Fisher's test adds up the tables no likelier than the one seen.

    Of 10 failures among 2,000 units, all in one arm of 1,000: both tables that are as unlikely, so
    p = 2 C(1000, 10) / C(2000, 10). z with unpooled variance (spotify-confidence) leaves control's variance at 0.
    """
    right = 2 * math.comb(1000, 10) / math.comb(2000, 10)
    ours = st.proportion_test(1000, 1000, 1000, 990, alpha=0.05)
    assert float(ours.p_value) == pytest.approx(right, rel=1e-9)
    assert bool(ours.exact)
    theirs = difference(spotify_frame((1000, 1000, 1000), (1000, 990, 990)))["p-value"]
    assert theirs == pytest.approx(2 * special.ndtr(-0.01 / math.sqrt(0.99 * 0.01 / 1000)), rel=1e-3)
    assert theirs < 0.8 * right


def test_no_failure_anywhere_is_no_evidence_and_not_undefined() -> None:
    """With 1,000 of 1,000 in both arms there is one table only: p = 1. The z-tests of the peers divide 0 by 0."""
    assert float(st.proportion_test(1000, 1000, 1000, 1000, alpha=0.05).p_value) == 1.0
    assert math.isnan(difference(spotify_frame((1000, 1000, 1000), (1000, 1000, 1000)))["p-value"])
    assert math.isnan(tests.proportions_ztest([1000, 1000], [1000, 1000])[1])


@settings(max_examples=10)
@given(hs.integers(200, 5000), hs.floats(0.05, 0.4), hs.floats(0.05, 0.4))
def test_a_relative_interval_has_the_noise_of_control(n: int, rate_c: float, rate_t: float) -> None:
    """d(t/c - 1) = dt/c - t dc/c^2, so SE^2 = v_t/(n c^2) + v_c t^2/(n c^4).

    spotify-confidence divides the absolute interval by c: SE^2 = (v_t + v_c)/(n c^2), too short where t > c and too
    long where t < c.
    """
    s_c, s_t = round(n * rate_c), round(n * rate_t)
    c, t = s_c / n, s_t / n
    v_c, v_t = c * (1 - c), t * (1 - t)
    right = math.sqrt(v_t / (n * c**2) + v_c * t**2 / (n * c**4))
    ours = st.relative_effect(st.arm(n, c, v_c), st.arm(n, t, v_t))
    assert float(ours.se) == pytest.approx(right, rel=1e-12)
    row = difference(spotify_frame((n, s_c, s_c), (n, s_t, s_t)), absolute=False)
    theirs = (row["ci_upper"] - row["ci_lower"]) / 2 / -float(special.ndtri(0.025))
    assert theirs == pytest.approx(math.sqrt((v_t + v_c) / (n * c**2)), rel=1e-6)
    if abs(t - c) > 1e-9:
        assert (theirs < right) == (t > c)


def test_a_relative_margin_has_the_noise_of_control() -> None:
    """The excess over a margin d is m_t - (1 + d) m_c, so SE^2 = v_t/n + (1 + d)^2 v_c/n.

    spotify-confidence takes the margin d m_c as known: SE^2 = (v_t + v_c)/n.
    """
    n, c, t, d = 1000, 0.2, 0.21, 0.3
    v_c, v_t = c * (1 - c), t * (1 - t)
    found = st.guardrail_sequence(
        st.arm(n, c, v_c),
        st.arm(n, t, v_t),
        margin=d,
        relative=True,
        direction=-1,
        harm_alpha=0.05,
        pass_alpha=0.05,
        planned_n=5000,
    )
    right = math.sqrt((v_t + (1 + d) ** 2 * v_c) / n)
    assert float(found.excess) == pytest.approx(t - (1 + d) * c, rel=1e-12)
    assert float(found.excess_se) == pytest.approx(right, rel=1e-12)
    frame = spotify_frame((n, n * c, n * c), (n, n * t, n * t))
    row = difference(frame, non_inferiority_margins=(d, "decrease"))
    theirs = (row["ci_upper"] - row["difference"]) / -float(special.ndtri(0.05))
    assert theirs == pytest.approx(math.sqrt((v_t + v_c) / n), rel=1e-6)
    assert theirs < 0.95 * right


def test_a_mean_of_control_near_zero_takes_no_absolute_effect_away() -> None:
    """Means of 1/3 (-1000, 0, 1001) and 10,000: the absolute effect is 10,000 - 1/3, whatever the relative one.

    tea-tasting takes exp of the relative standard error, which overflows, and with it the whole analysis.
    """
    control, treatment = moments([-1000, 0, 1001]), moments([-40_000, -10_000, 80_000])
    effect = st.absolute_effect(*(st.arm(*st.means(arm)) for arm in (control, treatment)))
    assert float(effect.value[0]) == pytest.approx(10_000 - 1 / 3, rel=1e-12)
    assert np.isfinite(st.welch_test(effect, alpha=0.05).p_value).all()
    with pytest.raises(OverflowError):
        tea.Mean("m").analyze_aggregates(aggregates(control), aggregates(treatment))


def test_a_short_step_between_looks_needs_a_fine_grid() -> None:
    """Looks at 0.50 and 0.51: the increment's standard deviation is 0.1, the grid has to be far finer than that.

    The second boundary, by the definition of the spending: alpha(0.51) - alpha(0.50) = P(Z_1 < b_1, Z_2 >= b_2), here
    by quadrature over Z_1. spotify-confidence's fixed grid is off in the fourth digit.
    """
    fractions, alpha = np.array([0.5, 0.51, 1.0]), 0.05
    ours = st.group_sequential_boundaries(fractions, alpha=alpha, spending="power", phi=2.0, sides=1).boundary
    first, second = float(ours[0]), float(ours[1])
    assert special.ndtr(-first) == pytest.approx(alpha * 0.5**2, rel=1e-9)
    z = np.linspace(-9.0, first, 400_001)
    correlation = math.sqrt(0.5 / 0.51)
    beyond = special.ndtr((correlation * z - second) / math.sqrt(1 - correlation**2))
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    crossing = float(np.trapezoid(density * beyond, z))
    assert crossing == pytest.approx(alpha * (0.51**2 - 0.5**2), rel=1e-6)
    theirs = bounds(fractions, alpha=alpha, rho=2, ztrun=8, sides=1, max_nints=1000).bounds
    assert abs(theirs[1] - second) > 1e-4
