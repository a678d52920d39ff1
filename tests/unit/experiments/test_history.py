"""The fold of decisions: what is accepted, what is ignored, and the running digest."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions_harness import Chronicle, by, prepared, workload
from splitgauge.experiments import commands
from splitgauge.experiments.history import ZERO_DIGEST, DecisionHistory, chain, evolve
from splitgauge.experiments.state import Registry
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.errors import (
    ContractError,
    IdempotencyError,
    IllegalStepError,
    LogDamagedError,
    MalformedError,
    UnknownRulesError,
)
from splitgauge.schemas.experiment import ExperimentSpecification

AT = "2026-11-22T10:00:00.000000Z"


def test_state_at_every_offset_is_kept() -> None:
    chronicle = prepared().define().activate()
    history = chronicle.history

    assert history.end == 4
    assert [history.at(offset).offset for offset in range(5)] == [0, 1, 2, 3, 4]
    assert [sorted(history.at(offset).workloads) for offset in range(3)] == [[], ["42"], ["42", "57"]]
    assert history.at(3).experiments["e1"].status == "draft"
    assert history.newest is history.at(4)
    with pytest.raises(ContractError, match="read up to 4, not to 5"):
        history.at(5)


def test_digest_chains_offset_and_bytes() -> None:
    chronicle = prepared()
    digest = bytes(32)
    for offset, value in enumerate(chronicle.values):
        digest = hashlib.sha256(digest + offset.to_bytes(8, "big") + value).digest()

    assert chronicle.history.digest_at(2) == digest
    assert chronicle.history.digest_at(0) == ZERO_DIGEST == bytes(32)
    assert chain(bytes(32), 0, b"x") == hashlib.sha256(bytes(40) + b"x").digest()


def test_batches_and_repeats_do_not_matter() -> None:
    chronicle = prepared().define().activate()
    records = list(enumerate(chronicle.values))
    other = DecisionHistory()
    other.extend(records[:1])
    other.extend(records[:3])
    assert [judged.offset for judged in other.extend(records)] == [3]
    assert other.newest == chronicle.registry
    assert other.digest_at(4) == chronicle.history.digest_at(4)


def test_missing_offset_is_named() -> None:
    chronicle = prepared()
    other = DecisionHistory()
    with pytest.raises(LogDamagedError, match="offset 0 is missing") as refused:
        other.extend([(1, chronicle.values[1])])
    assert refused.value.where == "splitgauge.decisions/0/0"


def test_decision_under_later_rules_is_not_guessed_at() -> None:
    chronicle = prepared().define()
    decision = commands.activate_experiment(chronicle.registry, "e1", by())
    for rules in (2, "next", None):
        data = encode({**decision.model_dump(mode="json", exclude_none=True), "rules": rules})
        with pytest.raises(UnknownRulesError) as refused:
            chronicle.write_bytes(data)
        assert refused.value.where == "/data/rules"
        chronicle.values.pop()
    assert chronicle.history.end == 3


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage",
        b"[]",
        b'{"specversion": "1.0"}',
        wrap(b"{}", type="splitgauge.decision.v1", id="x", source="s", time=AT),
        wrap(b"{}", type="splitgauge.window.v1", id="x", source="s", time=AT),
        wrap(b'{"subject": 1}', type="splitgauge.decision.v1", id="x", source="s", time=AT),
    ],
)
def test_what_is_no_decision_is_ignored_by_every_reader(value: bytes) -> None:
    judged = evolve(Registry(), 0, value)
    assert isinstance(judged.refusal, MalformedError)
    assert judged.registry == Registry(offset=1)


class TestIdempotency:
    def test_key_is_remembered_with_the_subject_as_it_was_left(self) -> None:
        chronicle = prepared().define()
        chronicle.accept(commands.activate_experiment(chronicle.registry, "e1", by(key="k")))
        left = chronicle.experiment()
        chronicle.accept(commands.pause_experiment(chronicle.registry, "e1", by()))

        applied = chronicle.registry.applied["k"]
        assert (applied.body, applied.offset, applied.subject) == ("b" * 64, 3, left)

    def test_repeated_key_is_refused_by_the_fold(self) -> None:
        chronicle = prepared().define().activate()
        chronicle.accept(commands.pause_experiment(chronicle.registry, "e1", by(key="k")))
        judged = chronicle.write(commands.resume_experiment(chronicle.registry, "e1", by(key="k")))
        assert isinstance(judged.refusal, IdempotencyError)
        assert chronicle.experiment().status == "paused"

    def test_refused_decision_does_not_use_up_its_key(self) -> None:
        chronicle = prepared().define().activate()
        pause = commands.pause_experiment(chronicle.registry, "e1", by())
        late = commands.complete_experiment(chronicle.registry, "e1", by(key="k"))
        chronicle.accept(pause)
        assert not chronicle.write(late).accepted
        chronicle.accept(commands.resume_experiment(chronicle.registry, "e1", by(key="k")))

    def test_key_of_a_workload(self) -> None:
        chronicle = Chronicle()
        chronicle.accept(commands.define_workload(chronicle.registry, workload(1), by(key="k")))
        assert chronicle.registry.applied["k"].subject is chronicle.workload("1")


class TestWorkloads:
    def test_redefined_workload_serves_the_new_definition(self) -> None:
        chronicle = prepared()
        chronicle.accept(commands.redefine_workload(chronicle.registry, workload(42, timeout_s=5), by()))
        assert (chronicle.workload().revision, chronicle.workload().serves.timeout_s) == (2, 5)

    def test_redefinition_ends_a_promotion(self) -> None:
        chronicle = prepared().define().activate()
        chronicle.accept(commands.promote_variant(chronicle.registry, "e1", "challenger", by()))
        chronicle.accept(commands.redefine_workload(chronicle.registry, workload(42), by()))
        assert chronicle.workload().promotion is None
        assert chronicle.workload().serves.url == "http://127.0.0.1:9/42"

    def test_served_by_hand(self) -> None:
        chronicle = prepared()
        other = chronicle.workload("57").serves
        chronicle.accept(commands.serve_workload(chronicle.registry, 42, other, by()))
        assert chronicle.workload().serves == other
        assert chronicle.workload().workload.url == "http://127.0.0.1:9/42"

    def test_callers_of_one_provider_are_not_served_by_another(self) -> None:
        chronicle = prepared()
        other = workload(1, provider="openai", url="http://127.0.0.1:9/v1").configuration
        judged = chronicle.write(commands.serve_workload(chronicle.registry, 42, other, by()))
        assert isinstance(judged.refusal, ContractError)

    @pytest.mark.parametrize("status", ["active", "paused"])
    @pytest.mark.parametrize("key", [42, 57])
    def test_nothing_changes_while_in_use(self, status: str, key: int) -> None:
        chronicle = prepared().define().activate()
        if status == "paused":
            chronicle.accept(commands.pause_experiment(chronicle.registry, "e1", by()))
        registry = chronicle.registry
        refusals = [
            chronicle.write(decision).refusal
            for decision in (
                commands.redefine_workload(registry, workload(key), by()),
                commands.retire_workload(registry, key, by()),
                commands.serve_workload(registry, key, registry.workloads["57"].serves, by()),
            )
        ]
        assert [type(refusal) for refusal in refusals] == [IllegalStepError] * 3
        assert all("'e1'" in str(refusal) for refusal in refusals)
        chronicle.accept(commands.complete_experiment(chronicle.registry, "e1", by()))
        chronicle.accept(commands.redefine_workload(chronicle.registry, workload(key), by()))

    def test_draft_does_not_hold_its_workloads(self) -> None:
        chronicle = prepared().define()
        chronicle.accept(commands.retire_workload(chronicle.registry, 57, by()))
        with pytest.raises(ContractError) as refused:
            commands.activate_experiment(chronicle.registry, "e1", by())
        assert (refused.value.code, refused.value.where) == ("unknown-workload", "/variants/1/workload_id")

    def test_retired_id_can_be_defined_again(self) -> None:
        chronicle = prepared()
        chronicle.accept(commands.retire_workload(chronicle.registry, 42, by()))
        assert chronicle.registry.workload(42) is None
        assert isinstance(
            chronicle.write(
                commands.define_workload(chronicle.registry, workload(57), by()).model_copy(update={"revision": 2})
            ).refusal,
            IllegalStepError,
        )
        chronicle.accept(commands.define_workload(chronicle.registry, workload(42), by()))
        assert (chronicle.workload().revision, chronicle.workload().retired) == (3, False)

    def test_id_goes_before_name_and_no_name_is_no_name(self) -> None:
        chronicle = prepared()
        chronicle.accept(commands.define_workload(chronicle.registry, workload("a", name="answers"), by()))
        registry = chronicle.registry
        assert registry.workload("answers") is registry.workload("a") is registry.workloads["a"]
        assert registry.workload("42") is registry.workload(42) is registry.workloads["42"]
        assert registry.workload("") is None
        assert registry.workload("nobody") is None

    @pytest.mark.parametrize(
        ("workload_id", "name", "where"),
        [("b", "answers", "/name"), ("b", "a", "/name"), ("b", "42", "/name"), ("answers", "", "/id")],
        ids=["same name", "name is an id", "name is a number", "id is a name"],
    )
    def test_callers_can_tell_workloads_apart(self, workload_id: str, name: str, where: str) -> None:
        chronicle = prepared()
        chronicle.accept(commands.define_workload(chronicle.registry, workload("a", name="answers"), by()))
        judged = chronicle.write(commands.define_workload(chronicle.registry, workload(workload_id, name=name), by()))
        assert isinstance(judged.refusal, IllegalStepError)
        assert judged.refusal.where == where

    def test_definition_of_another_workload_is_ignored(self) -> None:
        chronicle = prepared()
        decision = commands.redefine_workload(chronicle.registry, workload(42), by())
        judged = chronicle.write(decision.model_copy(update={"workload": workload(57)}))
        assert isinstance(judged.refusal, ContractError)

    def test_experiment_refers_to_workloads_by_id(self) -> None:
        chronicle = prepared()
        chronicle.accept(commands.define_workload(chronicle.registry, workload("a", name="answers"), by()))
        with pytest.raises(ContractError) as refused:
            chronicle.define(base="answers")
        assert (refused.value.where, refused.value.remedy) == ("/base_workload_id", "Its id is a")

    def test_variant_of_another_provider_is_refused_when_defined(self) -> None:
        chronicle = prepared()
        other = workload("o", provider="openai", url="http://127.0.0.1:9/v1")
        chronicle.accept(commands.define_workload(chronicle.registry, other, by()))
        variants = [
            {"name": "control", "workload_id": 42, "weight": 1},
            {"name": "b", "workload_id": "o", "weight": 1},
        ]
        with pytest.raises(ContractError, match="speaks openai, its base workload webhook"):
            chronicle.define(variants=variants)

    def test_overridden_url_has_to_fit_the_provider(self) -> None:
        chronicle = prepared()
        base = workload("o", provider="openai", url="http://127.0.0.1:9/v1")
        chronicle.accept(commands.define_workload(chronicle.registry, base, by()))
        overridden = {"url": "http://127.0.0.1:9/v1?a=1"}
        variants = [
            {"name": "control", "workload_id": "o", "weight": 1},
            {"name": "b", "workload_id": "o", "weight": 1, "overrides": overridden},
        ]
        with pytest.raises(ContractError, match="paths are added to") as refused:
            chronicle.define(base="o", variants=variants)
        assert refused.value.where == "/variants/1/overrides/url"


class TestDefinition:
    def test_specification_of_another_experiment_is_ignored(self) -> None:
        chronicle = prepared()
        decision = commands.define_experiment(chronicle.registry, "e1", _specification("e1"), by())
        other = decision.model_copy(update={"experiment": _specification("e2")})
        assert isinstance(chronicle.write(other).refusal, ContractError)
        chronicle.accept(decision)

    def test_draft_is_written_anew(self) -> None:
        chronicle = prepared().define().define(alpha=0.2)
        assert (chronicle.experiment().revision, chronicle.experiment().specification.alpha) == (2, 0.2)

    def test_experiment_that_is_not_there(self) -> None:
        chronicle = prepared().define()
        decision = commands.discard_experiment(chronicle.registry, "e1", by())
        subject = decision.subject.model_copy(update={"id": "none"})
        judged = chronicle.write(decision.model_copy(update={"subject": subject, "revision": 1}))
        assert isinstance(judged.refusal, IllegalStepError)


def _specification(experiment_id: str) -> ExperimentSpecification:
    return prepared().define().experiment().specification.model_copy(update={"id": experiment_id})


def test_log_is_initialized_once() -> None:
    chronicle = Chronicle()
    chronicle.accept(commands.initialize_log("aa", by()))
    assert chronicle.registry.key_fingerprint == "aa"
    assert isinstance(chronicle.write(commands.initialize_log("bb", by())).refusal, IllegalStepError)
    assert chronicle.registry.key_fingerprint == "aa"


READY = prepared().define(ramp={"steps": [{"share": 0.05}]}).activate()
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
FIELDS = tuple(field for field in DecisionData.model_fields if field != "rules")
ACTIONS = ("define", "redefine", "serve", "retire", "activate", "reweight", "ramp", "promote", "roll_back", "confirm")


@given(
    field=st.sampled_from(FIELDS),
    value=JSON_VALUES,
    action=st.sampled_from(ACTIONS),
    table=st.lists(st.tuples(st.sampled_from(["control", "challenger", "x"]), st.integers(-5, 10_005)), max_size=3),
    slots=st.integers(-5, 10_005),
)
def test_fold_ignores_any_nonsense(
    field: str, value: object, action: str, table: list[tuple[str, int]], slots: int
) -> None:
    chronicle = READY
    decision: dict[str, Any] = {
        "subject": {"kind": "workload" if action in {"redefine", "serve", "retire"} else "experiment", "id": "e1"},
        "revision": 3,
        "action": action,
        "actor": {"kind": "user", "name": "x"},
        "reason": "",
        "variant": "challenger",
        "table": table,
        "coverage_slots": slots,
        "step": 0,
        "weights": {},
        field: value,
    }
    event = wrap(encode(decision), type="splitgauge.decision.v1", id="x", source="s", time=AT)
    judged = evolve(chronicle.registry, chronicle.history.end, event)
    assert judged.registry.offset == chronicle.history.end + 1
