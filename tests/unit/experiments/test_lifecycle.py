"""The table of actions and states, and what each action does (events.md, "Actions and states")."""

from collections.abc import Callable

import pytest

from decisions_harness import ANALYZER, SECOND_US, START_US, THREE_ARMS, Chronicle, by, prepared, workload
from splitgauge.experiments import commands
from splitgauge.experiments.commands import By
from splitgauge.experiments.state import Registry
from splitgauge.schemas.decision import DecisionData, Recommendation
from splitgauge.schemas.errors import ConflictError, ContractError, IllegalStepError, StaleRevisionError

RECOMMENDATION = Recommendation(id="r1", action="promote", variant="challenger")


def ramped() -> Chronicle:
    return prepared().define(ramp={"steps": [{"share": 0.05}, {"share": 0.1}]})


def state(status: str) -> Chronicle:
    chronicle = ramped()
    if status == "discarded":
        return chronicle.accept(commands.discard_experiment(chronicle.registry, "e1", by()))
    if status == "draft":
        return chronicle
    chronicle.activate()
    if status == "active":
        return chronicle.accept(commands.recommend(chronicle.registry, "e1", RECOMMENDATION, by(ANALYZER)))
    if status == "paused":
        return chronicle.accept(commands.pause_experiment(chronicle.registry, "e1", by()))
    return chronicle.accept(commands.complete_experiment(chronicle.registry, "e1", by()))


Command = Callable[[Registry, By], DecisionData]

ACTIONS: dict[str, Command] = {
    "define": lambda r, b: commands.define_experiment(r, "e1", r.experiments["e1"].specification, b),
    "discard": lambda r, b: commands.discard_experiment(r, "e1", b),
    "activate": lambda r, b: commands.activate_experiment(r, "e1", b),
    "pause": lambda r, b: commands.pause_experiment(r, "e1", b),
    "resume": lambda r, b: commands.resume_experiment(r, "e1", b),
    "reweight": lambda r, b: commands.reweight_experiment(r, "e1", {"control": 1, "challenger": 1}, b),
    "ramp": lambda r, b: commands.ramp_experiment(r, "e1", 1, b),
    "promote": lambda r, b: commands.promote_variant(r, "e1", "challenger", b),
    "roll_back": lambda r, b: commands.roll_back_variant(r, "e1", "challenger", b),
    "recommend": lambda r, b: commands.recommend(r, "e1", RECOMMENDATION, b),
    "confirm": lambda r, b: commands.confirm_recommendation(r, "e1", "r1", b),
    "dismiss": lambda r, b: commands.dismiss_recommendation(r, "e1", "r1", b),
    "complete": lambda r, b: commands.complete_experiment(r, "e1", b),
}

LEGAL = {
    "draft": {"define", "discard", "activate"},
    "active": {"pause", "reweight", "ramp", "promote", "roll_back", "recommend", "confirm", "dismiss", "complete"},
    "paused": {"resume", "reweight", "promote", "roll_back", "complete"},
    "completed": set[str](),
    "discarded": {"define"},
}

BY_ANALYZER = {
    "active": {"ramp", "promote", "roll_back", "recommend", "complete"},
}


@pytest.mark.parametrize(
    ("status", "action", "remedy"),
    [
        ("draft", "pause", "Legal now: activate, define, discard"),
        ("active", "resume", "Legal now: complete, confirm, dismiss, pause, promote, roll-back, weights"),
        ("paused", "pause", "Legal now: complete, promote, resume, roll-back, weights"),
        ("completed", "pause", "Define a new experiment"),
        ("discarded", "pause", "Legal now: define"),
    ],
)
def test_a_refusal_names_what_a_person_can_call(status: str, action: str, remedy: str) -> None:
    with pytest.raises(IllegalStepError) as refused:
        ACTIONS[action](state(status).registry, by())
    assert refused.value.remedy == remedy


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("status", LEGAL)
def test_action_in_state_by_a_person(status: str, action: str) -> None:
    chronicle = state(status)
    before = chronicle.experiment()

    if action in LEGAL[status]:
        judged = chronicle.write(ACTIONS[action](chronicle.registry, by()))
        assert judged.refusal is None
        assert chronicle.experiment().revision == before.revision + 1
    else:
        with pytest.raises(IllegalStepError) as refused:
            ACTIONS[action](chronicle.registry, by())
        assert refused.value.where == "experiment e1"
        assert f"'e1' is {status}: {action} is not legal" in refused.value.message


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("status", LEGAL)
def test_action_in_state_by_the_analyzer(status: str, action: str) -> None:
    chronicle = state(status)
    if action in BY_ANALYZER.get(status, set()):
        chronicle.accept(ACTIONS[action](chronicle.registry, by(ANALYZER)))
    else:
        with pytest.raises(IllegalStepError):
            ACTIONS[action](chronicle.registry, by(ANALYZER))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("status", LEGAL)
