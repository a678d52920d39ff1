"""The fold against its naive reference: any story, batches, restarts, everything twice, partitions in any order."""

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fold_stories import MINUTE, START, Decisions, assignment, outcome, report, stored
from naive_fold import NaiveFold
from splitgauge.aggregator import duplicates
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.tables import Tables, window_of
from splitgauge.experiments.history import DecisionHistory
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.tables import BucketsData, PartialData

METRICS = [
    {"name": "rating", "cap": 5, "covariate": {"attribute": "age", "default": 2}},
    {"name": "correct", "kind": "proportion"},
    {"name": "bought", "kind": "proportion", "level": "unit", "fold": "any"},
    {"name": "best", "level": "unit", "fold": "max", "scale": 100},
    {"name": "visits", "kind": "count", "level": "unit", "cap": 3, "scale": 1},
    {"name": "spend", "kind": "ratio", "level": "unit", "denominator": "metric:visits"},
    {"name": "clicks", "kind": "mean", "denominator": "requests", "scale": 1},
    {"name": "huge", "scale": 1},
    {"name": "wait", "kind": "quantile", "quantile": 0.9},
    {"name": "fast", "kind": "proportion", "source": "latency_ms", "under": 12.345678},
    {"name": "cheap", "kind": "proportion", "source": "cost", "under": 0.25, "denominator": "requests"},
]
EXPERIMENTS = ("one", "two")
UNITS = ("u0", "u1", "u2", "u3")
AGE = 3 * 24 * 60 * MINUTE
DELAYS = (0, 1, 1_000_000, 11_000_000, 5 * MINUTE, 16 * MINUTE, 55 * MINUTE, 180 * MINUTE, -7 * MINUTE, -70 * MINUTE)
"""Between one event and the next."""


def _decisions(goal: str = "success", *, window_s: float | None = 3_600) -> Decisions:
    decisions = Decisions()
    one = {"metrics": METRICS, "attribution_window_s": window_s, "goal": {"metric": goal}}
    decisions.start("one", keep_s=7_200, **one)
    decisions.start("two", metrics=METRICS[:2], keep_s=1_800)
    decisions.reweight("one", 2, 1)
    decisions.complete("two")
    decisions.reweight("one", 1, 1)
    return decisions


HISTORY = _decisions().history
BY_GOAL = {
    goal: _decisions(goal, window_s=None).history
    for goal in ("success", "rating", "bought", "best", "visits", "spend", "clicks", "huge", "fast", "cheap")
}

VALUES: dict[str, Sequence[Any]] = {
    "rating": [0, 1.5, 2.5, 4, 9, 1e300],
    "correct": [True, False, 1, 0, 0.5],
    "bought": [True, False],
    "best": [-1.5, 0.125, 3, 1e17],
    "visits": [0, 1, 2, -1],
    "spend": [0.5, 12.25],
    "clicks": [0, 1, 2, 3],
    "huge": [2**53 - 1, 1 - 2**53, 2**53],
    "wait": [0, -0.0, -2.5, 1e-6, 12.5, 1e300],
    "fast": [1],
    "nonsense": [1],
}
GOOD: dict[str, Sequence[Any]] = {
    "rating": [0, 1.5, 4],
    "bought": [True, False],
    "best": [-1.5, 0.125, 3],
    "visits": [0, 1, 2],
    "spend": [0.5, 12.25],
    "clicks": [0, 1, 2, 3],
    "huge": [2**53 - 1, 1 - 2**53],
    "wait": [0, -2.5, 12.5],
}
MEASURED: dict[str, Sequence[Any]] = {
    "latency_ms": [0.0, 12.345678, 3e4, 1e12],
    "ttft_ms": [1.5],
    "input_tokens": [0, 5],
    "cost": [0.25, 1e-12, 1e9],
}
STATUSES = ("complete", "complete", "complete", "timeout", "client_gone")
KINDS = ("assign",) * 4 + ("answer",) * 4 + ("report",) * 3 + ("token", "again", "early", "bad")
GARBAGE = (
    b"{",
    b'{"specversion":"1.0","id":"x","source":"s","type":"splitgauge.cat.v1","time":"2026-01-01T00:00:00Z","data":{}}',
    b'{"specversion":"1.0","id":"x","source":"s","type":"splitgauge.report.v1","time":"2026-01-01T00:00:00Z","data":{}}',
)


