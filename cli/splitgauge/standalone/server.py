"""`splitgauge up`: opens the data folder, starts every role, serves both surfaces, and stops in order.

Order of starting: log, router (which settles whose key the log has), pipeline, console, then the listener: nobody can
connect before everything answers. Stopping goes the other way round: the listener closes, requests in flight are
answered, then what is queued is written, then the folds end, then the log closes.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast
from uuid import uuid4

import uvicorn
import uvloop

from splitgauge.console.service import Console, ConsoleSettings
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.router.clock import SYSTEM_CLOCK
from splitgauge.router.service import Router
from splitgauge.schemas.errors import ConflictError
from splitgauge.standalone.application import application
from splitgauge.standalone.pipeline import Pipeline
from splitgauge.standalone.retention import keep_trimming
from splitgauge.standalone.settings import StandaloneSettings

__all__ = ["run"]

_KEEP_ALIVE_S = 75
"""Longer than clients and proxies keep idle connections, so that it is they who close them, never in mid-request."""


def run(settings: StandaloneSettings) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status.

    Raises: LogInUseError, LogDamagedError, LogUnavailableError, UnknownRulesError; ConflictError where the unit key is
        not the log's, or the address is taken.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
    return 0


async def _serve(settings: StandaloneSettings) -> None:
    listener = _listener(settings.host, settings.port)
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
            await _listen(settings, application(router.app, console.app), listener)
        finally:
            await console.stop()
    finally:
        trimming.cancel()
        await pipeline.stop()


async def _listen(settings: StandaloneSettings, app: object, listener: socket.socket) -> None:
    config = uvicorn.Config(
        cast("uvicorn.config.ASGIApplication", app),  # type: ignore[name-defined]
        log_level="warning",
        access_log=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_s)),
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.ask_to_stop)
    host, port = listener.getsockname()[:2]
    with _taking(host, port):
        listener.listen(config.backlog)  # before it is said: whoever reads the line may connect at once
    sys.stdout.write(f"splitgauge answers on http://{host}:{port} (data in {settings.router.data_folder})\n")
    sys.stdout.flush()
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would raise them again at its end, past our order of stopping."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def ask_to_stop(self) -> None:
        """Gracefully; asked twice, at once: requests in flight are broken off, and have their outcomes."""
        if self.should_exit:
            for task in self.server_state.tasks:
                task.cancel()
        self.should_exit = True


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        with _taking(host, port):
            listener.bind((host, port))
    except ConflictError:
        listener.close()
        raise
    return listener


@contextmanager
def _taking(host: str, port: int) -> Generator[None]:
    """Two that bind at the same time learn of each other only when they listen."""
    try:
        yield
    except OSError as exc:
        raise ConflictError(
            f"cannot listen on {host}:{port}: {exc.strerror}",
            where="port",
            remedy="Stop what listens there, or choose another port (0 takes a free one)",
            code="address-unavailable",
        ) from exc