def test_fold_ignores_what_the_writer_would_have_refused(status: str, action: str) -> None:
    """A decision made for an active experiment, as a writer that has not read the newest would write it."""
    source = state("active" if action not in LEGAL["draft"] else "draft")
    if action == "resume":
        source = state("paused")
    decision = ACTIONS[action](source.registry, by())
    chronicle = state(status)
    before = chronicle.experiment()
    judged = chronicle.write(decision.model_copy(update={"revision": before.revision + 1}))

    legal = action in LEGAL[status] and not (status == "paused" and action in {"confirm", "dismiss"})
    assert judged.accepted == legal
    if not legal:
        assert isinstance(judged.refusal, IllegalStepError)
        assert chronicle.experiment() == before


class TestActivation:
    def test_what_runs_is_frozen(self) -> None:
        chronicle = prepared().define().activate()
        activation = chronicle.experiment().activation

        assert activation is not None
        assert activation.variants["challenger"].url == "http://127.0.0.1:9/57"
        assert activation.workload_revisions == {"42": 1, "57": 1}
        assert activation.table == [("control", 8000), ("challenger", 2000)]
        assert (activation.split_seed, activation.layer_seed) == ("e1/split", "42/layer")

    def test_workload_changed_in_between_voids_it(self) -> None:
        chronicle = prepared().define()
        decision = commands.activate_experiment(chronicle.registry, "e1", by())
        chronicle.accept(commands.redefine_workload(chronicle.registry, workload(57, timeout_s=5), by()))
        judged = chronicle.write(decision)

        assert isinstance(judged.refusal, IllegalStepError)
        assert "workload '57' was changed" in judged.refusal.message
        chronicle.activate()

    def test_two_experiments_on_one_base_the_first_wins(self) -> None:
        chronicle = prepared().define("e1").define("e2")
        both = [commands.activate_experiment(chronicle.registry, name, by()) for name in ("e1", "e2")]

        assert [chronicle.write(decision).accepted for decision in both] == [True, False]
        assert chronicle.experiment("e2").status == "draft"

    def test_disjoint_layers_share_a_base(self) -> None:
        chronicle = prepared()
        chronicle.define("e1", traffic={"start": 0, "end": 0.5}).activate("e1")
        chronicle.define("e2", traffic={"start": 0.5, "end": 1}).activate("e2")
        chronicle.define("e3", traffic={"start": 0.4, "end": 0.6})
        judged = chronicle.write(commands.activate_experiment(chronicle.registry, "e3", by()))
        assert isinstance(judged.refusal, IllegalStepError)
        assert "overlaps" in judged.refusal.message

    def test_paused_experiment_keeps_its_base(self) -> None:
        chronicle = prepared().define("e1").activate("e1").define("e2")
        chronicle.accept(commands.pause_experiment(chronicle.registry, "e1", by()))
        assert not chronicle.write(commands.activate_experiment(chronicle.registry, "e2", by())).accepted
        chronicle.accept(commands.complete_experiment(chronicle.registry, "e1", by()))
        chronicle.activate("e2")

    def test_variant_that_names_the_base_gets_what_it_serves_now(self) -> None:
        chronicle = prepared().define("e1").activate("e1")
        chronicle.accept(commands.promote_variant(chronicle.registry, "e1", "challenger", by()))
        overrides = {"parameters": {"t": 0}}
        chronicle.define(
            "e2",
            variants=[
                {"name": "control", "workload_id": 42, "weight": 1},
                {"name": "cold", "workload_id": 42, "overrides": overrides, "weight": 1},
            ],
            control="control",
        ).activate("e2")
        activation = chronicle.experiment("e2").activation

        assert activation is not None
        assert {name: variant.url for name, variant in activation.variants.items()} == {
            "control": "http://127.0.0.1:9/57",
            "cold": "http://127.0.0.1:9/57",
        }
        assert activation.variants["cold"].forced_parameters == {"t": 0}

    def test_weight_of_zero_keeps_a_variant_switched_off(self) -> None:
        variants = [{**THREE_ARMS[0]}, {**THREE_ARMS[1]}, {**THREE_ARMS[2], "weight": 0}]
        chronicle = prepared().define(variants=variants).activate()
        assert chronicle.experiment().table.counts() == {"control": 7500, "b": 2500, "c": 0}
        chronicle.accept(commands.reweight_experiment(chronicle.registry, "e1", {"control": 1, "b": 1, "c": 2}, by()))
        assert chronicle.experiment().table.counts() == {"control": 2500, "b": 2500, "c": 5000}


