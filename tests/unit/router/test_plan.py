"""Who answers, and why."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from router_world import BY, NOW_US, specification, workload
from splitgauge.experiments import commands
from splitgauge.experiments.assignment import hash_slot
from splitgauge.experiments.lifecycle import apply
from splitgauge.experiments.state import Registry
from splitgauge.router.inquiry import CHAT, WEBHOOK, Inquiry, Operation
from splitgauge.router.plan import Plan, compile_table, plan, plan_outside
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.errors import ContractError, UnknownSubjectError

KEY = UnitKey(bytes(range(32)))
REQUEST = "0f8fad5b-d9cb-469f-a165-70867728950e"


class World:
    """A registry, and requests planned with it."""

    def __init__(self) -> None:
        self.registry = Registry()
        for key in ("a", "b", "c"):
            self.do(partial(commands.define_workload, workload=workload(key, f"http://{key}"), by=BY))

    def do(self, command: Callable[[Registry], DecisionData]) -> None:
        offset = self.registry.offset
        after = apply(self.registry, command(self.registry), offset=offset, time_us=NOW_US)
        self.registry = Registry(offset + 1, after.key_fingerprint, after.workloads, after.experiments, after.applied)

    def start(self, experiment_id: str, **fields: Any) -> None:
        chosen: dict[str, Any] = {"base": "a", "challenger": "b", **fields}
        self.do(lambda r: commands.define_experiment(r, experiment_id, specification(**chosen), BY))
        self.do(lambda r: commands.activate_experiment(r, experiment_id, BY))

    def plan(self, unit: str | None = "anna", *, request_id: str = REQUEST, **fields: Any) -> Plan:
        asked = inquiry(unit=unit, **fields)
        return plan(compile_table(self.registry).route(asked), asked, request_id=request_id, key=KEY)

    def reasons(self, n_units: int = 2_000) -> Counter[str]:
        return Counter(self.plan(f"u{i}").reason for i in range(n_units))


def inquiry(
    workload: str = "a",
    *,
    unit: str | None = None,
    headers: Mapping[str, str] | None = None,
    document: object = None,
    operation: Operation = WEBHOOK,
    attributes: Mapping[str, str | float | bool] | None = None,
) -> Inquiry:
    return Inquiry(workload, operation, headers or {}, b"", document, unit=unit, attributes=attributes or {})


@pytest.fixture
def world() -> World:
    return World()


def test_without_experiment_the_workload_serves(world: World) -> None:
    planned = world.plan()
    assert (planned.reason, planned.variant, planned.experiment_id) == ("default", None, None)
    assert planned.configuration.url == "http://a"
    assert planned.unit_id == KEY.unit_id("anna")


def test_a_unit_gets_the_variant_of_its_slot(world: World) -> None:
    world.start("e1")
    planned = world.plan()
    state = world.registry.experiments["e1"]
    slot = hash_slot("e1/split", KEY.unit_id("anna"))
    assert (planned.reason, planned.slot) == ("split", slot)
    assert planned.variant == state.table.variant_of(slot)
    assert planned.epoch == 1
    assert planned.configuration.url == ("http://a" if planned.variant == "control" else "http://b")


def test_the_observed_split_is_that_of_the_weights(world: World) -> None:
    world.start("e1", weight=20)
    counts = Counter(world.plan(f"u{i}").variant for i in range(10_000))
    assert abs(counts["challenger"] - 2_000) < 4 * (10_000 * 0.2 * 0.8) ** 0.5


def test_a_variant_without_weight_gets_nobody(world: World) -> None:
    world.start("e1", weight=0)
    assert {world.plan(f"u{i}").variant for i in range(500)} == {"control"}


def test_a_paused_experiment_lets_the_workload_serve(world: World) -> None:
    world.start("e1")
    world.do(lambda r: commands.pause_experiment(r, "e1", BY))
    assert world.plan().reason == "default"
    world.do(lambda r: commands.resume_experiment(r, "e1", BY))
    assert world.plan().reason == "split"


def test_a_promotion_gives_everyone_the_winner(world: World) -> None:
    world.start("e1")
    world.do(lambda r: commands.promote_variant(r, "e1", "challenger", BY))
    assert {world.plan(f"u{i}").configuration.url for i in range(50)} == {"http://b"}
    assert world.plan().reason == "default"


def test_held_out_units_get_what_the_workload_serves(world: World) -> None:
    world.start("e1", holdout=0.2)
    reasons = world.reasons()
    assert 320 < reasons["holdout"] < 480
    assert reasons["holdout"] + reasons["split"] == 2_000
    held = next(p for i in range(100) if (p := world.plan(f"u{i}")).reason == "holdout")
    assert (held.variant, held.slot, held.experiment_id, held.configuration.url) == (None, None, "e1", "http://a")


def test_units_outside_the_coverage_are_not_split_and_stay_what_they_are_as_it_grows(world: World) -> None:
    world.start("e1", ramp={"steps": [{"share": 0.1}]})
    before = {f"u{i}": world.plan(f"u{i}") for i in range(2_000)}
    inside = {unit: planned.variant for unit, planned in before.items() if planned.split}
    assert 320 < len(inside) < 480  # 0.1 of all traffic at a joint weight of 0.5 is a coverage of 0.2
    assert {planned.reason for planned in before.values()} == {"split", "outside"}
    world.do(lambda r: commands.ramp_experiment(r, "e1", 1, BY))
    assert {unit: world.plan(unit).variant for unit in inside} == inside
    assert world.reasons()["outside"] == 0


def test_two_layers_share_the_traffic_without_overlap(world: World) -> None:
    world.start("e1", traffic={"end": 0.5})
    world.start("e2", challenger="c", traffic={"start": 0.5})
    experiments = Counter(world.plan(f"u{i}").experiment_id for i in range(2_000))
    assert set(experiments) == {"e1", "e2"}
    assert abs(experiments["e1"] - 1_000) < 100


def test_traffic_outside_every_layer_is_no_experiments(world: World) -> None:
    world.start("e1", traffic={"end": 0.5})
    reasons = world.reasons()
    assert set(reasons) == {"split", "default"}


def test_who_has_the_unit_is_asked_of_the_default_unit_even_where_another_is_split_by(world: World) -> None:
    world.start("e1", traffic={"end": 0.5}, unit="header:x-session")
    world.start("e2", challenger="c", traffic={"start": 0.5}, unit="body:/session")
    for i in range(50):
        planned = world.plan(f"u{i}", headers={"x-session": "s1"}, document={"session": "s2"})
        assert planned.unit_id == KEY.unit_id("s1" if planned.experiment_id == "e1" else "s2")


def test_no_unit_makes_each_request_its_own(world: World) -> None:
    world.start("e1")
    first, second = world.plan(None), world.plan("", request_id="0f8fad5b-d9cb-469f-a165-70867728950f")
    assert first.own_unit
    assert second.own_unit
    assert first.unit_id == KEY.own_unit_id(REQUEST) != second.unit_id


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        ({"headers": {"x-splitgauge-unit": "anna"}}, "anna"),
        ({"headers": {"x-splitgauge-unit": "anna"}, "document": {"user": "bert"}}, "anna"),
        ({"document": {"safety_identifier": "carl", "user": "bert"}}, "carl"),
        ({"document": {"safety_identifier": "", "user": 7}}, "7"),
        ({"headers": {"x-splitgauge-unit": ""}, "document": {"user": "bert"}}, "bert"),
    ],
)
def test_the_unit_is_the_first_that_is_there(world: World, fields: dict[str, Any], unit: str) -> None:
    openai = workload("o", "http://o", provider="openai")
    world.do(lambda r: commands.define_workload(r, openai, BY))
    assert world.plan(None, workload="o", operation=CHAT, **fields).unit_id == KEY.unit_id(unit)


def test_a_webhooks_fields_are_its_own_and_name_no_unit(world: World) -> None:
    assert world.plan(None, document={"user": "bert"}).own_unit


@pytest.mark.parametrize(
    ("unit", "document", "expected"),
    [
        ("body:/a/1/b~1c", {"a": [0, {"b/c": "x"}]}, "x"),
        ("body:/id", {"id": 42}, "42"),
        ("body:/id", {"id": True}, None),
        ("body:/id/deeper", {"id": 42}, None),
        ("body:/a/9", {"a": [0]}, None),
        ("body:/a/-", {"a": [0]}, None),
    ],
)
def test_an_experiment_chooses_its_unit_in_the_body(
    world: World, unit: str, document: object, expected: str | None
) -> None:
    world.start("e1", unit=unit)
    planned = world.plan(None, document=document)
    assert planned.unit_id == (KEY.unit_id(expected) if expected else KEY.own_unit_id(REQUEST))
    assert planned.own_unit is (expected is None)


def test_covariates_are_the_finite_numbers_that_the_experiment_asks_for(world: World) -> None:
    metrics = [
        {"name": f"m{name}", "covariate": {"attribute": name}} for name in ("age", "score", "text", "gone", "endless")
    ]
    world.start("e1", metrics=metrics)
    attributes = {"age": "41.5", "score": 3, "text": "old", "endless": "inf", "other": 1}
    assert world.plan(attributes=attributes).covariates == {"age": 41.5, "score": 3.0}


def test_a_workload_is_found_by_id_and_by_name(world: World) -> None:
    world.do(lambda r: commands.define_workload(r, workload(42, "http://n", name="llama"), BY))
    table = compile_table(world.registry)
    assert table.route(inquiry("42")) is table.route(inquiry("llama"))


def test_an_unknown_or_retired_workload_is_named_with_a_way_to_see_them(world: World) -> None:
    world.do(lambda r: commands.retire_workload(r, "c", BY))
    for name in ("zzz", "c"):
        with pytest.raises(UnknownSubjectError, match=name) as caught:
            world.plan(workload=name)
        assert (caught.value.code, caught.value.remedy) == ("unknown-workload", "GET /v1/models lists the workloads")


def test_a_workload_of_another_protocol_says_where_to_go(world: World) -> None:
    with pytest.raises(ContractError, match="speaks webhook") as caught:
        world.plan(operation=CHAT)
    assert caught.value.remedy == "Send the request to /w/a"


def test_while_the_log_is_away_the_workload_serves_outside_the_experiment(world: World) -> None:
    world.start("e1")
    asked = inquiry(unit="anna")
    planned = plan_outside(compile_table(world.registry).route(asked), asked, request_id=REQUEST, key=KEY)
    assert (planned.reason, planned.experiment_id, planned.configuration.url) == ("default", None, "http://a")
    assert planned.unit_id == KEY.unit_id("anna")
