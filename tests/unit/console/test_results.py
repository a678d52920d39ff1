"""Results as JSON: exact numbers from a window and a look."""

import dataclasses
from typing import Any

import pytest

from splitgauge.console.promotion import winner_of
from splitgauge.console.readings import Readings
from splitgauge.console.results import results_json
from splitgauge.experiments.commands import (
    By,
    activate_experiment,
    define_experiment,
    define_workload,
    pause_experiment,
    reweight_experiment,
)
from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.experiments.state import ExperimentState
from splitgauge.schemas.analysis import AnalysisData, Comparison
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.errors import ConflictError, LogDamagedError
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.tables import WindowData
from splitgauge.schemas.workload import Workload

AT = "2026-11-22T10:00:00.000000Z"
P95 = {"value": 800, "lower": 750, "upper": 870, "values": 744}
BY = By(Actor(kind="user", name="test"), "because")


def decide(history: DecisionHistory, decision: DecisionData) -> None:
    data = encode(decision.model_dump(mode="json", exclude_none=True))
    value = wrap(data, type="splitgauge.decision.v1", id=f"d{history.end}", source="/splitgauge/console", time=AT)
    [judged] = history.extend([(history.end, value)])
    assert judged.refusal is None


@pytest.fixture
def history() -> DecisionHistory:
    history = DecisionHistory()
    for key in (42, 57):
        workload = Workload(id=key, provider="webhook", url=f"http://127.0.0.1:9/{key}")
        decide(history, define_workload(history.newest, workload, BY))
    specification = ExperimentSpecification.model_validate(
        {
            "name": "Mistral 7B vs Llama 8B",
            "base_workload_id": 42,
            "variants": [
                {"name": "baseline", "workload_id": 42, "traffic_percent": 80},
                {"name": "challenger", "workload_id": 57, "traffic_percent": 20},
            ],
        }
    )
    decide(history, define_experiment(history.newest, "e1", specification, BY))
    decide(history, activate_experiment(history.newest, "e1", BY))
    return history


def experiment(history: DecisionHistory) -> ExperimentState:
    return history.newest.experiments["e1"]


def window(**changes: Any) -> WindowData:
    totals = {
        "baseline": {
            "jobs": 805,
            "statuses": {"complete": 744, "upstream_error": 4, "timeout": 2, "client_gone": 50},
            "reasons": {"split": 800, "forced": 5},
            "missing": 5,
            "answered": 744,
            "latency_ms": 744 * 450_000_000,
            "ttft_ms": 90_000_000,
            "ttft_count": 3,
            "input_tokens": 1000,
            "output_tokens": 384_000,
            "cost": 1_250_000_000_000,
            "first_at": "2026-11-22T09:00:00.000000Z",
            "last_at": "2026-11-22T09:01:40.500000Z",
        }
    }
    epochs = {
        "1": {"baseline": {"units": 70, "crossovers": 1}},
        "2": {"baseline": {"units": 30}, "challenger": {"units": 9}},
    }
    return WindowData.model_validate(
        {
            "experiment_id": "e1",
            "positions": {"1": 7, "0": 5},
            "decisions_offset": 4,
            "as_of": AT,
            "digests": {},
            "totals": totals,
            "epochs": epochs,
            **changes,
        }
    )


def look(*, upto: int = 4, **verdict: Any) -> AcceptedLook:
    data = AnalysisData.model_validate(
        {
            "experiment_id": "e1",
            "revision": 2,
            "positions": {"0": 4},
            "digests": {},
            "decisions": {"upto": upto, "digest": "00"},
            "looked_at": AT,
            "as_of": AT,
            "previous": None,
            "variants": {
                "baseline": {
                    "units": 90,
                    "requests": 700,
                    "exposed": 91,
                    "crossovers": 1,
                    "missing": 0,
                    "probability_to_be_best": 0.25,
                    "metrics": {
                        "success": {"value": 0.992, "standard_error": 0.001, "units": 90},
                        "latency_ms": {"value": 450, "standard_error": 2, "units": 90, "quantiles": {"p95": P95}},
                    },
                }
            },
            "comparisons": [],
            "guardrails": [],
            "health": {"state": "healthy"},
            "verdict": {"step": 5, "kind": "hold", "reason": "too few", **verdict},
        }
    )
    return AcceptedLook("look-1", "ab" * 32, 0, data)


