"""What one question tells of another clock."""

import pytest

from splitgauge.eventlog.clock_difference import ahead_s


@pytest.mark.parametrize(
    ("theirs_s", "ahead"),
    [(97.0, -3.0), (100.0, 0.0), (101.5, 0.0), (102.0, 0.0), (106.0, 4.0)],
)
async def test_only_what_lies_outside_of_the_question_is_a_difference(theirs_s: float, ahead: float) -> None:
    ours = iter((100.0, 102.0))

    async def ask() -> float:
        return theirs_s

    assert await ahead_s(ask, lambda: next(ours)) == ahead
