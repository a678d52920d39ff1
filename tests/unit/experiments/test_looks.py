"""Acceptance of looks: one chain per experiment, forks ignored, positions never back."""

from typing import Any

import pytest

from splitgauge.experiments.looks import AcceptedLook, Looks, read_look
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.codec import encode, sha256_hex
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.errors import UnknownRulesError

AT = "2026-11-22T10:00:00.000000Z"


def data_of(
    *, positions: dict[int, int], previous: AcceptedLook | None = None, experiment: str = "e1", **changes: Any
) -> bytes:
    return encode(
        {
            "experiment_id": experiment,
            "revision": 2,
            "positions": {str(partition): upto for partition, upto in positions.items()},
            "digests": {},
            "decisions": {"upto": 3, "digest": "00"},
            "looked_at": AT,
            "as_of": None,
            "previous": previous and {"id": previous.id, "sha256": previous.sha256},
            "variants": {},
            "comparisons": [],
            "guardrails": [],
            "health": {"state": "healthy"},
            "verdict": {"step": 5, "kind": "hold", "reason": "no data"},
            **changes,
        }
    )


def event(look_id: str, data: bytes, kind: Any = "splitgauge.analysis.v1") -> bytes:
    return wrap(data, type=kind, id=look_id, source="/splitgauge/analyzer", time=AT)


def test_first_look_names_no_previous_one() -> None:
    looks = Looks()
    data = data_of(positions={0: 5})

    look = looks.take(0, event("a", data))

    assert look is not None
    assert (look.id, look.sha256, look.offset) == ("a", sha256_hex(data), 0)
    assert look.data.positions == {0: 5}
    assert looks.last("e1") is look


def test_next_look_follows_the_last_accepted_one() -> None:
    looks = Looks()
    first = looks.take(0, event("a", data_of(positions={0: 5, 1: 2})))
    second = looks.take(4, event("b", data_of(positions={0: 5, 1: 7, 2: 1}, previous=first)))

    assert second is not None
    assert looks.last("e1") is second
    assert second.as_previous.model_dump() == {"id": "b", "sha256": second.sha256}


def test_fork_is_ignored() -> None:
    looks = Looks()
    first = looks.take(0, event("a", data_of(positions={0: 5})))
    second = looks.take(1, event("b", data_of(positions={0: 6}, previous=first)))

    assert looks.take(2, event("fork", data_of(positions={0: 9}, previous=first))) is None
    assert looks.take(3, event("root", data_of(positions={0: 9}))) is None
    assert looks.last("e1") is second


def test_look_with_the_right_id_and_another_hash_is_ignored() -> None:
    looks = Looks()
    first = looks.take(0, event("a", data_of(positions={0: 5})))
    forged = data_of(positions={0: 6}, previous=first).replace(b'"sha256":"', b'"sha256":"f')

    assert looks.take(1, event("b", forged)) is None


@pytest.mark.parametrize("positions", [{0: 4, 1: 2}, {0: 9}], ids=["lower", "left out"])
def test_look_whose_position_went_back_is_ignored(positions: dict[int, int]) -> None:
    looks = Looks()
    first = looks.take(0, event("a", data_of(positions={0: 5, 1: 2})))

    assert looks.take(1, event("b", data_of(positions=positions, previous=first))) is None
    assert looks.last("e1") is first


def test_first_look_that_continues_an_unseen_one_is_ignored() -> None:
    other = Looks().take(0, event("a", data_of(positions={0: 5})))

    assert Looks().take(1, event("b", data_of(positions={0: 6}, previous=other))) is None


def test_experiments_do_not_meet() -> None:
    looks = Looks()
    one = looks.take(0, event("a", data_of(positions={0: 5})))
    two = looks.take(1, event("b", data_of(positions={0: 1}, experiment="e2")))

    assert (looks.last("e1"), looks.last("e2"), looks.last("e3")) == (one, two, None)


def test_same_event_twice_counts_once() -> None:
    looks = Looks()
    again = event("a", data_of(positions={0: 5}))
    first = looks.take(0, again)

    assert looks.take(1, again) is None
    assert looks.last("e1") is first


@pytest.mark.parametrize(
    "value",
    [b"garbage", b"{}", event("a", b"{}"), event("a", data_of(positions={0: 1}), "splitgauge.window.v1")],
    ids=["not json", "no event", "no analysis", "another type"],
)
def test_what_is_no_analysis_is_passed_over(value: bytes) -> None:
    assert Looks().take(0, value) is None


def test_look_under_later_rules_is_not_guessed_at() -> None:
    with pytest.raises(UnknownRulesError, match="rules 2"):
        Looks().take(7, event("a", data_of(positions={0: 1}, rules=2)))


def test_audit_goes_on_from_a_look_that_does_not_follow() -> None:
    looks = Looks()
    orphan = read_look(3, event("c", data_of(positions={0: 9}, previous=AcceptedLook("b", "00", 2, stranger()))))
    assert orphan is not None
    assert not looks.accept(orphan)

    looks.resume(orphan)

    following = read_look(4, event("d", data_of(positions={0: 9}, previous=orphan)))
    assert following is not None
    assert looks.accept(following)


def stranger() -> AnalysisData:
    look = read_look(0, event("b", data_of(positions={0: 5})))
    assert look is not None
    return look.data
