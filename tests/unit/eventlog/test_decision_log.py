"""Decisions that are read while another task asks where they end, or whose end is not what it seems."""

import asyncio
from collections.abc import Sequence

import pytest

from fold_stories import START, Decisions
from splitgauge.eventlog import believed_bounds, decisions
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Bounds, Record
from splitgauge.experiments.commands import By, complete_experiment
from splitgauge.schemas.decision import Actor
from splitgauge.schemas.errors import LogDamagedError
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


class MarkedLog(MemoryEventLog):
    """Behind its decisions stands the mark of somebody's transaction: an offset without an event."""

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        return {place: Bounds(start, end + 1) for place, (start, end) in (await super().bounds(topic)).items()}


async def test_an_end_without_an_event_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "NO_EVENT_AFTER_S", 0.0)
    log, story = MarkedLog(), Decisions()
    await log.append(DECISIONS.name, [Record(value) for value in story.values])
    with pytest.raises(LogDamagedError, match=f"splitgauge.decisions/0/{story.end}: no event stands there"):
        await DecisionLog(log, source="/splitgauge/router", instance="r1").catch_up()


class ForgetfulLog(MemoryEventLog):
    """Right after an append it says that nothing came, as often as `forgets`: one that leads no more has answered."""

    forgets = 0
    _lags = 0

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        self._lags = self.forgets
        return await super().append(topic, records)

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        self._lags -= 1
        older = 1 if self._lags >= 0 else 0
        return {place: Bounds(start, end - older) for place, (start, end) in (await super().bounds(topic)).items()}


@pytest.mark.parametrize("forgets", [0, 1, 2])
async def test_a_decision_that_was_written_is_read_back_whatever_a_former_leader_says(
    forgets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(believed_bounds, "_LOOK_AGAIN_S", 0.0)
    log, story = ForgetfulLog(), Decisions()
    story.start("exp")
    await log.append(DECISIONS.name, [Record(value) for value in story.values])
    written = DecisionLog(log, source="/splitgauge/console", instance="c1")
    await written.catch_up()
    log.forgets = forgets
    by = By(actor=Actor(kind="user", name="tester"), reason="a test")
    judged = await written.propose(complete_experiment(written.registry, "exp", by), event_id="e", time_us=START)
    assert (judged.accepted, judged.offset) == (True, story.end)
