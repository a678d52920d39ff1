"""The goal by age of its units: early is what comes up to three days after first exposure, late what comes after."""

from typing import Any

import pytest

from fold_stories import MINUTE, START, Decisions, assignment, outcome, report, stored
from naive_fold import NaiveFold
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.schemas.tables import Cell, NoveltySums, PartialData

DAY = 24 * 60 * MINUTE
AGE = 3 * DAY
LATE = START + AGE + 1

METRICS = [
    {"name": "clicks", "denominator": "requests", "scale": 1},
    {"name": "rating", "scale": 10},
    {"name": "bought", "kind": "proportion", "level": "unit", "fold": "any", "scale": 1},
    {"name": "best", "level": "unit", "fold": "max", "scale": 1},
    {"name": "visits", "kind": "count", "level": "unit", "cap": 3, "scale": 1},
    {"name": "spend", "kind": "ratio", "level": "unit", "cap": 10, "denominator": "metric:visits", "scale": 1},
]


def decisions(goal: str = "success", **fields: Any) -> Decisions:
    """Experiment `exp`, active; its decisions end at 4."""
    held = Decisions()
    held.start("exp", metrics=METRICS, goal={"metric": goal}, **fields)
    return held


def cell_of(events: list[bytes], held: Decisions, variant: str = "control") -> Cell:
    """The cell of epoch 1, with a restart from a checkpoint after every event; the naive fold says the same."""
    fold, rows = PartitionFold(0), dict[bytes, bytes]()
    for event in stored(events):
        assert not fold.fold([event], held.history).dead_letters
        changed = fold.changed_rows()
        rows = {key: row for key, row in {**rows, **changed}.items() if row is not None}
        fold = PartitionFold.restore(0, fold.position, rows, held.history)
    partial = PartialData.model_validate_json(fold.partial("exp"))
    assert partial == NaiveFold(events, held.history).partial("exp")
    return partial.epochs["1"][variant]


def early_and_late(events: list[bytes], goal: str = "success", **fields: Any) -> tuple[int, int, int, int]:
    """m and d, early and late, of the control."""
    sums = cell_of(events, decisions(goal, **fields)).novelty
    return sums.m_early, sums.d_early, sums.m_late, sums.d_late


def test_a_unit_that_comes_back_after_three_days_is_early_and_late() -> None:
    events = [
        assignment("r1", "u1"),
        outcome("r1", "u1"),
        assignment("r2", "u1", at=START + AGE),
        outcome("r2", "u1", at=START + AGE, metrics={"success": False}),
        assignment("r3", "u1", at=LATE),
        outcome("r3", "u1", at=LATE),
        assignment("r4", "u2", at=LATE),
        outcome("r4", "u2", at=LATE),
    ]
    expected = NoveltySums(
        m_early=2,
        d_early=3,
        m_late=1,
        d_late=1,
        m_early_m_early=1 + 1,
        m_early_d_early=2 + 1,
        m_early_m_late=1,
        m_early_d_late=1,
        d_early_d_early=4 + 1,
        d_early_m_late=2,
        d_early_d_late=2,
        m_late_m_late=1,
        m_late_d_late=1,
        d_late_d_late=1,
    )
    assert cell_of(events, decisions()).novelty == expected


def test_an_early_request_answered_after_a_late_one_is_early() -> None:
    events = [
        assignment("r1", "u1"),
        assignment("r2", "u1", at=LATE),
        outcome("r2", "u1", at=LATE, metrics={"success": False}),
        outcome("r1", "u1"),
    ]
    assert early_and_late(events) == (1, 1, 0, 1)


def test_an_early_request_that_is_read_after_a_late_one_is_early() -> None:
    first, at_three_days = assignment("r1", "u1"), assignment("r2", "u1", at=START + AGE)
    late, before = assignment("r3", "u1", at=LATE), assignment("r4", "u1", at=START + 1)
    assert early_and_late([first, at_three_days], "clicks") == (0, 2, 0, 0)
    assert early_and_late([first, at_three_days, late, before], "clicks") == (0, 3, 0, 1)


def test_a_report_is_as_old_as_its_arrival_whatever_its_request() -> None:
    by_token = {"request": "r1", "experiment": "exp", "epoch": 1}
    events = [
        assignment("r1", "u1"),
        report("u1", {"rating": 0.5}, at=START + AGE),
        report("u1", {"rating": 4}, at=LATE, **by_token),
        report("u1", {"rating": 0.1}, at=START + 1),
    ]
    assert early_and_late(events, "rating") == (6, 2, 40, 1)


def test_over_units_a_unit_is_late_where_anything_of_it_is() -> None:
    events = [
        assignment("r1", "u1"),
        report("u1", {"bought": True}),
        assignment("r2", "u1", at=LATE),
        assignment("r3", "u2"),
        report("u2", {"bought": False}),
        report("u2", {"bought": True}, at=LATE),
        assignment("r4", "u3"),
    ]
    assert early_and_late(events, "bought") == (1, 3, 1, 2)


