"""Tests here run on both event loops: the product's, and the one that comes with Python."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:  # noqa: ARG001 - the hook's names
    """They differ in when connections are made known, read and closed."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
