"""The connections of callers: let in, kept, and let go of so that a stop costs nobody a request.

HTTP/1.1 has no word for a server that wants to leave: what a client sends on an idle connection at the very moment at
which it is closed is lost (RFC 9112, section 9.6). So much can be promised, and is, once `close` was called:

- Who had connected by then is let in, also from the queue of the system; who comes later is refused.
- A request of which anything has come is answered, with `Connection: close`.
- A connection without a request stays for a while, and answers the next one in that way. Only one that brings none in
  that time is closed, and not while unread bytes of a request wait in its socket. What is lost can only cross the
  closing on the wire.

Owns connections, on uvicorn's protocol; what is answered, and when to stop, others say.
"""

import asyncio
import logging
import socket

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.problem import CONTENT_TYPE, problem_of

__all__ = ["Connections"]

IDLE_S = 2
"""How long a stopping server keeps a connection that brings no request: pools in use bring one much sooner."""
_LAST_WORDS_S = 1.0
"""For the answers of requests that were broken off."""

_logger = logging.getLogger(__name__)


class Connections:
    """All of one listener. `open` before, `close` after."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        """`listener` is closed by `close`."""
        config.load()
        self.state = ServerState()
        self.closing = False
        self._config = config
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._here: set[_Connection] = set()
        self._lost = asyncio.Event()

    async def open(self) -> None:
        """Let callers in."""
        # A duplicate, which the server closes: ours still has those who wait to be let in then.
        duplicate = self._listener.dup()
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, sock=duplicate, backlog=self._config.backlog
        )

    async def close(self, *, patience_s: float) -> None:
        """Let nobody in any more, answer what has been asked, let go of all. `patience_s`: how long that may take."""
        await self._shut()
        for connection in self._here:
            connection.part()
        if not await self._gone_within(patience_s):
            if self.state.tasks:
                _logger.warning("%d requests are broken off after %g s", len(self.state.tasks), patience_s)
            self.break_off()
            await self._gone_within(_LAST_WORDS_S)
        for connection in self._here:
            connection.transport.abort()

    def break_off(self) -> None:
        """Wait for nothing any longer: requests in flight are cancelled, and answer that they are."""
        for task in self.state.tasks:
            task.cancel()
        for connection in self._here:
            if not connection.answering:
                connection.transport.close()

    def made(self, connection: "_Connection") -> None:
        """It is open."""
        self._here.add(connection)

    def lost(self, connection: "_Connection") -> None:
        """It is closed."""
        self._here.discard(connection)
        self._lost.set()

    def _connection(self) -> "_Connection":
        return _Connection(self, self._config)

    async def _shut(self) -> None:
        """Let in who waits, and nobody after them."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        waiting = _waiting(self._listener)
        self._listener.close()
        for caller in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._connection, caller)
        await asyncio.sleep(0)  # who was let in a moment ago is made known in the loop's next round

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._gone()
        except TimeoutError:
            return False
        return True

    async def _gone(self) -> None:
        while self._here or self.state.tasks:
            self._lost.clear()
            if self._here:
                await self._lost.wait()
            else:  # their callers have left, and they have an outcome to write
                await asyncio.wait(self.state.tasks)


class _Connection(HttpToolsProtocol):
    """uvicorn's, with an end that loses nothing."""

    def __init__(self, connections: Connections, config: uvicorn.Config) -> None:
        super().__init__(config, connections.state, app_state={})
        self._connections = connections
        self._asked = 0
        """Requests of which something has come, and that are not answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn narrows it alike
        super().connection_made(transport)
        self._connections.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.lost(self)

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return bool(self.cycle) and not self.cycle.response_complete

    def part(self) -> None:
        """Answer what was asked, or one request more, and close; or close when none comes."""
        self.timeout_keep_alive = IDLE_S
        if not self._asked:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(IDLE_S, self.timeout_keep_alive_handler)
        elif self.answering and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn has logged it
        """Of what is no HTTP, and reaches no application."""
        error = MalformedError("this is no HTTP/1.1 request", where="request")
        body = orjson.dumps(problem_of(error))
        head = f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head.encode() + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._asked += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._connections.closing:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        self._asked -= 1
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close it, at once, unless a request has come that was not read yet."""
        if self.transport.is_closing():
            return
        ours = self.transport.get_extra_info("socket")
        with socket.fromfd(ours.fileno(), ours.family, ours.type) as connected:
            try:
                connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                connected.shutdown(socket.SHUT_WR)  # the transport would do so in the loop's next round
                super().timeout_keep_alive_handler()


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """Connections that nobody has let in yet: closed with the listener, they would be reset."""
    found: list[socket.socket] = []
    listener.setblocking(False)
    while True:
        try:
            found.append(listener.accept()[0])
        except BlockingIOError:
            return found
