"""Events that wait on disk while the log is away: one append-only file in the data folder.

Owns the file. What is appended is on disk when `append` returns, and is read back in order, also by the next process.
The file is emptied when all of it is in the log; until then a restart appends it from its beginning again, which the
same ids make harmless.

    batch: length of body (4), CRC-32 of body (4), CRC-32 of these eight bytes (4), body     all big-endian
    body: for each record partition (4), length of value (4), value
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
_SUMMED = struct.Struct(">II")
_RECORD = struct.Struct(">II")


class Spool:
    """The file, open. All methods block; they are for a thread, and never for two at a time."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Open or make it. A batch that a crash left unfinished is cut off: nobody was told that it was there.

        Raises: LogDamagedError where the middle of the file is damaged; LogUnavailableError.
        """
        self._path = folder / FILE_NAME
        self.limit_bytes = limit_bytes
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
        body = b"".join(_RECORD.pack(partition or 0, len(value)) + value for value, _, partition in records)
        summed = _SUMMED.pack(len(body), zlib.crc32(body))
        data = summed + zlib.crc32(summed).to_bytes(4, "big") + body
        if self._end + len(data) > self.limit_bytes:
            raise LogUnavailableError(
                f"the log is away, and the spool that stands in for it is full ({self.limit_bytes} bytes)",
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
        """Whole batches from where the log ends, until there are `limit` records; and the place behind them."""
        records: list[Record] = []
        at = self._read_at
        while at < self._end and len(records) < limit:
            length, checksum, _ = _HEAD.unpack(os.pread(self._file, _HEAD.size, at))
            body = os.pread(self._file, length, at + _HEAD.size)
            if len(body) < length or zlib.crc32(body) != checksum:
                raise self._damaged(at)
            records += _records(body)
            at += _HEAD.size + length
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

    def _valid_end(self) -> int:
        """Behind the last whole batch. Raises: LogDamagedError where what is not whole cannot be an unfinished end."""
        size = os.fstat(self._file).st_size
        at = 0
        while at < size:
            head = os.pread(self._file, _HEAD.size, at)
            if len(head) < _HEAD.size:
                return at
            length, checksum, head_checksum = _HEAD.unpack(head)
            if zlib.crc32(head[: _SUMMED.size]) != head_checksum:
                # A file may have been made longer before its bytes were written: then there are zeros to its end.
                if any(os.pread(self._file, size - at, at + _HEAD.size)):
                    raise self._damaged(at)
                return at
            end = at + _HEAD.size + length
            if end > size or zlib.crc32(os.pread(self._file, length, at + _HEAD.size)) != checksum:
                if end < size:
                    raise self._damaged(at)
                return at
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


def _records(body: bytes) -> Iterator[Record]:
    at = 0
    while at < len(body):
        partition, length = _RECORD.unpack_from(body, at)
        at += _RECORD.size
        yield Record(body[at : at + length], None, partition)
        at += length
