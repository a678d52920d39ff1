"""A process of the demo that is not ready, or ends, is named with what it said."""

from pathlib import Path

import pytest

from router_world import Endpoint, serve
from splitgauge.demo.client import Client
from splitgauge.demo.readiness import expect_ready, unready_because
from splitgauge.demo.stage import answering, empty_house
from splitgauge.schemas.errors import UpstreamError

READY = {"ready": True, "parts": {"tables": {"ready": True}}}
STOPPED = {"ready": False, "parts": {"log": {"ready": True}, "tables": {"ready": False, "reason": "the topic is new"}}}


def readyz(said: object) -> Endpoint:
    return Endpoint(said, status=200 if said is READY else 503)


async def test_what_a_part_says_that_is_not_ready_is_told() -> None:
    async with serve(readyz(STOPPED)) as url, serve(readyz(READY)) as well:
        client, other = Client(url), Client(well)
        assert await unready_because(client) == "tables: the topic is new"
        assert await unready_because(other) is None
        await client.close()
        await other.close()


async def test_a_process_that_stays_unready_is_named() -> None:
    async with serve(readyz(STOPPED)) as url, serve(readyz(READY)) as well:
        clients = {"tables-2": Client(url), "tables-1": Client(well)}
        with pytest.raises(ExceptionGroup) as raised:
            await expect_ready(clients, patience_s=0.0)
        for client in clients.values():
            await client.close()
    assert [str(error) for error in raised.value.exceptions] == [
        f"{url}: tables-2 has not been ready for 0 s: tables: the topic is new."
    ]


async def test_a_process_that_ends_while_another_is_not_ready_yet_is_named(tmp_path: Path) -> None:
    waiting, ending = tmp_path / "waiting.py", tmp_path / "ending.py"
    waiting.write_text("import time\nprint('answers on http://127.0.0.1:9/', flush=True)\ntime.sleep(3600)\n")
    ending.write_text("import sys\nsys.exit('no space left')\n")

    async def start_both() -> None:
        async with empty_house() as children:
            first = await children.start("waiting", str(waiting))
            await children.start("ending", str(ending))
            async with answering(first, children):
                pass

    with pytest.raises(UpstreamError, match="ending ended with status 1:\nno space left"):
        await start_both()
