"""Three arms that are the same, judged by each engine through whole looks: how often is one of them told apart?

The full figures: `SPLITGAUGE_SIMULATION_RUNS=500 pytest tests/simulation/test_engine_decisions.py -s` (a few minutes).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy import stats

from look_stories import Story, window
from splitgauge.schemas.tables import SHARE_SCALE, Cell, MetricSums

RUNS = int(os.environ.get("SPLITGAUGE_SIMULATION_RUNS", "20"))
ALPHA = 0.05
ARMS = ("control", "a", "b")
LOOKS, NEW_UNITS = 5, 300
"""Of each arm, before every look."""

SCALE = 1_000
COVARIATE = {"attribute": "before", "scale": SCALE}
DECIDED = {"promote", "control_wins"}


@dataclass(frozen=True, slots=True)
class Engine:
    """How it is judged, and how far the arms' rates of right answers are apart: 0 under no difference."""

    name: str
    rate: float = 0.3
    covariate: bool = False
    policy: dict[str, Any] = field(default_factory=dict[str, Any])


ENGINES = [
    Engine("asymptotic"),
    Engine("rare", rate=0.03),
    Engine("bayes", policy={"expected_loss_threshold": 0.5}),
    Engine("group_sequential"),
    Engine("fixed"),
    Engine("asymptotic", covariate=True),
]


def story(engine: Engine) -> Story:
    metric: dict[str, Any] = {"name": "correct", "kind": "proportion", "scale": 1}
    if engine.covariate:
        metric = {"name": "correct", "kind": "mean", "scale": SCALE, "covariate": COVARIATE}
    return Story(
        challengers=ARMS[1:],
        metrics=[metric],
        goal={"metric": "correct", "engine": engine.name},
        guardrails=[],
        minimum={"duration_s": 0.0},
        planned_units=2 * LOOKS * NEW_UNITS,
        policy={"promote": "act", **engine.policy},
    )


def cell(m: Sequence[int], x: Sequence[int], *, proportion: bool) -> Cell:
    """A cohort of units with one value each."""
    values, before = np.array(m, dtype=object), np.array(x, dtype=object)
    n = len(m)
    sums = MetricSums(
        m=sum(m),
        d=n,
        mm=values.dot(values),
        dd=n,
        md=sum(m),
        x=sum(x),
        xx=before.dot(before),
        mx=values.dot(before),
        dx=sum(x),
        present=n,
        hits=sum(value > 0 for value in m),
        misses=sum(value < 1 for value in m) if proportion else 0,
        shares=sum(m) * SHARE_SCALE if proportion else 0,
    )
    success = MetricSums(m=n, d=n, mm=n, dd=n, md=n, present=n, hits=n, shares=n * SHARE_SCALE)
    return Cell(exposed=n, units=n, requests=n, metrics={"success": success, "correct": sums})


def is_told_apart(engine: Engine, seed: int, *, lift: float = 0.0) -> bool:
    """Whether a run ends with a decision on the goal; `lift` is what b's rate has more."""
    random = np.random.default_rng(seed)
    judged = story(engine)
    values: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in ARMS}
    for number in range(LOOKS):
        for name, (m, x) in values.items():
            before = random.normal(0.0, 1.0, NEW_UNITS)
            if engine.covariate:
                after = before + random.standard_t(4, NEW_UNITS) / 2 + (lift if name == "b" else 0.0)
                m += np.rint(after * SCALE).astype(int).tolist()
            else:
                m += (random.random(NEW_UNITS) < engine.rate + (lift if name == "b" else 0.0)).astype(int).tolist()
            x += np.rint(before * SCALE).astype(int).tolist()
        cells = {name: cell(m, x, proportion=not engine.covariate) for name, (m, x) in values.items()}
        if judged.accepted(window(cells), at_s=number).data.verdict.kind in DECIDED:
            return True
    return False


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda one: f"{one.name}{'-covariate' * one.covariate}")
def test_arms_that_are_the_same_are_seldom_told_apart(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    found = sum(is_told_apart(engine, seed) for seed in range(RUNS))
    with capsys.disabled():
        print(f"\n{engine.name}: {found} of {RUNS} runs without a difference were decided")  # noqa: T201 - the figures

    # As many as chance brings about once in 1,000 times where each run has the error alpha.
    assert found <= int(stats.binom.ppf(0.999, RUNS, ALPHA))


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda one: f"{one.name}{'-covariate' * one.covariate}")
def test_large_differences_are_found_by_every_engine(engine: Engine) -> None:
    lift = 0.3 if engine.covariate else 0.12

    assert all(is_told_apart(engine, seed, lift=lift) for seed in range(5))