class _Story:
    """Events of one partition, with everything that may go wrong; each follows from a seed and the story before it."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.given_out: list[dict[str, Any]] = []
        self.now = START

    def go_on(self, seed: int) -> None:
        chance = Random(seed)
        self.now += chance.choice(DELAYS)
        kind = chance.choice(KINDS)
        if kind in {"assign", "early"} or not self.events:
            self.given_out.append(_given(chance, f"r{len(self.events)}", self.now))
        given_out = chance.choice(self.given_out)
        event = chance.choice(GARBAGE)
        if kind == "assign":
            event = assignment(**self.given_out[-1])
        elif kind == "early":
            event = _answer(chance, self.given_out[-1])
        elif kind == "answer":
            event = _answer(chance, given_out)
        elif kind == "report":
            event = _by_unit(chance, self.now)
        elif kind == "token":
            event = _by_token(chance, given_out, self.now)
        elif kind == "again":
            event = chance.choice([*self.events, assignment(**given_out)])
        self.events.append(event)


def stories(*, max_events: int = 60) -> st.SearchStrategy[list[bytes]]:
    """Stories; a shorter one is a simpler one."""
    return st.lists(st.integers(0, 2**32), min_size=1, max_size=max_events).map(_told)


def lives(*, max_events: int = 50) -> st.SearchStrategy[list[bytes]]:
    """Stories of few units, over many days, in which nearly everything counts."""
    return st.lists(st.integers(0, 2**32), min_size=10, max_size=max_events).map(_lived)


def _lived(seeds: list[int]) -> list[bytes]:
    events: list[bytes] = []
    given_out: list[dict[str, Any]] = []
    for seed in seeds:
        chance = Random(seed)
        at = START + chance.choice([0, 0, 1, AGE, AGE, 2 * AGE]) + chance.choice([0, 0, 1, 5 * MINUTE])
        kind = chance.choice(["assign", "assign", "answer", "report", "report", "token"])
        if kind == "assign" or not given_out:
            unit = chance.randrange(3)
            variant = "challenger" if unit == 1 or chance.random() < 0.03 else "control"
            epoch, seen = chance.choice([(1, 7), (1, 7), (1, 9), (2, 9)])
            place: dict[str, Any] = {"experiment": "one", "epoch": epoch, "seen": seen, "at": at}
            request = {"request": f"r{len(events)}", "unit": f"u{unit}", "variant": variant}
            given_out.append({**request, **place})
            events.append(assignment(**given_out[-1], covariates={}))
            continue
        of = chance.choice(given_out)
        if kind == "answer":
            measured = {"success": chance.random() < 0.5, "latency_ms": chance.choice([1.5, 1e9])}
            events.append(outcome(**of, metrics=measured))
            continue
        values = {name: chance.choice(good) for name, good in GOOD.items() if chance.random() < 0.5}
        token = {"request": of["request"], "epoch": of["epoch"]} if kind == "token" else {}
        if values:
            events.append(report(of["unit"], values, at=at, experiment="one", seen=7, event=f"{len(events)}", **token))
    return events


def _told(seeds: list[int]) -> list[bytes]:
    story = _Story()
    for seed in seeds:
        story.go_on(seed)
    return story.events


def _given(chance: Random, request: str, at: int) -> dict[str, Any]:
    own = chance.random() < 0.2
    return {
        "request": request,
        "unit": request if own else chance.choice(UNITS),
        "variant": chance.choice(["control", "control", "challenger"]),
        "experiment": chance.choice([*EXPERIMENTS, *EXPERIMENTS, None]),
        "epoch": chance.choice([1, 1, 1, 2, 3, 9]),
        "reason": chance.choice(["split"] * 5 + ["forced"]),
        "mode": chance.choice(["live"] * 7 + ["shadow"]),
        "own_unit": own,
        "caller": chance.choice([None, "app"]),
        "covariates": chance.choice([{}, {"age": 41.5}, {"age": 41.5}, {"age": 1e300}]),
        "seen": chance.choice([7, 7, 8, 9, HISTORY.end]),
        "at": at,
    }


def _some(chance: Random, values: dict[str, Sequence[Any]], least: int) -> dict[str, Any]:
    names = chance.sample(sorted(values), chance.randint(least, 3))
    return {name: chance.choice(values[name]) for name in names}


def _answer(chance: Random, given_out: dict[str, Any]) -> bytes:
    measured = {"success": chance.choice([True, False, None]), **_some(chance, MEASURED, 0)}
    fields: dict[str, Any] = {**given_out, "metrics": measured, "status": chance.choice(STATUSES)}
    del fields["own_unit"], fields["covariates"]
    if chance.random() < 0.1:
        fields["variant"] = "challenger"
    return outcome(**fields)


def _by_unit(chance: Random, now: int) -> bytes:
    named = chance.choice([None, "one", "two", "nowhere"])
    seen = chance.choice([7, 7, HISTORY.end])
    return report(chance.choice(UNITS), _some(chance, VALUES, 1), at=now, experiment=named, seen=seen)


def _by_token(chance: Random, given_out: dict[str, Any], now: int) -> bytes:
    return report(
        given_out["unit"],
        _some(chance, VALUES, 1),
        at=now,
        request=given_out["request"],
        experiment=given_out["experiment"],
        epoch=given_out["epoch"],
        seen=7,
    )


def _folded(events: list[bytes]) -> PartitionFold:
    fold = PartitionFold(0)
    fold.fold(stored(events), HISTORY)
    return fold


def _folded_with_restarts(events: list[bytes], history: DecisionHistory, chance: Random) -> PartitionFold:
    fold = PartitionFold(0)
    rows: dict[bytes, bytes] = {}
    while fold.position < len(events):
        batch = stored(events)[fold.position : fold.position + chance.randint(1, 12)]
        fold.fold(batch, history)
        if chance.random() < 0.5:
            fold.partials()
        if chance.random() < 0.5:
            changed = fold.changed_rows()
            rows = {key: row for key, row in {**rows, **changed}.items() if row is not None}
            fold = PartitionFold.restore(0, fold.position, rows, history)
    return fold


def _everything(fold: PartitionFold) -> list[bytes]:
    partials = [fold.partial(experiment_id) for experiment_id in sorted(fold.experiments)]
    return [*partials, str(fold.outside).encode()]


@settings(max_examples=300)
@given(stories())
def test_the_fold_is_the_naive_fold(events: list[bytes]) -> None:
    fold = PartitionFold(0)
    result = fold.fold(stored(events), HISTORY)
    naive = NaiveFold(events, HISTORY)
    assert [(letter.offset, letter.code) for letter in result.dead_letters] == naive.dead
    assert (result.folded, result.behind) == (len(events), None)
    assert fold.outside == naive.outside
    assert fold.experiments == set(naive.experiments)
    for experiment_id in fold.experiments:
        expected = naive.partial(experiment_id).model_dump(mode="json")
        assert decode(fold.partial(experiment_id)) == decode(encode(expected))


@settings(max_examples=200)
@given(lives(), st.sampled_from(sorted(BY_GOAL)), st.integers(0, 2**32))
def test_the_goal_by_age_is_that_of_the_naive_fold(events: list[bytes], goal: str, seed: int) -> None:
    fold = _folded_with_restarts(events, BY_GOAL[goal], Random(seed))
    naive = NaiveFold(events, BY_GOAL[goal])
    for experiment_id in fold.experiments:
        assert PartialData.model_validate_json(fold.partial(experiment_id)) == naive.partial(experiment_id)


@settings(max_examples=40)
@given(stories())
def test_time_buckets_are_those_of_the_naive_fold(events: list[bytes]) -> None:
    fold = _folded(events)
    naive = NaiveFold(events, HISTORY)
    for experiment_id in fold.experiments:
        buckets = [change for change in _folded(events).bucket_events() if change.experiment_id == experiment_id]
        found = {change.start_us: BucketsData.model_validate_json(change.data).variants for change in buckets}
        assert found == naive.buckets(experiment_id)


@settings(max_examples=40)
@given(stories(), st.integers(1, 4), st.integers(1, 3))
def test_beyond_what_is_remembered_a_repeat_counts_again(events: list[bytes], ids: int, reports: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "RECENT_EVENTS", ids)
        patch.setattr(duplicates, "RECENT_REPORTS", reports)
        fold = _folded(events)
    naive = NaiveFold(events, HISTORY, recent_events=ids, recent_reports=reports)
    for experiment_id in fold.experiments:
        assert PartialData.model_validate_json(fold.partial(experiment_id)) == naive.partial(experiment_id)


@settings(max_examples=100)
@given(stories(), st.integers(0, 2**32))
def test_batches_looks_and_restarts_change_no_byte(events: list[bytes], seed: int) -> None:
    fold = _folded_with_restarts(events, HISTORY, Random(seed))
    assert _everything(fold) == _everything(_folded(events))


@settings(max_examples=40)
@given(stories())
def test_every_event_delivered_twice_counts_once(events: list[bytes]) -> None:
    usable = [event for event in events if event not in GARBAGE]
    once = _folded(usable)
    twice = _folded([event for event in usable for _ in range(2)])
    assert once.experiments == twice.experiments
    for experiment_id in once.experiments:
        of_once, of_twice = decode(once.partial(experiment_id)), decode(twice.partial(experiment_id))
        assert of_twice["counts"]["conflicts"] == of_once["counts"]["conflicts"]
        for name in ("epochs", "totals", "callers", "as_of", "decisions_offset"):
            assert of_twice[name] == of_once[name]


@settings(max_examples=40)
@given(st.lists(stories(max_events=15), min_size=3, max_size=3))
def test_partitions_are_summed_in_any_order(parts: list[list[bytes]]) -> None:
    partials: dict[int, PartialData] = {}
    for partition, events in enumerate(parts):
        fold = PartitionFold(partition)
        fold.fold(stored(events), HISTORY)
        if "one" in fold.experiments:
            partials[partition] = PartialData.model_validate_json(fold.partial("one"))
    windows: set[bytes] = set()
    for order in permutations(partials) if partials else ():
        tables = Tables()
        for partition in order:
            tables.take(partials[partition])
        windows.add(encode(tables.window("one").model_dump(mode="json")))
        windows.add(encode(window_of({partition: partials[partition] for partition in order}).model_dump(mode="json")))
    assert len(windows) == bool(partials)


def test_the_history_is_read_no_further_than_the_observations_say() -> None:
    short = DecisionHistory()
    short.extend([(offset, value) for offset, value in enumerate(_decisions().values[:7])])
    events = [assignment("r1", "u1", experiment="one", seen=7), outcome("r1", "u1", experiment="one", seen=7)]
    fold = PartitionFold(0)
    fold.fold(stored(events), short)
    assert fold.partial("one") == _folded(events).partial("one")
