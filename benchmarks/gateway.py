"""Requests per second through the gateway, against a plain ASGI application that only forwards through the same client.

    python benchmarks/gateway.py [--seconds 4] [--rounds 3] [--connections 128]

Each server is a process of its own: an endpoint that answers a completion of some 600 bytes, the plain forwarder, and
the gateway with all it does, on the embedded log, with durable assignments. The rounds alternate, so that a busy
machine slows both. With one connection nothing hides the log's flush to disk, as the endpoint takes no time; with many
it does not count. CPU is that of the forwarding process, per request.
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import uvicorn
import uvloop
from rich.console import Console
from rich.table import Table

from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.experiments import commands
from splitgauge.experiments.commands import By
from splitgauge.experiments.state import Registry
from splitgauge.router.aiohttp_upstream import AiohttpUpstream
from splitgauge.router.gateway import Message, Receive, Scope, Send
from splitgauge.router.service import Router
from splitgauge.router.settings import RouterSettings
from splitgauge.router.upstream import Call
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.workload import Workload

COMPLETION = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "big-2",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "word " * 70}}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 70, "total_tokens": 160},
    }
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(COMPLETION),
    COMPLETION,
)
PATH = "/v1/chat/completions"
N_UNITS = 1_000


class Endpoint(asyncio.Protocol):
    """Answers every request whole; as cheap as Python can be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (head := self._data.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + _content_length(self._data[:head])
            if len(self._data) < end:
                return
            self._data = self._data[end:]
            self._transport.write(ANSWER)


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], closing: asyncio.Event) -> None:
        self._requests = requests
        self._latencies = latencies
        self._closing = closing
        self._data = b""
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0 or len(self._data) < head + 4 + _content_length(self._data[:head]):
            return
        if not self._data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(self._data.decode())
        self._latencies.append(time.perf_counter() - self._asked)
        self._data = b""
        if self._closing.is_set():
            self._transport.close()
        else:
            self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))


def _content_length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + len(b"content-length:")
    end = head.find(b"\r\n", start)
    return int(head[start:] if end < 0 else head[start:end])


