"""Where a process answers over HTTP: the address is taken first, served last, and let go of in order.

Owns the address and the signals. What a stop does to requests in flight says `connections`; what is answered, others.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from splitgauge.schemas.errors import ConflictError
from splitgauge.standalone.connections import Connections

__all__ = ["bound", "serve"]

_KEEP_ALIVE_S = 75
"""Longer than clients and proxies keep idle connections, so that it is they who close them, never in mid-request."""


async def serve(app: Callable[..., Any], listener: socket.socket, *, shutdown_s: float, about: str) -> None:
    """Answer until SIGINT, SIGTERM or cancelled, then finish what is in flight.

    Raises: ConflictError where the address is taken.

    Args:
        app: an ASGI application.
        shutdown_s: how long requests in flight may take after a stop is asked for. Asked twice, they are broken off at
            once, and have their outcomes.
        about: said in brackets when it begins.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    connections = Connections(config, listener)
    asked = asyncio.Event()

    def ask_to_stop() -> None:
        if asked.is_set():
            connections.break_off()
        asked.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask_to_stop)
    host, port = listener.getsockname()[:2]
    with _taking(host, port):
        await connections.open()  # before it is said: whoever reads the line may connect at once
    sys.stdout.write(f"splitgauge answers on http://{host}:{port} ({about})\n")
    sys.stdout.flush()
    try:
        await asked.wait()
    finally:
        await connections.close(patience_s=shutdown_s)


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, and does not listen yet. Raises: ConflictError where it is taken."""
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
