"""The event log embedded in the process: one SQLite file in a data folder, for one writing process (and one child of it
that writes beside it) and many readers.

Owns the adapter of the port and its rules for threads: appends from any event loop go to one writing thread, which
commits them together; reads use a connection of their own thread. Knows nothing of what the events say.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from splitgauge.eventlog.folder_lock import CHILD, FolderLock
from splitgauge.eventlog.groups import Groups, Store
from splitgauge.eventlog.partitions import Layout, by_partition, partition_in, partitions_of
from splitgauge.eventlog.port import Bounds, GroupMember, Record, StoredRecord
from splitgauge.eventlog.sqlite_append import Append, Job, Work, apply, weigh
from splitgauge.eventlog.sqlite_checkpoints import SqliteCheckpoints
from splitgauge.eventlog.sqlite_connection import Connection, open_reader, open_writer
from splitgauge.eventlog.sqlite_reader import Reader
from splitgauge.eventlog.sqlite_schema import FILE_NAME, Table, create, stored_layout, tables
from splitgauge.eventlog.sqlite_writer import Writer
from splitgauge.eventlog.turnstile import Turnstile
from splitgauge.eventlog.wakeups import Wakeups, follow
from splitgauge.schemas.errors import ConflictError, LogError, LogUnavailableError

__all__ = ["SqliteEventLog"]

READING_THREADS = 2
"""For reads that would hold up the event loop; quick ones stay in it, since the way to a thread and back costs more."""
TRIM_AT_ONCE = 5_000
"""Events forgotten in one transaction: appends wait for some 10 ms of it at most."""
WATCH_EVERY_S = 0.025
"""How soon a reader notices what another process has appended."""


class SqliteEventLog:
    """The event log of a data folder. Usable from several threads and event loops of a process at the same time."""

    def __init__(self, folder: Path, layout: Layout, *, wakeups: Wakeups, writing: "_Writing | None") -> None:
        """For `open` and `open_readonly`."""
        self.folder = folder
        self._layout = layout
        self._tables = tables(layout)
        self._writing = writing
        self._closed = False
        self._wakeups = wakeups
        self._reader = Reader(folder / FILE_NAME)
        self._threads = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="log reader")
        self._groups = Groups(Store(self._read, self._committed, self._commit), wakeups)
        self._watch = None if writing else _Watch(self._reader, wakeups)

    @classmethod
    def open(cls, folder: Path, *, observation_partitions: int | None = None) -> Self:
        """Open the log of a folder for writing and reading; make it where there is none (4 partitions of observations).

        Raises: LogInUseError naming the pid while another process has it open for writing; ContractError where the log
        was made with another number of partitions than wished; LogUnavailableError; LogDamagedError.
        """
        return cls._open_writing(folder, FolderLock(folder), observation_partitions)

    @classmethod
    def open_beside(cls, folder: Path) -> Self:
        """Open the log for writing, too, as the one child of the process that has opened it.

        Raises: LogInUseError while another child has it; else as `open`.
        """
        return cls._open_writing(folder, FolderLock(folder, CHILD), None)

    @classmethod
    def _open_writing(cls, folder: Path, lock: FolderLock, observation_partitions: int | None) -> Self:
        try:
            connection = open_writer(folder / FILE_NAME)
            layout = create(connection, folder / FILE_NAME, observation_partitions=observation_partitions)
            checkpoints = SqliteCheckpoints.open(folder)
            turnstile = Turnstile(folder)
        except BaseException:
            lock.release()
            raise
        wakeups = Wakeups()
        writer = Writer[Job](
            connection,
            where=str(folder / FILE_NAME),
            apply=apply,
            weigh=weigh,
            committed=lambda jobs: wakeups.notify({job.topic for job in jobs if isinstance(job, Append)}),
            others_committed=wakeups.notify_all,
            turnstile=turnstile,
        )
        return cls(folder, layout, wakeups=wakeups, writing=_Writing(lock, writer, checkpoints))

    @classmethod
    def open_readonly(cls, folder: Path) -> Self:
        """Open the log of a folder for reading, whether or not a process writes it.

        Raises: LogUnavailableError where there is no log; LogDamagedError.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise LogUnavailableError(
                "there is no event log here", where=str(folder), remedy="Name the data folder of `splitgauge up`"
            )
        connection = open_reader(path)
        try:
            layout = stored_layout(connection, path)
        finally:
            connection.close()
        return cls(folder, layout, wakeups=Wakeups(), writing=None)

    @property
    def layout(self) -> Layout:
        """Topic -> number of its partitions."""
        return dict(self._layout)

    @property
    def checkpoints(self) -> SqliteCheckpoints:
        """The folder's checkpoints, closed with the log. Raises: LogUnavailableError where it is open for reading."""
        return self._written().checkpoints

    @property
    def writer(self) -> Writer[Job]:
        """The writing thread, for maintenance. Raises: LogUnavailableError where the log is open for reading."""
        return self._written().writer

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        places = by_partition(topic, records, partitions=partitions_of(self._layout, topic))
        if not records:
            return []
        rows = {
            self._tables[topic, partition]: [(records[index].key, records[index].value) for index in indices]
            for partition, indices in places.items()
        }
        firsts: Mapping[Table, int] = await self.writer.submit(Append(topic, rows))
        result = [(0, 0)] * len(records)
        for partition, indices in places.items():
            first = firsts[self._tables[topic, partition]]
            for offset, index in enumerate(indices, first):
                result[index] = (partition, offset)
        return result

    async def read(self, topic: str, partition: int, start: int, *, limit: int = 500) -> list[StoredRecord]:
        return await self._read(topic, partition, start, limit)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        partitions_of(self._layout, topic)
        return self._reader.bounds(topic)

    def follow(
        self, topic: str, positions: Mapping[int, int], *, limit: int = 500
    ) -> AsyncIterator[list[StoredRecord]]:
        for partition in positions:
            self._table(topic, partition)
        if self._watch:
            self._watch.start()
        return follow(self._read, self._wakeups, topic, positions=positions, limit=limit)

    def join(self, topic: str, group: str) -> AbstractAsyncContextManager[GroupMember]:
        return self._join(topic, group)

    async def trim(self, topic: str, partition: int, before_offset: int) -> None:
        """Forget all events below the offset; their offsets are not used again.

        Raises: ConflictError for an offset beyond the end.
        """
        table = self._table(topic, partition)
        start, end = self._reader.bounds(topic)[partition]
        if before_offset > end:
            raise ConflictError(
                f"the partition ends at {end}, there is nothing to forget up to {before_offset}", where=table.name
            )
        for upto in (*range(start + TRIM_AT_ONCE, before_offset, TRIM_AT_ONCE), before_offset):
            await self.writer.submit(Work(partial(_trim, table=table, before_offset=upto)))

    async def close(self) -> None:
        self._closed = True
        if self._watch:
            await asyncio.to_thread(self._watch.stop)
        await asyncio.to_thread(self._threads.shutdown)
        self._reader.close()
        if self._writing:
            # After the readers: only a connection that can write, and is the last, leaves everything in one file.
            await self._writing.writer.close()
            await self._writing.checkpoints.close()
        self._wakeups.notify_all()
        if self._writing:
            self._writing.lock.release()

    def _written(self) -> "_Writing":
        if self._writing is None:
            raise LogUnavailableError("the log is open for reading only", where=str(self.folder))
        return self._writing

    async def _read(self, topic: str, partition: int, start: int, limit: int) -> list[StoredRecord]:
        table = self._table(topic, partition)
        if self._reader.is_quick(table, start, limit):
            return self._reader.read(table, start, limit)
        return await self._in_thread(partial(self._reader.read, table, start, limit))

    async def _in_thread(self, read: Callable[[], list[StoredRecord]]) -> list[StoredRecord]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        except RuntimeError as exc:
            if not self._closed:
                raise
            raise LogUnavailableError("it has been closed", where=str(self.folder)) from exc

    @asynccontextmanager
    async def _join(self, topic: str, group: str) -> AsyncGenerator[GroupMember]:
        self._written()
        with self._groups.join(topic, group, partitions=partitions_of(self._layout, topic)) as member:
            yield member

    async def _committed(self, topic: str, group: str, partition: int) -> int | None:
        return self._reader.committed(topic, group, partition)

    async def _commit(
        self, topic: str, group: str, partition: int, offset: int, still_owned: Callable[[], bool]
    ) -> bool:
        def work(connection: Connection) -> bool:
            if not still_owned():
                return False
            connection.execute(
                "INSERT OR REPLACE INTO commits (topic, grp, partition, offset) VALUES (?, ?, ?, ?)",
                (topic, group, partition, offset),
            )
            return True

        return bool(await self.writer.submit(Work(work)))

    def _table(self, topic: str, partition: int) -> Table:
        return self._tables[topic, partition_in(self._layout, topic, partition)]


