"""A model behind HTTP, in this process and in one of its own."""

import asyncio
import random
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from splitgauge.demo.children import Child
from splitgauge.demo.digits import Digits, load_digits, train
from splitgauge.demo.endpoint import Endpoint
from splitgauge.schemas.errors import UpstreamError


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits(7)


def endpoint(digits: Digits, *, failing: float = 0.0) -> Endpoint:
    return Endpoint("svm", train("svm", digits, seed=7), latency_s=0.0, failing=failing, chance=random.Random(7))


async def post(app: Endpoint, body: bytes) -> tuple[int, dict[str, Any]]:
    sent: list[MutableMapping[str, Any]] = []
    parts: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": body[:10], "more_body": True},
        {"type": "http.request", "body": body[10:]},
    ]

    async def receive() -> MutableMapping[str, Any]:
        return parts.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app({"type": "http"}, receive, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"])


async def test_answers_with_digit_confidence_and_model(digits: Digits) -> None:
    status, answer = await post(endpoint(digits), orjson.dumps({"pixels": digits.traffic.pixels[0]}))
    assert status == 200
    assert answer["digit"] == digits.traffic.labels[0]
    assert 0 < answer["confidence"] <= 1
    assert answer["model"] == "svm"


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[]", b"{}", b'{"pixels": [1, 2]}', orjson.dumps({"pixels": ["x"] * 64}), b" " * 70_000]
)
async def test_what_is_no_image_is_a_bad_request(body: bytes, digits: Digits) -> None:
    status, answer = await post(endpoint(digits), body)
    assert status == 400
    assert "pixels" in answer["error"]


async def test_a_faulty_endpoint_fails_about_its_share(digits: Digits) -> None:
    app = endpoint(digits, failing=0.25)
    body = orjson.dumps({"pixels": digits.traffic.pixels[0]})
    statuses = [(await post(app, body))[0] for _ in range(400)]
    assert set(statuses) == {200, 500}
    assert 70 <= statuses.count(500) <= 130


async def test_endpoints_have_a_process_each_and_serve_until_the_leash_is_let_go(
    tmp_path: Path, digits: Digits
) -> None:
    child = await Child.start("endpoints", "splitgauge.demo.endpoints", "7", folder=tmp_path)
    try:
        said = orjson.loads(await child.first_line())
        assert (said["pixels"], said["labels"]) == (digits.traffic.pixels, digits.traffic.labels)
        async with aiohttp.ClientSession() as session:
            for model in ("tree", "svm"):
                async with session.post(said["endpoints"][model], json={"pixels": said["pixels"][0]}) as response:
                    assert (await response.json())["model"] == model
    finally:
        await child.stop()


async def test_a_child_ends_with_its_parent_even_when_that_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PARENT, sys.executable), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    await parent.stdout.readline()
    parent.kill()
    await parent.wait()
    # The child has inherited the pipe: it ends only when both have ended.
    assert await parent.stdout.read() == b""


async def test_a_child_that_ends_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    child = await Child.start("endpoints", "splitgauge.demo.endpoints", "no-number", folder=tmp_path)
    try:
        with pytest.raises(UpstreamError, match=r"(?s)endpoints ended with status 1.*no-number"):
            await child.first_line()
    finally:
        await child.stop()


_PARENT = """
import subprocess, sys, time
command = [sys.argv[1], "-m", "splitgauge.demo.leash", "timeit", "-n", "1", "import time; time.sleep(60)"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
print("started", flush=True)
time.sleep(60)
"""
