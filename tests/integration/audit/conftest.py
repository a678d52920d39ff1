"""The recorded history, opened and copied."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from altered_log import HISTORY, AlteredLog
from splitgauge.audit import ReplayReport, replay
from splitgauge.eventlog.jsonl_log import JsonlEventLog


@pytest.fixture
async def history() -> AsyncIterator[JsonlEventLog]:
    log = JsonlEventLog.open(HISTORY)
    yield log
    await log.close()


@pytest.fixture
async def altered(history: JsonlEventLog) -> AlteredLog:
    return await AlteredLog.copy(history)


class Audit:
    """Replays altered logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, altered: AlteredLog) -> ReplayReport:
        log = altered.open(self._folder)
        try:
            return await replay(log)
        finally:
            await log.close()


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path)