def _trim(connection: Connection, *, table: Table, before_offset: int) -> None:
    connection.execute(table.sql("DELETE FROM @table WHERE offset < ?"), (before_offset,))
    connection.execute(
        "UPDATE partitions SET start = max(start, ?) WHERE topic = ? AND partition = ?",
        (before_offset, table.topic, table.partition),
    )


@dataclass(frozen=True, slots=True)
class _Writing:
    """What only the writing process has."""

    lock: FolderLock
    writer: Writer[Job]
    checkpoints: SqliteCheckpoints


class _Watch:
    """A thread that notices the commits of other processes, from the first follower on until it is stopped."""

    def __init__(self, reader: Reader, wakeups: Wakeups) -> None:
        self._reader = reader
        self._wakeups = wakeups
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log watch", daemon=True)
        self._start = threading.Lock()

    def start(self) -> None:
        with self._start:
            if self._thread.ident is None and not self._stopping.is_set():
                self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        seen: int | None = None
        while not self._stopping.is_set():
            try:
                version = self._reader.version()
            except LogError:
                version = None  # followers meet the same error when they read, and say so
            # The first look wakes too: something may have come between a follower's read and this thread's start.
            if version != seen or version is None:
                seen = version
                self._wakeups.notify_all()
            self._stopping.wait(WATCH_EVERY_S)