def requests() -> Iterator[bytes]:
    """Chat completions of sticky users, some with much to say."""
    made: list[bytes] = []
    for user in range(N_UNITS):
        messages = [{"role": "user", "content": f"question {user} " * (5 + user % 20)}]
        body = orjson.dumps({"model": "assistant", "messages": messages, "user": f"user-{user}", "temperature": 0.7})
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: */*\r\n"
            f"authorization: Bearer k\r\nuser-agent: benchmark\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    while True:
        yield from made


async def run_endpoint(report: Callable[[int], None], _url: str) -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    report(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def run_plain(report: Callable[[int], None], url: str) -> None:
    """Forwards bytes, and nothing else."""
    upstream = AiohttpUpstream(answer_bytes=2**25, monotonic_s=time.perf_counter)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message: Message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = await upstream.call(Call(f"{url}{PATH}", {"content-type": "application/json"}, body, 60.0))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    await _serve(app, report)


async def run_gateway(report: Callable[[int], None], url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = SqliteEventLog.open(Path(folder))
        await _decide(log, url)
        async with Router(log, RouterSettings(Path(folder))) as router:
            await _serve(router.app, report)


async def _decide(log: SqliteEventLog, url: str) -> None:
    decisions = DecisionLog(log, source="/splitgauge/console", instance="benchmark")
    by = By(Actor(kind="user", name="benchmark"), "to measure")

    def workload(key: str, model: str) -> Workload:
        return Workload.model_validate({"id": key, "provider": "openai", "url": f"{url}/v1", "model": model})

    experiment = ExperimentSpecification.model_validate(
        {
            "name": "benchmark",
            "base_workload_id": "assistant",
            "variants": [
                {"name": "control", "workload_id": "assistant", "weight": 1},
                {"name": "challenger", "workload_id": "other", "weight": 1, "overrides": {"parameters": {"top_p": 1}}},
            ],
        }
    )
    wishes: tuple[Callable[[Registry], DecisionData], ...] = (
        lambda r: commands.define_workload(r, workload("assistant", "small-1"), by),
        lambda r: commands.define_workload(r, workload("other", "big-2"), by),
        lambda r: commands.define_experiment(r, "e1", experiment, by),
        lambda r: commands.activate_experiment(r, "e1", by),
    )
    for wish in wishes:
        registry = await decisions.catch_up()
        judged = await decisions.propose(wish(registry), event_id=str(uuid4()), time_us=time.time_ns() // 1_000)
        assert judged.accepted, judged.refusal


async def _serve(app: Callable[[Scope, Receive, Send], Awaitable[None]], report: Callable[[int], None]) -> None:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False)
    report(listening.getsockname()[1])
    await uvicorn.Server(config).serve(sockets=[listening])


ROLES = {"endpoint": run_endpoint, "plain": run_plain, "gateway": run_gateway}


def _process(role: str, url: str, port: Connection) -> None:
    uvloop.run(ROLES[role](port.send, url))


@dataclass(frozen=True, slots=True)
class Server:
    """A server process: where it listens, and how much CPU it has used."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(role: str, url: str = "") -> Generator[Server]:
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_process, args=(role, url, sending), name=role)
    process.start()
    try:
        yield Server(receiving.recv(), process.pid or 0)
    finally:
        process.terminate()
        process.join()


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. Times in milliseconds, CPU in microseconds per request."""

    rate: float
    p50: float
    p99: float
    cpu_us: float


async def _load(server: Server, *, connections: int, seconds: float) -> Measured:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    closing = asyncio.Event()
    source = requests()
    for _ in range(connections):
        await loop.create_connection(lambda: Caller(source, latencies, closing), "127.0.0.1", server.port)
    await asyncio.sleep(seconds / 4)
    latencies.clear()
    began, cpu = time.perf_counter(), server.cpu_s()
    await asyncio.sleep(seconds)
    took, used, n = time.perf_counter() - began, server.cpu_s() - cpu, len(latencies)
    ranked = sorted(latencies)
    closing.set()
    await asyncio.sleep(0.2)
    return Measured(n / took, 1e3 * ranked[n // 2], 1e3 * ranked[n * 99 // 100], 1e6 * used / n)


def measure(server: Server, *, connections: int, seconds: float) -> Measured:
    return uvloop.run(_load(server, connections=connections, seconds=seconds))


def median(runs: list[Measured]) -> Measured:
    return Measured(
        *(statistics.median(getattr(run, name) for run in runs) for name in ("rate", "p50", "p99", "cpu_us"))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=128)
    chosen = parser.parse_args()
    table = Table("what", "connections", "requests/s", "p50 ms", "p99 ms", "CPU us")
    with ExitStack() as stack:
        endpoint = stack.enter_context(started("endpoint"))
        url = f"http://127.0.0.1:{endpoint.port}"
        servers = {name: stack.enter_context(started(name, url)) for name in ("plain", "gateway")}
        for server in servers.values():
            _wait_for(server)
        single: dict[str, Measured] = {}
        many: dict[str, Measured] = {}
        for connections, into in ((1, single), (chosen.connections, many)):
            runs: dict[str, list[Measured]] = {name: [] for name in servers}
            for _ in range(chosen.rounds):
                for name, server in servers.items():
                    runs[name].append(measure(server, connections=connections, seconds=chosen.seconds))
            for name in servers:
                into[name] = run = median(runs[name])
                row = (f"{run.rate:,.0f}", f"{run.p50:.2f}", f"{run.p99:.2f}", f"{run.cpu_us:.0f}")
                table.add_row(name, str(connections), *row)
    console = Console()
    console.print(table)
    console.print(f"gateway / plain: {many['gateway'].rate / many['plain'].rate:.2f} (at least 0.5)")
    console.print(f"added p50 at one connection: {single['gateway'].p50 - single['plain'].p50:.2f} ms")


def _wait_for(server: Server) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
