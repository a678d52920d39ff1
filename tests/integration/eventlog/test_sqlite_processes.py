"""The embedded log between processes: one writes, others read, and a kill takes nothing that was acknowledged."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.errors import LogInUseError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS

WRITER = """
import asyncio, sys
from pathlib import Path
from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog

async def append(log, writer):
    number = 0
    while True:
        batch = [Record(b"%d.%d.%d" % (writer, number, part), partition=part % 2) for part in range(4)]
        await log.append("splitgauge.observations", batch)
        print(f"{writer}.{number}", flush=True)
        number += 1

async def main():
    log = SqliteEventLog.open(Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.gather(*(append(log, writer) for writer in range(4)))

asyncio.run(main())
"""

FOLDER = """
import asyncio, sys
from pathlib import Path
from splitgauge.eventlog.sqlite import SqliteEventLog

async def main():
    log = SqliteEventLog.open(Path(sys.argv[1]))
    position = None
    while True:
        moved = 0 if position is None else position + 1
        rows = {b"%d" % key: b"%d" % moved for key in range(300)}
        assert await log.checkpoints.save("fold", expected=position, position=moved, changed=rows)
        position = moved
        print(position, flush=True)

asyncio.run(main())
"""


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.errors import LogUnavailableError

async def main():
    log = SqliteEventLog.open(Path(sys.argv[1]))
    await log.append("splitgauge.decisions", [Record(b"before")])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, most))
    for _ in range(3):
        try:
            await log.append("splitgauge.decisions", [Record(b"x" * 10_000)])
        except LogUnavailableError as error:
            print(type(error.__cause__).__name__, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    await log.append("splitgauge.decisions", [Record(b"after")])
    await log.close()

asyncio.run(main())
"""


@asynccontextmanager
async def running(code: str, folder: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process that runs the code, and is dead after the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(folder), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


async def killed(process: asyncio.subprocess.Process) -> list[str]:
    """What it had said and nobody had read, up to its death."""
    process.send_signal(signal.SIGKILL)
    said, _ = await process.communicate()
    return [line.decode() for line in said.splitlines(keepends=False)]


async def test_a_reader_follows_what_another_process_appends(tmp_path: Path) -> None:
    async with running(WRITER, tmp_path) as writer:
        await lines(writer, 20)
        log = SqliteEventLog.open_readonly(tmp_path)
        seen: dict[int, list[int]] = {0: [], 1: []}
        async with asyncio.timeout(20):
            async for batch in log.follow(OBSERVATIONS.name, {0: 0, 1: 0}, limit=50):
                seen[batch[0].partition] += [event.offset for event in batch]
                if min(map(len, seen.values())) >= 300:
                    break
        await log.close()
    for offsets in seen.values():
        assert offsets == list(range(len(offsets)))


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_writer_leaves_every_acknowledged_append_and_none_in_part(tmp_path: Path, seed: int) -> None:
    async with running(WRITER, tmp_path) as writer:
        acknowledged = await lines(writer, 1 + random.Random(seed).randrange(1, 200))
        acknowledged += await killed(writer)
    reader = SqliteEventLog.open_readonly(tmp_path)  # nobody has tidied up yet
    found = {partition: await reader.read(OBSERVATIONS.name, partition, 0, limit=100_000) for partition in range(2)}
    await reader.close()
    log = SqliteEventLog.open(tmp_path)
    for partition, events in found.items():
        assert await log.read(OBSERVATIONS.name, partition, 0, limit=100_000) == events
    stored = [event.value.decode() for events in found.values() for event in events]
    batches: dict[str, int] = {}
    for value in stored:
        batches[value.rpartition(".")[0]] = batches.get(value.rpartition(".")[0], 0) + 1
    assert set(batches.values()) == {4}
    assert set(acknowledged) - {"open"} <= set(batches)
    await log.append(OBSERVATIONS.name, [Record(b"goes on", partition=0)])
    await log.close()


async def test_a_killed_fold_leaves_a_position_with_the_rows_of_that_position(tmp_path: Path) -> None:
    async with running(FOLDER, tmp_path) as fold:
        acknowledged = await lines(fold, 15)
        acknowledged += await killed(fold)
    log = SqliteEventLog.open(tmp_path)
    found = await log.checkpoints.load("fold")
    assert found is not None
    assert found.position >= int(acknowledged[-1])
    assert found.rows == {b"%d" % key: b"%d" % found.position for key in range(300)}
    await log.close()


async def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    async with running(WRITER, tmp_path) as writer:
        await lines(writer, 1)
        with pytest.raises(LogInUseError, match=f"pid {writer.pid}") as caught:
            SqliteEventLog.open(tmp_path)
        assert caught.value.where == str(tmp_path)
        assert "Stop that process" in caught.value.remedy
        await killed(writer)
    log = SqliteEventLog.open(tmp_path)  # the dead process' lock file does not matter
    with pytest.raises(LogInUseError, match=f"pid {os.getpid()}"):
        SqliteEventLog.open(tmp_path)
    await log.close()
    await SqliteEventLog.open(tmp_path).close()


async def test_writes_that_the_system_refuses_are_said_and_the_log_goes_on_afterwards(tmp_path: Path) -> None:
    async with running(FULL_DISK, tmp_path) as process:
        assert process.stdout is not None
        said = (await process.stdout.read()).decode().split()
        assert await process.wait() == 0
    assert said == ["IOError"] * 3
    log = SqliteEventLog.open_readonly(tmp_path)
    assert [(event.offset, event.value) for event in await log.read(DECISIONS.name, 0, 0)] == [
        (0, b"before"),
        (1, b"after"),
    ]
    await log.close()


async def test_reading_works_before_during_and_after_writing(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    await log.append(DECISIONS.name, [Record(b"a")])
    during = SqliteEventLog.open_readonly(tmp_path)
    assert len(await during.read(DECISIONS.name, 0, 0)) == 1
    await log.append(DECISIONS.name, [Record(b"b")])
    assert len(await during.read(DECISIONS.name, 0, 0)) == 2
    await log.close()
    after = SqliteEventLog.open_readonly(tmp_path)
    for reader in (during, after):
        assert len(await reader.read(DECISIONS.name, 0, 0)) == 2
        await reader.close()
