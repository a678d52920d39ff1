"""The compiled engine of the fold against the plain one: the stories that other tests tell, and what once differed."""

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from both_engines import EagerEngine, SideBySide
from fold_stories import MINUTE, START, Stored, unit_id
from router_traffic import DECISIONS, Given, Kind, given, observation, of_ids, request_id
from splitgauge.aggregator.attribution import Attribution
from splitgauge.aggregator.compiled.units import LEFT_OUT
from splitgauge.aggregator.partition_fold import FoldResult, Observation, PartitionFold
from splitgauge.experiments.history import DecisionHistory

HISTORIES = Path(__file__).parents[2] / "histories"
DAY = 24 * 60 * MINUTE


def _stories_in(*modules: str) -> Iterable[Any]:
    """Tests of other modules that take no arguments: each tells the fold a story."""
    for name in modules:
        spec = spec_from_file_location(f"{name}_again", Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        for test, story in vars(module).items():
            if test.startswith("test_") and callable(story) and not inspect.signature(story).parameters:
                yield pytest.param(story, id=test)


def _as_routers_write(value: bytes) -> bytes:
    """An event of a story, with ids as they are in a log."""
    try:
        event = json.loads(value)
        event["id"] = str(uuid5(NAMESPACE_URL, event["id"]))
        if event["data"].get("request_id") is not None:
            event["data"]["request_id"] = str(uuid5(NAMESPACE_URL, event["data"]["request_id"]))
        # `type` before `data` is how all of them are written.
        return json.dumps(event, separators=(",", ":")).encode()
    except (ValueError, TypeError, KeyError, AttributeError):
        return value


@pytest.mark.parametrize(
    "story",
    [*_stories_in("test_partition_fold", "test_caps", "test_histograms", "test_wide_totals")],
)
def test_a_story_ends_as_it_does_with_the_plain_engine(
    story: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = PartitionFold.fold

    def fold(self: PartitionFold, records: Iterable[Observation], history: DecisionHistory) -> FoldResult:
        batch = [Stored(record.offset, _as_routers_write(record.value)) for record in records]
        return plainly(self, batch, history)

    monkeypatch.setattr(PartitionFold, "fold", fold)
    monkeypatch.setattr(PartitionFold.__init__, "__defaults__", (EagerEngine,))
    monkeypatch.setattr(PartitionFold.restore.__func__, "__defaults__", (EagerEngine,))  # type: ignore[attr-defined]  # of a class method
    story()


@pytest.mark.parametrize("history", sorted(HISTORIES.glob("*.jsonl")), ids=lambda path: path.stem)
@pytest.mark.parametrize("ids", ["as recorded", "as routers write them"])
def test_a_recorded_history_is_folded_alike(history: Path, ids: str) -> None:
    recorded: dict[tuple[str, int], list[bytes]] = {}
    for line in history.read_bytes().splitlines()[1:]:
        event = json.loads(line)
        if "event" in event:
            value = json.dumps(event["event"], separators=(",", ":")).encode()
            recorded.setdefault((event["topic"], event["partition"]), []).append(value)
    decisions = recorded["splitgauge.decisions", 0]
    for (topic, _), values in recorded.items():
        if topic == "splitgauge.observations":
            written = values if ids == "as recorded" else [_as_routers_write(value) for value in values]
            SideBySide(decisions, read=1).tell(written, Random(len(values)))


# What once differed, or easily may.


class _Requests:
    """Requests with ids that follow from how many there were."""

    def __init__(self) -> None:
        self._n = 0

    def new(self, unit: str | None = None, variant: str | None = "control", **fields: Any) -> Given:
        self._n += 1
        return given(request_id(f"r{self._n}"), unit_id(unit or f"u{self._n}"), variant, **fields)

    def many(self, n: int, **fields: Any) -> list[Given]:
        first = fields.pop("at", START)
        return [self.new(at=first + number, **fields) for number in range(n)]


def _events(requests: Sequence[Given], *kinds: Kind) -> list[bytes]:
    both: tuple[Kind, ...] = ("assignment", "outcome")
    return [observation(kind, of) for of in requests for kind in kinds or both]


def _compare(*batches: Sequence[bytes]) -> SideBySide:
    side_by_side = SideBySide(DECISIONS.values)
    for batch in batches:
        side_by_side.fold(batch)
        side_by_side.look()
    side_by_side.save()
    return side_by_side


def test_an_arm_that_was_only_mirrored_has_its_first_live_request_later() -> None:
    requests = _Requests()
    known = _events([*requests.many(4), *requests.many(4, variant="challenger")])
    for reason in ("forced", "split"):
        mirrored = requests.many(3, reason=reason, caller="mirror", mode="shadow", variant="challenger")
        live = requests.many(3, reason=reason, caller="mirror", variant="challenger")
        _compare([*known, *_events(mirrored, "assignment"), *_events(live)])


def test_no_epoch_is_another_one_than_one_below_zero() -> None:
    requests = _Requests()
    below = requests.many(3, reason="forced", epoch=-1)
    none = requests.many(3, reason="forced", epoch=None)
    mistaken = [Given({**of.data, "epoch": -1}, of.at) for of in none[:2]]
    _compare(_events(below, "assignment") + _events(none, "assignment") + _events([*mistaken, none[2]], "outcome"))


def test_events_that_come_again_with_the_next_ones_change_nothing() -> None:
    requests = _Requests().many(60)
    values = _events(requests, "assignment") + _events(requests, "outcome")
    side_by_side = SideBySide(DECISIONS.values)
    side_by_side.fold(values[:40])
    side_by_side.fold(values[30:70], first=30)
    side_by_side.fold(values[65:], first=65)
    side_by_side.fold(_events(_Requests().many(60, caller="again"), "assignment"))
    side_by_side.look()
    side_by_side.save()


def test_who_is_missed_first_does_not_show_in_a_checkpoint() -> None:
    requests = _Requests()
    answered = [requests.new(caller=f"app{number}", at=START + number) for number in range(30)]
    lost = [requests.new(caller=f"app{number * 7 % 30}", at=START + 60 + number) for number in range(90)]
    later = requests.many(2, at=START + 20 * MINUTE)
    _compare(_events(answered) + _events(lost, "assignment") + _events(later))


def test_beyond_the_arms_that_are_told_apart_units_cross_over_as_before() -> None:
    class Crowded(EagerEngine):
        def __init__(self, state: Attribution) -> None:
            super().__init__(state)
            for number in range(LEFT_OUT):
                self._units.arm(number, 1, "of others")

    requests = _Requests()
    first = [*requests.many(9), *requests.many(9, variant="challenger")]
    crossing = [requests.new(f"u{number}", "challenger", at=START + number) for number in range(1, 9)]
    returning = [requests.new(f"u{number}", at=START + 99) for number in range(1, 9)]
    folds = [PartitionFold(0), PartitionFold(0, Crowded)]
    side_by_side = SideBySide(DECISIONS.values)
    side_by_side.folds = folds
    side_by_side.fold(_events([*first, *crossing, *returning]))
    side_by_side.look()


def test_units_that_come_back_after_days_are_returned_units() -> None:
    requests = _Requests()
    hours = [requests.new(experiment_id=None, epoch=None, variant=None, at=START + n * DAY // 24) for n in range(80)]
    again = [requests.new(f"u{number % 20}", at=START + 79 * DAY // 24 + number) for number in range(200)]
    _compare(_events(requests.many(40)), _events(hours, "assignment"), _events(again, "assignment"), _events(again))


def test_by_day_units_are_of_the_day_they_came_on() -> None:
    requests = _Requests()
    midnight = START - START % DAY + DAY
    near = [
        requests.new(
            f"u{number % 90}", experiment_id="days", at=midnight - 300 * 1_000 + (number * 7_919) % 600 * 1_000
        )
        for number in range(600)
    ]
    hours = [requests.new(experiment_id="days", at=at) for at in range(START, midnight, DAY // 24)]
    _compare(_events(hours, "assignment"), _events(near[:300]), _events(near[300:]))


def test_far_more_events_than_are_taken_in_at_once() -> None:
    requests = _Requests()
    open_for_long = requests.many(13_000)
    side_by_side = _compare(_events(open_for_long, "assignment"), _events(open_for_long[::-1], "outcome"))
    before = EagerEngine.calm
    side_by_side.fold(_events(requests.many(12_000)))
    assert EagerEngine.calm - before > 23_990
    side_by_side.look()
    side_by_side.save()


def test_more_callers_than_lanes() -> None:
    requests, chance = _Requests(), Random(1)
    named = [requests.new(caller=f"app{chance.randrange(1_500)}", at=START + number) for number in range(4_000)]
    for start in range(0, len(named), 1_000):
        part = named[start : start + 1_000]
        chance.shuffle(part)
    _compare(_events(named, "assignment"), _events(named[::-1], "outcome"))


@pytest.mark.parametrize("length", [0, 990, 995, 1_000, 1_001, 5_000])
def test_texts_of_any_length(length: int) -> None:
    requests = _Requests()
    named = [
        requests.new(caller=f"{number % 3}".rjust(length, "x")[:length], at=START + number) for number in range(99)
    ]
    _compare(_events(named))


def test_a_lot_of_long_texts_fill_the_lanes() -> None:
    requests = _Requests()
    named = [requests.new(caller=f"{number % 90}".rjust(900, "x"), at=START + number) for number in range(400)]
    _compare(_events(named, "assignment"), _events(named, "outcome"), _events(named, "outcome"))


def test_ids_beyond_those_that_are_remembered_count_again() -> None:
    requests = _Requests()
    outside = requests.many(52_000, experiment_id=None, epoch=None, variant=None)
    values = _events(outside)
    side_by_side = SideBySide(DECISIONS.values)
    known = _events(requests.many(20))
    side_by_side.fold(known)
    for start in range(0, len(values), 30_000):
        side_by_side.fold(values[start : start + 30_000])
    at = len(known) + len(values) - 100_000
    every = known + values
    side_by_side.fold(every[at - 300 : at + 300 : 7] + known + every[-300::7])
    side_by_side.look()
    side_by_side.save()
    side_by_side.restart([None, EagerEngine, EagerEngine])
    side_by_side.fold(known + every[at + 500 : at + 1_500 : 11] + every[-50:])
    side_by_side.look()
    side_by_side.save()


def test_an_engine_that_is_behind_goes_on_where_it_was() -> None:
    requests, chance = _Requests(), Random(2)
    side_by_side = SideBySide(DECISIONS.values, read=4)
    seen = [4] * 50 + [13] * 50 + [15] * 50 + [DECISIONS.end] * 50
    values = _events([requests.new(f"u{of_ids(chance)[0]}", decisions_offset=offset) for offset in seen])
    side_by_side.fold(values)
    side_by_side.look()
    side_by_side.save()
    assert side_by_side.position == len(values)
