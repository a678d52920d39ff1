"""Which of an experiment's windows stands."""

import pytest

from look_stories import EXPERIMENT, at, window
from splitgauge.analyzer.windows import Windows
from splitgauge.schemas.codec import encode
from splitgauge.schemas.envelope import EventType, wrap
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.tables import FOLD_VERSION


def event(
    positions: dict[int, int], kind: EventType = "splitgauge.window.v1", fold_version: int = FOLD_VERSION
) -> bytes:
    return wrapped({**window(positions=positions).model_dump(mode="json"), "fold_version": fold_version}, kind)


def wrapped(data: dict[str, object], kind: EventType = "splitgauge.window.v1") -> bytes:
    return wrap(encode(data), type=kind, id="w", source="/splitgauge/aggregator", time=at(0))


def test_higher_positions_stand_in_whatever_order_they_come() -> None:
    windows = Windows()

    assert windows.take(event({0: 5, 1: 2})) == EXPERIMENT
    assert windows.take(event({0: 5, 1: 1})) is None
    assert windows.take(event({0: 5})) is None
    assert windows.take(event({0: 5, 1: 2})) is None
    assert windows.take(event({0: 6, 1: 2, 2: 1})) == EXPERIMENT
    newest = windows.newest(EXPERIMENT)
    assert newest is not None
    assert newest.positions == {0: 6, 1: 2, 2: 1}


def test_time_buckets_and_windows_of_another_fold_are_passed_over() -> None:
    windows = Windows()

    assert windows.take(event({0: 5}, "splitgauge.window-buckets.v1")) is None
    assert windows.take(event({0: 5}, fold_version=99)) is None
    assert windows.newest(EXPERIMENT) is None


def test_what_is_no_window_is_named() -> None:
    with pytest.raises(MalformedError, match="/data/positions"):
        Windows().take(wrapped({"experiment_id": EXPERIMENT, "positions": "none"}))