def test_numbers_of_a_variant(history: DecisionHistory) -> None:
    shown = results_json(experiment(history), window(), look())["variants"][0]

    assert shown == {
        "name": "baseline",
        "traffic_percent": 80,
        "job_count": 805,
        "avg_latency_ms": 450,
        "latency_ms": {"p95": 800},
        "success_rate": 99.2,
        "total_tokens": 384_000,
        "cost": 1.25,
        "throughput": pytest.approx(805 / 100.5),
        "units": 100,
        "input_tokens": 1000,
        "cached_input_tokens": 0,
        "output_tokens": 384_000,
        "avg_ttft_ms": 30,
        "answered": 744,
        "missing": 5,
        "crossovers": 1,
        "statuses": {"complete": 744, "upstream_error": 4, "timeout": 2, "client_gone": 50},
        "reasons": {"split": 800, "forced": 5},
        "probability_to_be_best": 0.25,
        "expected_loss": None,
        "first_at": "2026-11-22T09:00:00.000000Z",
        "last_at": "2026-11-22T09:01:40.500000Z",
        "metrics": {
            "success": {"value": 0.992, "standard_error": 0.001, "units": 90, "reason": None, "quantiles": {}},
            "latency_ms": {
                "value": 450,
                "standard_error": 2,
                "units": 90,
                "reason": None,
                "quantiles": {"p95": {**P95, "standard_error": None, "design_effect": None, "reason": None}},
            },
        },
    }


def test_positions_of_window_and_look_are_named_apart(history: DecisionHistory) -> None:
    shown = results_json(experiment(history), window(), look())

    assert shown["positions"] == {"0": 5, "1": 7}
    assert shown["as_of"] == AT
    assert shown["analysis_id"] == "look-1"
    assert shown["analysis"]["positions"] == {"0": 4}
    assert (shown["revision"], shown["analysis"]["revision"]) == (2, 2)


def test_engine_is_named_and_what_it_concluded_from_is_shown(history: DecisionHistory) -> None:
    shown, nothing = results_json(experiment(history), window(), look()), results_json(experiment(history), None, None)

    assert (shown["engine"], nothing["engine"]) == ("asymptotic", "asymptotic")
    for name in ("leader", "novelty"):
        assert (shown[name], nothing[name]) == (None, None)
    assert (shown["planned_looks"], nothing["planned_looks"]) == ([], [])


def test_before_any_data_nothing_is_known_and_nothing_fails(history: DecisionHistory) -> None:
    shown = results_json(experiment(history), None, None)

    assert shown["winner"] == "inconclusive"
    assert (shown["health"], shown["verdict"], shown["positions"], shown["analysis_id"]) == (None, None, {}, None)
    assert [(v["job_count"], v["avg_latency_ms"], v["success_rate"], v["throughput"]) for v in shown["variants"]] == [
        (0, None, None, None),
        (0, None, None, None),
    ]


@pytest.mark.parametrize(
    ("said", "shown"), [("baseline", "control"), ("challenger", "challenger"), ("inconclusive", "inconclusive")]
)
def test_control_is_called_so_as_winner(history: DecisionHistory, said: str, shown: str) -> None:
    assert results_json(experiment(history), None, look(winner=said))["winner"] == shown


