"""Whether callers feel the folds and analyses beside them: latency of the data path with and without, in turn.

`splitgauge up` runs in a process of its own with an active experiment, once as it is and once with aggregator and
analyzer left out; an endpoint that answers at once runs in another. Requests come at a fixed rate (open loop: a slow
answer delays no other request), each round the two in turn.

    python benchmarks/data_path.py [--rate 300] [--seconds 10] [--rounds 3]
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import socket
import tempfile
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import aiohttp
import orjson
import uvicorn

from splitgauge.router.settings import RouterSettings
from splitgauge.standalone.pipeline import Pipeline
from splitgauge.standalone.server import run
from splitgauge.standalone.settings import StandaloneSettings

ANSWER = b'{"answer": 42, "usage": {"input_tokens": 10, "output_tokens": 5}}'
USERS = 600


async def endpoint(_scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
    """Answers at once."""
    while (await receive()).get("more_body"):
        continue
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def serve_endpoint(port: int) -> None:
    """In a process of its own."""
    uvicorn.run(endpoint, port=port, log_level="critical", lifespan="off")


def serve_splitgauge(folder: str, port: int, with_pipeline: bool) -> None:
    """In a process of its own."""
    absent = mock.patch.multiple(Pipeline, start=mock.DEFAULT, stop=mock.DEFAULT)
    with contextlib.nullcontext() if with_pipeline else absent:
        run(StandaloneSettings(RouterSettings(data_folder=Path(folder)), port=port))


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(target: Any, *arguments: object) -> Generator[None]:  # noqa: ANN401 - any function
    """A child that ends with the block."""
    child = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    child.start()
    try:
        yield
    finally:
        child.terminate()
        child.join()


def post(url: str, body: object) -> None:
    """One call of the control plane."""
    request = urllib.request.Request(  # noqa: S310 - an address of our own
        url, orjson.dumps(body), {"content-type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request).close()  # noqa: S310 - as above


def until_up(url: str) -> None:
    """Wait until it answers."""
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/healthz").close()  # noqa: S310 - as above
            return
        time.sleep(0.1)
    raise TimeoutError(url)


def define(url: str, endpoint_url: str) -> None:
    """An active A/A experiment."""
    post(f"{url}/api/v1/workloads", {"id": "w", "provider": "webhook", "url": endpoint_url})
    variants = [{"name": name, "workload_id": "w", "weight": 1} for name in ("control", "same")]
    post(f"{url}/api/v1/ab-tests", {"id": "aa", "name": "A/A", "base_workload_id": "w", "variants": variants})
    post(f"{url}/api/v1/ab-tests/aa/activate", {})


async def load(url: str, *, rate: float, seconds: float) -> list[float]:
    """Latencies in milliseconds, from the moment a request was due."""
    latencies: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int, due_s: float) -> None:
            headers = {"x-splitgauge-unit": f"user {number % USERS}"}
            async with session.post(f"{url}/w/w", data=b'{"question": 1}', headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()
            latencies.append(1e3 * (time.perf_counter() - due_s))

        start_s = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(rate * seconds)):
                due_s = start_s + number / rate
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                tasks.create_task(one(number, due_s))
    return sorted(latencies)


def measure(endpoint_url: str, *, with_pipeline: bool, rate: float, seconds: float) -> tuple[float, float]:
    """p50 and p99 of one round, in milliseconds."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder, process(serve_splitgauge, folder, port, with_pipeline):
        until_up(url)
        define(url, endpoint_url)
        asyncio.run(load(url, rate=rate, seconds=1.0))
        latencies = asyncio.run(load(url, rate=rate, seconds=seconds))
    return latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rate", type=float, default=300.0, help="requests a second")
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--rounds", type=int, default=3)
    wanted = arguments.parse_args()
    port = free_port()
    rounds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with process(serve_endpoint, port):
        for _ in range(wanted.rounds):
            for with_pipeline in (False, True):
                figures = measure(
                    f"http://127.0.0.1:{port}/", with_pipeline=with_pipeline, rate=wanted.rate, seconds=wanted.seconds
                )
                rounds[with_pipeline].append(figures)
    print(f"data path at {wanted.rate:g} requests/s, medians of {wanted.rounds} rounds")
    print(f"{'':28}{'p50 ms':>8}{'p99 ms':>8}")
    for with_pipeline, label in ((False, "without folds and analyses"), (True, "with them")):
        p50, p99 = (median(figures) for figures in zip(*rounds[with_pipeline], strict=True))
        print(f"{label:28}{p50:8.2f}{p99:8.2f}")


if __name__ == "__main__":
    main()
