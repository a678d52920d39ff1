"""Decisions are read by one task while another asks where they end."""

import asyncio

from fold_stories import Decisions
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Bounds, Record
from splitgauge.schemas.topics import DECISIONS


class SlowLog(MemoryEventLog):
    """What it says of decisions arrives when `arrives` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.arrives = asyncio.Event(), asyncio.Event()

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        found = await super().bounds(topic)
        if topic == DECISIONS.name:
            self.asked.set()
            await self.arrives.wait()
        return found


async def test_decisions_that_are_read_while_the_log_says_where_it_ends_are_not_taken_for_lost() -> None:
    story = Decisions()
    story.start("exp", metrics=[{"name": "rating"}])
    log = SlowLog()
    decisions = DecisionLog(log, source="/splitgauge/router", instance="r1")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        catching_up = tasks.create_task(decisions.catch_up())
        await log.asked.wait()
        following = tasks.create_task(decisions.follow())
        await log.append(DECISIONS.name, [Record(value) for value in story.values])
        await decisions.wait_for(story.end)
        log.arrives.set()
        assert (await catching_up).experiments.keys() == {"exp"}
        following.cancel()
