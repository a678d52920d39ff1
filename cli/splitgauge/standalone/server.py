"""`splitgauge up`: opens the data folder, starts every role, serves both surfaces, and stops in order.

Order of starting: log, router (which settles whose key the log has), pipeline, console, then the listener: nobody can
connect before everything answers. Stopping goes the other way round: the listener closes, requests in flight are
answered, then what is queued is written, then the folds end, then the log closes.
"""

import asyncio
import socket
from uuid import uuid4

import uvloop

from splitgauge.console.service import Console, ConsoleSettings
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.router.clock import SYSTEM_CLOCK
from splitgauge.router.service import Router
from splitgauge.standalone.application import application
from splitgauge.standalone.listening import bound, serve
from splitgauge.standalone.pipeline import Pipeline
from splitgauge.standalone.retention import keep_trimming
from splitgauge.standalone.settings import StandaloneSettings

__all__ = ["run"]


def run(settings: StandaloneSettings) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status.

    Raises: LogInUseError, LogDamagedError, LogUnavailableError, UnknownRulesError; ConflictError where the unit key is
        not the log's, or the address is taken.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
    return 0


async def _serve(settings: StandaloneSettings) -> None:
    listener = bound(settings.host, settings.port)
    try:
        log = SqliteEventLog.open(settings.router.data_folder, observation_partitions=settings.observation_partitions)
        try:
            async with Router(log, settings.router) as router:
                await _run_beside_pipeline(settings, log, router, listener)
        finally:
            await log.close()
    finally:
        listener.close()


async def _run_beside_pipeline(
    settings: StandaloneSettings, log: SqliteEventLog, router: Router, listener: socket.socket
) -> None:
    pipeline = Pipeline(settings.router.data_folder, settings=settings.analyzer, instance=settings.router.instance)
    console = Console(
        log,
        ConsoleSettings(instance=settings.router.instance),
        clock=SYSTEM_CLOCK.now_us,
        ids=lambda: str(uuid4()),
        parts={
            "router": router.status,
            "aggregator": pipeline.aggregator_status,
            "analyzer": pipeline.analyzer_status,
        },
    )
    pipeline.start()
    trimming = asyncio.create_task(keep_trimming(log, clock=SYSTEM_CLOCK.now_us))
    try:
        await console.start()
        try:
            await serve(
                application(router.app, console.app),
                listener,
                shutdown_s=settings.shutdown_s,
                about=f"data in {settings.router.data_folder}",
            )
        finally:
            await console.stop()
    finally:
        trimming.cancel()
        await pipeline.stop()
