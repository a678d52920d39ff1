"""Export of an event log to a file of JSON lines, and import of such a file into a new embedded log.

Owns which topics go, in what state the log is caught, and that neither leaves anything half done behind. The format is
`export_format`'s.
"""

import os
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from splitgauge.eventlog.export_format import (
    Footer,
    Header,
    decode_footer,
    decode_header,
    decode_line,
    encode_footer,
    encode_header,
    encode_line,
    is_footer,
)
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.eventlog.snapshot import catch_snapshot
from splitgauge.eventlog.sqlite_import import importing
from splitgauge.schemas.errors import ContractError, LogUnavailableError, MalformedError
from splitgauge.schemas.topics import OBSERVATIONS, TOPICS, Retention

__all__ = ["EXPORTED", "Progress", "export_log", "import_log"]

EXPORTED = tuple(topic.name for topic in TOPICS.values() if topic.retention in (Retention.FOREVER, Retention.LONG))
"""What an export holds unless told otherwise: not what callers sent, and not what is folded from the rest."""

Progress = Callable[[int, int], None]
"""(done, of): events for an export, bytes for an import."""

LINES_AT_ONCE = 500


def silent(done: int, of: int) -> None:
    """No report of progress."""


async def export_log(
    log: EventLog, file: Path, *, topics: Collection[str] = EXPORTED, progress: Progress = silent
) -> Footer:
    """Write the topics to the file, which appears only when it is complete; the log may be written meanwhile.

    Returns: how many events went, per topic and partition.
    Raises: ContractError for a target that is no regular file; LogDamagedError for a place in the log that cannot be
        read; UnknownSubjectError; LogUnavailableError.
    """
    bounds = await catch_snapshot(log, topics)
    total = sum(end - start for partitions in bounds.values() for start, end in partitions)
    counts: dict[str, tuple[int, ...]] = {}
    done = 0
    with _appearing(file) as target:
        target.write(encode_header(Header(len(await log.bounds(OBSERVATIONS.name)), bounds)))
        for topic, partitions in bounds.items():
            written = [0] * len(partitions)
            for partition, within in enumerate(partitions):
                async for events in _batches(log, topic, partition=partition, within=within):
                    target.writelines(map(encode_line, events))
                    written[partition] += len(events)
                    done += len(events)
                    progress(done, total)
            counts[topic] = tuple(written)
        target.write(encode_footer(Footer(counts)))
    return Footer(counts)


def import_log(file: Path, folder: Path, *, progress: Progress = silent) -> Footer:
    """Make the folder's log from an export: same events, same bytes, same offsets. All of it, or nothing changes.

    Returns: how many events came, per topic and partition.
    Raises: MalformedError naming file and line for an export that is damaged or incomplete; ConflictError for a folder
        whose log holds events already; LogInUseError; LogUnavailableError.
    """
    with _opened(file) as source:
        lines = Lines(source, file, progress=progress)
        header = lines.header()
        with importing(folder, header) as target:
            for events in lines.batches(header):
                target.add(events)
        return lines.footer


class Lines:
    """The lines of an export in order, each held against the header, and the footer against what was read."""

    def __init__(self, source: BinaryIO, file: Path, *, progress: Progress) -> None:
        self._source = source
        self._file = file
        self._progress = progress
        self._size = file.stat().st_size
        self._line = 0
        self.footer = Footer({})

    @property
    def where(self) -> str:
        """File and line of what was read last."""
        return f"{self._file}:{self._line}"

    def header(self) -> Header:
        return decode_header(self._next(), where=self.where)

    def batches(self, header: Header) -> Iterator[list[StoredRecord]]:
        """Consecutive offsets of one partition at a time. Raises: MalformedError naming the line."""
        counts = {topic: [0] * len(partitions) for topic, partitions in header.topics.items()}
        expected = _Expected(header)
        batch: list[StoredRecord] = []
        while not is_footer(line := self._next()):
            event = decode_line(line, where=self.where)
            expected.check(event, where=self.where)
            counts[event.topic][event.partition] += 1
            if batch and (not _follows(batch[-1], event) or len(batch) == LINES_AT_ONCE):
                self._progress(self._source.tell(), self._size)
                yield batch
                batch = []
            batch.append(event)
        if batch:
            yield batch
        self._finish(line, {topic: tuple(each) for topic, each in counts.items()}, expected)

    def _finish(self, line: bytes, counts: dict[str, tuple[int, ...]], expected: "_Expected") -> None:
        self.footer = decode_footer(line, where=self.where)
        expected.finish(where=self.where)
        if self.footer.counts != counts:
            raise MalformedError("the last line counts other events than the file holds", where=self.where)
        if self._source.read(1):
            raise MalformedError("something stands after the last line of the export", where=self.where)
        self._progress(self._size, self._size)

    def _next(self) -> bytes:
        line = self._source.readline()
        self._line += 1
        if not line:
            raise MalformedError(
                "the export ends before its last line", where=self.where, remedy="Export again: this file was cut off"
            )
        return line


