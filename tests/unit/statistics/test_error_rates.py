"""Error rates under no difference when somebody looks after every unit, by simulation with fixed seeds.

Each bound is the design's alpha plus what the number of runs can hide (three binomial standard errors).
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from splitgauge import statistics as st

Array: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

ALPHA = 0.05
FLOOR = 100  # units an arm before the first look, as the analyzer has it


def tolerance(runs: int, alpha: float = ALPHA) -> float:
    return alpha + 3 * float(np.sqrt(alpha * (1 - alpha) / runs))


def ever(flags: npt.NDArray[np.bool_]) -> float:
    """The share of runs in which a flag was up at any look; shape (runs, looks)."""
    return float(np.asarray(flags.any(axis=1), dtype=np.float64).mean())


def cells_over_time(outcomes: Array, member: npt.NDArray[np.bool_]) -> st.Cells:
    """One arm's cell after each unit; outcomes and membership of shape (runs, units)."""
    n = np.cumsum(member, axis=1).astype(np.float64)
    total = np.cumsum(np.where(member, outcomes, 0.0), axis=1)
    square = np.cumsum(np.where(member, outcomes**2, 0.0), axis=1)
    mean = total / np.maximum(n, 1)
    variance = np.maximum(square - n * mean**2, 0.0) / np.maximum(n - 1, 1)
    return st.Cells(n, mean, np.where(n >= 2, variance, np.nan))


def arms_over_time(outcomes: Array, member: npt.NDArray[np.bool_], *, guard: bool = True) -> st.Arms:
    control, treatment = cells_over_time(outcomes, ~member), cells_over_time(outcomes, member)
    return st.combine_epochs(
        *(st.Cells(*(field[None] for field in cell)) for cell in (control, treatment)), guard=guard
    )


def seen(arms: st.Arms) -> npt.NDArray[np.bool_]:
    return np.asarray((arms.control.n >= FLOOR) & (arms.treatment.n >= FLOOR))


def ever_excludes_zero(outcomes: Array, share: float, seed: int, *, guard: bool = True) -> float:
    member = np.random.default_rng(seed).random(outcomes.shape) < share
    arms = arms_over_time(outcomes, member, guard=guard)
    found = st.two_sided_sequence(st.absolute_effect(*arms), alpha=ALPHA, r2=st.mixture_variance(5000, alpha=ALPHA))
    excluded = seen(arms) & ((found.lower > 0) | (found.upper < 0))
    return ever(excluded)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_a_rare_rate_is_rarely_told_apart_from_itself(share: float) -> None:
    outcomes = (np.random.default_rng(11).random((300, 6000)) < 0.01).astype(np.float64)
    assert ever_excludes_zero(outcomes, share, seed=12) <= 0.02


def test_without_the_guard_an_unequal_split_would_be_told_apart() -> None:
    outcomes = (np.random.default_rng(11).random((300, 6000)) < 0.01).astype(np.float64)
    assert ever_excludes_zero(outcomes, 0.05, seed=12, guard=False) > 0.12


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_skewed_mean_is_rarely_told_apart_from_itself(share: float) -> None:
    outcomes = np.random.default_rng(13).lognormal(0.0, 1.5, (300, 5000))
    assert ever_excludes_zero(outcomes, share, seed=14) <= tolerance(300)


def test_one_sided_sequences_hold_their_own_alpha_each() -> None:
    generator = np.random.default_rng(15)
    outcomes, member = generator.normal(5.0, 2.0, (400, 4000)), generator.random((400, 4000)) < 0.3
    arms = arms_over_time(outcomes, member)
    r2 = st.mixture_variance(5000, alpha=ALPHA, sides=1)
    found = st.one_sided_sequence(st.absolute_effect(*arms), alpha=ALPHA, r2=r2)
    for crossed in (found.lower > 0, found.upper < 0):
        assert ever(crossed & seen(arms)) <= tolerance(400)


def test_a_challenger_exactly_at_its_margin_rarely_passes() -> None:
    generator = np.random.default_rng(16)
    member = generator.random((400, 4000)) < 0.5
    outcomes = generator.exponential(np.where(member, 105.0, 100.0))
    arms = arms_over_time(outcomes, member)
    found = st.guardrail_sequence(
        *arms, margin=0.05, relative=True, direction=-1, harm_alpha=ALPHA, pass_alpha=ALPHA, planned_n=5000
    )
    assert ever(found.passed & seen(arms)) <= tolerance(400)


def test_two_epochs_with_other_shares_and_rates_do_not_make_a_difference() -> None:
    generator = np.random.default_rng(17)
    epochs = [
        (generator.random((300, 2500)) < share, (generator.random((300, 2500)) < rate).astype(np.float64))
        for share, rate in ((0.1, 0.05), (0.5, 0.2))
    ]
    first, second = ([cells_over_time(outcomes, arm) for arm in (~member, member)] for member, outcomes in epochs)
    # The first epoch stands at its end while the second grows.
    stacked = [
        st.Cells(*(np.stack([np.broadcast_to(a[:, -1:], b.shape), b]) for a, b in zip(one, two, strict=True)))
        for one, two in zip(first, second, strict=True)
    ]
    found = st.two_sided_sequence(
        st.absolute_effect(*st.combine_epochs(*stacked)), alpha=ALPHA, r2=st.mixture_variance(5000, alpha=ALPHA)
    )
    assert ever((found.lower > 0) | (found.upper < 0)) <= tolerance(300)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_failures_rarely_look_like_harm_at_any_failure(share: float) -> None:
    treatment = np.cumsum(np.random.default_rng(18).random((1000, 600)) < share, axis=1)
    control = np.arange(1, 601) - treatment
    found = st.first_failures(control[None], treatment[None], share, alpha=ALPHA / 2)
    assert ever(found.harm) <= tolerance(1000, ALPHA / 2)


