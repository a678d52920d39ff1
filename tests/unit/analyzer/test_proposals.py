"""From an accepted look to a decision: which, with what id, on what evidence, and when none."""

import pytest

from look_stories import EXPERIMENT, HOUR_S, PERSON, Story, cell, decision_event, mean, rate, window
from splitgauge.analyzer import ProposedDecision, propose
from splitgauge.experiments.commands import dismiss_recommendation, pause_experiment
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.decision import Actor
from splitgauge.schemas.identifiers import decision_id
from splitgauge.schemas.tables import WindowData


def seen(wrong: int, upto: int = 1) -> WindowData:
    return window(
        {
            "control": cell(3000, success=rate(3000, 9), correct=rate(3000, 900)),
            "challenger": cell(3000, success=rate(3000, 9), correct=rate(3000, wrong)),
        },
        positions={0: upto},
    )


def proposed(story: Story, look: AcceptedLook) -> ProposedDecision | None:
    return propose(story.history.newest, look, name="analyzer-1")


def carried_out(story: Story, found: ProposedDecision | None, *, accepted: bool = True) -> None:
    assert found is not None
    event = decision_event(found.decision, time="2026-11-24T10:00:00Z")
    [judged] = story.history.extend([(story.history.end, event)])
    assert judged.accepted == accepted


def test_decision_carries_its_evidence() -> None:
    story = Story()
    look = story.accepted(seen(300))
    found = proposed(story, look)

    assert found is not None
    assert found.id == decision_id(look.id, "promote")
    decision = found.decision
    assert (decision.action, decision.variant, decision.revision) == ("promote", "challenger", 3)
    assert decision.actor == Actor(kind="analyzer", name="analyzer-1")
    assert decision.reason == look.data.verdict.reason
    assert decision.evidence is not None
    assert (decision.evidence.id, decision.evidence.sha256, decision.evidence.revision) == (look.id, look.sha256, 2)
    carried_out(story, found)
    assert story.state.winner == "challenger"


def test_same_look_proposes_the_same_event_again() -> None:
    story = Story()
    look = story.accepted(seen(300))

    assert proposed(story, look) == proposed(story, look)


@pytest.mark.parametrize(
    ("wrong", "changes", "action"),
    [
        (1500, {}, "roll_back"),
        (900, {"maximum_duration_s": HOUR_S}, "complete"),
        (900, {"ramp": {"steps": [{"share": 0.1}]}}, "ramp"),
    ],
)
def test_every_action_is_legal(wrong: int, changes: dict[str, object], action: str) -> None:
    story = Story(**changes)
    found = proposed(story, story.accepted(seen(wrong)))

    assert found is not None
    assert found.decision.action == action
    carried_out(story, found)


def test_rollback_of_one_of_two_gives_its_slots_to_control() -> None:
    story = Story(challengers=("a", "b"), guardrails=[{"metric": "latency_ms", "margin": 0.1}])
    slow, quick = mean(500, 200, 10), mean(500, 100, 10)
    cells = {"control": cell(500, latency_ms=quick), "a": cell(500, latency_ms=slow), "b": cell(500, latency_ms=quick)}
    carried_out(story, proposed(story, story.accepted(window(cells))))

    assert (story.state.status, story.state.removed) == ("active", ("a",))
    assert story.state.table.counts()["a"] == 0


@pytest.mark.parametrize("consent", ["off", "recommend", "act"])
def test_policy_has_the_last_word(consent: str) -> None:
    story = Story(policy={"promote": consent})
    found = proposed(story, story.accepted(seen(300)))

    assert (found.decision.action if found else "off") == {"act": "promote"}.get(consent, consent)


def test_look_at_an_earlier_revision_proposes_nothing() -> None:
    story = Story()
    look = story.accepted(seen(300))
    overtaken = proposed(story, look)
    story.decide(lambda registry: pause_experiment(registry, EXPERIMENT, PERSON))

    assert proposed(story, look) is None
    carried_out(story, overtaken, accepted=False)


def test_look_without_a_verdict_to_act_on_proposes_nothing() -> None:
    story = Story()

    assert proposed(story, story.accepted(seen(900))) is None


def test_recommendation_that_stands_is_not_made_again() -> None:
    story = Story(policy={"promote": "recommend"})
    carried_out(story, proposed(story, story.accepted(seen(300))))

    assert proposed(story, story.accepted(seen(299, 2))) is None


def test_recommendation_that_was_dismissed_is_not_made_again() -> None:
    story = Story(policy={"promote": "recommend"})
    carried_out(story, proposed(story, story.accepted(seen(300))))
    standing = story.state.recommendation
    assert standing is not None
    story.decide(lambda registry: dismiss_recommendation(registry, EXPERIMENT, standing.id, PERSON))

    assert proposed(story, story.accepted(seen(299, 2))) is None


def test_another_recommendation_takes_its_place() -> None:
    story = Story(policy={"promote": "recommend", "stop": "recommend"})
    carried_out(story, proposed(story, story.accepted(seen(300))))
    found = proposed(story, story.accepted(seen(1500, 2)))

    assert found is not None
    assert found.decision.recommendation is not None
    assert (found.decision.recommendation.action, found.decision.recommendation.variant) == ("roll_back", "challenger")
    carried_out(story, found)
