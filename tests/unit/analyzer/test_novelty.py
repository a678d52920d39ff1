"""An effect that wears off is not promoted; it is asked only where a look would promote."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import pytest

from look_stories import HOUR_S, Story, cohort, rate, sums, window
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.tables import Cell, NoveltySums, WindowData

Ages = Sequence[tuple[int, int, int, int]]
"""(right early, answers early, right late, answers late) of each unit."""

COLUMNS = ("m_early", "d_early", "m_late", "d_late")


def by_age(units: int, *, early_wrong: int, late_wrong: int, old: int | None = None) -> Ages:
    """One answer early, and one late of the first `old`; the first of each are wrong, late ones in another order."""
    returned = units if old is None else old
    return [
        (int(unit >= early_wrong), 1, int((unit * 7) % units >= late_wrong) if unit < returned else 0, unit < returned)
        for unit in range(units)
    ]


def arm(ages: Ages) -> Cell:
    totals = [(m0 + m1, d0 + d1) for m0, d0, m1, d1 in ages]
    columns = dict(zip(COLUMNS, zip(*ages, strict=True), strict=True))
    novelty = {name: sum(column) for name, column in columns.items()}
    for a, b in combinations_with_replacement(COLUMNS, 2):
        novelty[f"{a}_{b}"] = sum(x * y for x, y in zip(columns[a], columns[b], strict=True))
    cell = cohort(len(ages), {"success": rate(len(ages), 3)})
    metrics = {**cell.metrics, "correct": sums(totals)}
    return cell.model_copy(update={"metrics": metrics, "novelty": NoveltySums.model_validate(novelty)})


def seen(control: Cell, challenger: Cell) -> WindowData:
    return window({"control": control, "challenger": challenger})


def look(challenger: Ages, **changes: Any) -> AnalysisData:
    """Control is wrong in 30 %, early and late."""
    control = arm(by_age(3000, early_wrong=900, late_wrong=900))
    return Story(**changes).look(seen(control, arm(challenger))).data


WORN_OFF = by_age(3000, early_wrong=300, late_wrong=870)
STAYS = by_age(3000, early_wrong=500, late_wrong=510)


def test_effect_that_wears_off_is_not_promoted() -> None:
    data = look(WORN_OFF)

    assert data.novelty is not None
    assert (data.novelty.variant, data.novelty.strong) == ("challenger", True)
    assert [data.novelty.early, data.novelty.late] == pytest.approx([0.2, 0.01])
    assert data.verdict.step == 10
    assert data.verdict.promotable is None
    assert data.verdict.not_promotable_because == (
        "the effect wears off: challenger's correct is 20.0 points higher than control's in the first 3 days of a unit "
        "and 1.0 points higher after that; an effect that stays would differ that much with a chance of under 0.0001"
    )


def test_effect_that_stays_is_promoted() -> None:
    data = look(STAYS)

    assert data.novelty is not None
    assert data.novelty.strong is False
    assert data.verdict.step == 8


def test_it_is_not_asked_where_nothing_would_be_promoted() -> None:
    assert look(by_age(3000, early_wrong=880, late_wrong=900)).novelty is None
    assert look(WORN_OFF, guardrails=[{"metric": "success", "margin": 0.0001}]).novelty is None


def test_before_anything_is_late_it_holds_nothing_up() -> None:
    young = [arm(by_age(3000, early_wrong=wrong, late_wrong=0, old=0)) for wrong in (900, 300)]
    data = Story().look(seen(young[0], young[1])).data

    assert data.novelty is not None
    assert (data.novelty.early, data.novelty.p_value, data.novelty.strong) == (None, None, False)
    assert data.verdict.step == 8


def test_a_person_is_told_before_the_minimum_duration_is_over() -> None:
    control = arm(by_age(3000, early_wrong=900, late_wrong=900))
    data = Story().look(seen(control, arm(WORN_OFF)), at_s=HOUR_S).data

    assert data.verdict.promotable is None
    assert "wears off" in (data.verdict.not_promotable_because or "")


def test_it_ends_without_a_winner_at_the_maximum_duration() -> None:
    found = look(WORN_OFF, maximum_duration_s=24 * HOUR_S).verdict

    assert (found.step, found.proposal and found.proposal.action) == (3, "complete")
    assert "wears off" in found.reason


def test_days_that_are_not_mature_are_left_out() -> None:
    """All that wore off did so today."""

    def by_day(ages: Ages) -> Cell:
        old, new = arm(by_age(3000, early_wrong=900 if ages is STAYS else 500, late_wrong=900)), arm(ages)
        everything = cohort(6000, {"success": rate(6000, 6)})
        return everything.model_copy(update={"days": {"2026-11-22": old, "2026-11-23": new}})

    story = Story(attribution_window_s=24 * HOUR_S)
    cells = window({"control": by_day(STAYS), "challenger": by_day(WORN_OFF)}, as_of_s=40 * HOUR_S)
    data = story.look(cells).data

    assert data.novelty is not None
    assert [data.novelty.early, data.novelty.late] == pytest.approx([400 / 3000, 0.0])
