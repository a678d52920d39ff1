"""Whatever is done to a log behind Splitgauge's back, the replay names it, where it is, and what stands on it.

Offsets are those of the recorded history: it never changes. Its looks stand, by partition of the observations, at
0: 10 29 49 56 69 88 97 100 106; 1: 42 73 102 127 148 172 178 195 213 228; 2: 28 46 78 113 126 155 166 179 193 203;
3: 24 64 91 129 143 157 173 182 192 203; and on the decisions below 13, 15, 16, 18 and 19.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altered_log import AlteredLog
from splitgauge.audit import ReplayReport
from splitgauge.schemas.codec import encode, sha256_hex
from splitgauge.schemas.envelope import SOURCES, data_bytes, parse, wrap
from splitgauge.schemas.errors import LogDamagedError

Audit = Callable[[AlteredLog], Any]
Change = Callable[[AlteredLog], None]
Found = tuple[str, str, int, int]
"""Kind, place, analyses that stand on it, decisions that stand on it."""

ANALYSES = 21
OBSERVATIONS, DECISIONS, LOOKS, LETTERS = "observations", "decisions", "analyses", "dead-letters"


def found(report: ReplayReport) -> list[Found]:
    return [
        (one.kind.value, one.where.removeprefix("splitgauge."), one.analyses, one.decisions) for one in report.findings
    ]


def put(path: str, value: object) -> Callable[[Any], None]:
    """Sets the value at a path of keys."""

    def change(data: Any) -> None:
        *keys, last = path.split("/")
        for key in keys:
            data = data[key]
        data[last] = value

    return change


OBSERVED: dict[str, tuple[Change, Found]] = {
    "one byte of an observation": (
        lambda log: log.change(OBSERVATIONS, 2, 50, old=b'"epoch":1', new=b'"epoch":2'),
        ("altered", "observations/2/46..77", 15, 0),
    ),
    "an observation is gone and leaves a gap": (
        lambda log: log.lose(OBSERVATIONS, 2, 50),
        ("damaged", "observations/2/50", 15, 0),
    ),
    "an observation is gone and the rest has closed up": (
        lambda log: log.remove(OBSERVATIONS, 2, 50),
        ("altered", "observations/2/46..77", 15, 0),
    ),
    "two neighbours have changed places": (
        lambda log: log.swap(OBSERVATIONS, 3, 70, 71),
        ("altered", "observations/3/64..90", 15, 0),
    ),
    "an observation was put in between": (
        lambda log: log.insert(OBSERVATIONS, 0, 30, log.value(OBSERVATIONS, 0, 3)),
        ("altered", "observations/0/29..48", 15, 0),
    ),
    "an observation was put in at the end of what a digest covers": (
        lambda log: log.insert(OBSERVATIONS, 0, 105, log.value(OBSERVATIONS, 0, 3)),
        ("altered", "observations/0/100..105", 1, 0),
    ),
    "the end of a partition is gone": (
        lambda log: log.truncate(OBSERVATIONS, 3, 150),
        ("damaged", "observations/3/150..156", 6, 0),
    ),
}

DECIDED: dict[str, tuple[Change, Found]] = {
    "one byte of a decision": (
        lambda log: log.change(DECISIONS, 0, 13, old=b"recorded for tests", new=b"recorded for fests"),
        ("altered", "decisions/0/13..14", 9, 0),
    ),
    "a decision is gone and leaves a gap": (
        lambda log: log.lose(DECISIONS, 0, 5),
        ("damaged", "decisions/0/5", 21, 0),
    ),
    "an ignored decision is gone and the rest has closed up": (
        lambda log: log.remove(DECISIONS, 0, 14),
        ("altered", "decisions/0/13..14", 9, 0),
    ),
    "a decision was put in between": (
        lambda log: log.insert(DECISIONS, 0, 14, log.value(DECISIONS, 0, 13)),
        ("altered", "decisions/0/13..14", 9, 0),
    ),
    "the end of the decisions is gone": (
        lambda log: log.truncate(DECISIONS, 0, 16),
        ("damaged", "decisions/0/16..17", 6, 0),
    ),
}

LOOKED: dict[str, tuple[Change, Found]] = {
    "a number": (
        lambda log: log.edit(LOOKS, 0, 9, put("variants/control/units", 99)),
        ("analysis-differs", "analyses/0/9", 0, 0),
    ),
    "a float, by more than another processor would": (
        lambda log: log.edit(LOOKS, 0, 16, put("variants/control/metrics/correct/value", 0.468750001)),
        ("analysis-differs", "analyses/0/16", 0, 0),
    ),
    "the verdict that a decision stands on": (
        lambda log: log.edit(LOOKS, 0, 15, put("verdict/kind", "hold")),
        ("analysis-differs", "analyses/0/15", 0, 0),
    ),
    "the digest of the one before": (
        lambda log: log.edit(LOOKS, 0, 16, put("previous/sha256", "0" * 64)),
        ("analysis-differs", "analyses/0/16", 0, 0),
    ),
    "which one was before": (
        lambda log: log.edit(LOOKS, 0, 16, put("previous", None)),
        ("altered", "analyses/0/16", 1, 0),
    ),
    "how far it had read": (
        lambda log: log.edit(LOOKS, 0, 16, put("positions/1", 171)),
        ("altered", "analyses/0/16", 1, 0),
    ),
    "a digest of observations that later looks confirm": (
        lambda log: log.edit(LOOKS, 0, 12, put("digests/1", "ab" * 32)),
        ("analysis-differs", "analyses/0/12", 0, 0),
    ),
    "a digest of observations that no later look confirms": (
        lambda log: log.edit(LOOKS, 0, 21, put("digests/1", "ab" * 32)),
        ("altered", "observations/1/213..227", 1, 0),
    ),
    "the digest of decisions": (
        lambda log: log.edit(LOOKS, 0, 12, put("decisions/digest", "ab" * 32)),
        ("analysis-differs", "analyses/0/12", 0, 0),
    ),
    "what makes it an analysis": (
        lambda log: log.change(LOOKS, 0, 11, old=b'"verdict"', new=b'"vardict"'),
        ("damaged", "analyses/0/11", 1, 0),
    ),
}

LOOKS_MOVED: dict[str, tuple[Change, Found]] = {
    "gone with a gap": (lambda log: log.lose(LOOKS, 0, 11), ("damaged", "analyses/0/11", 1, 0)),
    "gone with a gap, and a decision stands on it": (
        lambda log: log.lose(LOOKS, 0, 15),
        ("damaged", "analyses/0/15", 0, 1),
    ),
    "gone, the rest has closed up": (lambda log: log.remove(LOOKS, 0, 11), ("altered", "analyses/0/8..13", 1, 0)),
    "the first of an experiment gone": (lambda log: log.remove(LOOKS, 0, 2), ("altered", "analyses/0/0..4", 1, 0)),
    "the last of an experiment gone, and a decision stands on it": (
        lambda log: log.remove(LOOKS, 0, 15),
        ("decision-without-evidence", "decisions/0/18", 0, 0),
    ),
    "swapped with the next one of its experiment": (
        lambda log: log.swap(LOOKS, 0, 20, 21),
        ("altered", "analyses/0/20..21", 2, 0),
    ),
}

LETTERS_DIFFER: dict[str, tuple[Change, Found]] = {
    "one is gone": (lambda log: log.remove(LETTERS, 0, 1), ("dead-letters-differ", "observations/1/101", 0, 0)),
    "one is invented": (
        lambda log: log.insert(LETTERS, 0, 2, log.value(LETTERS, 0, 1).replace(b'"offset":101', b'"offset":99')),
        ("dead-letters-differ", "dead-letters/0/2", 0, 0),
    ),
    "one has another reason": (
        lambda log: log.edit(LETTERS, 0, 1, put("code", "odd")),
        ("dead-letters-differ", "dead-letters/0/1", 0, 0),
    ),
    "one has other bytes": (
        lambda log: log.edit(LETTERS, 0, 1, put("value", "e30=")),
        ("dead-letters-differ", "dead-letters/0/1", 0, 0),
    ),
    "one is no dead letter": (
        lambda log: log.insert(LETTERS, 0, 4, b"{}"),
        ("damaged", "dead-letters/0/4", 0, 0),
    ),
    "all are gone": (lambda log: log.without(LETTERS), ("dead-letters-differ", "dead-letters/0/0", 0, 0)),
}

ALL = OBSERVED | DECIDED | LOOKED | LOOKS_MOVED | LETTERS_DIFFER


@pytest.mark.parametrize("what", ALL)
async def test_one_alteration_is_one_finding(altered: AlteredLog, audit: Audit, what: str) -> None:
    """And every accepted look comes out the same, or differs, or is counted on what it stands on."""
    change, expected = ALL[what]
    change(altered)

    report = await audit(altered)

    assert found(report) == [expected]
    assert not report.sound
    assert report.analyses == report.reproduced + report.nearly + (expected[0] == "analysis-differs") + expected[2]


async def test_altered_look_is_judged_by_what_it_was_when_others_stood_on_it(altered: AlteredLog, audit: Audit) -> None:
    altered.edit(LOOKS, 0, 12, put("variants/control/units", 1))
    altered.edit(LOOKS, 0, 15, put("verdict/kind", "hold"))

    report = await audit(altered)

    assert [(one.where, one.analyses) for one in report.findings] == [
        ("splitgauge.analyses/0/12", 0),
        ("splitgauge.analyses/0/15", 0),
    ]
    assert "/verdict/kind is 'hold' in the record and 'promote' made again" in report.findings[1].message
    assert (report.reproduced + report.nearly, report.automatic_reproduced) == (ANALYSES - 2, 2)


async def test_altered_automatic_decision_is_named_with_what_follows_from_its_evidence(
    altered: AlteredLog, audit: Audit
) -> None:
    altered.change(DECISIONS, 0, 18, old=b'"variant":"challenger"', new=b'"variant":"control"')

    report = await audit(altered)

    assert found(report) == [
        ("altered", "decisions/0/18", 5, 0),
        ("decision-without-evidence", "decisions/0/18", 0, 0),
    ]
    assert report.findings[1].message.endswith("/variant is 'control' in the record and 'challenger' made again")


async def test_forged_automatic_decision_at_the_end_is_named(altered: AlteredLog, audit: Audit) -> None:
    for evidence, said in (
        ({"id": altered_id(altered, 18)}, "a fork that every reader ignores"),
        ({"id": altered_id(altered, 20)}, "from which nothing follows: its verdict is 'continue'"),
        ({"id": "nobody", "sha256": "00"}, "names analysis nobody, which is not in the log"),
        ({"id": altered_id(altered, 20), "sha256": "00"}, "with sha256 00; in the log it has"),
        (None, "names no analysis"),
    ):
        log = AlteredLog(altered.records())
        forge_promotion(log, evidence)

        report = await audit(log)

        assert found(report) == [("decision-without-evidence", "decisions/0/19", 0, 0)]
        assert said in report.findings[0].message
        assert (report.automatic, report.automatic_reproduced) == (3, 2)


async def test_invented_look_beside_the_chain_is_named_though_every_reader_believes_it(
    altered: AlteredLog, audit: Audit
) -> None:
    """The fork takes the place of the look that was accepted: it comes out the same, the chain goes on without it."""
    altered.swap(LOOKS, 0, 17, 18)

    report = await audit(altered)

    assert found(report) == [("altered", "analyses/0/17", 0, 0)]
    assert "an analysis was added there" in report.findings[0].message


async def test_two_alterations_are_two_findings_the_causes_first(altered: AlteredLog, audit: Audit) -> None:
    altered.lose(LOOKS, 0, 3)
    altered.change(OBSERVATIONS, 3, 190, old=b'"', new=b"'")
    altered.lose(OBSERVATIONS, 0, 60)

    report = await audit(altered)

    assert found(report) == [
        ("damaged", "observations/0/60", 9, 0),
        ("altered", "observations/3/182..191", 0, 0),
        ("damaged", "analyses/0/3", 1, 0),
    ]


async def test_tail_behind_the_last_look_is_unprotected(altered: AlteredLog, audit: Audit) -> None:
    altered.insert(OBSERVATIONS, 1, altered.end(OBSERVATIONS, 1), altered.value(OBSERVATIONS, 1, 3))
    altered.change(OBSERVATIONS, 1, 229, old=b"same", new=b"some")

    report = await audit(altered)

    assert report.sound
    assert [(gap.topic, gap.partition, gap.start, gap.end, gap.events) for gap in report.unprotected] == [
        ("splitgauge.decisions", 0, 19, 20, 1),
        ("splitgauge.observations", 1, 228, 233, 5),
    ]


async def test_gap_in_the_unprotected_tail_is_found_all_the_same(altered: AlteredLog, audit: Audit) -> None:
    altered.lose(OBSERVATIONS, 1, 229)

    assert found(await audit(altered)) == [("damaged", "observations/1/229", 0, 0)]


async def test_repeated_dead_letter_is_what_a_crash_does(altered: AlteredLog, audit: Audit) -> None:
    altered.insert(LETTERS, 0, 4, altered.value(LETTERS, 0, 1))

    report = await audit(altered)

    assert report.sound
    assert report.dead_letters == 4


async def test_analysis_delivered_twice_counts_once(altered: AlteredLog, audit: Audit) -> None:
    altered.insert(LOOKS, 0, 18, altered.value(LOOKS, 0, 15))

    report = await audit(altered)

    assert report.sound
    assert (report.analyses, report.reproduced + report.nearly, report.forks) == (ANALYSES, ANALYSES, 2)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_altered_the_audit_ends_and_accounts_for_every_look(
    altered: AlteredLog, audit: Audit, seed: int
) -> None:
    chance = random.Random(seed)
    for topic in (OBSERVATIONS, DECISIONS, LOOKS, LOOKS):
        offset, other = chance.sample(range(altered.end(topic) - 1), 2)
        how = chance.choice(("remove", "swap", "insert", "truncate"))
        alter(altered, how, topic=topic, offset=offset, other=other)

    report = await audit(altered)

    differing = sum(one.kind.value == "analysis-differs" for one in report.findings)
    counted = sum(one.analyses for one in report.findings)
    assert not report.sound
    assert report.analyses == report.reproduced + report.nearly + differing + counted


async def test_float_of_another_processor_is_named_and_no_mismatch(altered: AlteredLog, audit: Audit) -> None:
    value = altered.data(LOOKS, 0, 21)["variants"]["control"]["metrics"]["correct"]["value"]
    altered.edit(LOOKS, 0, 21, put("variants/control/metrics/correct/value", value * (1 + 1e-11)))

    report = await audit(altered)

    assert report.sound
    assert report.reproduced + report.nearly == ANALYSES
    assert report.nearly >= 1
    assert " is 0." in (report.nearly_example or "")


async def test_float_altered_by_less_than_another_processor_would_is_found_by_the_next_look(
    altered: AlteredLog, audit: Audit
) -> None:
    value = altered.data(LOOKS, 0, 20)["variants"]["control"]["metrics"]["correct"]["value"]
    altered.edit(LOOKS, 0, 20, put("variants/control/metrics/correct/value", value * (1 + 1e-11)))

    report = await audit(altered)

    assert found(report) == [("altered", "analyses/0/20", 0, 0)]


async def test_truncated_export_is_refused(altered: AlteredLog, tmp_path: Path) -> None:
    whole = altered.open(tmp_path)
    await whole.close()
    file = tmp_path / "altered.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-10]))

    with pytest.raises(LogDamagedError, match="ends before its last line"):
        type(whole).open(file)


def alter(log: AlteredLog, how: str, *, topic: str, offset: int, other: int) -> None:
    match how:
        case "remove":
            log.remove(topic, 0, offset)
        case "swap":
            log.swap(topic, 0, offset, other)
        case "insert":
            log.insert(topic, 0, offset, log.value(topic, 0, other))
        case _:
            log.truncate(topic, 0, offset + 1)


def altered_id(log: AlteredLog, offset: int) -> str:
    """Of the analysis there."""
    return parse(log.value(LOOKS, 0, offset)).id


def forge_promotion(log: AlteredLog, evidence: dict[str, str] | None) -> None:
    """Instead of the person who completed `same`, the analyzer promotes its challenger."""
    promotion, now = log.data(DECISIONS, 0, 18), log.data(DECISIONS, 0, 19)
    named = None
    if evidence is not None:
        by_id = {altered_id(log, offset): log.value(LOOKS, 0, offset) for offset in range(log.end(LOOKS))}
        recorded = by_id.get(evidence["id"], b"")
        own = {} if "sha256" in evidence else {"sha256": sha256_hex(data_bytes(recorded))}
        named = {**evidence, **own, "revision": now["revision"] - 1}
    forged = {**promotion, "subject": now["subject"], "revision": now["revision"], "evidence": named}
    event = wrap(
        encode(forged),
        type="splitgauge.decision.v1",
        id="forged",
        source=SOURCES["analyzer"],
        time=parse(log.value(DECISIONS, 0, 19)).time or "",
    )
    log.truncate(DECISIONS, 0, 19)
    log.insert(DECISIONS, 0, 19, event)
