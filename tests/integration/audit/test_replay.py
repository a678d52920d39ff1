"""Honest logs replay soundly: recorded long ago or just now, from every kind of store, whole or hardly begun."""

import asyncio
from pathlib import Path

import pytest

from altered_log import HISTORY, AlteredLog
from recorded import PARTITIONS, Recorder, record
from splitgauge.audit import ReplayReport, replay
from splitgauge.eventlog.jsonl import EXPORTED, export_log, import_log
from splitgauge.eventlog.jsonl_log import JsonlEventLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.errors import UnknownRulesError
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, OBSERVATIONS

HISTORIES = sorted(HISTORY.parent.glob("*.jsonl"))


@pytest.mark.parametrize("file", HISTORIES, ids=lambda file: file.stem)
async def test_recorded_history_makes_the_same_decisions_for_ever(file: Path) -> None:
    log = JsonlEventLog.open(file)

    report = await replay(log)
    await log.close()

    assert report.findings == []
    assert report.reproduced + report.nearly == report.analyses > 0
    assert report.automatic_reproduced == report.automatic > 0


async def test_report_counts_what_the_history_holds(history: JsonlEventLog) -> None:
    steps: list[tuple[int, int]] = []

    report = await replay(history, progress=lambda done, of: steps.append((done, of)))

    assert report.to_json() == {
        "sound": True,
        "events": {
            "splitgauge.analyses": 22,
            "splitgauge.decisions": 20,
            "splitgauge.dead-letters": 4,
            "splitgauge.observations": 744,
        },
        "analyses": {
            "accepted": 21,
            "reproduced": report.reproduced,
            "within_1e-9": 21 - report.reproduced,
            "within_1e-9_example": report.nearly_example,
            "forks": 1,
        },
        "decisions": {"accepted": 19, "ignored": 1, "automatic": 2, "automatic_reproduced": 2},
        "dead_letters": 4,
        "mismatches": 0,
        "findings": [],
        "unprotected": [
            {"topic": "splitgauge.decisions", "partition": 0, "start": 19, "end": 20, "events": 1},
            {"topic": "splitgauge.observations", "partition": 1, "start": 228, "end": 232, "events": 4},
        ],
    }
    assert steps == [(done, 21) for done in range(1, 22)]


async def test_log_recorded_now_is_sound_in_every_store(tmp_path: Path) -> None:
    log = MemoryEventLog(observation_partitions=PARTITIONS)
    await record(log)
    export = tmp_path / "export.jsonl"
    await export_log(log, export)
    import_log(export, tmp_path / "folder")
    readonly = SqliteEventLog.open_readonly(tmp_path / "folder")
    exported = JsonlEventLog.open(export)

    reports = [await replay(one) for one in (log, readonly, exported)]
    await asyncio.gather(readonly.close(), exported.close())

    assert reports[0].sound
    assert reports[0].reproduced == reports[0].analyses
    assert [one.to_json() for one in reports[1:]] == [reports[0].to_json()] * 2


async def test_live_folder_is_replayed_while_everything_is_written_to_it(tmp_path: Path) -> None:
    """Each replay sees a log that ends somewhere else, and nothing that is only half there."""
    writer = SqliteEventLog.open(tmp_path, observation_partitions=PARTITIONS)
    reader = SqliteEventLog.open_readonly(tmp_path)
    writing = asyncio.create_task(_write(Recorder(writer)))
    reports: list[ReplayReport] = []
    while not writing.done():
        reports.append(await replay(reader))
        await asyncio.sleep(0.2)
    await writing
    reports.append(await replay(reader))
    await asyncio.gather(writer.close(), reader.close())

    assert [one.findings for one in reports if not one.sound] == []
    assert reports[-1].analyses >= 6


async def test_dead_letter_on_its_way_is_no_finding() -> None:
    log = MemoryEventLog(observation_partitions=PARTITIONS)
    recorder = Recorder(log)
    await recorder.define()
    await recorder.observe([("better", b"{")])

    assert (await replay(log)).sound


