"""The summary: which promises count as kept, in words and as JSON."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from splitgauge.demo.evidence import Written
from splitgauge.demo.experiments import EXPERIMENTS
from splitgauge.demo.summary import (
    Decided,
    ExperimentSummary,
    Quality,
    Replayed,
    Summary,
    Traffic,
    checks,
    to_json,
)
from splitgauge.demo.summary_words import plain_words

BETTER, FAULTY, SAME = EXPERIMENTS
DECIDED = Decided("promote", "svm", "correct is better", after_s=16.4, seconds_to_applied=0.4321)


def experiment(**changes: Any) -> ExperimentSummary:
    promoted = ExperimentSummary(
        experiment=BETTER,
        verdict="promote",
        step=8,
        winner="svm",
        units={"control": 220, "svm": 230},
        requests={"control": 1200, "svm": 1300},
        goal_decidable=True,
        outside=0,
        decided=DECIDED,
        served_now=Counter({"svm": 3000}),
        before=Quality(success=1.0, correct=0.87),
        after=Quality(success=1.0, correct=0.988),
    )
    return replace(promoted, **changes)


ROLLED_BACK = experiment(
    experiment=FAULTY,
    verdict="roll_back",
    step=1,
    winner="control",
    goal_decidable=False,
    decided=Decided("roll_back", "neighbours", "success is worse", after_s=3.1, seconds_to_applied=0.3),
    served_now=Counter({"tree": 1400}),
    before=Quality(success=0.8, correct=0.9),
)
UNDECIDED = experiment(experiment=SAME, verdict="continue", step=10, winner="inconclusive", decided=None)


def summary(**changes: Any) -> Summary:
    held = Summary(
        stage="embedded",
        routers=1,
        seed=7,
        seconds=64.04,
        experiments=(experiment(), ROLLED_BACK, UNDECIDED),
        traffic=Traffic(10_500, 1_050, users=600, failed=20, reports=11_000, late=800, twice=520, out_of_order=4_000),
        written=Written(assignments=10_500, outcomes=10_500, reports=10_480, missing=0, duplicates=520),
        replayed=Replayed(32_000, 90, 90, 12, automatic=2, automatic_reproduced=2, mismatches=0, sound=True, seconds=4),
    )
    return replace(held, **changes)


def test_all_promises_kept() -> None:
    assert [check.promise for check in checks(summary()) if not check.held] == []
    assert summary().held


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        ({"experiments": (experiment(decided=None),)}, "svm is promoted"),
        ({"experiments": (experiment(decided=replace(DECIDED, seconds_to_applied=2.01)),)}, "changes within 2 s"),
        ({"experiments": (experiment(served_now=Counter({"svm": 9, "tree": 1})),)}, "serves everybody"),
        ({"experiments": (experiment(served_now=Counter()),)}, "serves everybody"),
        ({"experiments": (replace(ROLLED_BACK, step=6),)}, "rolled back by a guardrail"),
        ({"experiments": (replace(ROLLED_BACK, goal_decidable=True),)}, "rolled back by a guardrail"),
        ({"experiments": (replace(ROLLED_BACK, served_now=Counter({"neighbours": 1})),)}, "nobody meets it"),
        ({"experiments": (replace(UNDECIDED, decided=experiment().decided),)}, "neither side is promoted"),
        ({"traffic": replace(summary().traffic, requests=9_999)}, "at least 10,000"),
        ({"written": replace(summary().written, outcomes=10_499, missing=1)}, "none missing"),
        ({"written": replace(summary().written, duplicates=519)}, "none twice"),
        ({"replayed": replace(summary().replayed, mismatches=1)}, "replay"),
        ({"replayed": replace(summary().replayed, analyses_reproduced=89)}, "replay"),
        ({"replayed": replace(summary().replayed, sound=False)}, "replay of the log"),
        ({"archived": replace(summary().replayed, mismatches=1)}, "replay of the archive"),
        ({"replayed": replace(summary().replayed, automatic=3, automatic_reproduced=3)}, "replay"),
    ],
)
def test_a_broken_promise_is_named(broken: dict[str, Any], promise: str) -> None:
    failed = [check.promise for check in checks(summary(**broken)) if not check.held]
    assert any(promise in text for text in failed)
    assert not summary(**broken).held
    assert any(line.strip().startswith("BROKEN") for line in plain_words(summary(**broken)))


def test_the_json_document_has_what_is_promised_of_it() -> None:
    document = to_json(summary())
    first, _, third = document["experiments"]
    assert first["id"] == "better-model"
    assert (first["verdict"], first["winner"], first["units"], first["requests"]) == ("promote", "svm", 450, 2500)
    assert first["seconds_to_applied"] == 0.432
    assert third["seconds_to_applied"] is None
    assert document["totals"] == {
        "requests": 10_500,
        "assignments": 10_500,
        "outcomes": 10_500,
        "reports": 10_480,
        "missing": 0,
        "duplicates_dropped": 520,
    }
    assert {key: document["replay"][key] for key in ("analyses", "decisions", "mismatches")} == {
        "analyses": 90,
        "decisions": 12,
        "mismatches": 0,
    }


def test_plain_words_say_what_was_decided_when_and_what_traffic_does_now() -> None:
    text = "\n".join(plain_words(summary()))
    assert "svm was promoted 16.4 s after the start, after 450 users and 2,500 requests" in text
    assert "Traffic changed 0.43 s after the newest observation" in text
    assert "Requests since then were answered by: svm 3,000. Correct before 87.0 %, now 98.8 %." in text
    assert "answered by: tree 1,400. Success before 80.0 %, now 100.0 %." in text
    assert "Nothing was decided" in text
    assert "90 of 90 analyses and 2 of 2 automatic decisions came out the same" in text
    assert "met no variant" not in text
    assert "All of it held, in 64 s." in text
    assert all(line.isprintable() for line in text.splitlines())


def test_of_a_cluster_the_words_say_at_how_many_routers_and_what_came_of_the_archive() -> None:
    archived = replace(summary().replayed, analyses=80, analyses_reproduced=80)
    on_cluster = summary(stage="cluster", routers=2, archived=archived, experiments=(experiment(outside=3),))
    text = "\n".join(plain_words(on_cluster))
    assert "Traffic changed at every router 0.43 s after the newest observation" in text
    assert "10,500 requests from 600 users to 2 routers" in text
    assert "3 requests met no variant, since their router did without a log that was slow for a moment." in text
    assert "Replay of the archive in 4.0 s: 32,000 events; 80 of 80 analyses" in text
    document = to_json(on_cluster)
    assert (document["stage"], document["routers"]) == ("cluster", 2)
    assert document["experiments"][0]["requests_outside"] == 3
    assert document["replay_of_archive"]["analyses"] == 80
