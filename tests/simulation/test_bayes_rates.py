"""Bayesian decisions under equal arms, with a look after every outcome: a Bayes factor beside the expected loss keeps
alpha, whatever the loss threshold; a posterior probability alone does not come near it.
"""

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import (
    SPLITS,
    Bools,
    Maker,
    arms_over_time,
    chunks,
    common_rate,
    enough_units,
    ever,
    heavy_latency,
    most,
    runs_of,
    sticky_failures,
)

ALPHA = 0.05
RUNS = runs_of(200)
EASY = 1e6
"""A loss threshold that never keeps from a decision: alpha is the Bayes factor's alone."""


def decided(arms: st.Arms, *, loss_threshold: float, prior_sd: float) -> Bools:
    effect = st.absolute_effect(*arms)
    log_e = st.two_sided_sequence(effect, alpha=ALPHA, r2=st.mixture_variance(5000.0, alpha=ALPHA)).log_e_value
    posterior = st.normal_posterior(effect, alpha=ALPHA, prior_sd=prior_sd)
    found = st.bayes_decision(
        log_e, posterior.loss_choosing, posterior.loss_staying, alpha=ALPHA, loss_threshold=loss_threshold
    )
    return enough_units(arms) & (found.choose | found.stay)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("maker", [common_rate, heavy_latency, sticky_failures], ids=lambda maker: maker.__name__)
def test_equal_arms_are_seldom_decided_between(maker: Maker, share: float) -> None:
    """Flat prior and any threshold: the most that a Bayesian design can get wrong."""
    wrong = 0
    for random, runs in chunks(RUNS, 431):
        world = maker(random, runs, share)
        wrong += ever(decided(arms_over_time(world, world.members(random)), loss_threshold=EASY, prior_sd=np.inf))
    assert wrong <= most(RUNS, ALPHA)


def test_a_prior_and_a_tight_threshold_only_keep_from_deciding() -> None:
    [(random, runs)] = chunks(100, 432)
    world = common_rate(random, runs, 0.5)
    arms = arms_over_time(world, world.members(random))
    easy = decided(arms, loss_threshold=EASY, prior_sd=np.inf)
    strict = decided(arms, loss_threshold=1e-4, prior_sd=0.02)
    assert not (strict & ~easy).any()


def test_a_probability_to_beat_control_alone_tells_equal_arms_apart_all_the_time() -> None:
    """Stopping at 97.5 % on either side, with the very same posterior."""
    [(random, runs)] = chunks(100, 433)
    world = common_rate(random, runs, 0.5)
    arms = arms_over_time(world, world.members(random))
    sure = st.normal_posterior(st.absolute_effect(*arms), alpha=ALPHA).probability_to_beat
    assert ever(enough_units(arms) & ((sure > 0.975) | (sure < 0.025))) > 0.3 * runs


@pytest.mark.timeout(3_600)
def test_equal_rare_rates_are_seldom_decided_between_by_exact_posteriors() -> None:
    """Bayes factor of the event counts, losses of the beta posterior at the looks where it is evident."""
    wrong, runs_made = 0, 5 * RUNS
    for random, runs in chunks(runs_made, 434):
        gaps = random.geometric(0.01, (runs, 200))
        mine = random.random(gaps.shape) < 0.5
        hits = np.stack([np.cumsum(~mine, axis=1), np.cumsum(mine, axis=1)])
        units = np.cumsum(random.binomial(gaps - 1, 0.5) + mine, axis=1)
        n = np.stack([np.cumsum(gaps, axis=1) - units, units])
        log_e = st.rate_ratio_sequence(hits[:1], hits[1:], 0.5, alpha=ALPHA, concentration=10.0).log_e_value
        run, look = np.nonzero(log_e >= -np.log(ALPHA))
        at = (slice(None), run, look)
        posterior = st.beta_binomial_posterior(n[at][0], hits[at][0], n[at][1], hits[at][1], alpha=ALPHA)
        found = st.bayes_decision(
            log_e[run, look], posterior.loss_choosing, posterior.loss_staying, alpha=ALPHA, loss_threshold=0.001
        )
        wrong += len(set(run[found.choose | found.stay].tolist()))
    assert 0 < wrong <= most(runs_made, ALPHA)


def test_the_best_of_three_arms_is_so_as_often_as_it_says() -> None:
    """Arms drawn from the prior: among the runs where an arm is the best with probability p, it is in a share p."""
    random = np.random.default_rng(435)
    runs, se = 5_000, 0.8
    truth = random.normal(size=(runs, 3))
    seen = truth + random.normal(scale=se, size=truth.shape)
    shrink = 1 / (1 + se**2)
    found = st.best_arm(shrink * seen, np.sqrt(1 - shrink))
    best = truth.argmax(axis=1)[:, None] == np.arange(3)
    for low in np.arange(0.0, 1.0, 0.2):
        about = (found.probability_best >= low) & (found.probability_best < low + 0.2)
        expected = float(found.probability_best[about].mean())
        spread = float(np.sqrt(expected * (1 - expected) / about.sum()))
        assert abs(float(best[about].mean()) - expected) < 4 * spread
    leader = found.probability_best.argmax(axis=1)[:, None]
    regret = np.maximum(truth.max(axis=1) - np.take_along_axis(truth, leader, axis=1)[:, 0], 0.0)
    said = float(np.take_along_axis(found.expected_loss, leader, axis=1).mean())
    assert float(regret.mean()) == pytest.approx(said, abs=4 * float(regret.std()) / np.sqrt(runs))
