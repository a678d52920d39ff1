"""What the router writes to `splitgauge.observations`, in the order in which it came: to the log, or to the spool.

Owns the one queue: what is urgent goes at once, all else with it or a few milliseconds later; while one append is under
way the next batch gathers. When the log fails or keeps a batch waiting, the outbox turns to the spool (`away`), and
back when all that was spooled is in the log. Knows nothing of what the events say.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from splitgauge.eventlog.port import EventLog, Record
from splitgauge.router.spool import Spool
from splitgauge.router.supervision import say_why
from splitgauge.schemas.errors import LogError, LogUnavailableError
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["Outbox", "Ticket"]

_REPLAYED_AT_ONCE = 500
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_logger = logging.getLogger(__name__)


class Ticket:
    """A batch: what was put together is durable together."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.owed: list[Record] = []
        """Of these, what nobody is told of who could do something about it."""
        self.doubtful = False
        """It was refused, and may stand in the log all the same, now or later."""
        self._waiters: list[asyncio.Future[None]] = []
        self._settled = False
        self._error: LogError | None = None

    async def durable(self) -> None:
        """Until the batch is in the log or the spool. Raises: LogUnavailableError where neither took it."""
        if not self._settled:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            raise self._error

    def settle(self, error: LogError | None = None) -> None:
        """Tell all who wait. What is settled stays so."""
        if self._settled:
            return
        self._settled, self._error = True, error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Outbox:
    """One per router. `start` before, `stop` after."""

    def __init__(self, log: EventLog, spool: Spool, *, patience_s: float, linger_s: float, fail_closed: bool) -> None:
        """
        Args:
            patience_s: how long the log may take for a batch before it counts as away.
            linger_s: how long what is not urgent waits for company.
            fail_closed: while the log is away take nothing new.
        """
        self._log = log
        self._spool = spool
        self._patience_s = patience_s
        self._linger_s = linger_s
        self._fail_closed = fail_closed
        self._pending = Ticket()
        self._current = Ticket()
        self._wake = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None
        self._stopping = False
        self._ended = False
        self._away = not spool.empty
        self._refusal: LogError | None = None
        # The first batch that neither took. A full disk can still be read: only a write shows that the log is back.
        self._refused: list[Record] = []
        # What is owed of the others. It can only be of requests that were taken before the spool was full.
        self._owed: list[Record] = []
        self._absences = self._n_spooled = self._n_refused = 0
        # The log and the spool together keep one order: who writes to the spool or empties it holds this.
        self._order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Task[None] | None = None

    @property
    def working(self) -> bool:
        """Whether what is put is written; not after an error that nobody foresaw."""
        return not self._ended

    @property
    def away(self) -> bool:
        """Whether the log is away: nothing may be measured that begins now."""
        return self._away

    @property
    def refusal(self) -> LogError | None:
        """Why nothing new can be taken; None: it can."""
        if not self.working:
            return LogUnavailableError("the outbox has ended", where="router", remedy="Restart it; its logs say why")
        if not self._away:
            return None
        if self._fail_closed:
            return LogUnavailableError(
                "the log is away", where=OBSERVATIONS.name, remedy="Try again in a while; `fail_closed` is set"
            )
        return self._refusal

    def status(self) -> dict[str, object]:
        """For operators.

        An event is refused where neither log nor spool take it, and its caller is told. What nobody is told of is held
        in memory until the log is back.
        """
        return {
            "log_away": self._away,
            "log_absences_total": self._absences,
            "spool_bytes": self._spool.size_bytes,
            "spool_limit_bytes": self._spool.limit_bytes,
            "spooled_events_total": self._n_spooled,
            "refused_events_total": self._n_refused,
            "held_events": len(self._owed),
        }

    def put(self, records: Sequence[Record], *, urgent: bool, owed: bool = False) -> Ticket:
        """Queue records, to be written together. `owed`: nobody is told where they are refused."""
        ticket = self._pending
        ticket.records.extend(records)
        if owed:
            ticket.owed.extend(records)
        if urgent:
            self._wake.set()
        elif self._lingering is None and not self._wake.is_set():
            self._lingering = asyncio.get_running_loop().call_later(self._linger_s, self._wake.set)
        return ticket

    def start(self) -> None:
        """Begin to write; first what an earlier process left in the spool."""
        self._writing = asyncio.create_task(self._run(), name="router outbox")
        self._writing.add_done_callback(say_why)
        if self._away:
            self._begin(self._come_back(None, 0))

    async def stop(self) -> None:
        """Write what is queued, to the log or the spool."""
        self._stopping = True
        self._wake.set()
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            # Also when a bug ended the work, nobody is left waiting for ever, or believes that something was written.
            self._ended = True
            for ticket in (self._current, self._pending):
                ticket.settle(self.refusal)

    async def _work(self) -> None:
        while not self._stopping or self._pending.records:
            await self._wake.wait()
            self._wake.clear()
            if self._lingering is not None:
                self._lingering.cancel()
                self._lingering = None
            if self._pending.records:
                self._current, self._pending = self._pending, Ticket()
                await self._write(self._current)
            if self._stopping:
                self._wake.set()

    async def _write(self, ticket: Ticket) -> None:
        async with self._order:
            if self._away:
                await self._keep(ticket)
                return
            append = asyncio.ensure_future(self._log.append(OBSERVATIONS.name, ticket.records))
            await asyncio.wait((append,), timeout=self._patience_s)
            await asyncio.sleep(0)  # a loop that was itself kept busy may have the answer, and not have handed it on
            late = not append.done()
            error = None if late else append.exception()
            if not late and error is None:
                ticket.settle()
                return
            if error is not None and not isinstance(error, LogError):
                raise error
            self._away = True
            self._absences += 1
            _logger.warning("events go to the spool, the log is away: %s", error or "it takes too long")
            behind = await self._keep(ticket)
            self._begin(self._come_back(append if late else None, behind))

    async def _keep(self, ticket: Ticket) -> int:
        """Into the spool. Returns the place behind it; 0 where the spool did not take it."""
        try:
            await asyncio.to_thread(self._spool.append, ticket.records)
        except LogUnavailableError as exc:
            if self._refusal is None:
                _logger.warning("neither the log nor the spool takes events: %s", exc)
            self._refusal = exc
            if self._refused:
                self._owed += ticket.owed
            else:
                self._refused, ticket.doubtful = ticket.records, True
            self._n_refused += len(ticket.records) - len(ticket.owed)
            ticket.settle(exc)
            return 0
        self._refusal = None
        self._n_spooled += len(ticket.records)
        ticket.settle()
        return self._spool.size_bytes

    async def _come_back(self, late: "asyncio.Future[list[tuple[int, int]]] | None", behind: int) -> None:
        """Bring the spool into the log, in order, however long it takes; then turn back to the log.

        Args:
            late: the append that took too long, `behind` the place of its records' end in the spool: if it succeeds
                after all, they need not be appended again. Where that cannot be known the same ids make it harmless.
        """
        if late is not None and await _succeeds(late):
            async with self._order:
                await asyncio.to_thread(self._spool.advance, behind)
                if not behind:
                    self._refused = []
        pause_s = _FIRST_PAUSE_S
        while self._away:
            try:
                await self._replay_some()
                pause_s = _FIRST_PAUSE_S
            except LogError as exc:
                _logger.info("the log is still away: %s", exc)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        _logger.warning("the log is back")

    async def _replay_some(self) -> None:
        async with self._order:
            records, place = await asyncio.to_thread(self._spool.next, limit=_REPLAYED_AT_ONCE)
        held = [] if records else [*self._refused, *self._owed]
        n_owed = len(self._owed)
        if records or held:
            await self._log.append(OBSERVATIONS.name, records or held)
        else:
            await self._log.bounds(OBSERVATIONS.name)
        async with self._order:
            await asyncio.to_thread(self._spool.advance, place)
            if held:
                self._refused = []
                del self._owed[:n_owed]
            if self._spool.empty and not self._refused and not self._owed:
                self._away, self._refusal = False, None

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="router spool")
        self._tasks.add(task)
        task.add_done_callback(say_why)
        task.add_done_callback(self._tasks.discard)


async def _succeeds(append: "asyncio.Future[list[tuple[int, int]]]") -> bool:
    try:
        await append
    except LogError:
        return False
    return True
