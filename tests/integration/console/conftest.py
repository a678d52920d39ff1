"""Consoles in three states of preparation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from console_harness import EXPERIMENT, Api, serving, webhook


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """With nothing in its log."""
    async with serving(tmp_path / "data") as api:
        yield api


@pytest.fixture
async def defined(api: Api) -> Api:
    """With the workloads 42 and 57."""
    for workload_id in (42, 57):
        assert (await api.post("/workloads", webhook(workload_id))).status == 201
    return api


@pytest.fixture
async def active(defined: Api) -> Api:
    """With experiment `e1`, active."""
    assert (await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"})).status == 201
    assert (await defined.post("/ab-tests/e1/activate")).status == 200
    return defined
