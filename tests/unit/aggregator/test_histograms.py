"""Histograms and shares under a limit in the fold: what is counted, when, and how it survives."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fold_stories import START, Decisions, assignment, outcome, report, stored
from splitgauge.aggregator.partition_fold import FoldResult, PartitionFold
from splitgauge.aggregator.tables import window_of
from splitgauge.schemas.codec import MAX_SAFE_INTEGER
from splitgauge.schemas.tables import Cell, PartialData
from splitgauge.statistics import bucket_of

DAY = 24 * 60 * 60_000_000

WAIT = {"name": "wait", "kind": "quantile", "quantile": 0.9}
FAST = {"name": "fast", "kind": "proportion", "scale": 1, "source": "latency_ms", "under": 0.29}
CHEAP = {"name": "cheap", "kind": "proportion", "source": "cost", "under": 0.25, "denominator": "requests"}


class Told:
    """A story told to the fold, one experiment `exp` running."""

    def __init__(self, **specification: Any) -> None:
        self.decisions = Decisions()
        self.decisions.start("exp", **specification)
        self.fold = PartitionFold(0)

    def then(self, *events: bytes) -> FoldResult:
        return self.fold.fold(stored(list(events), self.fold.position), self.decisions.history)

    @property
    def partial(self) -> PartialData:
        return PartialData.model_validate_json(self.fold.partial("exp"))

    def cell(self, variant: str = "control") -> Cell:
        return self.partial.epochs["1"][variant]


def served(request: str, unit: str, latency_ms: float, variant: str = "control", **measured: Any) -> list[bytes]:
    metrics = {"success": True, "latency_ms": latency_ms, **measured}
    return [assignment(request, unit, variant), outcome(request, unit, variant, metrics=metrics)]


def bucket(value: float) -> int:
    return int(bucket_of(value))


def test_latencies_of_complete_answers_are_counted_by_bucket() -> None:
    told = Told()
    told.then(*served("r1", "u1", 100.0, ttft_ms=12.5), *served("r2", "u1", 100.5), *served("r3", "u2", 0.0))
    told.then(assignment("r4", "u3"), outcome("r4", "u3", status="timeout", metrics={"latency_ms": 9_000.0}))
    assert told.cell().histograms == {
        "latency_ms": {bucket(100): 2, 0: 1},
        "ttft_ms": {bucket(12.5): 1},
    }


def test_a_duplicate_counts_once_and_what_is_not_analysed_not_at_all() -> None:
    told = Told()
    told.then(*served("r1", "u1", 100.0), outcome("r1", "u1"))
    forced = assignment("r2", "u2", reason="forced"), outcome("r2", "u2", reason="forced")
    told.then(*forced)
    assert told.cell().histograms == {"latency_ms": {bucket(100): 1}}


def test_a_value_stays_when_its_unit_becomes_a_crossover_and_the_next_is_not_counted() -> None:
    told = Told()
    told.then(*served("r1", "u1", 100.0), *served("r2", "u1", 200.0, "challenger"), *served("r3", "u1", 300.0))
    cell = told.cell()
    assert (cell.units, cell.crossovers, cell.metrics["latency_ms"].d) == (0, 1, 0)
    assert cell.histograms == {"latency_ms": {bucket(100): 1}}


def test_reported_quantiles_are_counted_once_a_request() -> None:
    told = Told(metrics=[WAIT])
    told.then(assignment("r1", "u1"))
    token = {"request": "r1", "experiment": "exp", "epoch": 1}
    told.then(
        report("u1", {"wait": -2.5}, **token),
        report("u1", {"wait": 8.0}, **token),
        report("u1", {"wait": 0}, experiment="exp"),
    )
    assert told.cell().histograms == {"wait": {bucket(-2.5): 1, 0: 1}}
    assert (told.cell().metrics["wait"].m, told.cell().metrics["wait"].d) == (-2_500_000, 2)


def test_days_have_no_histograms_of_their_own() -> None:
    told = Told(attribution_window_s=3_600.0)
    told.then(*served("r1", "u1", 100.0), assignment("r2", "u2", at=START + DAY))
    told.then(outcome("r2", "u2", at=START + DAY, metrics={"latency_ms": 100.0}))
    cell = told.cell()
    assert cell.histograms == {"latency_ms": {bucket(100): 2}}
    assert [day.histograms for day in cell.days.values()] == [{}, {}]


def test_many_values_and_restarts_change_nothing() -> None:
    told, again = Told(), Told()
    values = [1.0 + number % 700 for number in range(9_000)]
    events = [event for number, value in enumerate(values) for event in served(f"r{number}", f"u{number % 9}", value)]
    told.then(*events)
    rows: dict[bytes, bytes] = {}
    for start in range(0, len(events), 5_000):
        again.then(*events[start : start + 5_000])
        changed = again.fold.changed_rows()
        rows = {key: row for key, row in {**rows, **changed}.items() if row is not None}
        again.fold = PartitionFold.restore(0, again.fold.position, rows, again.decisions.history)
    assert again.fold.partial("exp") == told.fold.partial("exp")
    assert sum(told.cell().histograms["latency_ms"].values()) == 9_000
    assert len(told.cell().histograms["latency_ms"]) <= 64 * 10


def test_a_checkpoint_has_the_histograms_that_changed() -> None:
    told = Told(metrics=[WAIT])
    told.then(*served("r1", "u1", 100.0), *served("r2", "u2", 100.0, "challenger"))
    told.fold.changed_rows()
    told.then(*served("r3", "u2", 100.0, "challenger"))
    assert [key for key in told.fold.changed_rows() if b"h/" in key] == [b'x/"exp"h/1/challenger/latency_ms']


def test_partitions_add_up() -> None:
    one, other = Told(), Told()
    one.then(*served("r1", "u1", 100.0), *served("r2", "u2", 7.0))
    other.then(*served("r3", "u3", 100.0), *served("r4", "u4", 1e-3))
    window = window_of({0: one.partial, 1: other.partial.model_copy(update={"partition": 1})})
    assert window.epochs["1"]["control"].histograms == {"latency_ms": {bucket(100): 2, bucket(7): 1, bucket(1e-3): 1}}


def test_a_share_under_a_limit_counts_answers_that_have_the_metric() -> None:
    told = Told(metrics=[FAST, CHEAP], goal={"metric": "fast"})
    told.then(*served("r1", "u1", 0.29, cost=0.25), *served("r2", "u1", 0.290001), *served("r3", "u2", 5.0, cost=0.26))
    told.then(assignment("r4", "u2"), outcome("r4", "u2", status="timeout", metrics={"latency_ms": 0.1}))
    fast, cheap = told.cell().metrics["fast"], told.cell().metrics["cheap"]
    assert (fast.m, fast.d, fast.hits, fast.misses, fast.present) == (1, 3, 1, 2, 2)
    assert (cheap.m, cheap.d, cheap.hits, cheap.misses) == (1_000_000, 4, 1, 2)


def test_a_share_under_a_limit_is_in_the_time_buckets() -> None:
    told = Told(metrics=[FAST])
    told.then(*served("r1", "u1", 0.1), *served("r2", "u1", 5.0))
    [change] = told.fold.bucket_events()
    assert b'"fast":[1,2]' in change.data


def test_nobody_reports_a_share_under_a_limit() -> None:
    told = Told(metrics=[FAST])
    told.then(assignment("r1", "u1"))
    [letter] = told.then(report("u1", {"fast": 1}, experiment="exp")).dead_letters
    assert letter.code == "unknown-metric"
    told.then(report("u1", {"fast": 1}))
    assert told.cell().metrics["fast"].d == 0


@given(st.dictionaries(st.integers(-131_008, 131_072), st.integers(1, MAX_SAFE_INTEGER)))
def test_counts_survive_json_as_runs(counts: dict[int, int]) -> None:
    cell = Cell(histograms={"wait": counts})
    assert Cell.model_validate_json(cell.model_dump_json()).histograms == {"wait": counts}
    assert Cell.model_validate(cell.model_dump()).histograms == {"wait": counts}


@pytest.mark.parametrize("runs", [[[]], [5], [["a", 1]], [[1, 0.5]], "counts"])
def test_what_is_no_run_is_refused(runs: Any) -> None:
    with pytest.raises(ValidationError):
        Cell.model_validate({"histograms": {"wait": runs}})
