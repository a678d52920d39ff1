"""The two ways of summing rows come to the same, and tables choose the right fold."""

from array import array
from random import Random

import numpy as np
import pytest

from fold_stories import specification
from splitgauge.aggregator.duplicates import RECENT_REPORTS, remembered
from splitgauge.aggregator.layout import FLAGS, PAIRS, RowLayout
from splitgauge.aggregator.novelty import RETURNED
from splitgauge.aggregator.sums import CROSSOVER, CellSums
from splitgauge.aggregator.tables import Tables
from splitgauge.schemas.tables import PartialData

METRICS = [
    {"name": "rating", "covariate": {"attribute": "age"}},
    {"name": "correct", "kind": "proportion"},
    {"name": "visits", "level": "unit", "cap": 3, "scale": 1},
    {"name": "spend", "kind": "ratio", "denominator": "metric:visits"},
    {"name": "clicks", "denominator": "requests"},
]


@pytest.mark.parametrize("goal", ["success", "visits", "spend", "clicks"])
@pytest.mark.parametrize("largest", [5, 2**40, 2**61 - 1, 2**63 - 1])
def test_numpy_and_python_come_to_the_same_sums(largest: int, goal: str) -> None:
    chance = Random(largest)
    layout = RowLayout.of(specification("exp", metrics=METRICS, goal={"metric": goal}))
    rows: list[array[int]] = []
    for _ in range(40):
        row = array(
            "q", [0, 0, chance.choice([0, RETURNED, RETURNED, CROSSOVER]), chance.randint(1, 9), chance.randint(0, 2)]
        )
        row.extend(chance.randint(-largest, largest) for _ in range(layout.width - PAIRS))
        for place in range(len(layout.metrics)):
            row[PAIRS + 2 * place + 1] = chance.randint(0, 9)
        rows.append(row)
    by_numpy, by_python = CellSums(layout), CellSums(layout)
    by_numpy.add_matrix(np.array(rows), 1)
    by_numpy.add_matrix(np.array(rows[:15]), -1)
    for row in rows[15:]:
        by_python.add_row(row, 1)
    assert by_numpy.numbers() == by_python.numbers()
    assert by_numpy.published()["crossovers"] == sum(row[FLAGS] == CROSSOVER for row in rows[15:])


def test_a_unit_remembers_its_last_reports_only() -> None:
    marks = b""
    for number in range(RECENT_REPORTS + 1):
        more = remembered(marks, f"report {number}")
        assert more is not None
        marks = more
    assert remembered(marks, "report 1") is None
    assert remembered(marks, "report 0") is not None


def _partial(partition: int, upto: int, fold_version: int = 1) -> PartialData:
    return PartialData(
        experiment_id="exp",
        partition=partition,
        upto=upto,
        decisions_offset=4,
        fold_version=fold_version,
        digest=f"d{upto}",
    )


def test_the_highest_position_counts_whatever_comes_later() -> None:
    tables = Tables()
    assert tables.take(_partial(0, 7)) == {"exp"}
    assert tables.take(_partial(0, 5)) == frozenset()
    assert tables.take(_partial(1, 2)) == {"exp"}
    assert tables.window("exp").positions == {0: 7, 1: 2}


def test_a_new_fold_counts_once_it_has_come_as_far_in_every_partition() -> None:
    tables = Tables()
    for partial in (_partial(0, 7), _partial(1, 2), _partial(0, 9, fold_version=2)):
        tables.take(partial)
    assert (tables.window("exp").fold_version, tables.window("exp").positions) == (1, {0: 7, 1: 2})
    assert tables.take(_partial(1, 2, fold_version=2)) == {"exp"}
    assert (tables.window("exp").fold_version, tables.window("exp").positions) == (2, {0: 9, 1: 2})
