"""What the commands on the log do once they know what they were asked: open it wherever it is, read, print.

Apart from the commands, as it loads engines and models: only with a command that needs them.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from splitgauge.audit import lines_of
from splitgauge.audit import replay as replay_log
from splitgauge.cli.failures import EXIT_FAILURE
from splitgauge.cli.output import print_json, print_line, progress
from splitgauge.eventlog.jsonl import EXPORTED, export_log, import_log
from splitgauge.eventlog.jsonl_log import JsonlEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.eventlog.postgres_address import is_address
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.codec import encode
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import LogUnavailableError, MalformedError

__all__ = ["export", "import_into", "replay", "tail"]


async def tail(source: str | KafkaSettings, topic: str, *, count: int, follow: bool, as_json: bool) -> None:
    """The newest events of a topic, and each new one where they are to be followed."""
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


async def export(source: str | KafkaSettings, file: Path, topics: Sequence[str] | None, *, as_json: bool) -> None:
    """None: all that is kept for ever."""
    async with _opened(source) as log:
        with progress("exporting") as advance:
            exported = await export_log(log, file, topics=EXPORTED if topics is None else topics, progress=advance)
    _print_counts(exported.counts, f"exported to {file}", as_json=as_json)


def import_into(folder: Path, file: Path, *, as_json: bool) -> None:
    """Raises: as `import_log`."""
    with progress("importing") as advance:
        counts = import_log(file, folder, progress=advance).counts
    _print_counts(counts, f"imported into {folder}", as_json=as_json)


async def replay(source: str | KafkaSettings, *, as_json: bool) -> int:
    """The exit status."""
    async with _opened(source) as log:
        with progress("analyses") as advance:
            report = await replay_log(log, progress=advance)
    if as_json:
        print_json(report.to_json())
        return 0 if report.sound else EXIT_FAILURE
    for line in lines_of(report):
        print_line(line)
    return 0 if report.sound else EXIT_FAILURE


@asynccontextmanager
async def _opened(source: str | KafkaSettings) -> AsyncGenerator[EventLog]:
    log = await _open(source)
    try:
        yield log
    finally:
        await log.close()


async def _open(source: str | KafkaSettings) -> EventLog:
    if isinstance(source, KafkaSettings):
        from splitgauge.eventlog.kafka import KafkaEventLog

        return await KafkaEventLog.connect(source)
    if is_address(source):
        from splitgauge.eventlog.postgres_archive import PostgresArchive

        return await PostgresArchive.open(source)
    return _open_here(Path(source))


def _open_here(source: Path) -> EventLog:
    if source.is_file():
        return JsonlEventLog.open(source)
    if source.is_dir():
        return SqliteEventLog.open_readonly(source)
    raise LogUnavailableError(
        "there is no data folder and no export here",
        where=str(source),
        remedy="Name the data folder of `splitgauge up`, a file that `splitgauge export` wrote, or postgresql://...",
    )


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
    kind = event.type.removeprefix("splitgauge.").partition(".")[0]
    words = (f"{record.partition}/{record.offset}", event.time, kind, event.subject, encode(event.data).decode())
    print_line("  ".join(word for word in words if word))


def _print_counts(counts: dict[str, tuple[int, ...]], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"events": {topic: list(partitions) for topic, partitions in counts.items()}})
        return
    for topic, partitions in counts.items():
        print_line(f"{topic}: {sum(partitions)}")
    print_line(f"{sum(map(sum, counts.values()))} events {what}")
