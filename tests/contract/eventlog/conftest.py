"""A fresh log of each engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventlog_engines import ENGINES, Engine, make_engine
from splitgauge.eventlog.port import EventLog


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    engine = make_engine(request, tmp_path / "data")
    for mark in request.node.iter_markers("needs"):
        if mark.args[0] in engine.lacks:
            pytest.skip(f"this engine has no {mark.args[0]}")
    return engine


@pytest.fixture
async def log(engine: Engine) -> AsyncIterator[EventLog]:
    log = await engine.open()
    yield log
    await log.close()