class _Expected:
    """The next offset of each partition, as the header promises them."""

    def __init__(self, header: Header) -> None:
        self._bounds = {
            (topic, number): bounds
            for topic, partitions in header.topics.items()
            for number, bounds in enumerate(partitions)
        }
        self._next = {place: bounds.start for place, bounds in self._bounds.items()}

    def check(self, event: StoredRecord, *, where: str) -> None:
        place = event.topic, event.partition
        bounds, expected = self._bounds.get(place), self._next.get(place, 0)
        if bounds is None or not expected <= event.offset < bounds.end:
            raise MalformedError(f"offset {event.offset} of {_name(place)} does not belong here", where=where)
        if event.offset != expected and not _compacted(event.topic):
            raise MalformedError(f"{_name(place)}, offset {expected} is missing", where=where)
        self._next[place] = event.offset + 1

    def finish(self, *, where: str) -> None:
        for place, bounds in self._bounds.items():
            if self._next[place] != bounds.end and not _compacted(place[0]):
                raise MalformedError(f"{_name(place)}, offset {self._next[place]} is missing", where=where)


def _compacted(topic: str) -> bool:
    return TOPICS[topic].retention is Retention.NEWEST_PER_KEY


def _name(place: tuple[str, int]) -> str:
    return f"{place[0]}, partition {place[1]}"


def _follows(before: StoredRecord, after: StoredRecord) -> bool:
    return (before.topic, before.partition, before.offset + 1) == (after.topic, after.partition, after.offset)


async def _batches(log: EventLog, topic: str, *, partition: int, within: Bounds) -> AsyncIterator[list[StoredRecord]]:
    position, end = within
    while position < end:
        events = await log.read(topic, partition, position, limit=min(LINES_AT_ONCE, end - position))
        events = [event for event in events if event.offset < end]
        if not events:
            return
        yield events
        position = events[-1].offset + 1


@contextmanager
def _appearing(file: Path) -> Generator[BinaryIO]:
    """A file that has its name only when it is written whole and is on the disk."""
    final = _replaceable(file)
    unfinished = final.with_name(final.name + ".unfinished")
    try:
        with unfinished.open("wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        unfinished.replace(final)
    except OSError as exc:
        raise LogUnavailableError(f"the export cannot be written: {exc.strerror}", where=str(file)) from exc
    finally:
        unfinished.unlink(missing_ok=True)


def _replaceable(file: Path) -> Path:
    """Where the file really is: a link stays one. Raises: ContractError for what is there and is no regular file."""
    final = Path(os.path.realpath(file))
    if os.path.lexists(final) and not final.is_file():
        raise ContractError(
            "an export would replace what is there, and that is no regular file",
            where=str(file),
            remedy="Name a new file, or one that may be overwritten",
        )
    return final


@contextmanager
def _opened(file: Path) -> Generator[BinaryIO]:
    try:
        source = file.open("rb")
    except OSError as exc:
        raise LogUnavailableError(f"the export cannot be read: {exc.strerror}", where=str(file)) from exc
    with source:
        yield source