class TestRevisions:
    def test_two_writers_at_once_one_wins(self) -> None:
        chronicle = prepared().define().activate()
        both = [
            commands.pause_experiment(chronicle.registry, "e1", by()),
            commands.complete_experiment(chronicle.registry, "e1", by()),
        ]
        assert [type(chronicle.write(decision).refusal) for decision in both] == [type(None), StaleRevisionError]
        assert chronicle.experiment().status == "paused"

    def test_stale_revision_is_named_before_illegality(self) -> None:
        chronicle = prepared().define().activate()
        with pytest.raises(StaleRevisionError, match="at revision 2, not 1"):
            commands.resume_experiment(chronicle.registry, "e1", by(revision=1))

    def test_analyzer_is_bound_to_the_state_it_saw(self) -> None:
        chronicle = prepared().define().activate()
        decision = commands.promote_variant(chronicle.registry, "e1", "challenger", by(ANALYZER, seen=1))
        judged = chronicle.write(decision)
        assert isinstance(judged.refusal, ContractError)
        assert judged.refusal.where == "/data/evidence/revision"
        chronicle.accept(commands.promote_variant(chronicle.registry, "e1", "challenger", by(ANALYZER, seen=2)))

    def test_promotion_raises_the_revision_of_both(self) -> None:
        chronicle = prepared().define().activate()
        chronicle.accept(commands.promote_variant(chronicle.registry, "e1", "challenger", by()))
        assert (chronicle.experiment().revision, chronicle.workload("42").revision) == (3, 2)
        assert (chronicle.workload("57").revision, chronicle.workload("57").promotion) == (1, None)


