"""What planning promises, played out: tests on random units that look again and again and stop.

Each figure is a share of RUNS tests, or a mean over them. It may miss by four of its standard errors, and by what
looking at every 0.2 % more units costs, where planning counts on a look at every unit (LESS_POWER, LATER). The seeds
are fixed.
"""

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.statistics.arguments import FloatArray

RUNS = 2_500
ALPHA, POWER = 0.05, 0.8
APART = 0.002
"""Between looks, as a share of the units."""
LESS_POWER, LATER = 0.01, 0.02
"""What that costs at most: 0.007 and 1.4 % with 40,000 runs."""


def within(share: float) -> float:
    """Four standard errors of a share of RUNS tests."""
    return 4 * float(np.sqrt(share * (1 - share) / RUNS))


def looks_to(first: int, last: int) -> list[int]:
    """Even sizes, each APART above the one before; the last one is `last`."""
    sizes = np.unique(2 * np.round(np.geomspace(first, last, int(np.log(last / first) / APART)) / 2))
    return [*(int(size) for size in sizes[sizes < last]), last]


def stopped(increments: FloatArray, looks: list[int], planned: st.PlannedEffect, r2: float) -> FloatArray:
    """Of each test, the units at its first exclusion of 0; infinite where there is none.

    increments: sums over the units between two looks of (effect per unit of both arms), shape (RUNS, looks).
    """
    totals = increments.cumsum(axis=1)
    n = np.array(looks, dtype=np.float64)
    se = np.sqrt(float(planned.test_variance) / n)
    effect = st.effect(totals / n, se, n_control=n / 2, n_treatment=n / 2)
    sequence = st.two_sided_sequence(effect, alpha=ALPHA, r2=r2)
    excluded = (sequence.lower > 0) | (sequence.upper < 0)
    return np.where(excluded.any(axis=1), n[excluded.argmax(axis=1)], np.inf)


def motion(planned: st.PlannedEffect, looks: list[int], seed: int) -> FloatArray:
    """Sums of normal units with the planned mean and variance."""
    step = np.diff(looks, prepend=0).astype(np.float64)
    noise = np.random.default_rng(seed).standard_normal((RUNS, len(looks)))
    return float(planned.effect) * step + np.sqrt(float(planned.variance) * step) * noise


@pytest.mark.parametrize(
    ("planned", "earliest"),
    [
        (st.planned_mean(1.0, 0.1), 200),
        (st.planned_mean(1.0, 0.1), 2_000),
        (st.planned_mean(1.0, 0.1, share=0.1), 500),
        (st.planned_proportion(0.9, 0.04, share=0.2, test="guarded"), 200),
    ],
    ids=["equal arms", "a late first look", "90/10", "guarded, 80/20"],
)
def test_sequential_power_size_and_mean_stopping_time(planned: st.PlannedEffect, earliest: int) -> None:
    fixed = float(st.fixed_units(planned, alpha=ALPHA, power=POWER))
    r2 = float(st.mixture_variance(fixed, alpha=ALPHA))
    last = 2 * round(float(st.sequential_units(planned, alpha=ALPHA, power=POWER, r2=r2, earliest_n=earliest)) / 2)
    looks = looks_to(earliest, last)
    for effect, seed in ((planned, 1), (planned._replace(effect=np.array(0.0)), 2)):
        foretold = st.sequential_power(effect, last, alpha=ALPHA, r2=r2, earliest_n=earliest)
        ends = stopped(motion(effect, looks, seed), looks, effect, r2)
        power = float(foretold.by_end)
        assert np.isfinite(ends).mean() == pytest.approx(power, abs=within(power) + LESS_POWER)
        units = np.minimum(ends, last)
        spread = 4 * float(units.std()) / np.sqrt(RUNS)
        assert units.mean() == pytest.approx(float(foretold.mean_units), abs=spread + LATER * last)


def test_against_the_fixed_test_of_the_same_power() -> None:
    """80 % like the fixed test's by 1.61 of its units, half of all by 0.92, on average 0.95 at the planned effect."""
    planned = st.planned_mean(1.0, 0.1)
    fixed = float(st.fixed_units(planned, alpha=ALPHA, power=POWER))
    r2 = float(st.mixture_variance(fixed, alpha=ALPHA))
    looks = looks_to(200, 2 * round(1.606 * fixed / 2))
    ends = stopped(motion(planned, looks, 3), looks, planned, r2)
    assert (ends <= 0.915 * fixed).mean() == pytest.approx(0.5, abs=within(0.5) + LESS_POWER)
    assert np.isfinite(ends).mean() == pytest.approx(POWER, abs=within(POWER) + LESS_POWER)
    assert np.minimum(ends, looks[-1]).mean() / fixed == pytest.approx(0.953, abs=0.03)
    at_fixed = looks_to(200, 2 * round(fixed / 2))[-1]
    z = motion(planned, [at_fixed], 4)[:, 0] / np.sqrt(float(planned.variance) * at_fixed)
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(POWER, abs=within(POWER))


def test_conversions_counted_one_by_one() -> None:
    """Bernoulli units with their variances estimated and guarded at each look, as the analyzer has them."""
    baseline, effect, share = 0.2, 0.05, 0.25
    planned = st.planned_proportion(baseline, effect, share=share, test="guarded")
    r2 = float(st.mixture_variance(st.fixed_units(planned, alpha=ALPHA, power=POWER), alpha=ALPHA))
    last = 4 * round(float(st.sequential_units(planned, alpha=ALPHA, power=POWER, r2=r2, earliest_n=400)) / 4)
    treated = np.unique(np.array(looks_to(400, last)) // 4)
    rng = np.random.default_rng(5)
    sizes = {"control": 3 * treated, "treatment": treated}
    rates = {"control": baseline, "treatment": baseline + effect}
    sums = {
        name: rng.binomial(np.diff(n, prepend=0), rates[name], (RUNS, len(n))).cumsum(axis=1)
        for name, n in sizes.items()
    }
    control, treatment = st.guarded(*(st.proportions(sizes[name], sums[name]) for name in ("control", "treatment")))
    found = st.absolute_effect(st.arm(*control), st.arm(*treatment))
    sequence = st.two_sided_sequence(found, alpha=ALPHA, r2=r2)
    excluded = ((sequence.lower > 0) | (sequence.upper < 0)).any(axis=1)
    # The normal limit costs something, too: arms of 100 units at the first look.
    assert excluded.mean() == pytest.approx(POWER, abs=within(POWER) + LESS_POWER + 0.01)


def test_a_group_sequential_test() -> None:
    planned = st.planned_mean(1.0, 0.1)
    fractions = [0.2, 0.4, 0.6, 0.8, 1.0]
    boundary = st.group_sequential_boundaries(fractions, alpha=ALPHA).boundary
    n = float(st.group_units(planned, power=POWER, fractions=fractions, boundary=boundary))
    looks = [round(fraction * n) for fraction in fractions]
    z = motion(planned, looks, 6).cumsum(axis=1) / np.sqrt(float(planned.variance) * np.array(looks))
    crossed = np.abs(z) > boundary
    foretold = st.group_power(planned, n, fractions=fractions, boundary=boundary)
    assert crossed.any(axis=1).mean() == pytest.approx(POWER, abs=within(POWER))
    units = np.where(crossed.any(axis=1), np.array(looks)[crossed.argmax(axis=1)], looks[-1])
    spread = 4 * float(units.std()) / np.sqrt(RUNS)
    assert units.mean() == pytest.approx(float(foretold.mean_units), abs=spread)