def test_a_true_split_rarely_alarms_over_250_looks() -> None:
    arrivals = np.random.default_rng(19).multinomial(200, [0.6, 0.3, 0.1], (500, 250))
    found = st.sample_ratio(np.cumsum(arrivals, axis=1)[None], [0.6, 0.3, 0.1])
    assert ever(found.log_e_value >= np.log(100)) <= tolerance(500, 0.01)


def test_a_loss_of_three_percent_of_an_arm_is_found() -> None:
    found = st.sample_ratio([[100_000, 97_000]], [0.5, 0.5])
    assert float(found.log_e_value) > np.log(1000)


@pytest.mark.parametrize("rate", [0.002, 0.1])
def test_rate_bounds_hold_the_rate_at_every_n(rate: float) -> None:
    hits = np.cumsum(np.random.default_rng(20).random((150, 800)) < rate, axis=1)
    found = st.rate_sequence(np.arange(1, 801), hits, alpha=ALPHA)
    missed = (found.lower > rate) | (found.upper < rate)
    assert ever(missed) <= tolerance(150)


def test_the_fixed_test_holds_its_alpha_at_its_one_look() -> None:
    generator = np.random.default_rng(21)
    values = generator.exponential(1.0, (2, 4000, 60))
    arms = [st.arm(60, v.mean(axis=1), v.var(axis=1, ddof=1)) for v in values]
    found = st.welch_test(st.absolute_effect(*arms), alpha=ALPHA)
    assert float(np.mean(found.p_value < ALPHA)) <= tolerance(4000)


def test_half_of_the_planned_effects_are_found_by_the_planned_size_of_a_fixed_test() -> None:
    generator = np.random.default_rng(22)
    per_arm = float(st.required_units(1.0, 0.1, alpha=ALPHA, power=0.8))
    units = int(2 * per_arm)
    member = generator.random((200, units)) < 0.5
    arms = arms_over_time(generator.normal(0.1 * member, 1.0), member)
    r2 = st.mixture_variance(units, alpha=ALPHA)
    found = st.two_sided_sequence(st.absolute_effect(*arms), alpha=ALPHA, r2=r2)
    assert ever((found.lower > 0) & seen(arms)) == pytest.approx(0.53, abs=0.1)


def test_rate_ratio_bounds_hold_the_ratio_at_every_success() -> None:
    share, ratio = 0.2, np.log(1.5)
    tilted = share * np.exp(ratio) / (1 - share + share * np.exp(ratio))
    treatment = np.cumsum(np.random.default_rng(23).random((300, 400)) < tilted, axis=1)
    control = np.arange(1, 401) - treatment
    found = st.rate_ratio_sequence(control[None], treatment[None], share, alpha=ALPHA)
    assert ever((found.lower > ratio) | (found.upper < ratio)) <= tolerance(300)


def test_a_rare_failure_rate_exactly_at_its_margin_rarely_passes() -> None:
    looks = np.arange(25, 1501, 25)
    failures = np.cumsum(np.random.default_rng(24).binomial(25, 0.005, (400, looks.size)), axis=1)
    found = st.rare_rate_guardrail(looks, 0, looks, failures, margin=0.005, alpha=ALPHA)
    assert ever(found.passed) <= 0.026 + 3 * float(np.sqrt(0.026 * 0.974 / 400))


def test_sticky_users_are_no_independent_requests() -> None:
    """Users with many requests and an error rate of their own: per-unit totals hold alpha, requests as units do not."""
    generator = np.random.default_rng(25)
    shape = (1500, 2, 300)
    requests = generator.geometric(0.1, shape)
    errors = generator.binomial(requests, generator.beta(0.6, 5.4, shape))

    def sums(terms: IntArray) -> list[list[int]]:
        both: list[list[int]] = terms.sum(axis=2).T.tolist()
        return both

    m, d, mm, dd, md = (sums(terms) for terms in (errors, requests, errors**2, requests**2, errors * requests))
    cells = [st.ratios(st.exact_moments(n=[300] * 1500, m=m[i], d=d[i], mm=mm[i], dd=dd[i], md=md[i])) for i in (0, 1)]
    per_unit = st.welch_test(st.absolute_effect(*(st.arm(*cell) for cell in cells)), alpha=ALPHA).p_value
    per_request = st.proportion_test(d[0], m[0], d[1], m[1], alpha=ALPHA).p_value
    assert float(np.mean(per_unit < ALPHA)) <= tolerance(1500)
    assert float(np.mean(per_request < ALPHA)) > 0.2