class TestEnding:
    def test_promoted_challenger_is_served(self) -> None:
        chronicle = prepared().define().activate()
        chronicle.accept(commands.promote_variant(chronicle.registry, "e1", "challenger", by()))

        experiment, base = chronicle.experiment(), chronicle.workload()
        assert (experiment.status, experiment.winner, experiment.completed_offset) == ("completed", "challenger", 4)
        assert experiment.epochs[-1].ended_offset == 4
        assert base.serves.url == "http://127.0.0.1:9/57"
        assert base.workload.url == "http://127.0.0.1:9/42"
        assert base.promotion is not None
        assert (base.promotion.experiment_id, base.promotion.variant) == ("e1", "challenger")

    def test_promoted_control_is_served_as_it_was_frozen(self) -> None:
        chronicle = prepared()
        chronicle.define("e1", traffic={"start": 0, "end": 0.5}).activate("e1")
        chronicle.define("e2", traffic={"start": 0.5, "end": 1}).activate("e2")
        chronicle.accept(commands.promote_variant(chronicle.registry, "e1", "challenger", by()))
        assert chronicle.experiment("e2").activation == chronicle.history.at(6).experiments["e2"].activation
        chronicle.accept(commands.promote_variant(chronicle.registry, "e2", "control", by()))

        assert chronicle.workload().serves.url == "http://127.0.0.1:9/42"
        assert chronicle.workload().revision == 3

    def test_completing_leaves_the_workload_as_it_is(self) -> None:
        chronicle = prepared().define().activate()
        before = chronicle.workload()
        chronicle.accept(commands.complete_experiment(chronicle.registry, "e1", by(), winner="control"))
        assert (chronicle.experiment().winner, chronicle.workload()) == ("control", before)

    def test_challenger_does_not_win_by_completing(self) -> None:
        chronicle = prepared().define().activate()
        judged = chronicle.write(commands.complete_experiment(chronicle.registry, "e1", by(), winner="challenger"))
        assert isinstance(judged.refusal, IllegalStepError)

    def test_roll_back_gives_the_slots_to_control_and_opens_an_epoch(self) -> None:
        chronicle = prepared().define(variants=THREE_ARMS).activate()
        chronicle.accept(commands.roll_back_variant(chronicle.registry, "e1", "b", by(ANALYZER)))
        experiment = chronicle.experiment()

        assert (experiment.status, experiment.removed, experiment.challengers) == ("active", ("b",), ("c",))
        assert experiment.table.counts() == {"control": 8000, "b": 0, "c": 2000}
        assert [(e.number, e.opened_offset, e.ended_offset) for e in experiment.epochs] == [(1, 3, 4), (2, 4, None)]
        assert experiment.epochs[0].ended_for(5)
        assert not experiment.epochs[0].ended_for(4)

    def test_roll_back_of_the_last_challenger_completes(self) -> None:
        chronicle = prepared().define(variants=THREE_ARMS).activate()
        for variant in ("b", "c"):
            chronicle.accept(commands.roll_back_variant(chronicle.registry, "e1", variant, by()))
        experiment = chronicle.experiment()
        assert (experiment.status, experiment.winner, len(experiment.epochs)) == ("completed", "control", 2)
        assert chronicle.workload().promotion is None

    def test_rolled_back_arm_does_not_come_back(self) -> None:
        chronicle = prepared().define(variants=THREE_ARMS).activate()
        chronicle.accept(commands.roll_back_variant(chronicle.registry, "e1", "b", by()))
        again = chronicle.write(commands.roll_back_variant(chronicle.registry, "e1", "b", by()))
        promoted = chronicle.write(commands.promote_variant(chronicle.registry, "e1", "b", by()))
        weighted = chronicle.write(
            commands.reweight_experiment(chronicle.registry, "e1", {"control": 1, "b": 1, "c": 1}, by())
        )
        assert [type(judged.refusal) for judged in (again, promoted, weighted)] == [IllegalStepError] * 3

    def test_weights_may_leave_out_what_was_rolled_back(self) -> None:
        chronicle = prepared().define(variants=THREE_ARMS).activate()
        chronicle.accept(commands.roll_back_variant(chronicle.registry, "e1", "b", by()))
        chronicle.accept(commands.reweight_experiment(chronicle.registry, "e1", {"control": 1, "c": 1}, by()))
        assert chronicle.experiment().table.counts() == {"control": 5000, "b": 0, "c": 5000}

    @pytest.mark.parametrize("variant", ["control", "nobody"])
    def test_only_a_challenger_is_rolled_back(self, variant: str) -> None:
        chronicle = prepared().define().activate()
        with pytest.raises(ContractError):
            commands.roll_back_variant(chronicle.registry, "e1", variant, by())

    def test_discarded_draft_can_be_defined_again(self) -> None:
        chronicle = state("discarded")
        assert chronicle.experiment().completed_offset == 3
        chronicle.define(alpha=0.01)
        experiment = chronicle.experiment()
        assert (experiment.status, experiment.revision, experiment.specification.alpha) == ("draft", 3, 0.01)
        assert (experiment.completed_at_us, experiment.completed_offset) == (None, None)


