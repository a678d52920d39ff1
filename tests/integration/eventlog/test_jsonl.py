"""Export, import, and reading an export: same bytes, same places, and no damage goes unnamed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from splitgauge.eventlog.jsonl import EXPORTED, export_log, import_log
from splitgauge.eventlog.jsonl_log import JsonlEventLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Bounds, EventLog, Record, StoredRecord
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.errors import (
    ConflictError,
    LogDamagedError,
    LogInUseError,
    LogUnavailableError,
    MalformedError,
    UnknownSubjectError,
)
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS, REQUESTS, TOPICS

ODD_VALUES = [
    b'{"a": 1.0, "b":[ ],"a":2}',
    b'{"event":1,"text":",\\"event\\":"}',
    b" 1e400 ",
    b"not JSON",
    b"",
    b'{"two":\n"lines"}',
    b"\xff\x00",
    '{"ß":"\u2028"}'.encode(),
]
ODD_KEYS = [None, b"", b"k", b'"quoted" ,"event":', b"\xff\xfe", "ß".encode()]


async def filled(folder: Path) -> SqliteEventLog:
    log = SqliteEventLog.open(folder, observation_partitions=3)
    odd = [Record(value, key=key) for value in ODD_VALUES for key in ODD_KEYS]
    await log.append(DECISIONS.name, odd)
    await log.append(OBSERVATIONS.name, [Record(b'{"n":%d}' % number, partition=number % 2) for number in range(1_500)])
    await log.append(REQUESTS.name, [Record(b'"a caller\'s"')])
    await log.append(PARTIALS.name, [Record(b"1", key=b"k"), Record(b"2", key=b"k"), Record(b"3", key=b"l")])
    return log


async def everything(log: EventLog) -> dict[tuple[str, int], list[StoredRecord]]:
    return {
        (topic, partition): await log.read(topic, partition, bounds.start, limit=10_000)
        for topic in TOPICS
        for partition, bounds in (await log.bounds(topic)).items()
    }


async def exported(tmp_path: Path) -> Path:
    """An export of a few events: two decisions, four observations in two of three partitions."""
    log = MemoryEventLog(observation_partitions=3)
    await log.append(DECISIONS.name, [Record(b'{"d":0}', key=b"w"), Record(b'{"d":1}')])
    await log.append(OBSERVATIONS.name, [Record(b'{"o":%d}' % number, partition=number % 2) for number in range(4)])
    await export_log(log, tmp_path / "log.jsonl")
    return tmp_path / "log.jsonl"


async def test_an_imported_log_has_the_same_bytes_at_the_same_places(tmp_path: Path) -> None:
    log = await filled(tmp_path / "first")
    footer = await export_log(log, tmp_path / "log.jsonl", topics=list(TOPICS))
    assert footer.counts[OBSERVATIONS.name] == (750, 750, 0)
    assert import_log(tmp_path / "log.jsonl", tmp_path / "second") == footer
    copy = SqliteEventLog.open(tmp_path / "second", observation_partitions=3)
    assert await everything(copy) == await everything(log)
    assert {topic: await copy.bounds(topic) for topic in TOPICS} == {topic: await log.bounds(topic) for topic in TOPICS}
    assert await copy.append(PARTIALS.name, [Record(b"4", key=b"l")]) == [(0, 3)]
    await copy.close()
    await log.close()


async def test_an_export_reads_as_the_log_does(tmp_path: Path) -> None:
    log = await filled(tmp_path / "first")
    await export_log(log, tmp_path / "log.jsonl", topics=list(TOPICS))
    export = JsonlEventLog.open(tmp_path / "log.jsonl")
    assert await everything(export) == await everything(log)
    assert export.layout == log.layout
    seen = [
        event async for batch in export.follow(OBSERVATIONS.name, {0: 100, 1: 749, 2: 0}, limit=64) for event in batch
    ]
    assert [event.offset for event in seen] == [*range(100, 750), 749]
    await export.close()
    await log.close()


async def test_what_callers_sent_and_what_is_folded_stays_out_unless_asked(tmp_path: Path) -> None:
    log = await filled(tmp_path / "first")
    await export_log(log, tmp_path / "log.jsonl")
    export = JsonlEventLog.open(tmp_path / "log.jsonl")
    assert REQUESTS.name not in EXPORTED
    assert await export.bounds(REQUESTS.name) == {0: Bounds(0, 0), 1: Bounds(0, 0)}
    assert await export.read(PARTIALS.name, 0, 0) == []
    assert (await export.bounds(OBSERVATIONS.name))[0] == Bounds(0, 750)
    await export.close()
    await log.close()


async def test_a_trimmed_log_keeps_its_offsets(tmp_path: Path) -> None:
    log = await filled(tmp_path / "first")
    await log.trim(REQUESTS.name, 0, 0)
    await log.append(REQUESTS.name, [Record(b"1", partition=1), Record(b"2", partition=1)])
    end = (await log.bounds(REQUESTS.name))[1].end
    await log.trim(REQUESTS.name, 1, end - 1)
    await export_log(log, tmp_path / "log.jsonl", topics=[REQUESTS.name])
    import_log(tmp_path / "log.jsonl", tmp_path / "second")
    copy = SqliteEventLog.open_readonly(tmp_path / "second")
    assert (await copy.bounds(REQUESTS.name))[1] == Bounds(end - 1, end)
    assert [event.value for event in await copy.read(REQUESTS.name, 1, 0)] == [b"2"]
    await copy.close()
    await log.close()


async def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    log = await filled(tmp_path / "first")
    reports: list[tuple[int, int]] = []
    await export_log(log, tmp_path / "log.jsonl", progress=lambda done, of: reports.append((done, of)))
    assert reports[-1] == (1_548, 1_548)
    assert reports == sorted(reports)
    reports.clear()
    import_log(tmp_path / "log.jsonl", tmp_path / "second", progress=lambda done, of: reports.append((done, of)))
    size = (tmp_path / "log.jsonl").stat().st_size
    assert reports[-1] == (size, size)
    await log.close()


async def test_an_export_of_a_log_being_written_holds_what_its_events_refer_to(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path / "data", observation_partitions=1)
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            ((_, decision),) = await log.append(DECISIONS.name, [Record(b"{}")])
            await log.append(OBSERVATIONS.name, [Record(b"%d" % decision)])
            await asyncio.sleep(0.005)

    writing = asyncio.create_task(write())
    for number in range(5):
        file = tmp_path / f"{number}.jsonl"
        await export_log(log, file)
        export = JsonlEventLog.open(file)
        end = (await export.bounds(DECISIONS.name))[0].end
        observations = await export.read(OBSERVATIONS.name, 0, 0, limit=10_000)
        assert all(int(event.value) < end for event in observations)
        await export.close()
    stop.set()
    await writing
    await log.close()


def cut_off(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def cut_in_the_middle_of_a_line(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[3][:-10]]


def without_a_line(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def without_the_last_event(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-2], lines[-1]]


def with_a_line_twice(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[2], *lines[3:]]


def with_bad_json(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b'"event":{', b'"event":{{'), *lines[3:]]


def with_an_unknown_topic(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"observations", b"nothing"), *lines[3:]]


def with_other_counts(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b"[2]", b"[3]")]


def with_something_after_it(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[2]]


@pytest.mark.parametrize(
    ("damage", "line", "what"),
    [
        (cut_off, 8, "ends before its last line"),
        (cut_in_the_middle_of_a_line, 4, "cut off"),
        (without_a_line, 7, "observations, partition 0, offset 1 is missing"),
        (without_the_last_event, 7, "decisions, partition 0, offset 1 is missing"),
        (with_a_line_twice, 4, "offset 1 of splitgauge.observations, partition 0 does not belong here"),
        (with_bad_json, 3, "not JSON"),
        (with_an_unknown_topic, 3, "does not belong here"),
        (with_other_counts, 8, "counts other events"),
        (with_something_after_it, 8, "after the last line"),
    ],
)
async def test_a_damaged_export_is_refused_with_file_and_line_and_leaves_nothing(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], line: int, what: str
) -> None:
    file = await exported(tmp_path)
    # Line 1 is the header, 2 to 5 observations (partition 0, then 1), 6 and 7 decisions, 8 the footer.
    file.write_bytes(b"".join(damage(file.read_bytes().splitlines(keepends=True))))
    with pytest.raises(MalformedError) as caught:
        import_log(file, tmp_path / "data")
    assert what in caught.value.message
    assert caught.value.where == f"{file}:{line}"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["lock"]


async def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    contents = [
        b"",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"splitgauge_export":2}\n',
        b'{"splitgauge_export":1}\n',
        b'{"splitgauge_export":1,"observation_partitions":0,"topics":{}}\n',
        b'{"splitgauge_export":1,"observation_partitions":1,"topics":{"nothing":[[0,1]]}}\n',
        b'{"splitgauge_export":1,"observation_partitions":1,"topics":{"splitgauge.decisions":[[1,0]]}}\n',
        b'{"splitgauge_export":1,"observation_partitions":1,"topics":{"splitgauge.observations":[[0,0],[0,0]]}}\n',
    ]
    for content in contents:
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(MalformedError, match="file:1"):
            import_log(tmp_path / "file", tmp_path / "data")
        with pytest.raises(MalformedError, match="file:1"):
            JsonlEventLog.open(tmp_path / "file")
    with pytest.raises(LogUnavailableError, match="No such file"):
        import_log(tmp_path / "nowhere", tmp_path / "data")
    with pytest.raises(LogUnavailableError, match="No such file"):
        JsonlEventLog.open(tmp_path / "nowhere")


async def test_only_an_empty_log_takes_an_import(tmp_path: Path) -> None:
    file = await exported(tmp_path)
    log = SqliteEventLog.open(tmp_path / "data", observation_partitions=5)
    with pytest.raises(LogInUseError):
        import_log(file, tmp_path / "data")
    await log.checkpoints.save("fold", expected=None, position=0, changed={})
    await log.close()
    import_log(file, tmp_path / "data")
    with pytest.raises(ConflictError, match="holds events already"):
        import_log(file, tmp_path / "data")
    log = SqliteEventLog.open(tmp_path / "data", observation_partitions=3)
    assert await log.checkpoints.load("fold") is None
    assert [event.value for event in await log.read(DECISIONS.name, 0, 0)] == [b'{"d":0}', b'{"d":1}']
    await log.close()


async def test_a_missing_offset_of_an_export_is_named_when_it_is_reached(tmp_path: Path) -> None:
    file = await exported(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(without_a_line(lines)))
    export = JsonlEventLog.open(file)
    assert [event.value for event in await export.read(OBSERVATIONS.name, 0, 0, limit=1)] == [b'{"o":0}']
    for start in (0, 1):
        with pytest.raises(LogDamagedError, match="observations, partition 0, offset 1 in"):
            await export.read(OBSERVATIONS.name, 0, start)
    assert len(await export.read(OBSERVATIONS.name, 1, 0)) == 2
    await export.close()


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (cut_off, r"log\.jsonl:7"),
        (cut_in_the_middle_of_a_line, r"log\.jsonl:4"),
        (with_a_line_twice, "observations, partition 0, offset 1"),
        (with_an_unknown_topic, r"log\.jsonl:3"),
    ],
)
async def test_a_damaged_export_does_not_open_as_a_log(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], place: str
) -> None:
    file = await exported(tmp_path)
    file.write_bytes(b"".join(damage(file.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LogDamagedError, match=place):
        JsonlEventLog.open(file)


async def test_the_order_of_lines_means_nothing_to_a_reader(tmp_path: Path) -> None:
    file = await exported(tmp_path)
    header, *events, footer = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([header, *reversed(events), footer]))
    export = JsonlEventLog.open(file)
    assert [event.value for event in await export.read(OBSERVATIONS.name, 1, 0)] == [b'{"o":1}', b'{"o":3}']
    await export.close()


async def test_an_export_takes_neither_events_nor_groups(tmp_path: Path) -> None:
    export = JsonlEventLog.open(await exported(tmp_path))
    with pytest.raises(LogUnavailableError, match="for reading only"):
        await export.append(DECISIONS.name, [Record(b"a")])
    with pytest.raises(LogUnavailableError, match="for reading only"):
        export.join(DECISIONS.name, "g")
    await export.close()
    with pytest.raises(LogUnavailableError, match="closed"):
        await export.read(DECISIONS.name, 0, 0)


async def test_a_failed_export_leaves_no_file(tmp_path: Path) -> None:
    log = MemoryEventLog()
    await log.append(DECISIONS.name, [Record(b"a")])
    with pytest.raises(UnknownSubjectError):
        await export_log(log, tmp_path / "log.jsonl", topics=["splitgauge.nothing"])
    with pytest.raises(LogUnavailableError, match="No such file"):
        await export_log(log, tmp_path / "nowhere" / "log.jsonl")

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export_log(log, tmp_path / "log.jsonl", progress=stop)
    assert not any(tmp_path.glob("*"))  # noqa: ASYNC240 - nothing else runs in this loop
