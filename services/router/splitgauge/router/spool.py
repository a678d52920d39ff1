"""Events that wait on disk while the log is away: one append-only file in the data folder.

Owns the file. What is appended is on disk when `append` returns, and is read back in order, also by the next process.
The file is emptied when all of it is in the log; until then a restart appends it from its beginning again, which the
same ids make harmless.

    record: length of value (4), partition (4), CRC-32 of value (4), value     big-endian
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from splitgauge.eventlog.port import Record
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError

__all__ = ["FILE_NAME", "Spool"]

FILE_NAME = "router.spool"
_HEAD = struct.Struct(">III")


class Spool:
    """The file, open. All methods block; they are for a thread, and never for two at a time."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Open or make it. A record that a crash left unfinished is cut off: nobody was told that it was there.

        Raises: LogDamagedError where the middle of the file is damaged; LogUnavailableError.
        """
        self._path = folder / FILE_NAME
        self._limit = limit_bytes
        self._read_at = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._end = self._valid_end()
            os.ftruncate(self._file, self._end)
        except OSError as exc:
            raise self._unavailable(exc) from exc

    @property
    def empty(self) -> bool:
        """Whether all of it is in the log."""
        return self._read_at == self._end

    @property
    def size_bytes(self) -> int:
        """What stands in the file."""
        return self._end

    def append(self, records: Sequence[Record]) -> None:
        """Keep the records, all or none. Raises: LogUnavailableError where it is full or the disk takes no more."""
        data = b"".join(
            _HEAD.pack(len(value), partition or 0, zlib.crc32(value)) + value for value, _, partition in records
        )
        if self._end + len(data) > self._limit:
            raise LogUnavailableError(
                f"the log is away, and the spool that stands in for it is full ({self._limit} bytes)",
                where=str(self._path),
                remedy="Bring the log back, or raise the setting `spool_bytes`",
                code="spool-full",
            )
        try:
            self._write(data)
        except OSError as exc:
            os.ftruncate(self._file, self._end)
            raise self._unavailable(exc) from exc
        self._end += len(data)

    def next(self, *, limit: int) -> tuple[list[Record], int]:
        """Up to `limit` records from where the log ends, and the place behind them, for `advance`."""
        records: list[Record] = []
        at = self._read_at
        for value, partition, end in self._records(at, self._end):
            records.append(Record(value, None, partition))
            at = end
            if len(records) == limit:
                break
        return records, at

    def advance(self, place: int) -> None:
        """All before `place` is in the log. At the end the file is emptied."""
        self._read_at = place
        if self.empty:
            try:
                os.ftruncate(self._file, 0)
                os.fsync(self._file)
            except OSError as exc:
                raise self._unavailable(exc) from exc
            self._read_at = self._end = 0

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        written = os.pwrite(self._file, data, self._end)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self._file)

    def _records(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """(value, partition, end of the record) from a place on."""
        at = start
        while at < end:
            length, partition, checksum = _HEAD.unpack(os.pread(self._file, _HEAD.size, at))
            value = os.pread(self._file, length, at + _HEAD.size)
            at += _HEAD.size + length
            if len(value) < length or zlib.crc32(value) != checksum:
                raise self._damaged(at - _HEAD.size - length)
            yield value, partition, at

    def _valid_end(self) -> int:
        size = os.fstat(self._file).st_size
        at = 0
        while at + _HEAD.size <= size:
            length, _, checksum = _HEAD.unpack(os.pread(self._file, _HEAD.size, at))
            end = at + _HEAD.size + length
            value = os.pread(self._file, length, at + _HEAD.size) if end <= size else b""
            if len(value) < length or zlib.crc32(value) != checksum:
                if end < size:
                    raise self._damaged(at)
                break
            at = end
        return at

    def _damaged(self, place: int) -> LogDamagedError:
        return LogDamagedError(
            "the spool is damaged",
            where=f"{self._path}, byte {place}",
            remedy="Keep a copy, then cut the file off there; what follows is lost",
        )

    def _unavailable(self, error: OSError) -> LogUnavailableError:
        return LogUnavailableError(
            f"the log is away, and the spool that stands in for it failed: {error.strerror or error}",
            where=str(self._path),
            remedy="See that the disk works and has room",
            code="spool-unavailable",
        )
