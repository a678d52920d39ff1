"""Guardrails whose challenger is exactly as bad as the margin: how often does it pass at some look, by the rules of the
analyzer? (False rollbacks: `test_sequential_rates`, and of several guardrails and challengers `test_family_rates`.)
"""

from dataclasses import replace

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import (
    FLOOR,
    RARER,
    SPLITS,
    Bools,
    Maker,
    arms_over_time,
    chunks,
    ever,
    heavy_latency,
    most,
    runs_of,
    sticky_cost,
)

ALPHA = 0.05
PLANNED = 5000.0
MARGIN = 0.005
RUNS = runs_of(200)
LOOKS = slice(39, None, 40)
"""After every 40 units: a pass needs many without a failure, and a few more or less change little."""


def passes(arms: st.Arms, *, margin: float, relative: bool) -> Bools:
    """Where the one-sided sequence says that it is not worse by the margin; down is good."""
    found = st.guardrail_sequence(
        *arms,
        margin=margin,
        relative=relative,
        direction=-1,
        harm_alpha=ALPHA,
        pass_alpha=ALPHA,
        planned_n=PLANNED,
    )
    return found.passed & (arms.control.n >= FLOOR) & (arms.treatment.n >= FLOOR)


def rate_passes(random: np.random.Generator, runs: int, *, rate: float, share: float, units: int) -> Bools:
    """Of one failure or none per unit: with fewer than 25 failures by the exact bounds, else by the sequence."""
    member = random.random((runs, units)) < share
    failed = random.random((runs, units)) < np.where(member, rate + MARGIN, rate)
    n, failures = (
        np.stack([np.cumsum(part & arm, axis=1)[:, LOOKS] for arm in (~member, member)]).astype(np.float64)
        for part in (np.ones_like(failed), failed)
    )
    cells = st.proportions(n, failures)
    arms = st.combine_epochs(*(st.Cells(*(field[arm][None] for field in cells)) for arm in (0, 1)))
    few = failures.sum(axis=0) < RARER
    out = passes(arms, margin=MARGIN, relative=False)
    exact = st.rare_rate_guardrail(n[0][few], failures[0][few], n[1][few], failures[1][few], margin=MARGIN, alpha=ALPHA)
    out[few] = exact.passed
    return out


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("rate", [0.0, 0.002, 0.02])
def test_a_failure_rate_worse_by_the_margin_seldom_passes(rate: float, share: float) -> None:
    """The two tests are one design: where failures are few and where they are not."""
    passed = sum(
        ever(rate_passes(random, runs, rate=rate, share=share, units=6000)) for random, runs in chunks(RUNS, 481)
    )
    print(f"{RUNS} runs: {passed=}")  # noqa: T201 - shown with -s
    assert passed <= most(RUNS, ALPHA)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("maker", [heavy_latency, sticky_cost], ids=lambda maker: maker.__name__)
def test_a_mean_and_a_ratio_worse_by_the_relative_margin_seldom_pass(maker: Maker, share: float) -> None:
    passed = 0
    for random, runs in chunks(RUNS, 482):
        world = maker(random, runs, share)
        member = world.members(random)
        worse = replace(world, value=np.where(member, 1.05 * world.value, world.value))
        passed += ever(passes(arms_over_time(worse, member), margin=0.05, relative=True))
    print(f"{RUNS} runs: {passed=}")  # noqa: T201 - shown with -s
    assert passed <= most(RUNS, ALPHA)
