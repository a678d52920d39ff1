"""The archiver role: rounds of copying, from any event log to the archive.

    writer = await ArchiveWriter.open("postgresql://...")
    await Archiver(log, writer).run()

A round catches bounds in which everything that an event refers to is there, copies all partitions up to them, then
shows all of it to readers at once. Where it goes on is read from the archive, so that a crash at any point costs
nothing but time, and a second archiver does no harm. Owns neither log nor archive; a gap ends it.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from splitgauge.eventlog.believed_bounds import believed_bounds
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.eventlog.postgres_archive_writer import ARCHIVED, ArchiveWriter
from splitgauge.eventlog.snapshot import catch_snapshot
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError

__all__ = ["Archiver", "ArchiverSettings"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverSettings:
    """How the archiver works; nothing but delay and load depends on it.

    Attributes:
        rest_s: between rounds that found nothing new.
        retry_s: until the next try when log or database cannot be reached.
        batch_events, batch_bytes: of one transaction at most, whichever comes first.
        read_events: asked of the log at once.
    """

    rest_s: float = 1.0
    retry_s: float = 2.0
    batch_events: int = 10_000
    batch_bytes: int = 16 * 2**20
    read_events: int = 500


class Archiver:
    """Copies one log to one archive."""

    def __init__(self, log: EventLog, writer: ArchiveWriter, settings: ArchiverSettings | None = None) -> None:
        self._log = log
        self._writer = writer
        self._settings = settings or ArchiverSettings()
        self._copied = 0
        self._waiting: int | None = None
        self._reason: str | None = None

    def status(self) -> dict[str, object]:
        """For operators: events copied by this process, events that waited when the last round began, what is wrong."""
        said: dict[str, object] = {
            "ready": self._reason is None and self._waiting is not None,
            "copied_events_total": self._copied,
            "waiting_events": self._waiting,
        }
        return said if self._reason is None else said | {"reason": self._reason}

    async def run(self) -> None:
        """For ever; waits while log or database cannot be reached.

        Raises: LogDamagedError where the archive would have a gap, or is that of another log.
        """
        while True:
            try:
                copied = await self.round()
            except LogUnavailableError as exc:
                self._reason = str(exc)
                _logger.warning("the archiver waits: %s", exc)
                await asyncio.sleep(self._settings.retry_s)
                continue
            except LogDamagedError as exc:
                self._reason = str(exc)
                raise
            self._reason = None
            if not copied:
                await asyncio.sleep(self._settings.rest_s)

    async def round(self) -> int:
        """Archive what the log holds now. Returns how many events this process has copied.

        Raises: LogDamagedError; LogUnavailableError, with what was copied until then kept.
        """
        snapshot = await catch_snapshot(self._log, ARCHIVED)
        positions = await self._writer.begin(snapshot)
        places = [
            (topic, partition, bounds)
            for topic, partitions in snapshot.items()
            for partition, bounds in enumerate(partitions)
        ]
        self._waiting = sum(max(0, bounds.end - positions[topic, number]) for topic, number, bounds in places)
        before = self._copied
        for topic, partition, bounds in places:
            await self._check_source(topic, partition, bounds, positions[topic, partition])
            await self._copy(topic, partition, positions[topic, partition], bounds.end)
        await self._writer.publish(snapshot)
        return self._copied - before

    async def _copy(self, topic: str, partition: int, position: int, end: int) -> None:
        """Archive [position, end): while a batch is written, the next one is read."""
        reading = asyncio.ensure_future(self._next(topic, partition, position, end))
        try:
            while batch := await reading:
                position = batch[-1].offset + 1
                reading = asyncio.ensure_future(self._next(topic, partition, position, end))
                if await self._writer.add(batch):
                    self._copied += len(batch)
                    continue
                # Another archiver has taken it: both go on from where the archive stands now.
                await _dropped(reading)
                position = await self._writer.position(topic, partition)
                reading = asyncio.ensure_future(self._next(topic, partition, position, end))
        finally:
            await _dropped(reading)

    async def _next(self, topic: str, partition: int, position: int, end: int) -> list[StoredRecord]:
        """What goes into one transaction; nothing at the end. Raises: LogDamagedError for an offset that is missing."""
        settings = self._settings
        batch: list[StoredRecord] = []
        size = 0
        while position < end and len(batch) < settings.batch_events and size < settings.batch_bytes:
            limit = min(settings.read_events, end - position)
            records = await self._log.read(topic, partition, position, limit=limit)
            if not records:  # a broker that leads no more may have said so
                await believed_bounds(partial(self._bounds, topic, partition), read=end)
                records = await self._log.read(topic, partition, position, limit=limit)
            if not records or records[0].offset != position:
                raise LogDamagedError(
                    "the event is missing", where=f"{topic}, partition {partition}, offset {position}", remedy=_RESTORE
                )
            batch += records
            size += sum(len(record.value) for record in records)
            position = records[-1].offset + 1
        return batch

    async def _check_source(self, topic: str, partition: int, bounds: Bounds, position: int) -> None:
        """Whether the log goes on where the archive ends, with the same events. Raises: LogDamagedError."""
        where = f"{topic}, partition {partition}"
        if bounds.start > position:
            raise LogDamagedError(
                f"offsets {position} to {bounds.start - 1} were dropped before they were archived",
                where=where,
                remedy="Name an empty database for what comes, and keep this one to read; or restore the log",
            )
        if bounds.end < position:
            # Another archiver may have copied what came after our snapshot: the log itself knows.
            bounds = await believed_bounds(partial(self._bounds, topic, partition), read=position)
        if bounds.end < position or not await self._is_same(topic, partition, bounds):
            raise LogDamagedError(
                f"the log is another one than that in {self._writer.where}, or was set back",
                where=where,
                remedy="Name an empty database, or the one that this log was archived to",
            )

    async def _bounds(self, topic: str, partition: int) -> Bounds:
        return (await self._log.bounds(topic))[partition]

    async def _is_same(self, topic: str, partition: int, bounds: Bounds) -> bool:
        """Whether the last event archived is that of the log, where it still has it."""
        newest = await self._writer.newest(topic, partition)
        if newest is None or bounds.start > newest.offset:
            return True
        return (await self._log.read(topic, partition, newest.offset, limit=1))[:1] == [newest]


async def _dropped(reading: asyncio.Future[list[StoredRecord]]) -> None:
    """What was read ahead is of no use any more; an error in it will be met again when it is."""
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


_RESTORE = "Restore the log from a backup; events may go from it only once they are archived"
