"""A fresh log of each engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventlog_engines import ENGINES, Engine, make_engine
from splitgauge.eventlog.port import EventLog


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, tmp_path / "data")


@pytest.fixture
async def log(engine: Engine) -> AsyncIterator[EventLog]:
    log = await engine.open()
    yield log
    await log.close()
