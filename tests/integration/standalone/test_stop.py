"""What callers see of a server that stops: whatever has come is answered, and nobody is thrown out."""

import asyncio
import socket
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from splitgauge.standalone import connections
from splitgauge.standalone.connections import Connections
from splitgauge.standalone.listening import bound
from waiting import until

REQUEST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"


class Slow:
    """An application that answers when it is let: first its head, then its body."""

    def __init__(self) -> None:
        self.asked = 0
        self.head = asyncio.Event()
        self.body = asyncio.Event()
        self.quick()

    def quick(self) -> None:
        """Answer at once."""
        self.head.set()
        self.body.set()

    async def __call__(self, _scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        self.asked += 1
        status = 200
        try:
            await self.head.wait()
        except asyncio.CancelledError:
            status = 503  # as `application` does
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
        await self.body.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    async def has_been_asked(self, times: int) -> None:
        async def so_often() -> bool:
            return self.asked == times

        await until(so_often)


class Caller:
    """One connection."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes = REQUEST) -> None:
        self._writer.write(data)

    async def answer(self) -> tuple[bytes, bool]:
        """Status line, and whether the server says that it will close."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(2)
        return head.split(b"\r\n")[0], b"connection: close" in head

    def leave(self) -> None:
        self._writer.close()

    async def closed(self) -> bool:
        """Waits for the end, and nothing before it."""
        rest = await self._reader.read()
        self._writer.close()
        return rest == b""


class Server:
    """Connections to a slow application."""

    def __init__(self) -> None:
        self.app = Slow()
        self.listener = bound("127.0.0.1", 0)
        self.address = self.listener.getsockname()
        config = uvicorn.Config(self.app, lifespan="off", log_config=None, access_log=False, ws="none")
        self.connections = Connections(config, self.listener)

    async def caller(self) -> Caller:
        return Caller(*await asyncio.open_connection(*self.address))

    @asynccontextmanager
    async def stopping(self, patience_s: float = 60.0) -> AsyncGenerator[None]:
        """It has been asked to stop; after the block it has."""
        stop = asyncio.create_task(self.connections.close(patience_s=patience_s))
        await asyncio.sleep(0)
        try:
            yield
        finally:
            await stop


async def rounds() -> None:
    """Of the loop that callers and server share, so many that what has been sent is read and what is due is done."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> Server:
    """Every test stops it."""
    server = Server()
    await server.connections.open()
    return server


ANSWERED, CLOSING = (b"HTTP/1.1 200 OK", False), (b"HTTP/1.1 200 OK", True)


async def test_who_comes_after_the_stop_is_refused(server: Server) -> None:
    async with server.stopping():
        with pytest.raises(ConnectionRefusedError):
            await server.caller()


async def test_what_is_in_flight_is_answered_and_its_connection_closed(server: Server) -> None:
    caller = await server.caller()
    server.app.head.clear()
    caller.send()
    await server.app.has_been_asked(1)
    async with server.stopping():
        server.app.quick()
        assert await caller.answer() == CLOSING
        assert await caller.closed()


async def test_an_idle_connection_has_one_more_request_answered(server: Server) -> None:
    caller = await server.caller()
    caller.send()
    assert await caller.answer() == ANSWERED
    async with server.stopping():
        caller.send()
        assert await caller.answer() == CLOSING
        assert await caller.closed()


async def test_a_connection_that_has_asked_nothing_yet_has_its_request_answered(server: Server) -> None:
    caller = await server.caller()
    async with server.stopping():
        caller.send()
        assert await caller.answer() == CLOSING
        assert await caller.closed()


async def test_who_still_waits_to_be_let_in_is_answered(server: Server) -> None:
    with socket.create_connection(server.address) as queued:  # and the loop has had no turn to let it in
        async with server.stopping():
            reader, writer = await asyncio.open_connection(sock=queued.dup())
            caller = Caller(reader, writer)
            caller.send()
            assert await caller.answer() == CLOSING
            assert await caller.closed()


async def test_a_request_that_has_come_in_part_is_answered_when_the_rest_comes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0)
    callers = [await server.caller() for _ in range(3)]
    cuts = (4, 40, len(REQUEST) - 1)
    for caller, cut in zip(callers, cuts, strict=True):
        caller.send()
        assert await caller.answer() == ANSWERED
        caller.send(REQUEST[:cut])
    await rounds()
    async with server.stopping():
        await rounds()
        for caller, cut in zip(callers, cuts, strict=True):
            caller.send(REQUEST[cut:])
            assert await caller.answer() == CLOSING
            assert await caller.closed()


async def test_a_connection_that_brings_nothing_is_closed_after_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.05)
    silent, asking = await server.caller(), await server.caller()
    asking.send()
    assert await asking.answer() == ANSWERED
    async with server.stopping():
        assert await silent.closed()
        assert await asking.closed()
    assert server.app.asked == 1


async def test_a_connection_that_was_reset_is_forgotten(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.05)
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    with socket.create_connection(server.address) as resetting:
        silent = await server.caller()
        async with server.stopping():
            await asyncio.sleep(0)
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            resetting.close()
            assert await silent.closed()
    assert faults == []


async def test_a_request_that_came_while_the_server_was_busy_is_read_before_its_connection_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.5)
    with socket.create_connection(server.address) as connected:
        async with server.stopping():
            await rounds()  # until the connection's time has begun
            asyncio.get_running_loop().call_later(0.01, connected.sendall, REQUEST)
            time.sleep(0.6)  # noqa: ASYNC251 - when the loop goes on, both times are over, one after the other
            caller = Caller(*await asyncio.open_connection(sock=connected.dup()))
            assert await caller.answer() == CLOSING
            assert await caller.closed()


async def test_an_answer_that_has_begun_is_finished_and_its_connection_may_ask_again(server: Server) -> None:
    caller = await server.caller()
    server.app.body.clear()
    caller.send()
    await server.app.has_been_asked(1)
    await rounds()
    async with server.stopping():
        server.app.quick()
        assert await caller.answer() == ANSWERED  # its head had gone out before the stop
        caller.send()
        assert await caller.answer() == CLOSING
        assert await caller.closed()


async def test_who_left_without_waiting_has_its_request_ended_before_the_stop_is_over(server: Server) -> None:
    caller = await server.caller()
    server.app.head.clear()
    caller.send()
    await server.app.has_been_asked(1)
    async with server.stopping():
        caller.leave()
        await rounds()
        assert server.connections.state.tasks
        server.app.quick()
    assert not server.connections.state.tasks


@pytest.mark.parametrize("hurried", [True, False], ids=["asked twice", "patience ends"])
async def test_what_takes_too_long_is_broken_off(server: Server, *, hurried: bool) -> None:
    caller, half = await server.caller(), await server.caller()
    half.send(REQUEST[:4])
    server.app.head.clear()
    caller.send()
    await server.app.has_been_asked(1)
    async with server.stopping(60.0 if hurried else 0.05):
        if hurried:
            server.connections.break_off()
    assert await caller.answer() == (b"HTTP/1.1 503 Service Unavailable", True)
    assert await caller.closed()
    assert await half.closed()
