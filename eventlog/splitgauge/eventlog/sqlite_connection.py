"""Typed connections to a SQLite file, one for each thread that reads: the only place that calls apsw.

Owns how files are opened; knows nothing of tables. Statements are fixed texts of the other modules, rows are untyped as
they are in SQLite. Raises apsw's errors; `sqlite_errors` maps them.
"""

import threading
import time
import weakref
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from splitgauge.eventlog.sqlite_errors import mapped
from splitgauge.schemas.errors import ContractError, LogUnavailableError

__all__ = ["Connection", "Connections", "array", "open_reader", "open_writer"]

BUSY_TIMEOUT_S = 5.0
"""Only another writer can keep us waiting, and writers hold the file for one transaction."""
BUSY_LOOK_S = 0.001
"""Between two tries while another writer has the file: SQLite's own pauses grow to 100 ms."""
WAL_PAGES = 4_000
"""16 MB of log before it is copied into the database: rarer pauses than SQLite's 4 MB, and still a quick start."""
WAL_BYTES_KEPT = 64 * 1024 * 1024
CACHED_STATEMENTS = 1_000
"""A few per partition; 1,024 partitions are the exception."""

_apsw: Any = apsw
"""Its stubs name types that only Python 3.12 has, so a strict checker knows them in part only."""

Row = tuple[Any, ...]


class Connection:
    """One connection. Used by one thread at a time."""

    def __init__(self, path: Path, *, flags: int) -> None:
        self._raw: Any = _apsw.Connection(str(path), flags=flags, statementcachesize=CACHED_STATEMENTS)
        self._raw.set_busy_handler(_wait)

    def execute(self, sql: str, arguments: Sequence[object] = ()) -> None:
        """Run a statement, or several, for what it does."""
        self._raw.execute(sql, arguments)

    def rows(self, sql: str, arguments: Sequence[object] = ()) -> list[Row]:
        """All rows of a statement."""
        rows: list[Row] = self._raw.execute(sql, arguments).fetchall()
        return rows

    def only_row(self, sql: str, arguments: Sequence[object] = ()) -> Row:
        """The row of a statement that has exactly one."""
        (row,) = self.rows(sql, arguments)
        return row

    def pragma(self, name: str, value: str | int | None = None) -> Any:  # noqa: ANN401 - what a pragma returns depends on it
        return self._raw.pragma(name) if value is None else self._raw.pragma(name, value)

    @property
    def in_transaction(self) -> bool:
        return bool(self._raw.in_transaction)

    @property
    def last_row_id(self) -> int:
        return int(self._raw.last_insert_rowid())

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All reads of the block see the file as it is at the first of them."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            if self.in_transaction:  # SQLite ends it by itself after some errors
                self.execute("ROLLBACK")

    def close(self) -> None:
        self._raw.close()


def _wait(tries: int) -> bool:
    """Whether to try again, after a moment."""
    time.sleep(BUSY_LOOK_S)
    return tries < BUSY_TIMEOUT_S / BUSY_LOOK_S


class Connections:
    """A reading connection for each thread that asks for one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._closed = False
        # Weak: a thread that ends takes its connection along.
        self._all: weakref.WeakSet[_Guarded] = weakref.WeakSet()

    @contextmanager
    def use(self) -> Generator[Connection]:
        """This thread's connection. Raises: LogUnavailableError after `close`."""
        mine: _Guarded | None = getattr(self._mine, "connection", None)
        if mine is None:
            with self._lock:
                if self._closed:
                    raise self._closed_error()
                mine = _Guarded(open_reader(self._path))
                self._all.add(mine)
            self._mine.connection = mine
        with mine.lock:
            if mine.closed:
                raise self._closed_error()
            yield mine.connection

    def close(self) -> None:
        """Close all, each once nobody reads from it."""
        with self._lock:
            self._closed = True
            connections = list(self._all)
        for guarded in connections:
            with guarded.lock:
                guarded.closed = True
                guarded.connection.close()

    def _closed_error(self) -> LogUnavailableError:
        return LogUnavailableError("it has been closed", where=str(self._path))


class _Guarded:
    """A connection and the lock under which it is used, so that closing waits for a reader in another thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        self.closed = False


def array(values: Iterable[bytes]) -> object:
    """At least one value, as the argument of `carray(?)`: its rows reach SQLite without a step each."""
    return _apsw.carray(tuple(values))


def open_writer(path: Path, *, synchronous: str = "full") -> Connection:
    """The connection of a writing thread; makes the file where there is none.

    `full`: a commit is on the disk when it returns. `normal`: a power failure may take back the last commits, whole.
    """
    if "ENABLE_CARRAY" not in _apsw.compile_options:
        raise ContractError("this build of apsw lacks SQLite's carray", where="apsw", remedy="Install apsw from PyPI")
    with mapped(str(path)):
        connection = Connection(path, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", synchronous)
        connection.pragma("wal_autocheckpoint", WAL_PAGES)
        connection.pragma("journal_size_limit", WAL_BYTES_KEPT)
    return connection


def open_reader(path: Path) -> Connection:
    """A connection that cannot write, beside any writer or none."""
    with mapped(str(path)):
        return Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
