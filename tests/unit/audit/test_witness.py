"""What digests prove: everything below one that agrees, whatever earlier ones say."""

from splitgauge.audit.report import Finding, FindingKind
from splitgauge.audit.witness import Witnessed
from splitgauge.eventlog.port import Bounds


def witnessed(*digests: tuple[int, bool]) -> Witnessed:
    """Of a log of 100 events, with digests at positions that agree or do not."""
    one = Witnessed("t", 3, Bounds(0, 100))
    for position, agrees in digests:
        one.compare(position, recorded="a", made="a" if agrees else "b")
    return one


def test_alteration_lies_between_the_last_digest_that_agrees_and_the_next() -> None:
    one = witnessed((10, True), (20, True), (35, False), (30, False), (40, False))
    one.conclude()

    [finding] = one.findings
    assert (finding.kind, finding.where) == (FindingKind.ALTERED, "t/3/20..29")
    assert finding.message == (
        "an event between offsets 20 and 29 was changed, removed, swapped or added: the running digest recorded at 30 "
        "is another"
    )


def test_single_event_between_two_digests_is_named() -> None:
    one = witnessed((10, True), (11, False))
    one.conclude()

    assert one.findings[0].message.startswith("the event at offset 10 was changed")


def test_later_digest_that_agrees_vouches_for_the_log_before_it() -> None:
    one = witnessed((10, True), (20, False), (30, True))
    one.conclude()

    assert one.findings == []
    assert one.trusted_upto == 30


def test_early_end_is_the_echo_of_an_alteration() -> None:
    one = witnessed((10, True), (20, False))
    one.damage = Finding(FindingKind.DAMAGED, "t", 3, 100, 101, "it ends")
    one.conclude()

    assert [finding.kind for finding in one.findings] == [FindingKind.ALTERED]


def test_gap_behind_an_alteration_is_a_finding_of_its_own() -> None:
    one = witnessed((10, True), (20, False))
    one.damage = Finding(FindingKind.DAMAGED, "t", 3, 50, 51, "it is missing")
    one.conclude()

    assert [finding.where for finding in one.findings] == ["t/3/10..19", "t/3/50"]


def test_unprotected_is_what_lies_behind_the_last_digest() -> None:
    gap = witnessed((10, True), (60, False)).unprotected()

    assert gap is not None
    assert (gap.start, gap.end, gap.events) == (60, 100, 40)
    assert witnessed((100, True)).unprotected() is None