class TestTime:
    def test_pauses_do_not_count(self) -> None:
        chronicle = prepared().define().activate()
        started_us = chronicle.now_us - SECOND_US
        chronicle.wait(9).accept(commands.pause_experiment(chronicle.registry, "e1", by()))
        paused = chronicle.experiment()
        assert (paused.activated_at_us, paused.paused_at_us) == (started_us, started_us + 10 * SECOND_US)
        assert paused.running_us(started_us + 500 * SECOND_US) == 10 * SECOND_US

        chronicle.wait(99).accept(commands.resume_experiment(chronicle.registry, "e1", by()))
        resumed = chronicle.experiment()
        assert (resumed.paused_us, resumed.paused_at_us) == (100 * SECOND_US, None)
        assert resumed.running_us(started_us + 115 * SECOND_US) == 15 * SECOND_US
        assert resumed.step_running_us(started_us + 115 * SECOND_US) == 15 * SECOND_US

    def test_time_stands_still_after_the_end(self) -> None:
        chronicle = prepared().define().activate()
        started_us = chronicle.now_us - SECOND_US
        chronicle.wait(9).accept(commands.pause_experiment(chronicle.registry, "e1", by()))
        chronicle.wait(9).accept(commands.complete_experiment(chronicle.registry, "e1", by()))
        completed = chronicle.experiment()
        assert (completed.paused_at_us, completed.paused_us) == (None, 10 * SECOND_US)
        assert completed.running_us(started_us + 10**12) == 10 * SECOND_US

    def test_before_activation_nothing_runs(self) -> None:
        assert prepared().define().experiment().running_us(START_US + 10**9) == 0

    def test_clock_that_went_back_makes_no_negative_pause(self) -> None:
        chronicle = prepared().define().activate()
        chronicle.accept(commands.pause_experiment(chronicle.registry, "e1", by()))
        chronicle.wait(-50).accept(commands.resume_experiment(chronicle.registry, "e1", by()))
        assert chronicle.experiment().paused_us == 0


class TestRamp:
    def test_ladder_ends_at_full_coverage(self) -> None:
        chronicle = ramped().activate()
        experiment = chronicle.experiment()
        assert (experiment.step, experiment.coverage_slots) == (0, 2500)
        assert experiment.ramp_shares == (0.05, 0.1, 0.2)
        assert experiment.ramp_slots == (2500, 5000, 10_000)

    def test_steps_open_no_epoch_and_begin_their_own_time(self) -> None:
        chronicle = ramped().activate().wait(100)
        for step, slots in ((1, 5000), (2, 10_000)):
            chronicle.accept(commands.ramp_experiment(chronicle.registry, "e1", step, by(ANALYZER)))
            experiment = chronicle.experiment()
            assert (experiment.step, experiment.coverage_slots, len(experiment.epochs)) == (step, slots, 1)
            assert experiment.step_at_us == chronicle.now_us - SECOND_US
        assert chronicle.experiment().fully_covered

    def test_only_a_person_lowers_coverage(self) -> None:
        chronicle = ramped().activate()
        chronicle.accept(commands.ramp_experiment(chronicle.registry, "e1", 1, by()))
        down = commands.ramp_experiment(chronicle.registry, "e1", 0, by(ANALYZER))
        assert isinstance(chronicle.write(down).refusal, IllegalStepError)
        chronicle.accept(commands.ramp_experiment(chronicle.registry, "e1", 0, by()))
        assert chronicle.experiment().coverage_slots == 2500

    def test_no_such_step(self) -> None:
        chronicle = ramped().activate()
        with pytest.raises(IllegalStepError, match="3 ramp steps"):
            commands.ramp_experiment(chronicle.registry, "e1", 3, by())

    def test_coverage_that_is_not_the_steps_is_ignored(self) -> None:
        chronicle = ramped().activate()
        decision = commands.ramp_experiment(chronicle.registry, "e1", 1, by())
        assert not chronicle.write(decision.model_copy(update={"coverage_slots": 9999})).accepted

    def test_experiment_without_a_ramp_is_not_ramped(self) -> None:
        chronicle = prepared().define().activate()
        with pytest.raises(IllegalStepError):
            commands.ramp_experiment(chronicle.registry, "e1", 0, by())

    def test_smaller_joint_weight_leaves_a_step_that_can_still_be_raised(self) -> None:
        chronicle = ramped().activate()
        chronicle.accept(commands.ramp_experiment(chronicle.registry, "e1", 1, by()))
        chronicle.accept(commands.reweight_experiment(chronicle.registry, "e1", {"control": 92, "challenger": 8}, by()))
        experiment = chronicle.experiment()
        assert (experiment.coverage_slots, experiment.ramp_slots) == (5000, (6250, 10_000))
        assert experiment.step == 0
        chronicle.accept(commands.ramp_experiment(chronicle.registry, "e1", 1, by(ANALYZER)))
        assert chronicle.experiment().fully_covered

    def test_full_coverage_stays_full_after_a_reweight(self) -> None:
        chronicle = ramped().activate()
        chronicle.accept(commands.ramp_experiment(chronicle.registry, "e1", 2, by()))
        chronicle.accept(
            commands.reweight_experiment(chronicle.registry, "e1", {"control": 50, "challenger": 50}, by())
        )
        experiment = chronicle.experiment()
        assert (experiment.fully_covered, experiment.step, len(experiment.ramp_slots)) == (True, 2, 3)

    def test_last_declared_step_at_the_joint_weight_is_not_doubled(self) -> None:
        variants = [{**THREE_ARMS[0], "weight": 70}, {**THREE_ARMS[1], "weight": 10}, THREE_ARMS[2]]
        chronicle = prepared().define(variants=variants, ramp={"steps": [{"share": 0.1}, {"share": 0.3}]}).activate()
        assert chronicle.experiment().ramp_shares == (0.1, 0.3)

    def test_first_step_above_the_joint_weight_is_full_coverage(self) -> None:
        chronicle = prepared().define(ramp={"steps": [{"share": 0.5}]}).activate()
        assert (chronicle.experiment().ramp_slots, chronicle.experiment().fully_covered) == ((10_000,), True)


