"""Aggregator and analyzer, as the child process of `splitgauge up` that `pipeline` starts and watches.

    python -m splitgauge.standalone.measuring FOLDER INSTANCE ANALYZER_SETTINGS_AS_JSON

Owns the services and how they start again. Says on standard output, a JSON line at a time, how its parts are; ends when
standard input ends, however the parent came to its end. It meets the rest of the product in the log only.
"""

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import uvloop

from splitgauge.aggregator.partition_worker import Surroundings
from splitgauge.aggregator.tables_worker import TablesWorker
from splitgauge.aggregator.worker import FoldWorker
from splitgauge.analyzer.service import Analyzer, AnalyzerSettings
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.router.clock import SYSTEM_CLOCK
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import LogInUseError, LogUnavailableError, SplitgaugeError
from splitgauge.standalone.collection import collect_seldom

__all__ = ["main"]

_logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""After the log could not be used: the folds start again from their checkpoints."""
REPORT_EVERY_S = 0.1


@dataclass(slots=True)
class _Measuring:
    """From observations to decisions: started again where the log was away, stopped where it is damaged."""

    folder: Path
    instance: str
    settings: AnalyzerSettings
    _parts: tuple[FoldWorker, Analyzer] | None = field(default=None, init=False)
    _failure: str | None = field(default=None, init=False)

    async def run(self) -> None:
        """Until the log turns out to be damaged, or cancelled."""
        again = True
        while again:
            again = await self._run_until_failure()
            await asyncio.sleep(RETRY_S if again else 0)

    def status(self) -> dict[str, dict[str, object]]:
        """Of each part, as `/readyz` shows it."""
        if self._failure is not None:
            failed: dict[str, object] = {"ready": False, "reason": self._failure}
            return {"aggregator": failed, "analyzer": failed}
        if self._parts is None:
            return {"aggregator": {"ready": False}, "analyzer": {"ready": False}}
        folds, analyzer = self._parts
        positions = {str(partition): upto for partition, upto in folds.positions.items()}
        return {"aggregator": {"ready": True, "positions": positions}, "analyzer": analyzer.status()}

    async def _run_until_failure(self) -> bool:
        """Whether to try again: if the log was away, or an earlier child has not let go of it yet."""
        again = False
        try:
            await self._run_once()
        except* (LogUnavailableError, LogInUseError) as group:
            self._fail(group)
            again = True
        except* SplitgaugeError as group:
            self._fail(group)
            again = False
        return again

    async def _run_once(self) -> None:
        log = SqliteEventLog.open_beside(self.folder)
        try:
            decisions = DecisionLog(log, source=SOURCES["aggregator"], instance=self.instance)
            await decisions.catch_up()
            now_us = SYSTEM_CLOCK.now_us
            folds = FoldWorker(Surroundings(log, log.checkpoints, decisions, now_us, self.instance))
            tables = TablesWorker(log, now_us=now_us, instance=self.instance)
            analyzer = Analyzer(log, clock=now_us, settings=self.settings)
            self._parts, self._failure = (folds, analyzer), None
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(folds.run(), name="folds")
                tasks.create_task(tables.run(), name="tables")
                tasks.create_task(analyzer.run(), name="analyzer")
        finally:
            await log.close()

    def _fail(self, group: BaseExceptionGroup[SplitgaugeError]) -> None:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        self._failure = str(first)
        _logger.error("measuring stopped: %s", first)


async def _measure(measuring: _Measuring) -> None:
    """Until standard input ends. After a failure for good the process stays, to say what it was."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    running = asyncio.create_task(measuring.run())
    reporting = asyncio.create_task(_report(measuring, ended))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    if not running.done() or running.exception() is None:
        await ended.wait()
    for task in (running, reporting, waiting):
        task.cancel()
    results = await asyncio.gather(running, reporting, waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _report(measuring: _Measuring, ended: asyncio.Event) -> None:
    said = b""
    while True:
        line = orjson.dumps(measuring.status()) + b"\n"
        if line != said:
            said = line
            try:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                ended.set()
                return
        await asyncio.sleep(REPORT_EVERY_S)


def main() -> None:
    """Run as the child. Signals for the terminal's processes are the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()
    folder, instance, settings = sys.argv[1:]
    measuring = _Measuring(Path(folder), instance, AnalyzerSettings(**orjson.loads(settings)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(measuring))


if __name__ == "__main__":
    main()