def test_a_later_maximum_counts_late_by_what_it_adds() -> None:
    events = [
        assignment("r1", "u1"),
        report("u1", {"best": 2}),
        report("u1", {"best": 5}, at=LATE),
        report("u1", {"best": 4}, at=START + 1),
        assignment("r2", "u2"),
        report("u2", {"best": -3}, at=LATE),
        report("u2", {"best": -7}, at=START + 1),
    ]
    assert early_and_late(events, "best") == (4 - 7, 2, 1 + 4, 2)


def test_caps_of_totals_hold_for_the_early_part_too() -> None:
    events = [
        assignment("r1", "u1"),
        report("u1", {"visits": 2, "spend": 8}),
        report("u1", {"visits": 2, "spend": 8}, at=START + 1),
        report("u1", {"visits": 2, "spend": 8}, at=LATE),
        assignment("r2", "u2"),
        report("u2", {"visits": 2, "spend": 8}),
        report("u2", {"visits": 2, "spend": 8}, at=LATE),
    ]
    assert early_and_late(events, "spend") == (10 + 8, 3 + 2, 0 + 2, 0 + 1)
    assert early_and_late(events, "visits") == (3 + 2, 2, 0 + 1, 2)


def test_what_comes_under_another_table_is_neither() -> None:
    held = decisions()
    seen = held.reweight("exp", 1, 3)
    events = [
        assignment("r1", "u1"),
        outcome("r1", "u1"),
        assignment("r2", "u1", epoch=2, seen=seen, at=LATE),
        outcome("r2", "u1", epoch=2, seen=seen, at=LATE),
    ]
    sums = cell_of(events, held).novelty
    assert (sums.m_early, sums.d_early, sums.m_late, sums.d_late) == (1, 1, 0, 0)


def test_a_request_from_before_a_reweighting_counts_by_its_own_age() -> None:
    held = decisions()
    seen = held.reweight("exp", 1, 3)
    events = [
        assignment("r1", "u1"),
        assignment("r2", "u1", at=LATE),
        assignment("r3", "u1", epoch=2, seen=seen, at=LATE + DAY),
        outcome("r2", "u1", at=LATE),
        outcome("r1", "u1"),
    ]
    sums = cell_of(events, held).novelty
    assert (sums.m_early, sums.d_early, sums.m_late, sums.d_late) == (1, 1, 1, 1)


def test_a_crossover_takes_both_ages_back() -> None:
    events = [
        assignment("r1", "u1"),
        outcome("r1", "u1"),
        assignment("r2", "u1", at=LATE),
        outcome("r2", "u1", at=LATE),
        assignment("r3", "u1", "challenger", at=LATE + 1),
    ]
    assert cell_of(events, decisions()).novelty == NoveltySums()


def test_numbers_beyond_64_bits_stay_exact_by_age() -> None:
    huge = 2**53 - 1
    early = [report("u1", {"clicks": huge}, at=START + number) for number in range(2_100)]
    events = [assignment("r1", "u1"), report("u1", {"clicks": huge}, at=LATE), *early]
    held = decisions("clicks")
    fold = PartitionFold(0)
    fold.fold(stored(events), held.history)
    sums = PartialData.model_validate_json(fold.partial("exp")).epochs["1"]["control"].novelty
    assert (sums.m_early, sums.m_late) == (2_100 * huge, huge)
    assert (sums.m_early_m_early, sums.m_early_m_late) == ((2_100 * huge) ** 2, 2_100 * huge**2)


@pytest.mark.parametrize(("goal", "late"), [("bought", 0), ("success", 1)])
def test_under_a_short_attribution_window_nothing_of_a_reported_goal_is_late(goal: str, late: int) -> None:
    events = [assignment("r1", "u1"), assignment("r2", "u1", at=LATE), outcome("r2", "u1", at=LATE)]
    assert early_and_late(events, goal, attribution_window_s=3 * 86_400.0)[3] == late


def test_days_of_first_exposure_have_their_own_ages() -> None:
    events = [
        assignment("r1", "u1"),
        report("u1", {"rating": 1}, at=LATE),
        assignment("r2", "u2", at=START + DAY),
        report("u2", {"rating": 2}, at=START + DAY),
    ]
    cell = cell_of(events, decisions("rating", attribution_window_s=5 * 86_400.0))
    by_day = [(day.novelty.m_early, day.novelty.m_late) for _, day in sorted(cell.days.items())]
    assert by_day == [(0, 10), (20, 0)]
    assert (cell.novelty.m_early, cell.novelty.m_late) == (20, 10)