class TestRecommendations:
    def recommended(self, recommendation: Recommendation = RECOMMENDATION) -> Chronicle:
        chronicle = ramped().activate()
        return chronicle.accept(commands.recommend(chronicle.registry, "e1", recommendation, by(ANALYZER)))

    @pytest.mark.parametrize(
        ("recommendation", "status", "winner"),
        [
            (Recommendation(id="r", action="promote", variant="challenger"), "completed", "challenger"),
            (Recommendation(id="r", action="roll_back", variant="challenger"), "completed", "control"),
            (Recommendation(id="r", action="complete"), "completed", None),
            (Recommendation(id="r", action="complete", variant="control"), "completed", "control"),
            (Recommendation(id="r", action="ramp", step=1), "active", None),
            (Recommendation(id="r", action="ramp", step=1, variant="challenger"), "active", None),
        ],
        ids=["promote", "roll back", "complete", "complete for control", "ramp", "ramp naming the arm"],
    )
    def test_confirmed_is_carried_out(self, recommendation: Recommendation, status: str, winner: str | None) -> None:
        chronicle = self.recommended(recommendation)
        chronicle.accept(commands.confirm_recommendation(chronicle.registry, "e1", "r", by()))
        experiment = chronicle.experiment()
        assert (experiment.status, experiment.winner, experiment.recommendation) == (status, winner, None)
        assert experiment.step == (1 if recommendation.action == "ramp" else 0)
        assert (chronicle.workload().promotion is not None) == (recommendation.action == "promote")

    def test_dismissed_is_remembered(self) -> None:
        chronicle = self.recommended()
        chronicle.accept(commands.dismiss_recommendation(chronicle.registry, "e1", "r1", by()))
        assert (chronicle.experiment().recommendation, chronicle.experiment().dismissed) == (None, RECOMMENDATION)

    def test_other_one_replaces_it(self) -> None:
        chronicle = self.recommended()
        other = Recommendation(id="r2", action="complete")
        chronicle.accept(commands.recommend(chronicle.registry, "e1", other, by(ANALYZER)))
        assert not chronicle.write(commands.confirm_recommendation(chronicle.registry, "e1", "r1", by())).accepted
        assert chronicle.experiment().recommendation == other

    @pytest.mark.parametrize("action", ["reweight", "ramp", "pause"])
    def test_change_voids_it(self, action: str) -> None:
        chronicle = self.recommended()
        chronicle.accept(ACTIONS[action](chronicle.registry, by()))
        assert chronicle.experiment().recommendation is None

    def test_confirmation_of_something_else_is_ignored(self) -> None:
        chronicle = self.recommended()
        decision = commands.confirm_recommendation(chronicle.registry, "e1", "r1", by())
        assert isinstance(chronicle.write(decision.model_copy(update={"variant": "control"})).refusal, ContractError)


def test_decision_without_what_it_needs_is_ignored() -> None:
    chronicle = prepared().define().activate()
    for action in ("promote", "roll_back", "reweight", "ramp", "recommend"):
        decision = commands.pause_experiment(chronicle.registry, "e1", by()).model_copy(update={"action": action})
        assert isinstance(chronicle.write(decision).refusal, ContractError | ConflictError)
    assert chronicle.experiment().revision == 2
