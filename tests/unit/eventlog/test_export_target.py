"""Where an export may go: it replaces regular files, also behind links, and nothing else."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from splitgauge.eventlog.jsonl import export_log
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.schemas.errors import ContractError


def export(file: Path) -> None:
    asyncio.run(export_log(MemoryEventLog(), file))


def refused(file: Path) -> None:
    with pytest.raises(ContractError, match="no regular file") as caught:
        export(file)
    assert (caught.value.where, bool(caught.value.remedy)) == (str(file), True)


def test_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)

    refused(pipe)
    refused(link)

    assert (stat.S_ISFIFO(pipe.lstat().st_mode), link.is_symlink()) == (True, True)
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_folder_and_link_to_itself_are_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    refused(tmp_path)
    refused(loop)


@pytest.mark.parametrize("there", [True, False], ids=["file", "nothing yet"])
def test_link_is_followed(tmp_path: Path, there: bool) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    if there:
        real.write_text("before")
    link.symlink_to(real)

    export(link)

    assert (link.is_symlink(), real.read_bytes()[:1]) == (True, b"{")
    assert sorted(tmp_path.iterdir()) == [link, real]
