"""`splitgauge tail`, `export`, `import`, `replay`: the log itself, from its data folder, an export or an archive.

Reading needs no server and disturbs none: the folder of a running `splitgauge up` is opened read-only.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from splitgauge.cli.failures import EXIT_FAILURE, guarded
from splitgauge.cli.options import AsJson, ConfigFile, DataFolder, LogSource
from splitgauge.cli.output import print_json, print_line, progress
from splitgauge.cli.settings import load
from splitgauge.eventlog.jsonl import EXPORTED, export_log, import_log
from splitgauge.eventlog.jsonl_log import JsonlEventLog
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.eventlog.postgres_address import is_address
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.codec import encode
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import LogUnavailableError, MalformedError, UnknownSubjectError
from splitgauge.schemas.topics import TOPICS

__all__ = ["export_command", "import_command", "replay_command", "tail_command"]

_PREFIX = "splitgauge."
ExportFile = Annotated[Path, typer.Argument(help="A file of JSON lines.", metavar="FILE")]


@guarded
def tail_command(
    topic: Annotated[str, typer.Argument(help="decisions, observations, analyses, ...", metavar="TOPIC")],
    count: Annotated[int, typer.Option("-n", "--count", min=0, help="How many of the newest to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with every new event, until Ctrl-C.")] = False,
    data: LogSource = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest events of a topic."""
    name = _topic(topic)
    asyncio.run(_tail(_source(data, config), name, count=count, follow=follow, as_json=as_json))


@guarded
def export_command(
    file: ExportFile,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", help="Only this one; may be repeated. Else all that is kept for ever.", show_default=False
        ),
    ] = None,
    data: LogSource = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the log to a file, as a backup or for an auditor; also while it is in use."""
    topics = [_topic(name) for name in topic] if topic else EXPORTED
    counts = asyncio.run(_export(_source(data, config), file, topics))
    _print_counts(counts, f"exported to {file}", as_json=as_json)


@guarded
def import_command(
    file: ExportFile, data: DataFolder = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Make the log of a data folder from an export: same events, same offsets. Only into an empty one."""
    folder = _folder(data, config)
    with progress("importing") as advance:
        counts = import_log(file, folder, progress=advance).counts
    _print_counts(counts, f"imported into {folder}", as_json=as_json)


@guarded
def replay_command(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A data folder, an export, or postgresql://... of an archive; else the data folder of the settings.",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> int:
    """Make every analysis and every automatic decision again, and compare. Status 1 where something differs."""
    return asyncio.run(_replay(_source(source, config), as_json=as_json))


async def _tail(source: str, topic: str, *, count: int, follow: bool, as_json: bool) -> None:
    async with _opened(source) as log:
        bounds = await log.bounds(topic)
        newest: list[StoredRecord] = []
        for partition, (start, end) in bounds.items():
            if count > 0:
                newest += [
                    record
                    for record in await log.read(topic, partition, max(start, end - count), limit=count)
                    if record.offset < end
                ]
        for record in sorted(newest, key=_time)[len(newest) - count if len(newest) > count else 0 :]:
            _print_event(record, as_json=as_json)
        if follow:
            async for records in log.follow(topic, {partition: at.end for partition, at in bounds.items()}):
                for record in records:
                    _print_event(record, as_json=as_json)


async def _export(source: str, file: Path, topics: list[str] | tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    async with _opened(source) as log:
        with progress("exporting") as advance:
            return (await export_log(log, file, topics=topics, progress=advance)).counts


async def _replay(source: str, *, as_json: bool) -> int:
    async with _opened(source) as log:
        from splitgauge.audit import lines_of, replay

        with progress("analyses") as advance:
            report = await replay(log, progress=advance)
    if as_json:
        print_json(report.to_json())
        return 0 if report.sound else EXIT_FAILURE
    for line in lines_of(report):
        print_line(line)
    return 0 if report.sound else EXIT_FAILURE


@asynccontextmanager
async def _opened(source: str) -> AsyncGenerator[EventLog]:
    log = await _open_archive(source) if is_address(source) else _open(Path(source))
    try:
        yield log
    finally:
        await log.close()


async def _open_archive(address: str) -> EventLog:
    from splitgauge.eventlog.postgres_archive import PostgresArchive

    return await PostgresArchive.open(address)


def _open(source: Path) -> EventLog:
    if source.is_file():
        return JsonlEventLog.open(source)
    if source.is_dir():
        return SqliteEventLog.open_readonly(source)
    raise LogUnavailableError(
        "there is no data folder and no export here",
        where=str(source),
        remedy="Name the data folder of `splitgauge up`, a file that `splitgauge export` wrote, or postgresql://...",
    )


def _source(named: str | None, config: Path | None) -> str:
    """What was named, else the data folder of the settings."""
    return named if named is not None else str(_folder(None, config))


def _folder(data: Path | None, config: Path | None) -> Path:
    return load(config, data_folder=data).data_folder


def _topic(name: str) -> str:
    full = name if name.startswith(_PREFIX) else _PREFIX + name
    if full not in TOPICS:
        known = ", ".join(topic.removeprefix(_PREFIX) for topic in TOPICS)
        raise UnknownSubjectError(f"there is no topic {name!r}", where="TOPIC", remedy=f"One of {known}")
    return full


def _time(record: StoredRecord) -> tuple[str, int, int]:
    try:
        at = parse(record.value).time or ""
    except MalformedError:
        at = ""
    return at, record.partition, record.offset


def _print_event(record: StoredRecord, *, as_json: bool) -> None:
    place: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    try:
        event = parse(record.value)
    except MalformedError as exc:
        if as_json:
            print_json({**place, "event": None, "error": str(exc)})
        else:
            print_line(f"{record.partition}/{record.offset}  unreadable: {exc}")
        return
    if as_json:
        print_json({**place, "event": event.model_dump(mode="json", exclude_none=True)})
        return
    kind = event.type.removeprefix(_PREFIX).partition(".")[0]
    words = (f"{record.partition}/{record.offset}", event.time, kind, event.subject, encode(event.data).decode())
    print_line("  ".join(word for word in words if word))


def _print_counts(counts: dict[str, tuple[int, ...]], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"events": {topic: list(partitions) for topic, partitions in counts.items()}})
        return
    for topic, partitions in counts.items():
        print_line(f"{topic}: {sum(partitions)}")
    print_line(f"{sum(map(sum, counts.values()))} events {what}")
