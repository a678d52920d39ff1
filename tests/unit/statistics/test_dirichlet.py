"""The Bayes factor of counts keeps its digits, by whole numbers where there are few units and by sixty decimals where
there are many."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import comb, log

import numpy as np
import pytest

from splitgauge import statistics as st

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


def bernoulli(highest: int) -> list[Fraction]:
    numbers = [Fraction(1)]
    for m in range(1, highest + 1):
        numbers.append(-sum((comb(m + 1, k) * numbers[k] for k in range(m)), Fraction(0)) / (m + 1))
    return numbers


BERNOULLI = bernoulli(40)


def log_gamma(z: Decimal) -> Decimal:
    """By recursion up to 60 and Stirling's series from there: right to more than fifty digits."""
    total = Decimal(0)
    while z < 60:
        total -= z.ln()
        z += 1
    total += (z - Decimal("0.5")) * z.ln() - z + (2 * PI).ln() / 2
    for i in range(1, 20):
        number = BERNOULLI[2 * i]
        total += Decimal(number.numerator) / number.denominator / (2 * i * (2 * i - 1)) / z ** (2 * i - 1)
    return total


def in_many_digits(counts: list[int], shares: list[float], k: float) -> float:
    """The published formula as it stands."""
    with localcontext(prec=60):
        whole = sum(Decimal(w) for w in shares)
        total = log_gamma(Decimal(k)) - log_gamma(Decimal(k) + sum(counts))
        for c, share in zip(counts, shares, strict=True):
            w = Decimal(share) / whole
            total += log_gamma(Decimal(k) * w + c) - log_gamma(Decimal(k) * w) - c * w.ln()
        return float(total)


def test_few_units_by_products_of_whole_numbers() -> None:
    """G(k w + c)/G(k w) is k w (k w + 1) ... (k w + c - 1)."""
    counts, w, k = (3, 17, 0), (Fraction(1, 4), Fraction(1, 2), Fraction(1, 4)), 8

    def rising(start: Fraction, times: int) -> Fraction:
        product = Fraction(1)
        for step in range(times):
            product *= start + step
        return product

    factor = 1 / rising(Fraction(k), sum(counts))
    for c, share in zip(counts, w, strict=True):
        factor *= rising(k * share, c) / share**c
    found = st.log_bayes_factor(counts, [float(share) for share in w], concentration=k)
    assert float(found) == pytest.approx(log(factor), rel=1e-13)


@pytest.mark.parametrize("n", [1, 10, 10**4, 10**8, 10**12])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [1 / 3, 1 / 3, 1 / 3], [1e-6, 1 - 1e-6]])
@pytest.mark.parametrize("deviations", [0.0, 3.0, 30.0])
def test_any_number_of_units_keeps_ten_digits(n: int, shares: list[float], deviations: float) -> None:
    expected = [round(n * share) for share in shares]
    moved = min(expected[0], round(deviations * (n * shares[0] * (1 - shares[0])) ** 0.5))
    counts = [expected[0] - moved, expected[1] + moved, *expected[2:]]
    for k in (2.0, 100.0, 10_000.0):
        found = float(st.log_bayes_factor(counts, shares, concentration=k))
        assert found == pytest.approx(in_many_digits(counts, shares, k), rel=1e-10, abs=1e-10)


def test_two_arms_of_many_units_keep_their_digits() -> None:
    counts = [5 * 10**11 + 10**6, 5 * 10**11 - 10**6]
    found = float(st.first_failures([counts[0]], [counts[1]], 0.5, alpha=0.05).log_e_value)
    assert found == pytest.approx(in_many_digits(counts, [0.5, 0.5], 2.0), rel=1e-10)


def test_the_rate_of_very_many_units_has_bounds_at_the_published_e_value() -> None:
    n, s, c = 10**12, 3 * 10**11, 10.0
    found = st.rate_sequence(n, s, alpha=0.05, concentration=c)
    for p in (float(found.lower), float(found.upper)):
        assert in_many_digits([s, n - s], [p, 1 - p], c) == pytest.approx(np.log(20), rel=1e-5)


def test_shares_that_add_up_within_their_tolerance_are_taken_as_whole() -> None:
    """1e-10 too much in all shares together would be 100 in the logarithm at 1e12 units."""
    counts = [5 * 10**11, 5 * 10**11]
    right = float(st.log_bayes_factor(counts, [0.5, 0.5], concentration=100.0))
    found = float(st.log_bayes_factor(counts, [0.5 + 5e-11, 0.5 + 5e-11], concentration=100.0))
    assert found == pytest.approx(right, rel=1e-9)