class TestWinner:
    def test_winner_is_who_the_look_would_promote(self, history: DecisionHistory) -> None:
        assert winner_of(experiment(history), look(promotable="challenger"), history) == "challenger"

    def test_reason_is_told(self, history: DecisionHistory) -> None:
        with pytest.raises(ConflictError, match="only 12 units"):
            winner_of(experiment(history), look(not_promotable_because="only 12 units"), history)

    def test_pause_in_between_changes_nothing(self, history: DecisionHistory) -> None:
        decide(history, pause_experiment(history.newest, "e1", BY))
        assert winner_of(experiment(history), look(promotable="challenger"), history) == "challenger"

    def test_other_split_in_between_voids_the_look(self, history: DecisionHistory) -> None:
        decide(history, reweight_experiment(history.newest, "e1", {"baseline": 1, "challenger": 1}, BY))
        with pytest.raises(ConflictError, match="the split was changed"):
            winner_of(experiment(history), look(promotable="challenger"), history)
        assert winner_of(experiment(history), look(upto=5, promotable="challenger"), history) == "challenger"


class TestReadings:
    def event(self, data: dict[str, Any], kind: Any = "splitgauge.window.v1") -> bytes:
        return wrap(encode(data), type=kind, id="w", source="/splitgauge/aggregator", time=AT)

    def window(self, positions: dict[str, int], fold_version: int = 1) -> bytes:
        return self.event(
            {
                "experiment_id": "e1",
                "positions": positions,
                "decisions_offset": 4,
                "fold_version": fold_version,
                "digests": {},
            }
        )

    def shown(self, *windows: bytes, look: AcceptedLook | None = None) -> tuple[int, dict[int, int]] | None:
        readings = Readings()
        for value in windows:
            readings.take_window(value)
        if look is not None:
            data = look.data.model_dump(mode="json")
            assert readings.take_analysis(0, 0, self.event(data, "splitgauge.analysis.v1"))
        newest = readings.window("e1")
        return (newest.fold_version, newest.positions) if newest is not None else None

    def test_older_window_after_a_newer_one_is_ignored(self) -> None:
        assert self.shown(self.window({"0": 5, "1": 1}), self.window({"0": 4, "1": 1})) == (1, {0: 5, 1: 1})

    def test_newer_fold_is_shown_once_it_has_reached_the_last_look(self) -> None:
        old, new = self.window({"0": 9}), self.window({"0": 3}, fold_version=2)
        assert self.shown(old, new, look=look()) == (1, {0: 9})
        assert self.shown(old, new, self.window({"0": 4}, fold_version=2), look=look()) == (2, {0: 4})

    def test_time_buckets_and_garbage_are_passed_over(self) -> None:
        assert (
            self.shown(b"{", self.event({}), self.event({"experiment_id": "e1"}, "splitgauge.window-buckets.v1"))
            is None
        )

    def test_window_that_is_none_is_named_when_asked_for(self) -> None:
        with pytest.raises(LogDamagedError, match="e1"):
            self.shown(self.event({"experiment_id": "e1", "positions": {}}))

    def test_places_of_looks(self) -> None:
        readings = Readings()
        assert list(readings.places_of_looks("e1").offsets) == []
        readings.take_analysis(2, 7, self.event(look().data.model_dump(mode="json"), "splitgauge.analysis.v1"))
        assert (readings.places_of_looks("e1").partition, list(readings.places_of_looks("e1").offsets)) == (2, [7])
        assert (readings.analyses_read(2), readings.analyses_read(0)) == (8, 0)


def test_numbers_beyond_what_json_readers_hold_are_text(history: DecisionHistory) -> None:
    # The same rate in both arms but for the last bit of a float: the difference would take as many units as this.
    units = 10**40
    comparison = {name: None for name, field in Comparison.model_fields.items() if field.is_required()}
    named = {"variant": "challenger", "against": "baseline", "metric": "correct", "role": "goal"}
    seen = look(units_needed=str(units), jobs_needed=units)
    data = AnalysisData.model_validate(
        {**seen.data.model_dump(), "comparisons": [{**comparison, **named, "units_needed": units}]}
    )
    totals = {"baseline": {"jobs": 2000, "output_tokens": str(2**64)}}

    shown = decode(
        encode(results_json(experiment(history), window(totals=totals), dataclasses.replace(seen, data=data)))
    )

    assert shown["verdict"]["units_needed"] == shown["comparisons"][0]["units_needed"] == str(units)
    assert shown["verdict"]["jobs_needed"] == str(units)
    assert shown["variants"][0]["total_tokens"] == str(2**64)
