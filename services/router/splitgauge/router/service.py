"""A router: its parts put together on an event log, started and stopped.

Owns the order of starting and stopping, and no behaviour of its own. Belongs to the event loop that it starts in.
"""

import asyncio
from types import TracebackType
from typing import Self
from uuid import uuid4

from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.folder_lock import FolderLock
from splitgauge.eventlog.port import EventLog
from splitgauge.experiments.commands import By, initialize_log
from splitgauge.router.aiohttp_upstream import AiohttpUpstream
from splitgauge.router.clock import SYSTEM_CLOCK, Clock
from splitgauge.router.credentials import Credentials
from splitgauge.router.events import EventMaker
from splitgauge.router.exchange import Exchange
from splitgauge.router.follower import Follower
from splitgauge.router.gateway import Gateway
from splitgauge.router.intake import Intake
from splitgauge.router.key_file import expect_fingerprint, load_or_create
from splitgauge.router.outbox import Outbox
from splitgauge.router.report_intake import ReportIntake
from splitgauge.router.reports import Attribution
from splitgauge.router.settings import RouterSettings
from splitgauge.router.spool import Spool
from splitgauge.router.supervision import say_why
from splitgauge.router.token import TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.router.upstream import Upstream
from splitgauge.schemas.decision import Actor
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import ConflictError
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["Router"]

_LOCK = "router.lock"
"""Two routers in one folder would write over each other's spool."""


class Router:
    """`async with Router(log, settings) as router:` and serve `router.app` meanwhile."""

    def __init__(
        self, log: EventLog, settings: RouterSettings, *, upstream: Upstream | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`upstream`: another client than aiohttp's; it is closed with the router."""
        self._log = log
        self._settings = settings
        self._given_upstream = upstream
        self._clock = clock
        self._running: _Running | None = None

    @property
    def app(self) -> Gateway:
        """The ASGI application of the data path."""
        return self._started.gateway

    @property
    def ready(self) -> bool:
        """Whether requests can be planned."""
        return self._running is not None and self._running.ready

    def status(self) -> dict[str, object]:
        """For `/readyz` and `/metrics`."""
        return {"ready": self.ready, **self._started.status()}

    async def __aenter__(self) -> Self:
        """Start.

        Raises: LogInUseError where another router has the data folder; ConflictError (`unit-key-mismatch`);
            ContractError; LogError; UnknownRulesError.
        """
        lock = FolderLock(self._settings.data_folder, _LOCK)
        try:
            await self._start(lock)
        except BaseException:
            lock.release()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop: take nothing more from the log, finish what is under way, write what is queued."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    async def _start(self, lock: FolderLock) -> None:
        decisions = DecisionLog(self._log, source=SOURCES["router"], instance=self._settings.instance)
        key = load_or_create(self._settings.data_folder, self._settings.unit_key)
        await _agree_on(key, decisions, self._clock)
        partitions = len(await self._log.bounds(OBSERVATIONS.name))
        spool = Spool(self._settings.data_folder, limit_bytes=self._settings.spool_bytes)
        upstream = self._given_upstream or AiohttpUpstream(
            answer_bytes=self._settings.answer_bytes, monotonic_s=self._clock.monotonic_s
        )
        self._running = _Running(
            self._log,
            self._settings,
            decisions=decisions,
            key=key,
            spool=spool,
            upstream=upstream,
            clock=self._clock,
            partitions=partitions,
            lock=lock,
        )
        self._running.start()

    @property
    def _started(self) -> "_Running":
        if self._running is None:
            raise ConflictError("the router has not been started", where="router")
        return self._running


class _Running:
    """The parts of a started router."""

    def __init__(
        self,
        log: EventLog,
        settings: RouterSettings,
        *,
        decisions: DecisionLog,
        key: UnitKey,
        spool: Spool,
        upstream: Upstream,
        clock: Clock,
        partitions: int,
        lock: FolderLock,
    ) -> None:
        self._lock = lock
        self._upstream = upstream
        self._spool = spool
        self._tasks: list[asyncio.Task[None]] = []
        self.follower = Follower(decisions, clock)
        self.outbox = Outbox(
            log,
            self._spool,
            patience_s=settings.log_patience_s,
            linger_s=settings.outcome_linger_s,
            fail_closed=settings.fail_closed,
        )
        tokens = TokenSigner(key.derive("token"))
        events = EventMaker(instance=settings.instance, observation_partitions=partitions)
        self.exchange = Exchange(
            follower=self.follower,
            outbox=self.outbox,
            upstream=upstream,
            events=events,
            key=key,
            tokens=tokens,
            credentials=Credentials(clock.monotonic_s),
            clock=clock,
        )
        attribution = Attribution(key, tokens)
        self._intake = Intake(
            log,
            exchange=self.exchange,
            follower=self.follower,
            events=events,
            clock=clock,
            concurrency=settings.intake_concurrency,
            grace_s=settings.stop_grace_s,
        )
        self._report_intake = ReportIntake(
            log,
            attribution=attribution,
            follower=self.follower,
            outbox=self.outbox,
            events=events,
            clock=clock,
        )
        self.gateway = Gateway(
            exchange=self.exchange,
            follower=self.follower,
            outbox=self.outbox,
            events=events,
            attribution=attribution,
            clock=clock,
            durability=settings.durability,
            request_bytes=settings.request_bytes,
        )

    @property
    def ready(self) -> bool:
        """Whether requests can be planned and written somewhere, and nothing that should run has ended."""
        return self._trouble() is None

    def status(self) -> dict[str, object]:
        """What each part says. Events that wait leave a router ready: callers over HTTP need not wait with them."""
        status: dict[str, object] = {
            **self.follower.status(),
            **self.outbox.status(),
            "unmeasured_requests_total": self.exchange.unmeasured,
            "refused_requests_total": self.gateway.refused,
            "waiting_request_events": len(self._intake.waiting),
            "waiting_report_batches": len(self._report_intake.waiting),
        }
        waits_for = self._intake.waiting.reason or self._report_intake.waiting.reason
        said = {"reason": self._trouble(), "waiting_reason": waits_for}
        return status | {name: reason for name, reason in said.items() if reason is not None}

    def _trouble(self) -> str | None:
        """Why it is not ready."""
        error = self.follower.failure or self.outbox.refusal
        if error is not None:
            return str(error)
        ended = [task.get_name() for task in self._tasks if task.done()]
        return f"{', '.join(ended)} has ended; the log of the process says why" if ended else None

    def start(self) -> None:
        """Follow first, then take requests."""
        self.outbox.start()
        for name, work in (
            ("follower", self.follower.run()),
            ("intake", self._intake.run()),
            ("report intake", self._report_intake.run()),
        ):
            task = asyncio.create_task(work, name=f"router {name}")
            task.add_done_callback(say_why)
            self._tasks.append(task)

    async def stop(self) -> None:
        """The reverse; what is queued last."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.outbox.stop()
        await self._upstream.close()
        self._spool.close()
        self._lock.release()


async def _agree_on(key: UnitKey, decisions: DecisionLog, clock: Clock) -> None:
    """The log's key is this one; of a new log it becomes it. Raises: ConflictError."""
    registry = await decisions.catch_up()
    if registry.key_fingerprint is None:
        by = By(Actor(kind="user", name="router"), "the first router of this log")
        decision = initialize_log(key.fingerprint, by)
        try:
            await decisions.propose(decision, event_id=str(uuid4()), time_us=clock.now_us())
        except ConflictError:
            await decisions.catch_up()  # another router was faster: its key counts
    expect_fingerprint(key, decisions.registry.key_fingerprint)
