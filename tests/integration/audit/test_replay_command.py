"""`splitgauge replay` on an export: plain words, and a status that scripts can use."""

import subprocess
import sys
from pathlib import Path

from altered_log import HISTORY, AlteredLog


def replay(source: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "splitgauge.cli", "replay", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_sound_log_ends_with_status_0() -> None:
    done = replay(HISTORY)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Sound: everything came out as it was recorded."


async def test_altered_log_ends_with_status_1_and_names_the_place(altered: AlteredLog, tmp_path: Path) -> None:
    altered.lose("observations", 2, 50)
    await altered.open(tmp_path).close()

    done = replay(tmp_path / "altered.jsonl")

    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[4:7] == [
        "MISSING OR UNREADABLE splitgauge.observations/2/50",
        "  the event is missing.",
        "  15 analyses stand on it and could not be made again.",
    ]
