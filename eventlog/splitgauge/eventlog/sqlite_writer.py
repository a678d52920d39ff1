"""The one thread that writes a SQLite file: what waits goes in one transaction, with one flush.

Owns the queue, the transaction and the answers to those who wait, in whatever event loop they wait; knows nothing of
tables. A transaction that fails is undone, and each of its jobs tried again alone, so that a failure is one job's own.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Generic, NamedTuple, TypeVar

import apsw

from splitgauge.eventlog.sqlite_connection import Connection
from splitgauge.eventlog.sqlite_errors import translate
from splitgauge.eventlog.turnstile import Turnstile
from splitgauge.schemas.errors import LogUnavailableError, SplitgaugeError

__all__ = ["Writer"]

Job = TypeVar("Job")

LOOK_EVERY_S = 0.025
"""How soon a commit of another process is noticed."""

MOST_ROWS = 5_000
"""In one transaction, unless one job alone has more: bounds the time the first waits for the last, some 2 us each."""


class _Waiting(NamedTuple):
    job: Any
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class Writer(Generic[Job]):
    """Writes jobs in the order in which they were submitted."""

    def __init__(
        self,
        connection: Connection,
        *,
        where: str,
        apply: Callable[[Connection, Sequence[Job]], Sequence[object]],
        weigh: Callable[[Job], int],
        committed: Callable[[Sequence[Job]], None],
        others_committed: Callable[[], None] | None = None,
        turnstile: Turnstile | None = None,
    ) -> None:
        """Start the thread.

        Args:
            connection: from now on the thread's own.
            where: the file, for errors.
            apply: writes all jobs and returns a result for each; runs in the thread, inside a transaction.
            weigh: how many rows a job writes.
            committed: told in the thread after each commit.
            others_committed: told in the thread when another process has committed to the file; None: nobody asks.
            turnstile: of the file where other processes write it, too; closed with the connection.
        """
        self._connection = connection
        self._where = where
        self._apply = apply
        self._weigh = weigh
        self._committed = committed
        self._others_committed = others_committed
        self._turnstile = turnstile
        self._version = 0
        self._looked_s = 0.0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"writer of {where}", daemon=True)
        self._thread.start()

    async def submit(self, job: Job) -> Any:  # noqa: ANN401 - each job has a result of its own type
        """The result of the job once it is durable. Cancelling the wait does not take the job back."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            if self._closed:
                raise self._closed_error()
            self._queue.put(_Waiting(job, loop, answer))
        return await answer

    async def close(self) -> None:
        """Write what was submitted, then end the thread and close the connection."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._write(group)
        finally:
            self._stop()

    def _next_group(self) -> list[_Waiting] | None:
        """What waits now, at least one; None when the writer is to end."""
        first = self._first()
        if first is None:
            return None
        group = [first]
        rows = self._weigh(first.job)
        while rows < MOST_ROWS:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                self._queue.put(None)  # nothing is put behind it: the next turn ends
                break
            group.append(waiting)
            rows += self._weigh(waiting.job)
        return group

    def _first(self) -> _Waiting | None:
        if self._others_committed is None:
            return self._queue.get()
        while True:
            self._look(self._others_committed)
            try:
                return self._queue.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue

    def _look(self, others_committed: Callable[[], None]) -> None:
        """SQLite tells a connection of commits through others only: asked here, of other processes'."""
        now_s = time.monotonic()
        if now_s < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            version = int(self._connection.rows("PRAGMA data_version")[0][0])
        except (apsw.Error, SplitgaugeError):
            return  # whoever reads or writes next meets it, and says so
        if version != self._version:
            self._version = version
            others_committed()

    def _write(self, group: list[_Waiting]) -> None:
        outcomes: list[tuple[_Waiting, object]] = []
        try:
            self._begin()
        except (apsw.Error, SplitgaugeError) as exc:
            _answer([(waiting, self._mapped(exc)) for waiting in group])
            return
        try:
            outcomes = self._commit(group)
        except (apsw.Error, SplitgaugeError) as exc:
            if len(group) > 1:
                for waiting in group:
                    self._write([waiting])
                return
            outcomes = [(group[0], self._mapped(exc))]
        except BaseException:
            _answer([(waiting, self._closed_error()) for waiting in group])
            raise
        _answer(outcomes)

    def _begin(self) -> None:
        with self._turnstile.stand() if self._turnstile else nullcontext():
            self._connection.execute("BEGIN IMMEDIATE")

    def _commit(self, group: list[_Waiting]) -> list[tuple[_Waiting, object]]:
        jobs = [waiting.job for waiting in group]
        try:
            results = self._apply(self._connection, jobs)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._committed(jobs)
        return list(zip(group, results, strict=True))

    def _mapped(self, error: apsw.Error | SplitgaugeError) -> Exception:
        if isinstance(error, SplitgaugeError):
            return error
        mapped = translate(error, where=self._where)
        if mapped is None:
            return error
        mapped.__cause__ = error
        return mapped

    def _stop(self) -> None:
        """Whoever still waits is told, also when a bug ended the thread: nobody waits for ever."""
        with self._lock:
            self._closed = True
        left: list[_Waiting] = []
        while True:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is not None:
                left.append(waiting)
        _answer([(waiting, self._closed_error()) for waiting in left])
        self._connection.close()
        if self._turnstile:
            self._turnstile.close()

    def _closed_error(self) -> LogUnavailableError:
        return LogUnavailableError("it has been closed", where=self._where)


def _answer(outcomes: list[tuple[_Waiting, object]]) -> None:
    """Hand each result or exception to its loop: one wake-up per loop, however many wait there."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, object]]] = {}
    for outcome in outcomes:
        loops.setdefault(outcome[0].loop, []).append(outcome)
    for loop, ours in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, ours)
        except RuntimeError:
            if not loop.is_closed():  # a closed loop has nobody waiting; what was written stays written
                raise


def _settle(outcomes: list[tuple[_Waiting, object]]) -> None:
    for (_, _, answer), outcome in outcomes:
        if answer.done():  # its caller was cancelled
            continue
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
