"""Aggregator and analyzer of one process, in a thread and an event loop of their own.

The data path must not wait for a fold or an analysis: the loop that answers callers runs neither. Owns the thread and
says how its parts are; they meet the rest of the process in the log only.
"""

import asyncio
import logging
import threading
from collections.abc import Callable

from splitgauge.aggregator.partition_worker import Surroundings
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.analyzer.service import Analyzer, AnalyzerSettings
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import LogUnavailableError, SplitgaugeError

__all__ = ["Pipeline"]

_logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""After the log could not be written: the folds start again from their checkpoints."""


class Pipeline:
    """From observations to decisions, restarted where the log was away, stopped where it is damaged."""

    def __init__(
        self, log: SqliteEventLog, *, clock: Callable[[], int], settings: AnalyzerSettings, instance: str
    ) -> None:
        self._log = log
        self._clock = clock
        self._settings = settings
        self._instance = instance
        self._thread = threading.Thread(target=self._main, name="pipeline")
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None
        self._parts: tuple[FoldWorker, Analyzer] | None = None
        self._failure: str | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End and wait for it. What was not checkpointed is folded again at the next start."""
        self._stop.set()
        if self._loop is not None and self._running is not None:
            try:
                self._loop.call_soon_threadsafe(self._running.cancel)
            except RuntimeError:
                if not self._loop.is_closed():  # closed: it has ended by itself, for a damaged log
                    raise
        if self._thread.ident is not None:
            self._thread.join()

    def aggregator_status(self) -> dict[str, object]:
        """For `/readyz`: how far each partition is folded."""
        if self._parts is None:
            return self._status({"ready": False})
        positions = {str(partition): upto for partition, upto in self._parts[0].positions.items()}
        return self._status({"ready": True, "positions": positions})

    def analyzer_status(self) -> dict[str, object]:
        """For `/readyz`."""
        status = self._parts[1].status() if self._parts is not None else {"ready": False}
        return self._status(dict(status))

    def _status(self, status: dict[str, object]) -> dict[str, object]:
        return status if self._failure is None else {**status, "ready": False, "reason": self._failure}

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._running = self._loop.create_task(self._keep_running())
            if self._stop.is_set():
                self._running.cancel()
            runner.run(_quietly(self._running))

    async def _keep_running(self) -> None:
        try:
            again = True
            while again:
                again = await self._run_until_failure()
                await asyncio.sleep(RETRY_S if again else 0)
        finally:
            self._failure = self._failure or "measuring has ended"

    async def _run_until_failure(self) -> bool:
        """Whether to try again: if the log was away. Where it is damaged, measuring stops, and routing goes on."""
        again = False
        try:
            await self._run_once()
        except* LogUnavailableError as group:
            self._fail(group)
            again = True
        except* SplitgaugeError as group:
            self._fail(group)
            again = False
        return again

    async def _run_once(self) -> None:
        decisions = DecisionLog(self._log, source=SOURCES["aggregator"], instance=self._instance)
        await decisions.catch_up()
        around = Surroundings(
            log=self._log,
            checkpoints=self._log.checkpoints,
            decisions=decisions,
            now_us=self._clock,
            instance=self._instance,
        )
        folds = FoldWorker(around)
        tables = TablesWorker(self._log, now_us=self._clock, instance=self._instance)
        analyzer = Analyzer(self._log, clock=self._clock, settings=self._settings)
        self._parts, self._failure = (folds, analyzer), None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(folds.run(), name="folds")
            tasks.create_task(tables.run(), name="tables")
            tasks.create_task(analyzer.run(), name="analyzer")

    def _fail(self, group: BaseExceptionGroup[SplitgaugeError]) -> None:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        self._failure = str(first)
        _logger.error("measuring stopped: %s", first)


async def _quietly(task: asyncio.Task[None]) -> None:
    try:
        await task
    except asyncio.CancelledError:
        return
