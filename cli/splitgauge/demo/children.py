"""The processes that the demo starts: endpoints, servers and Splitgauge itself. Each ends with the demo, however it
ends.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from splitgauge.schemas.errors import UpstreamError

__all__ = ["Child", "Children"]

_STOP_S = 20.0
"""What a child may take for a graceful stop before it is killed."""
_NEWS_S = 0.1
"""The news of a child's end may come so much later than what follows from it."""
_LINE_BYTES = 4 * 2**20
"""Of the longest line that a child may write: the endpoints' first one has all images of the traffic."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One image at a time has no use for a pool of threads, which would only take the cores from everybody else."""


class Child:
    """A running Python program. Its errors go to a file, shown where it ends too early."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Path) -> None:
        """For `start`."""
        self.name = name
        self._process = process
        self._output = output

    @classmethod
    async def start(
        cls, name: str, program: str, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> Self:
        """Start a program: a module's name, or the path of a script.

        In a session of its own: Ctrl-C reaches the demo alone, which then stops its children in order. In `folder`:
        what lies where the user stands, a file of settings for one, is not meant for the demo.
        """
        output = folder / f"{name}.log"
        with output.open("wb") as written:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "splitgauge.demo.leash", program, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=written,
                cwd=folder,
                env={**os.environ, **_ONE_THREAD, **(environment or {})},
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        return cls(name, process, output)

    async def first_line(self) -> str:
        """Of its standard output. Raises: UpstreamError where it ends without one."""
        if self._process.stdout is None:
            return ""
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            raise self.failure()
        return line.decode().strip()

    async def output(self) -> bytes:
        """All that it writes until it ends. Raises: UpstreamError where that is nothing."""
        written = b"" if self._process.stdout is None else await self._process.stdout.read()
        await self._process.wait()
        if not written.strip():
            raise self.failure()
        return written

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.returncode is not None

    async def watch(self) -> None:
        """Wait for its end, which must not come. Raises: UpstreamError."""
        await self._process.wait()
        raise self.failure()

    def failure(self) -> UpstreamError:
        """What to say where it ended by itself, with the last that it wrote."""
        last = self.last_words()
        return UpstreamError(
            f"{self.name} ended with status {self._process.returncode}" + (f":\n{last}" if last else ""),
            where="splitgauge demo",
        )

    def last_words(self) -> str:
        """Of its standard error, the last lines."""
        written = self._output.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(written.splitlines()[-20:])

    async def stop(self) -> None:
        """Let go of the leash, wait for its end, kill it where that does not help."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Children:
    """All that run at a time, in the order in which they were started."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where they stand and write."""
        self.folder = folder
        self._running: list[Child] = []

    @asynccontextmanager
    async def ending_together(self) -> AsyncGenerator[None]:
        """Those that are started within the block end with it; those that were there before run on.

        Where the block fails, what they have written to their standard errors goes to ours: their files go with them.

        Raises: UpstreamError naming the child that ended, where that is why the block failed.
        """
        before = len(self._running)
        try:
            yield
        except (UpstreamError, ExceptionGroup) as exc:
            await asyncio.sleep(_NEWS_S)
            ended = next((child for child in self._running if child.ended), None)
            if ended is not None:
                raise ended.failure() from exc
            for child in self._running[before:]:
                if words := child.last_words():
                    sys.stderr.write(f"{child.name} has written:\n{words}\n")
            raise
        finally:
            await asyncio.gather(*(child.stop() for child in self._running[before:]))
            del self._running[before:]

    async def start(
        self, name: str, program: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> Child:
        """As `Child.start`."""
        child = await Child.start(name, program, *arguments, folder=self.folder, environment=environment)
        self._running.append(child)
        return child

    async def output_of(
        self, name: str, program: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> bytes:
        """Of one that ends by itself. Raises: UpstreamError where it writes nothing."""
        child = await Child.start(name, program, *arguments, folder=self.folder, environment=environment)
        try:
            return await child.output()
        finally:
            await child.stop()

    async def watch(self) -> None:
        """Wait for the first that ends, which none must. Raises: UpstreamError."""
        async with asyncio.TaskGroup() as tasks:
            for child in self._running:
                tasks.create_task(child.watch())
