"""Whether the effect of whom a look would promote wears off: its units' first days against the days after.

Owns which sums are compared, and the numbers as they are recorded. It is asked only where a look would promote: at
every look it would be wrong far too often (statistics.md, Novelty).
"""

from collections.abc import Sequence

import numpy as np

from splitgauge.analyzer.beliefs import direction_of
from splitgauge.analyzer.numbers import analysed_cells, column, unit_of
from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import Novelty
from splitgauge.schemas.tables import Cell, WindowData
from splitgauge.statistics import NOVELTY_COLUMNS, NOVELTY_PRODUCTS, NoveltyMoments, novelty_moments, novelty_test

__all__ = ["read_novelty"]

_ALPHA = 0.01


def read_novelty(state: ExperimentState, window: WindowData, variant: str) -> Novelty:
    """The goal's effect of a challenger early and late, over the epochs that had both arms."""
    shares = {epoch.number: epoch.table.shares() for epoch in state.epochs}
    epochs = [number for number, share in shares.items() if share[variant] > 0 and share[state.control] > 0]
    found = novelty_test(
        _moments(state, window, epochs, state.control),
        _moments(state, window, epochs, variant),
        direction=direction_of(state, state.specification.goal.metric),
        alpha=_ALPHA,
    )
    early, late, error, p = column(np.array([found.early, found.late, found.se, found.p_value]))
    return Novelty(
        variant=variant,
        early=early,
        late=late,
        standard_error=error,
        p_value=p,
        # As recorded, so that whoever has the record says the same.
        strong=bool(found.shrinks) and p is not None and p < _ALPHA,
    )


def _moments(state: ExperimentState, window: WindowData, epochs: Sequence[int], variant: str) -> NoveltyMoments:
    """One cell an epoch."""
    metrics = state.specification.all_metrics
    goal = metrics[state.specification.goal.metric]
    parts = [analysed_cells(state, window, goal, epoch=epoch, variant=variant) for epoch in epochs]
    products = [f"{a}_{b}" for a, b in NOVELTY_PRODUCTS]
    return novelty_moments(
        n=[sum(cell.units for cell in cells) for cells in parts],
        sums=[_added(cells, NOVELTY_COLUMNS) for cells in parts],
        products=[_added(cells, products) for cells in parts],
        scale=goal.scale,
        d_scale=round(unit_of(metrics, goal.name)),
    )


def _added(cells: Sequence[Cell], names: Sequence[str]) -> list[int]:
    return [sum(getattr(cell.novelty, name) for cell in cells) for name in names]
