"""A model behind HTTP, as an inference server would offer it.

POST {"pixels": [64 numbers]} is answered with {"digit", "confidence", "model"}. Owns the time that it takes and the
share that it fails; knows nothing of experiments.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import orjson

from splitgauge.demo.digits import PIXELS, Classifier

__all__ = ["Endpoint"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

MAX_BODY_BYTES = 64 * 1024


class Endpoint:
    """The ASGI application of one model.

    Args:
        latency_s: how long after its request every answer goes out, as a bigger model would take it. It is counted from
            the request, not from the answer: what the machine is busy with besides shall not decide an experiment.
        failing: share of requests answered with 500.
    """

    def __init__(
        self, name: str, classifier: Classifier, *, latency_s: float, failing: float, chance: random.Random
    ) -> None:
        self._name = name
        self._classifier = classifier
        self._latency_s = latency_s
        self._failing = failing
        self._chance = chance

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        clock = asyncio.get_running_loop().time
        due = clock() + self._latency_s
        status, answer = self._answer(await _body(receive))
        await asyncio.sleep(due - clock())
        body = orjson.dumps(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if self._chance.random() < self._failing:
            return 500, {"error": "out of memory"}
        pixels = _pixels(body)
        if pixels is None:
            return 400, {"error": f"send {{'pixels': [{PIXELS} numbers]}}"}
        digit, confidence = self._classifier.classify(pixels)
        return 200, {"digit": digit, "confidence": confidence, "model": self._name}


async def _body(receive: _Receive) -> bytes:
    body = b""
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        body += cast("bytes", message.get("body", b""))
        if not message.get("more_body", False):
            return body
    return b""


def _pixels(body: bytes) -> list[float] | None:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    pixels = cast("dict[str, Any]", request).get("pixels") if isinstance(request, dict) else None
    if not isinstance(pixels, list):
        return None
    numbers = [float(value) for value in cast("list[object]", pixels) if isinstance(value, int | float)]
    return numbers if len(numbers) == PIXELS == len(cast("list[object]", pixels)) else None
