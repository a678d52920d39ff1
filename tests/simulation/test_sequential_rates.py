"""Two arms that are the same, and a look after every outcome: how often is one promoted, or rolled back?

Through the statistics as the analyzer uses them: the guarded asymptotic sequence on the goal at alpha, for rates also
the Bayes factor of the engine for rare outcomes, and a rollback by the one-sided sequence or by the count of first
failures, half of the alpha each. More runs on request, see `statistics_worlds.runs_of`.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import (
    RARER,
    SPLITS,
    Bools,
    Maker,
    World,
    arms_over_time,
    chunks,
    common_rate,
    common_trend,
    enough_units,
    ever,
    first_failures_over_time,
    heavy_latency,
    most,
    ramped,
    rare_rate,
    reweighted,
    runs_of,
    shares_of_epochs,
    skewed_revenue,
    sticky_cost,
    sticky_failures,
    sums_over_time,
)

ALPHA = 0.05
PLANNED = 5000.0
RUNS = runs_of(200)

RATES: list[Maker] = [common_rate, rare_rate, common_trend, sticky_failures, reweighted]
OTHERS: list[Maker] = [skewed_revenue, heavy_latency, sticky_cost, ramped]


def goal_flags(arms: st.Arms) -> tuple[Bools, Bools]:
    """Where the goal excludes 0 on the good side, and on the bad one."""
    found = st.two_sided_sequence(st.absolute_effect(*arms), alpha=ALPHA, r2=st.mixture_variance(PLANNED, alpha=ALPHA))
    may = enough_units(arms)
    return may & (found.lower > 0), may & (found.upper < 0)


def harm_flags(arms: st.Arms, *, direction: int, alpha: float) -> Bools:
    found = st.guardrail_sequence(
        *arms,
        margin=0.05,
        relative=True,
        direction=direction,
        harm_alpha=alpha,
        pass_alpha=ALPHA,
        planned_n=PLANNED,
    )
    return found.harmed & enough_units(arms)


def counted_harm(world: World, member: Bools) -> Bools:
    """Of 0/1 outcomes, where 1 is a failure: each unit's first one, in the unit's epoch and with that epoch's share."""
    control, treatment = first_failures_over_time(world, member)
    return st.first_failures(control, treatment, shares_of_epochs(world), alpha=ALPHA / 2).harm


def counted_goal(world: World, member: Bools) -> Bools:
    """The engine for rare outcomes: the Bayes factor of equal rates on the units that had the outcome."""
    counts = np.stack(first_failures_over_time(world, member), axis=-1)
    shares = np.stack([1 - shares_of_epochs(world), shares_of_epochs(world)], axis=-1)
    return np.asarray(st.log_bayes_factor(counts, shares, concentration=100.0).sum(axis=0) >= -np.log(ALPHA))


def errors_of(maker: Maker, share: float, *, rate: bool) -> Counter[str]:
    """Runs with a false promotion, a false loss and a false rollback."""
    found: Counter[str] = Counter()
    for random, runs in chunks(RUNS, 401):
        world = maker(random, runs, share)
        member = world.members(random)
        arms = arms_over_time(world, member)
        better, worse = goal_flags(arms)
        harmed = harm_flags(arms, direction=-1, alpha=ALPHA / 2 if rate else ALPHA)
        if rate:
            # Units that had the outcome, not outcomes: the first of each unit is counted.
            rarer = sum(arm.sum(axis=0) for arm in first_failures_over_time(world, member))
            better, worse = better & (rarer >= RARER), worse & (rarer >= RARER)
            harmed |= counted_harm(world, member)
            found.update(counted=ever(counted_goal(world, member)))
        found.update(promoted=ever(better), either=ever(better | worse), rolled_back=ever(harmed))
    return found


def expect_alpha(found: Counter[str]) -> None:
    print(f"{RUNS} runs: {dict(found)}")  # noqa: T201 - the figures are what these tests are for; shown with -s
    assert found["either"] <= most(RUNS, ALPHA)
    assert found["promoted"] <= most(RUNS, ALPHA / 2)
    assert found["rolled_back"] <= most(RUNS, ALPHA)
    assert found["counted"] <= most(RUNS, ALPHA)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("maker", RATES, ids=lambda maker: maker.__name__)
def test_equal_rates_of_units_and_of_requests_are_seldom_told_apart(maker: Maker, share: float) -> None:
    expect_alpha(errors_of(maker, share, rate=True))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("maker", OTHERS, ids=lambda maker: maker.__name__)
def test_equal_means_and_ratios_are_seldom_told_apart(maker: Maker, share: float) -> None:
    expect_alpha(errors_of(maker, share, rate=False))


def test_returning_users_taken_as_one_stratum_would_be_told_apart() -> None:
    """The world of two re-weightings does mislead: without epochs its trend becomes a difference."""
    [(random, runs)] = chunks(100, 403)
    world = reweighted(random, runs, 0.2)
    member = world.members(random)
    at_once = arms_over_time(replace(world, epoch=None), member)
    by_epoch = arms_over_time(world, member)
    assert ever(np.logical_or(*goal_flags(at_once))) > 4 * ALPHA * runs
    assert ever(np.logical_or(*goal_flags(by_epoch))) <= most(runs, ALPHA)


def test_requests_of_sticky_users_taken_as_units_would_be_told_apart() -> None:
    [(random, runs)] = chunks(100, 404)
    world = sticky_failures(random, runs, 0.5)
    member = world.members(random)
    assert ever(np.logical_or(*goal_flags(arms_over_time(replace(world, unit=None), member)))) > 2 * ALPHA * runs


def test_running_sums_of_returning_units_are_those_of_their_totals() -> None:
    """The world's own arithmetic, against plain loops."""
    random = np.random.default_rng(402)
    unit = random.integers(0, 12, (3, 80))
    epoch = np.broadcast_to(np.arange(80) // 40, (3, 80))
    world = World(random.integers(0, 5, (3, 80)).astype(np.float64), 0.4, unit, epoch)
    member = world.members(random)
    made = sums_over_time(world, member)
    for run in range(3):
        totals: dict[tuple[bool, int, int], list[float]] = {}
        homes: dict[int, tuple[bool, int]] = {}
        for place in range(80):
            who = int(unit[run, place])
            home = homes.setdefault(who, (bool(member[run, place]), int(epoch[run, place])))
            assert home[0] == member[run, place]
            if home[1] == epoch[run, place]:
                total = totals.setdefault((*home, who), [0.0, 0.0])
                total[0] += world.value[run, place]
                total[1] += 1
        for arm, sums in enumerate(made):
            for one in (0, 1):
                own = [total for (is_member, home, _), total in totals.items() if (is_member, home) == (bool(arm), one)]
                m, d = np.array(own).reshape(-1, 2).T
                got = [column[one, run, -1] for column in (sums.n, sums.m, sums.d, sums.mm, sums.dd, sums.md)]
                assert got == [len(own), m.sum(), d.sum(), (m * m).sum(), (d * d).sum(), (m * d).sum()]
