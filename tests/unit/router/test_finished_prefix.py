"""How far a partition is finished."""

from hypothesis import given
from hypothesis import strategies as st

from splitgauge.router.finished_prefix import FinishedPrefix


def test_the_position_waits_for_the_first_that_is_under_way() -> None:
    prefix = FinishedPrefix()
    for offset in (5, 6, 9):
        prefix.begin(offset)
    assert prefix.position == 5
    prefix.finish(6)
    assert prefix.position == 5
    prefix.finish(5)
    assert prefix.position == 7
    prefix.finish(9)
    assert prefix.position == 10


@given(st.permutations(range(12)), st.integers(0, 12))
def test_everything_below_the_position_is_finished_and_nothing_is_held_back(order: list[int], n_done: int) -> None:
    prefix = FinishedPrefix()
    for offset in range(12):
        prefix.begin(offset)
    done = set(order[:n_done])
    for offset in order[:n_done]:
        prefix.finish(offset)
    assert prefix.position == next((offset for offset in range(12) if offset not in done), 12)