async def test_empty_log_is_sound() -> None:
    report = await replay(MemoryEventLog())

    assert report.sound
    assert (sum(report.events.values()), report.unprotected) == (0, [])


async def test_log_without_analyses_is_sound_and_unprotected() -> None:
    log = MemoryEventLog(observation_partitions=PARTITIONS)
    recorder = Recorder(log)
    await recorder.define()
    await recorder.observe(recorder.request("better", "one", 0))

    report = await replay(log)

    assert report.sound
    assert [(gap.topic, gap.events) for gap in report.unprotected] == [(DECISIONS.name, 13), (OBSERVATIONS.name, 3)]


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("decisions", ["splitgauge.decisions/0/0..12"]),
        ("observations", [f"splitgauge.observations/{number}/0..{end}" for number, end in enumerate((9, 41, 27, 23))]),
        ("analyses", ["splitgauge.decisions/0/15", "splitgauge.decisions/0/18"]),
        ("dead-letters", ["splitgauge.dead-letters/0/0"]),
    ],
)
async def test_topic_that_is_not_there_is_named(
    altered: AlteredLog, tmp_path: Path, topic: str, found: list[str]
) -> None:
    altered.without(topic)
    log = altered.open(tmp_path)

    report = await replay(log)
    await log.close()

    assert [one.where for one in report.findings] == found


@pytest.mark.parametrize(
    ("topic", "partition", "offset"), [("decisions", 0, 7), ("analyses", 0, 5)], ids=["decision", "analysis"]
)
async def test_rules_of_a_later_version_are_refused(
    altered: AlteredLog, tmp_path: Path, topic: str, partition: int, offset: int
) -> None:
    altered.change(topic, partition, offset, old=b'"rules":1', new=b'"rules":2')
    log = altered.open(tmp_path)

    with pytest.raises(UnknownRulesError, match=rf"^splitgauge\.{topic}/0/{offset}: .* knows rules up to 1\. Upgrade"):
        await replay(log)
    await log.close()


async def test_gap_is_found_where_the_log_itself_does_not_look_for_one() -> None:
    """An engine that hands out what it has, as a broken one would."""
    log = _Holed(MemoryEventLog())
    await log.append(OBSERVATIONS.name, [Record(b"{}", b"u", 0) for _ in range(5)])

    report = await replay(log)

    assert [(one.kind.value, one.where) for one in report.findings] == [("damaged", "splitgauge.observations/0/2..3")]


async def test_old_dead_letters_that_retention_has_dropped_are_not_missed(tmp_path: Path) -> None:
    import_log(HISTORY, tmp_path / "folder")
    log = SqliteEventLog.open(tmp_path / "folder")
    await log.trim(DEAD_LETTERS.name, 0, 3)

    report = await replay(log)
    await log.close()

    assert report.sound
    assert report.dead_letters == 1


async def test_trimmed_observations_are_named(tmp_path: Path) -> None:
    import_log(HISTORY, tmp_path / "folder")
    log = SqliteEventLog.open(tmp_path / "folder")
    await log.trim(OBSERVATIONS.name, 2, 30)

    report = await replay(log)
    await log.close()

    assert [(one.where, one.analyses) for one in report.findings] == [("splitgauge.observations/2/0..29", 19)]


def test_an_export_holds_all_that_a_replay_needs() -> None:
    assert {OBSERVATIONS.name, ANALYSES.name, DECISIONS.name, DEAD_LETTERS.name} <= set(EXPORTED)


async def _write(recorder: Recorder) -> None:
    await recorder.define()
    for number in range(3):
        await recorder.play(number)


class _Holed:
    """Without the events at 2 and 3 of every partition."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.append, self.bounds, self.follow = log.append, log.bounds, log.follow
        self.join, self.close = log.join, log.close

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        records = await self._log.read(topic, partition, start, limit=limit)
        return [record for record in records if record.offset not in {2, 3}]
