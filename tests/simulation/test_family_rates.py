"""Three arms, one goal and two secondary metrics, a look after every outcome: false promotions over both challengers by
Holm, false discoveries among the secondary metrics by e-BH, and false rollbacks by any guardrail of any challenger.
"""

import numpy as np
import pytest

from splitgauge import statistics as st
from statistics_worlds import FLOOR, Bools, Floats, chunks, ever, most, runs_of

ALPHA = 0.05
CHALLENGERS = 2
UNITS = 3000
RUNS = runs_of(300)
LOOKS = slice(0, None, 3)
"""After every third unit: an outcome of each metric comes with it, and no look in between says more."""


def outcomes(random: np.random.Generator, runs: int) -> Floats:
    """A conversion, a skewed amount and a latency of each unit, all three dependent: shape (metrics, runs, units)."""
    mood = random.normal(size=(runs, UNITS))
    converted = (mood + random.normal(size=mood.shape) > 1.2).astype(np.float64)
    amount = converted * np.exp(random.normal(size=mood.shape) + 0.5 * mood)
    return np.stack([converted, amount, np.exp(0.3 * random.normal(size=mood.shape) - 0.5 * mood)])


def arms_of(values: Floats, arm: Bools) -> st.Cells:
    """Cells after each look, shape (metrics, runs, looks)."""
    n = np.broadcast_to(np.cumsum(arm, axis=1)[:, LOOKS].astype(np.float64), values[:, :, LOOKS].shape)
    total, square = (np.cumsum(values**power * arm, axis=2)[:, :, LOOKS] for power in (1, 2))
    with np.errstate(all="ignore"):
        mean = total / n
        return st.Cells(n, mean, np.where(n >= 2, np.maximum(square - n * mean**2, 0.0) / (n - 1), np.nan))


def effects(random: np.random.Generator, runs: int, shares: list[float], lift: Floats) -> st.Effect:
    """Each metric of each challenger against control: shape (challengers, metrics, runs, looks); nan before the floor.
    ``lift`` is added to the challengers' metrics, shape (challengers, metrics)."""
    values = outcomes(random, runs)
    arm = np.searchsorted(np.cumsum(shares)[:-1], random.random((runs, UNITS)), side="right")
    found: list[st.Effect] = []
    for challenger in range(CHALLENGERS):
        raised = values + lift[challenger][:, None, None]
        control, treatment = arms_of(values, arm == 0), arms_of(raised, arm == challenger + 1)
        cells = (st.Cells(*(field[None] for field in cell)) for cell in (control, treatment))
        effect = st.absolute_effect(*st.combine_epochs(*cells))
        may = (control.n >= FLOOR) & (treatment.n >= FLOOR)
        found.append(effect._replace(se=np.where(may, effect.se, np.nan)))
    return st.Effect(*(np.stack(fields) for fields in zip(*found, strict=True)))


def sequence(effect: st.Effect) -> st.TwoSidedSequence:
    """With the alpha and the r^2 of one challenger."""
    level = ALPHA / CHALLENGERS
    return st.two_sided_sequence(effect, alpha=level, r2=st.mixture_variance(5000.0, alpha=level))


def harmed(effect: st.Effect) -> Bools:
    """Amount (up is good) and latency (down is good) as guardrails of both challengers: shape (runs, looks)."""
    level = ALPHA / (CHALLENGERS * 2)
    found = st.one_sided_sequence(effect, alpha=level, r2=st.mixture_variance(5000.0, alpha=level, sides=1))
    return np.asarray(((found.upper[:, 1] < 0) | (found.lower[:, 2] > 0)).any(axis=0))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("shares", [[1 / 3, 1 / 3, 1 / 3], [0.8, 0.15, 0.05]], ids=["even", "uneven"])
def test_no_challenger_is_better_and_seldom_one_is_said_to_be(shares: list[float]) -> None:
    promoted = discovered = rolled_back = 0
    for random, runs in chunks(RUNS, 421):
        effect = effects(random, runs, shares, np.zeros((CHALLENGERS, 3)))
        rolled_back += ever(harmed(effect))
        found = sequence(effect)
        goal = st.holm(np.moveaxis(found.p_value[:, 0], 0, -1))
        promoted += int((goal <= ALPHA).any(axis=(1, 2)).sum())
        secondary = np.moveaxis(found.log_e_value[:, 1:].reshape(-1, *found.p_value.shape[2:]), 0, -1)
        discovered += int(st.e_bh(secondary, alpha=ALPHA).any(axis=(1, 2)).sum())
    print(f"{RUNS} runs: {promoted=} {discovered=} {rolled_back=}")  # noqa: T201 - shown with -s
    assert promoted <= most(RUNS, ALPHA)
    assert discovered <= most(RUNS, ALPHA)
    assert rolled_back <= most(RUNS, ALPHA)


@pytest.mark.timeout(3_600)
def test_one_better_challenger_does_not_take_the_equal_one_along() -> None:
    """Holm under a mixture of true and false hypotheses; and the share of false discoveries of e-BH, averaged over
    runs, when the first discovery stops the experiment."""
    lift = np.array([[0.15, 0.4, 0.0], [0.0, 0.0, 0.0]])
    promoted, right = 0, 0
    false_share = 0.0
    for random, runs in chunks(RUNS // 2, 422):
        found = sequence(effects(random, runs, [1 / 3, 1 / 3, 1 / 3], lift))
        rejected = st.holm(np.moveaxis(found.p_value[:, 0], 0, -1)) <= ALPHA
        right += int(rejected[..., 0].any(axis=1).sum())
        promoted += int(rejected[..., 1].any(axis=1).sum())
        # Members: (better, amount), (better, latency), (equal, amount), (equal, latency); only the first has an effect.
        members = np.moveaxis(found.log_e_value[:, 1:].reshape(4, *found.p_value.shape[2:]), 0, -1)
        discoveries = st.e_bh(members, alpha=ALPHA)
        stopped = np.argmax(discoveries.any(axis=2), axis=1)
        at_stop = np.take_along_axis(discoveries, stopped[:, None, None], axis=1)[:, 0]
        false_share += float((at_stop[:, 1:].sum(axis=1) / np.maximum(at_stop.sum(axis=1), 1)).sum())
    assert right > 0.9 * (RUNS // 2)
    assert promoted <= most(RUNS // 2, ALPHA)
    assert false_share <= most(RUNS // 2, ALPHA)
