"""The adapter on aiohttp, held to the port's contract."""

import time
from collections.abc import AsyncGenerator

import pytest

from splitgauge.router.aiohttp_upstream import AiohttpUpstream
from splitgauge.router.upstream import Upstream
from upstream_contract import ANSWER_BYTES, UpstreamContract


class TestAiohttpUpstream(UpstreamContract):
    @pytest.fixture
    async def upstream(self) -> AsyncGenerator[Upstream]:
        upstream = AiohttpUpstream(answer_bytes=ANSWER_BYTES, monotonic_s=time.perf_counter)
        yield upstream
        await upstream.close()
