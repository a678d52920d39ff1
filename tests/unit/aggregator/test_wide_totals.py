"""Totals of a unit that do not fit 64 bits: exact all the same, whenever they are settled, and after a restart."""

from typing import Any

import pytest

from fold_stories import START, Decisions, assignment, outcome, report, stored
from naive_fold import NaiveFold
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.schemas.tables import PartialData

DAY = 24 * 60 * 60_000_000
HUGE = [{"name": "huge", "scale": 1}, {"name": "least", "scale": 1, "fold": "max", "level": "unit"}]
LARGEST = 2**53 - 1


def _decisions() -> Decisions:
    decisions = Decisions()
    decisions.start("exp", metrics=HUGE, goal={"metric": "huge"})
    return decisions


def _events() -> list[bytes]:
    """One unit passes 2^63 and a second one -2^63, early and late, amid others of common size."""
    events = [assignment(f"r{unit}", f"u{unit}") for unit in range(4)]
    for number in range(1_300):
        late: dict[str, Any] = {"at": START + (number > 1_200) * 4 * DAY}
        for unit, value in (("u1", LARGEST), ("u2", -LARGEST)):
            values = {"huge": value, "least": -number - 1}
            events.append(report(unit, values, experiment="exp", event=f"{unit}/{number}", **late))
        if number % 100 == 0:
            events.append(report("u3", {"huge": number}, experiment="exp", event=f"u3/{number}", **late))
    events += [outcome(f"r{unit}", f"u{unit}", metrics={"latency_ms": 1.5}) for unit in range(4)]
    events.append(assignment("r9", "u1", "challenger"))
    return events


@pytest.fixture(scope="module")
def expected() -> list[PartialData]:
    """Before the last event, which makes a crossover, and after it."""
    history, events = _decisions().history, _events()
    return [NaiveFold(events[:end], history).partial("exp") for end in (len(events) - 1, len(events))]


@pytest.mark.parametrize("batch", [40, 700, 10_000])
def test_totals_beyond_64_bits_are_exact(batch: int, expected: list[PartialData]) -> None:
    history, events = _decisions().history, _events()
    fold, rows, found = PartitionFold(0), dict[bytes, bytes](), list[PartialData]()
    for end in (*range(batch, len(events) - 1, batch), len(events) - 1, len(events)):
        fold.fold(stored(events[fold.position : end], fold.position), history)
        found.append(PartialData.model_validate_json(fold.partial("exp")))
        rows |= {key: row for key, row in fold.changed_rows().items() if row is not None}
        fold = PartitionFold.restore(0, fold.position, rows, history)
    assert found[-2:] == expected
    assert expected[0].epochs["1"]["control"].metrics["huge"].mm > 2**126
