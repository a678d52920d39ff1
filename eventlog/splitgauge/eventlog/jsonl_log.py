"""An export as an event log to read, for the auditor: what is missing in it is named when it is reached.

Owns an index of the file's lines by place; knows the format from `export_format`. The file never changes and never
grows, so `follow` ends where the export ends.
"""

import os
from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import BinaryIO, NoReturn, Self

from splitgauge.eventlog.export_format import Header, decode_header, decode_line, is_footer
from splitgauge.eventlog.partitions import Layout, layout, partition_in, partitions_of
from splitgauge.eventlog.port import Bounds, GroupMember, Record, StoredRecord
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError, MalformedError
from splitgauge.schemas.topics import TOPICS, Retention

__all__ = ["JsonlEventLog"]


class _Partition:
    """Where the lines of a partition stand in the file, by offset: 24 bytes an event."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.offsets = array("q")
        self.seeks = array("q")
        self.lengths = array("q")

    def sort(self) -> None:
        """By offset: the order of the lines means nothing."""
        if all(before < after for before, after in zip(self.offsets, self.offsets[1:], strict=False)):
            return
        rows = sorted(zip(self.offsets, self.seeks, self.lengths, strict=True))
        self.offsets, self.seeks, self.lengths = (array("q", column) for column in zip(*rows, strict=True))


class JsonlEventLog:
    """The event log that an export holds. Topics that were not exported are empty."""

    def __init__(self, file: Path, header: Header, partitions: Mapping[tuple[str, int], _Partition]) -> None:
        """For `open`."""
        self._file = file
        counts = {topic: len(bounds) for topic, bounds in header.topics.items()}
        self._layout = layout(header.observation_partitions) | counts
        self._partitions = partitions
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def open(cls, file: Path) -> Self:
        """Read the file once, and know where everything stands.

        Raises: MalformedError for a file that is no export; LogDamagedError naming the line that cannot be read, that
            stands twice, or that should be there; LogUnavailableError where the file cannot be opened.
        """
        try:
            with file.open("rb") as source:
                header = decode_header(source.readline(), where=f"{file}:1")
                partitions = _index(source, file, header)
        except OSError as exc:
            raise LogUnavailableError(f"the export cannot be read: {exc.strerror}", where=str(file)) from exc
        return cls(file, header, partitions)

    @property
    def layout(self) -> Layout:
        """Topic -> number of its partitions."""
        return dict(self._layout)

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        self._refuse(topic, f"the {len(records)} events cannot be appended")

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        partition_in(self._layout, topic, partition)
        stored = self._partitions.get((topic, partition))
        if stored is None:
            return []
        if self._descriptor < 0:
            raise LogUnavailableError("it has been closed", where=str(self._file))
        begin = bisect_left(stored.offsets, start)
        found = stored.offsets[begin : begin + limit]
        if TOPICS[topic].retention is not Retention.NEWEST_PER_KEY:
            self._check_whole(topic, partition, max(start, stored.bounds.start), found=found, limit=limit)
        return [self._event(stored, index) for index in range(begin, begin + len(found))]

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        nothing = _Partition(Bounds(0, 0))
        return {
            partition: self._partitions.get((topic, partition), nothing).bounds
            for partition in range(partitions_of(self._layout, topic))
        }

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        for partition in positions:
            partition_in(self._layout, topic, partition)
        return self._follow(topic, positions, limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        self._refuse(topic, f"the group {group} cannot commit")

    async def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _follow(self, topic: str, positions: Mapping[int, int], limit: int) -> AsyncGenerator[list[StoredRecord]]:
        for partition, start in positions.items():
            position = start
            while batch := await self.read(topic, partition, position, limit=limit):
                yield batch
                position = batch[-1].offset + 1

    def _event(self, stored: _Partition, index: int) -> StoredRecord:
        line = os.pread(self._descriptor, stored.lengths[index], stored.seeks[index])
        try:
            return decode_line(line, where=str(self._file), check=False)
        except MalformedError as exc:  # it could be read when the log was opened
            raise LogDamagedError(
                "the file has changed while it was read", where=f"{self._file}, offset {stored.offsets[index]}"
            ) from exc

    def _check_whole(self, topic: str, partition: int, start: int, *, found: Sequence[int], limit: int) -> None:
        """Whether the offsets go on from `start` without a gap, up to the limit or the end."""
        wanted = range(start, min(start + limit, self._partitions[topic, partition].bounds.end))
        if len(found) == len(wanted) and (not wanted or found[-1] == wanted[-1]):
            return
        present = set(found)
        missing = next(offset for offset in wanted if offset not in present)
        raise LogDamagedError(
            "the event is missing",
            where=f"{topic}, partition {partition}, offset {missing} in {self._file}",
            remedy="Export again from the log itself",
        )

    def _refuse(self, topic: str, what: str) -> NoReturn:
        partitions_of(self._layout, topic)
        raise LogUnavailableError(f"an export is for reading only: {what}", where=str(self._file))


def _index(source: BinaryIO, file: Path, header: Header) -> dict[tuple[str, int], _Partition]:
    partitions = {
        (topic, number): _Partition(bounds)
        for topic, each in header.topics.items()
        for number, bounds in enumerate(each)
    }
    seek = source.tell()
    number = 1
    whole = False
    for number, line in enumerate(source, 2):
        if whole := is_footer(line):
            break
        _add(line, partitions, seek=seek, where=f"{file}:{number}")
        seek += len(line)
    if not whole:
        raise LogDamagedError("the export ends before its last line", where=f"{file}:{number}", remedy="Export again")
    for (topic, partition), stored in partitions.items():
        stored.sort()
        for before, after in zip(stored.offsets, stored.offsets[1:], strict=False):
            if before == after:
                raise LogDamagedError(
                    "the event stands twice", where=f"{topic}, partition {partition}, offset {after} in {file}"
                )
    return partitions


def _add(line: bytes, partitions: Mapping[tuple[str, int], _Partition], *, seek: int, where: str) -> None:
    try:
        event = decode_line(line, where=where, check=False)
    except MalformedError as exc:
        raise LogDamagedError(exc.message, where=where) from exc
    stored = partitions.get((event.topic, event.partition))
    if stored is None or not stored.bounds.start <= event.offset < stored.bounds.end:
        raise LogDamagedError(
            f"{event.topic}, partition {event.partition} has no offset {event.offset} in this export", where=where
        )
    stored.offsets.append(event.offset)
    stored.seeks.append(seek)
    stored.lengths.append(len(line))
