"""All endpoints, each in a process of its own: `python -m splitgauge.demo.endpoints SEED`.

scikit-learn takes seconds to import, so one process imports and trains, and the endpoints are its forks. The first line
of the standard output says where they are and which images are the traffic. All of them end with the parent.
"""

import gc
import multiprocessing
import os
import random
import socket
import sys
from multiprocessing.connection import wait
from typing import Any, cast

import orjson
import uvicorn

from splitgauge.demo.digits import MODELS, Classifier, ModelName, load_digits, train
from splitgauge.demo.endpoint import Endpoint
from splitgauge.demo.experiments import BEHAVIOUR
from splitgauge.demo.leash import hold

__all__ = ["main"]

_BACKLOG = 256


def main() -> None:
    """Train, listen on free ports, say which, serve until the parent ends, or one endpoint does."""
    seed = int(sys.argv[1])
    digits = load_digits(seed)
    # The forks hang on this process, as this process hangs on its parent: nobody writes, and its end is their end.
    leash = os.pipe()
    forks = multiprocessing.get_context("fork")
    listening = {model: _listen() for model in MODELS}
    classifiers = {model: train(model, digits, seed=seed) for model in MODELS}
    for classifier in classifiers.values():
        classifier.classify(digits.training.pixels[0])  # the first time takes longer, and shall not fall on a caller
    gc.freeze()  # else the first collection in each fork copies all of what they share
    processes = [
        forks.Process(target=_serve, args=(model, classifier, seed, listening[model], leash))
        for model, classifier in classifiers.items()
    ]
    for process in processes:
        process.start()
    said = {
        "endpoints": {model: f"http://127.0.0.1:{sock.getsockname()[1]}" for model, sock in listening.items()},
        "pixels": digits.traffic.pixels,
        "labels": digits.traffic.labels,
    }
    sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
    sys.stdout.flush()
    wait([process.sentinel for process in processes])
    for process in processes:
        process.terminate()
        process.join()


def _listen() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(_BACKLOG)
    return listening


def _serve(
    model: ModelName, classifier: Classifier, seed: int, listening: socket.socket, leash: tuple[int, int]
) -> None:
    reading, writing = leash
    os.close(writing)
    hold(reading)
    behaviour = BEHAVIOUR[model]
    endpoint = Endpoint(
        model,
        classifier,
        latency_s=behaviour.latency_ms / 1_000,
        failing=behaviour.failing,
        chance=random.Random(seed),  # noqa: S311 - decides which requests fail, guards nothing
    )
    config = uvicorn.Config(
        cast("Any", endpoint), lifespan="off", access_log=False, log_level="warning", timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
