"""What every adapter of the upstream port has to do, over real sockets. Subclasses say which adapter."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from splitgauge.router.upstream import AnswerTooLargeError, Call, Upstream
from splitgauge.schemas.errors import UpstreamError, UpstreamTimeoutError

__all__ = ["ANSWER_BYTES", "UpstreamContract"]

ANSWER_BYTES = 1_000_000
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

Handler = Callable[["Connection"], Awaitable[None]]


class Connection:
    """The endpoint's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Head and body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = [line.split(b":", 1) for line in head.lower().split(b"\r\n") if b":" in line]
        length = next((int(value) for name, value in fields if name == b"content-length"), 0)
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Server:
    """An endpoint that speaks whatever a test makes it speak."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.requests: list[bytes] = []
        self.closed = asyncio.Event()
        """Set when a caller has closed its side."""


@asynccontextmanager
async def serving(handler: Callable[[Server, Connection], Awaitable[None]]) -> AsyncGenerator[Server]:
    """A server that gives every connection to `handler`, and closes it when that returns."""
    server = Server()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            await handler(server, Connection(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            server.closed.set()
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x"
    try:
        yield server
    finally:
        listening.close()


def call(server: Server, *, body: bytes = b'{"q":1}', timeout_s: float = 10.0) -> Call:
    return Call(server.url, {"content-type": "application/json", "x-a": "b"}, body, timeout_s)


def answering(data: bytes, *, then_close: bool = True) -> Callable[[Server, Connection], Awaitable[None]]:
    """Reads a request and sends the bytes, again and again unless it closes."""

    async def handle(server: Server, connection: Connection) -> None:
        while True:
            server.requests.append(await connection.request())
            await connection.send(data)
            if then_close:
                return

    return handle


_HEADS = [b"content-length: 200000000", b"connection: close", b"transfer-encoding: chunked"]
"""The three ways of HTTP to say where a body ends."""


class UpstreamContract:
    """Every adapter, with answers of up to ANSWER_BYTES. A subclass has it as the fixture `upstream`."""

    async def test_the_answer_comes_as_it_is(self, upstream: Upstream) -> None:
        fields = (b"X-One: a", b"set-cookie: c=1", b"x-one: b", b"content-encoding: gzip", b"content-length: 3")
        data = b"\r\n".join((b"HTTP/1.1 418 I'm", *fields, b"", b"\x1f\x8b\x00"))
        async with serving(answering(data)) as server:
            answer = await upstream.call(call(server))
        assert (answer.status, answer.body) == (418, b"\x1f\x8b\x00")
        names = [(name.lower(), value) for name, value in answer.headers]
        assert [value for name, value in names if name == b"x-one"] == [b"a", b"b"]
        assert (b"set-cookie", b"c=1") in names

    async def test_the_request_goes_as_it_is(self, upstream: Upstream) -> None:
        async with serving(answering(OK)) as server:
            await upstream.call(call(server, body=b"\x00\xff"))
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /x HTTP/1.1\r\n")
        assert b"x-a: b" in head.lower()
        assert b"user-agent" not in head.lower()
        assert body == b"\x00\xff"

    async def test_connections_are_used_again(self, upstream: Upstream) -> None:
        async with serving(answering(OK, then_close=False)) as server:
            for _ in range(3):
                await upstream.call(call(server))
            assert (server.connections, len(server.requests)) == (1, 3)

    async def test_cookies_are_not_kept(self, upstream: Upstream) -> None:
        data = b"HTTP/1.1 200 OK\r\nset-cookie: c=1\r\ncontent-length: 0\r\n\r\n"
        async with serving(answering(data, then_close=False)) as server:
            await upstream.call(call(server))
            await upstream.call(call(server))
        assert b"cookie" not in server.requests[1].lower()

    async def test_redirects_are_answers(self, upstream: Upstream) -> None:
        data = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"
        async with serving(answering(data)) as server:
            assert (await upstream.call(call(server))).status == 307

    async def test_no_answer_in_time_is_a_timeout(self, upstream: Upstream) -> None:
        async def silent(_server: Server, connection: Connection) -> None:
            await connection.request()
            await connection.request()

        async with serving(silent) as server:
            with pytest.raises(UpstreamTimeoutError, match=r"0\.05 s"):
                await upstream.call(call(server, timeout_s=0.05))
            await server.closed.wait()

    async def test_an_answer_that_drips_longer_than_the_timeout_is_one(self, upstream: Upstream) -> None:
        async def dripping(_server: Server, connection: Connection) -> None:
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while True:
                await connection.send(b" ")
                await asyncio.sleep(0.005)

        async with serving(dripping) as server:
            with pytest.raises(UpstreamTimeoutError):
                await upstream.call(call(server, timeout_s=0.1))
            await server.closed.wait()

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"HTTP/1.1 200 OK\r\ncontent-len",
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"garbage\r\n\r\n",
            b"\x00\x01\x02" * 100,
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        ],
    )
    async def test_an_answer_that_breaks_off_or_is_garbage_is_an_error_and_not_repeated(
        self, upstream: Upstream, data: bytes
    ) -> None:
        async with serving(answering(data)) as server:
            with pytest.raises(UpstreamError) as caught:
                await upstream.call(call(server))
            assert not isinstance(caught.value, UpstreamTimeoutError)
            assert len(server.requests) == 1

    async def test_nobody_there_is_an_error(self, upstream: Upstream) -> None:
        async with serving(answering(OK)) as server:
            pass
        with pytest.raises(UpstreamError) as caught:
            await upstream.call(call(server))
        assert caught.value.status == 502

    async def test_an_answer_of_the_largest_size_is_taken(self, upstream: Upstream) -> None:
        body = b"x" * ANSWER_BYTES
        for head in (
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % ANSWER_BYTES,
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        ):
            async with serving(answering(head + body)) as server:
                assert (await upstream.call(call(server))).body == body

    @pytest.mark.parametrize(
        "head", [b"content-length: 200000000", b"connection: close", b"transfer-encoding: chunked"]
    )
    async def test_an_answer_of_200_megabytes_is_given_up_early(self, upstream: Upstream, head: bytes) -> None:
        sent = 0

        async def endless(_server: Server, connection: Connection) -> None:
            nonlocal sent
            await connection.request()
            await connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
            piece = b"%x\r\n%s\r\n" % (100_000, b"x" * 100_000) if b"chunked" in head else b"x" * 100_000
            for _ in range(2_000):
                await connection.send(piece)
                sent += 100_000

        async with serving(endless) as server:
            with pytest.raises(AnswerTooLargeError):
                await upstream.call(call(server))
            await server.closed.wait()
        assert sent < 50_000_000  # what fits into the sockets' buffers, and not the rest

    async def test_a_cancelled_call_closes_its_connection(self, upstream: Upstream) -> None:
        arrived = asyncio.Event()

        async def slow(_server: Server, connection: Connection) -> None:
            await connection.request()
            arrived.set()
            await connection.request()

        async with serving(slow) as server:
            task = asyncio.create_task(upstream.call(call(server)))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.closed.wait()

    async def test_a_reused_connection_that_is_closed_costs_nothing_but_a_new_one(self, upstream: Upstream) -> None:
        async def once(server: Server, connection: Connection) -> None:
            server.requests.append(await connection.request())
            await connection.send(OK)
            if server.connections == 1:  # the second request meets a connection that is being closed
                server.requests.append(await connection.request())

        async with serving(once) as server:
            await upstream.call(call(server))
            answer = await upstream.call(call(server))
            assert (answer.status, server.connections, len(server.requests)) == (200, 2, 3)

    async def test_a_reused_connection_that_breaks_within_the_answer_is_an_error(self, upstream: Upstream) -> None:
        async def breaking(server: Server, connection: Connection) -> None:
            server.requests.append(await connection.request())
            await connection.send(OK)
            server.requests.append(await connection.request())
            await connection.send(OK[:-1])

        async with serving(breaking) as server:
            await upstream.call(call(server))
            with pytest.raises(UpstreamError):
                await upstream.call(call(server))
            assert len(server.requests) == 2

    async def test_what_went_wrong_does_not_repeat_what_was_sent(self, upstream: Upstream) -> None:
        async with serving(answering(b"garbage with x-a: b\r\n\r\n")) as server:
            with pytest.raises(UpstreamError) as caught:
                await upstream.call(call(server, body=b"prompt"))
        assert "prompt" not in str(caught.value)
        assert "garbage" not in str(caught.value)
