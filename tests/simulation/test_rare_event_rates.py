"""Rare events, 1 % and 0.1 % of units, with a look after every event: errors of the engine for rare outcomes, of the
count of first failures, and of the guarded asymptotic sequence.

Units between two events are drawn as numbers (geometric gaps), so that 100,000 of them cost as little as 100 events.
"""

from typing import NamedTuple

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import FLOOR, RARER, SPLITS, Bools, Floats, chunks, ever, most, runs_of

ALPHA = 0.05
EVENTS = 150
RUNS = runs_of(1000)


class Events(NamedTuple):
    """Units and events of both arms after every event, shape (runs, events)."""

    n_control: Floats
    n_treatment: Floats
    control: Floats
    treatment: Floats


def events(random: np.random.Generator, runs: int, *, rate: float, share: float, ratio: float = 1.0) -> Events:
    """Events at ``rate`` per unit in control and ``ratio`` times that in the challenger."""
    overall = rate * (1 - share + share * ratio)
    units = random.geometric(overall, (runs, EVENTS))
    is_treatment = random.random((runs, EVENTS)) < share * ratio / (1 - share + share * ratio)
    # Units without the event are split by what is left of each arm.
    quiet = share * (1 - rate * ratio) / (1 - overall)
    of_treatment = random.binomial(units - 1, quiet) + is_treatment
    n_treatment = np.cumsum(of_treatment, axis=1).astype(np.float64)
    treatment = np.cumsum(is_treatment, axis=1).astype(np.float64)
    n = np.cumsum(units, axis=1).astype(np.float64)
    return Events(n - n_treatment, n_treatment, np.arange(1.0, EVENTS + 1) - treatment, treatment)


def arms(seen: Events) -> st.Arms:
    """Guarded, one epoch."""
    n = np.stack([seen.n_control, seen.n_treatment])
    hits = np.stack([seen.control, seen.treatment])
    made = st.proportions(n, hits)
    control, treatment = (st.Cells(*(field[arm][None] for field in made)) for arm in (0, 1))
    return st.combine_epochs(control, treatment)


def excludes_one(seen: Events, share: float) -> Bools:
    return (
        np.asarray(st.rate_ratio_sequence(seen.control[None], seen.treatment[None], share, alpha=ALPHA).p_value)
        <= ALPHA
    )


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
@pytest.mark.parametrize("rate", [0.01, 0.001])
def test_equal_rates_of_rare_events_are_seldom_told_apart(rate: float, share: float) -> None:
    counted = harmed = asymptotic = sequence = 0
    for random, runs in chunks(RUNS, 411):
        seen = events(random, runs, rate=rate, share=share)
        counted += ever(excludes_one(seen, share))
        first = st.first_failures(seen.control[None], seen.treatment[None], share, alpha=ALPHA / 2).harm
        both = arms(seen)
        effect = st.absolute_effect(*both)
        may = (seen.n_control >= FLOOR) & (seen.n_treatment >= FLOOR)
        r2 = st.mixture_variance(5000.0, alpha=ALPHA / 2, sides=1)
        harm = may & (st.one_sided_sequence(effect, alpha=ALPHA / 2, r2=r2).lower > 0)
        found = st.two_sided_sequence(effect, alpha=ALPHA, r2=st.mixture_variance(5000.0, alpha=ALPHA))
        concluded = may & (seen.control + seen.treatment >= RARER) & ((found.lower > 0) | (found.upper < 0))
        harmed, sequence = harmed + ever(first | harm), sequence + ever(harm)
        asymptotic += ever(concluded)
    print(f"{RUNS} runs: {counted=} {harmed=} {sequence=} {asymptotic=}")  # noqa: T201 - shown with -s
    assert counted <= most(RUNS, ALPHA)
    assert asymptotic <= most(RUNS, ALPHA)
    assert sequence <= most(RUNS, ALPHA / 2)
    assert harmed <= most(RUNS, ALPHA)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("share", SPLITS)
def test_the_rate_ratio_is_covered_at_every_event(share: float) -> None:
    """At every event means at any stopping time, too."""
    missed = 0
    runs_made = RUNS // 4
    for random, runs in chunks(runs_made, 412):
        seen = events(random, runs, rate=0.001, share=share, ratio=1.5)
        found = st.rate_ratio_sequence(seen.control[None], seen.treatment[None], share, alpha=ALPHA)
        missed += ever((found.lower > np.log(1.5)) | (found.upper < np.log(1.5)))
    assert missed <= most(runs_made, ALPHA)


def test_a_rate_ratio_of_two_is_found_within_150_events() -> None:
    """The bounds above are no errors of a test that never says anything."""
    [(random, runs)] = chunks(100, 413)
    seen = events(random, runs, rate=0.001, share=0.5, ratio=2.0)
    assert ever(excludes_one(seen, 0.5)) > 0.8 * runs
