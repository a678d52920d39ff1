"""The process that measures, beside the one that answers callers: started, watched, started again, stopped.

A process of its own because a thread was not enough: folds and analyses hold the interpreter for milliseconds, and
callers felt it (benchmarks/data_path.py). Owns the child; what it does is `measuring`'s.
"""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import asdict
from pathlib import Path

import orjson

from splitgauge.analyzer.service import AnalyzerSettings

__all__ = ["Pipeline"]

_logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Before a child that has ended is started again."""
PATIENCE_S = 10.0
"""For a child to end: then it is killed, which loses nothing."""

_NOT_UP: dict[str, object] = {"ready": False}


class Pipeline:
    """Aggregator and analyzer of a data folder."""

    def __init__(self, folder: Path, *, settings: AnalyzerSettings, instance: str) -> None:
        self._arguments = (str(folder), instance, orjson.dumps(asdict(settings)).decode())
        self._supervising: asyncio.Task[None] | None = None
        self._parts: dict[str, dict[str, object]] = {}

    def start(self) -> None:
        """Begin in the background."""
        self._supervising = asyncio.create_task(self._supervise(), name="pipeline")

    async def stop(self) -> None:
        """End and wait for it. What was not checkpointed is folded again at the next start."""
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.gather(self._supervising, return_exceptions=True)

    def aggregator_status(self) -> dict[str, object]:
        """For `/readyz`: how far each partition is folded."""
        return self._parts.get("aggregator", _NOT_UP)

    def analyzer_status(self) -> dict[str, object]:
        """For `/readyz`."""
        return self._parts.get("analyzer", _NOT_UP)

    async def _supervise(self) -> None:
        while True:
            # A session of its own: Ctrl-C is for the parent, which then ends the child in its turn.
            command = (sys.executable, "-m", "splitgauge.standalone.measuring", *self._arguments)
            child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
            try:
                await self._listen(child)
                status = await child.wait()
            except asyncio.CancelledError:
                await _end(child)
                raise
            reason = f"the measuring process has ended with status {status}; it is started again"
            _logger.error(reason)
            self._parts = {part: {"ready": False, "reason": reason} for part in ("aggregator", "analyzer")}
            await asyncio.sleep(RETRY_S)

    async def _listen(self, child: Process) -> None:
        if child.stdout is not None:
            async for line in child.stdout:
                self._parts = orjson.loads(line)


async def _end(child: Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
