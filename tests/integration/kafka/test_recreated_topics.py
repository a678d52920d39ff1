"""A topic that was deleted and made again is refused by whoever has read the one before, whatever stands in it now."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fold_stories import Decisions, assignment, outcome
from kafka_broker import OpenLog, delete, fresh_settings, plan
from postgres_server import PostgresServer
from splitgauge.aggregator.fold_group import FoldGroup
from splitgauge.aggregator.partition_fold import checkpoint_owner
from splitgauge.aggregator.partition_worker import Pace, Surroundings
from splitgauge.eventlog import believed_bounds
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import init_topics
from splitgauge.eventlog.port import Record
from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError, SplitgaugeError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS
from waiting import until

PARTITION = 2
"""That observations of these tests go to."""


class World:
    """A Kafka whose decisions know one experiment, and checkpoints."""

    def __init__(self, settings: KafkaSettings, log: KafkaEventLog, checkpoints: PostgresCheckpoints) -> None:
        self.settings = settings
        self.log = log
        self._checkpoints = checkpoints
        self._decisions = Decisions()
        self._decisions.start("exp", metrics=[{"name": "rating"}])

    async def decide(self) -> None:
        await self.log.append(DECISIONS.name, [Record(value, b"exp") for value in self._decisions.values])

    async def observe(self, numbers: range) -> None:
        """An answered request for each number."""
        end = self._decisions.end
        events = [
            event
            for number in numbers
            for event in (
                assignment(f"r{number}", f"u{number}", experiment="exp", decisions_offset=end),
                outcome(f"r{number}", f"u{number}", experiment="exp", decisions_offset=end),
            )
        ]
        await self.log.append(OBSERVATIONS.name, [Record(event, b"unit", PARTITION) for event in events])

    async def make_again(self, topic: str) -> None:
        """Delete it, and let `splitgauge init` make what is missing."""
        await delete(self.settings, topic)
        await init_topics(self.settings, plan())

    async def fold(self) -> None:
        """As the aggregator's role does, until it fails."""
        decisions = DecisionLog(self.log, source="/splitgauge/aggregator", instance="a1")
        await decisions.catch_up()
        around = Surroundings(self.log, self._checkpoints, decisions, lambda: 1_800_000_000_000_000, "a1")
        await FoldGroup(around, pace=Pace(publish_interval_s=0.01, checkpoint_interval_s=0.01)).run()

    async def saved(self, position: int) -> bool:
        """Whether a checkpoint stands there."""
        found = await self._checkpoints.load(checkpoint_owner(PARTITION))
        return found is not None and found.position == position


@pytest.fixture
async def world(postgres: PostgresServer, open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(believed_bounds, "LOST_AFTER_S", 1.0)
    settings = fresh_settings(metadata_age_s=0.5)
    checkpoints = await PostgresCheckpoints.open(await postgres.make_database())
    world = World(settings, await open_log(settings), checkpoints)
    await world.decide()
    yield world
    await checkpoints.close()


async def refused(work: Callable[[], Awaitable[None]]) -> str:
    """What it says when it stops for good; until then it may find Kafka away, and begins again."""
    async with asyncio.timeout(60):
        while True:
            found: BaseException | None = None
            try:
                await work()
            except* SplitgaugeError as group:
                found = group
            while isinstance(found, BaseExceptionGroup):
                found = found.exceptions[0]
            if found is not None and not isinstance(found, LogUnavailableError):
                assert isinstance(found, LogDamagedError), found
                return str(found)
            await asyncio.sleep(0.1)


async def test_a_fold_refuses_observations_that_were_made_again_while_it_was_away(world: World) -> None:
    await world.observe(range(5))
    folding = asyncio.create_task(world.fold())
    await until(lambda: world.saved(10), what="the events are folded")
    folding.cancel()
    await asyncio.wait([folding])
    await world.make_again(OBSERVATIONS.name)
    await world.observe(range(100, 110))
    said = await refused(world.fold)
    assert said.startswith("splitgauge.observations/2/9: the event at offset 9 is another one than was folded")
    assert await world.saved(10)


@pytest.mark.parametrize("n_after", [1, 10], ids=["shorter", "longer"])
async def test_a_fold_refuses_observations_that_are_made_again_while_it_runs(world: World, n_after: int) -> None:
    await world.observe(range(5))
    folding = asyncio.create_task(refused(world.fold))
    await until(lambda: world.saved(10), what="the events are folded")
    await world.make_again(OBSERVATIONS.name)
    await world.observe(range(100, 100 + n_after))
    said = await folding
    assert said.startswith("splitgauge.observations"), said
    assert "made again" in said or "the log ends here" in said, said
    assert await world.saved(10)


@pytest.mark.parametrize("n_more", [-1, 0, 3], ids=["shorter", "as long", "longer"])
async def test_who_follows_decisions_refuses_those_that_were_made_again(world: World, n_more: int) -> None:
    decisions = DecisionLog(world.log, source="/splitgauge/router", instance="r1")
    following = asyncio.create_task(refused(decisions.follow))
    end = (await world.log.bounds(DECISIONS.name))[0].end

    async def read() -> bool:
        return decisions.history.end == end

    await until(read, what="the decisions are read")
    before = decisions.registry
    await world.make_again(DECISIONS.name)
    await world.log.append(DECISIONS.name, [Record(b"another", b"x")] * (end + n_more))
    if n_more == 0:  # nothing is new as long as nothing is decided; then whoever wants to decide is refused, too
        await world.log.append(DECISIONS.name, [Record(b"another", b"x")])
        with pytest.raises(LogDamagedError, match="made again"):
            await decisions.catch_up()
    said = await following
    assert said.startswith("splitgauge.decisions"), said
    assert decisions.registry is before
