"""A report in plain words."""

from splitgauge.audit import Finding, FindingKind, ReplayReport, Unprotected, lines_of

EVENTS = {"splitgauge.observations": 1200, "splitgauge.decisions": 4}


def test_sound_report_says_what_was_read_and_what_is_unprotected() -> None:
    report = ReplayReport(EVENTS, analyses=7, reproduced=7, forks=1, decisions=3, ignored_decisions=1, automatic=1)
    report.automatic_reproduced = 1
    report.unprotected = [Unprotected("splitgauge.observations", 2, 40, 41)]

    assert lines_of(report) == [
        "Read 1,204 events: 1,200 observations, 4 decisions.",
        "Analyses: 7 of 7 made again with the same result; 1 fork ignored, as by every reader.",
        "Decisions: 3 accepted; 1 ignored, as by every reader.",
        "Automatic decisions: 1 of 1 follow from their analysis.",
        "Unprotected: 1 event of splitgauge.observations/2 from offset 40 on, behind the last digest that is recorded.",
        "Sound: everything came out as it was recorded.",
    ]


def test_finding_says_how_much_stands_on_it() -> None:
    finding = Finding(FindingKind.ALTERED, "splitgauge.observations", 1, 40, 60, "an event was changed", 12, 1)
    report = ReplayReport(EVENTS, analyses=13, reproduced=1, findings=[finding])

    assert lines_of(report)[4:] == [
        "ALTERED splitgauge.observations/1/40..59",
        "  an event was changed.",
        "  12 analyses stand on it and could not be made again.",
        "  1 automatic decision stands on it and could not be judged.",
        "NOT SOUND: 1 finding, the first cause first.",
    ]


def test_differences_in_floats_are_named() -> None:
    report = ReplayReport(EVENTS, analyses=2, reproduced=1, nearly=1, nearly_example="splitgauge.analyses/0/4: /a is 1")

    assert lines_of(report)[1] == "Analyses: 2 of 2 made again with the same result."
    assert lines_of(report)[4] == (
        "  Of the analyses 1 differ in floating-point numbers by less than 1e-9, as on another processor. The first: "
        "splitgauge.analyses/0/4: /a is 1."
    )
    assert report.sound


def test_flood_of_findings_is_cut() -> None:
    findings = [
        Finding(FindingKind.DEAD_LETTERS_DIFFER, "splitgauge.observations", 0, at, at + 1, "odd") for at in range(25)
    ]
    report = ReplayReport(EVENTS, findings=findings)

    lines = lines_of(report)

    assert lines[-2:] == [
        "... and 5 more findings (--json has them all)",
        "NOT SOUND: 25 findings, the first cause first.",
    ]
    assert report.to_json()["mismatches"] == 25
