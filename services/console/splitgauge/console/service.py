"""The console as a service: it follows decisions, windows and analyses, and answers over HTTP.

Owns starting, stopping and readiness; everything it knows is read from the log again after a restart.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import FastAPI

from splitgauge.console.action_routes import action_routes
from splitgauge.console.answers import render_errors
from splitgauge.console.changes import Changes
from splitgauge.console.documentation import describe
from splitgauge.console.draft_routes import draft_routes
from splitgauge.console.events import events_router
from splitgauge.console.operators import Part, operator_routes
from splitgauge.console.reading_routes import reading_routes
from splitgauge.console.readings import Readings
from splitgauge.console.workload_routes import workload_routes
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import LogUnavailableError, SplitgaugeError
from splitgauge.schemas.topics import ANALYSES, WINDOWS

__all__ = ["Console", "ConsoleSettings"]

_logger = logging.getLogger(__name__)

RETRY_S = 0.25
"""After the log could not be read."""


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """What an operator chooses.

    Attributes:
        instance: who this is, in the events it writes.
        actor: who decides, where requests do not say.
        version: of the product, as the OpenAPI document shows it.
    """

    instance: str = "console"
    actor: str = "api"
    version: str = "0.1.0"


class Console:
    """The control plane of one process. `app` is to be served by whoever runs it; belongs to one event loop.

    Args:
        clock: microseconds since 1970. ids: a new unique text, each time, for decisions and experiments.
        parts: the other parts of the process by name, for `/readyz` and `/metrics`.
    """

    def __init__(
        self,
        log: EventLog,
        settings: ConsoleSettings,
        *,
        clock: Callable[[], int],
        ids: Callable[[], str],
        parts: Mapping[str, Part] | None = None,
    ) -> None:
        self._log = log
        self._parts: dict[str, Part] = {**(parts or {}), "console": self.status}
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: str | None = None
        self._decided = False
        self.decisions = DecisionLog(log, source=SOURCES["console"], instance=settings.instance)
        self.readings = Readings()
        changes = Changes(self.decisions, actor=settings.actor, clock=clock, ids=ids)
        self.app = self._application(settings, changes, ids)

    async def start(self) -> None:
        """Read the decisions to their end, then follow everything in the background.

        Raises: UnknownRulesError, LogDamagedError, LogUnavailableError.
        """
        await self.decisions.catch_up()
        self._decided = True
        for follow in (self.decisions.follow, self._follow_windows, self._follow_analyses):
            task = asyncio.create_task(self._keep(follow), name=f"console {follow.__name__}")
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Stop following. The application answers no longer with anything new."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def status(self) -> dict[str, object]:
        """Whether the console knows what it has to know, and how far it has read."""
        status: dict[str, object] = {
            "ready": self._decided and self._failure is None,
            "decisions_offset": self.decisions.history.end,
        }
        if self._failure is not None:
            status["reason"] = self._failure
        return status

    async def _keep(self, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await follow()
            except LogUnavailableError:
                await asyncio.sleep(RETRY_S)
            except SplitgaugeError as exc:
                self._failure = str(exc)
                return

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """What nobody foresaw ends no reading in silence."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = f"it has failed: {error!r}"
            _logger.error("%s has failed", task.get_name(), exc_info=error)

    async def _follow_windows(self) -> None:
        bounds = await self._log.bounds(WINDOWS.name)
        async for records in self._log.follow(WINDOWS.name, {partition: at.start for partition, at in bounds.items()}):
            for record in records:
                self.readings.take_window(record.value)

    async def _follow_analyses(self) -> None:
        bounds = await self._log.bounds(ANALYSES.name)
        positions = {partition: self.readings.analyses_read(partition) for partition in bounds}
        async for records in self._log.follow(ANALYSES.name, positions):
            for record in records:
                self.readings.take_analysis(record.partition, record.offset, record.value)

    def _application(self, settings: ConsoleSettings, changes: Changes, ids: Callable[[], str]) -> FastAPI:
        app = FastAPI(
            title="Splitgauge",
            version=settings.version,
            description="The control plane: workloads, experiments, their lifecycle and their results.",
            openapi_url="/api/v1/openapi.json",
            docs_url=None,
            redoc_url=None,
        )
        app.include_router(workload_routes(self.decisions, changes))
        app.include_router(draft_routes(changes, ids=ids))
        app.include_router(reading_routes(self.decisions, self.readings, self._log))
        app.include_router(action_routes(self.decisions, self.readings, changes))
        app.include_router(events_router(self._log))
        app.include_router(operator_routes(self._parts))
        render_errors(app)
        describe(app, version=settings.version)
        return app
