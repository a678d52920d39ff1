"""The analyzer on the log in memory: looks are taken, accepted, and acted on; crashes and rivals change nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from look_stories import (
    EXPERIMENT,
    HOUR_S,
    PERSON,
    START_US,
    analysis_event,
    at,
    begin,
    better,
    publish,
)
from splitgauge.analyzer import Analyzer, AnalyzerSettings, decisions_read, look
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.experiments import ExperimentState
from splitgauge.experiments.commands import dismiss_recommendation, pause_experiment
from splitgauge.experiments.looks import AcceptedLook, Looks
from splitgauge.schemas import instants
from splitgauge.schemas.codec import decode
from splitgauge.schemas.envelope import SOURCES, parse
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, WINDOWS
from waiting import until

NOW_US = START_US + round(48 * HOUR_S) * instants.SECOND_US
FAST = AnalyzerSettings(debounce_s=0.0, interval_s=0.01, retry_s=0.0)
PATIENT = AnalyzerSettings(debounce_s=0.0, interval_s=3600.0)


class Clock:
    """Stands still, and knows how often it was asked: every look does."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self._now_us = now_us
        self._asked = 0

    def __call__(self) -> int:
        self._asked += 1
        return self._now_us

    async def looked_at(self, times: int) -> None:
        """So often from now on."""
        wanted = self._asked + times

        async def so_often() -> bool:
            return self._asked >= wanted

        await until(so_often)


@asynccontextmanager
async def analyzing(
    log: MemoryEventLog, settings: AnalyzerSettings = FAST, *, clock: Clock | None = None
) -> AsyncGenerator[Analyzer]:
    analyzer = Analyzer(log, clock=clock or Clock(), settings=settings)
    task = asyncio.create_task(analyzer.run())
    try:
        yield analyzer
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def looks_in(log: MemoryEventLog) -> list[AcceptedLook]:
    fold = Looks()
    records = await log.read(ANALYSES.name, 0, 0, limit=10_000)
    return [found for record in records if (found := fold.take(record.offset, record.value)) is not None]


async def state_in(log: MemoryEventLog) -> ExperimentState:
    decisions = DecisionLog(log, source=SOURCES["console"], instance="reader")
    return (await decisions.catch_up()).experiments[EXPERIMENT]


async def test_winner_is_promoted_on_the_evidence_of_an_accepted_look() -> None:
    log = MemoryEventLog()
    decisions = await begin(log)
    async with analyzing(log):
        await publish(log, better())
        await until(lambda: _completed(log))
    await decisions.catch_up()
    last = decisions.history.judged[-1].decision

    assert last is not None
    assert (last.action, last.variant, last.actor.kind) == ("promote", "challenger", "analyzer")
    [deciding] = [one for one in await looks_in(log) if last.evidence and one.id == last.evidence.id]
    assert last.evidence is not None
    assert (last.evidence.sha256, last.evidence.revision) == (deciding.sha256, deciding.data.revision)
    assert last.reason == deciding.data.verdict.reason
    assert decisions.registry.workloads["1"].serves.url == "http://endpoint-2.test/"


async def test_completed_experiment_is_looked_at_no_more() -> None:
    log = MemoryEventLog()
    await begin(log)
    async with analyzing(log):
        await publish(log, better())
        await until(lambda: _completed(log))
        before = await looks_in(log)
        await publish(log, better(2000))
        await log.append(WINDOWS.name, [Record(b"garbage", b"x")])
        await until(lambda: _has_letters(log, 1))  # so the window before it was read, too

    assert await looks_in(log) == before


async def test_experiment_without_observations_is_looked_at_until_its_maximum_duration() -> None:
    log = MemoryEventLog()
    await begin(log, maximum_duration_s=HOUR_S)
    async with analyzing(log):
        await until(lambda: _completed(log))

    [only] = await looks_in(log)
    assert (only.data.positions, only.data.verdict.step) == ({}, 3)
    assert (await state_in(log)).winner is None


async def test_paused_experiment_is_looked_at_and_left_alone() -> None:
    log = MemoryEventLog()
    decisions = await begin(log)
    await decisions.propose(pause_experiment(decisions.registry, EXPERIMENT, PERSON), event_id="p", time_us=NOW_US)
    await publish(log, better())
    clock = Clock()
    async with analyzing(log, clock=clock):
        await until(lambda: _has_looks(log, 1))
        await clock.looked_at(3)

    [only] = await looks_in(log)
    assert (only.data.verdict.step, only.data.verdict.proposal) == (8, None)
    assert (await state_in(log)).status == "paused"


async def test_look_that_was_logged_before_a_crash_is_acted_on_after_it() -> None:
    log = MemoryEventLog()
    await begin(log)
    taken = await _look_as_crashed(log)
    async with analyzing(log, PATIENT):
        await until(lambda: _completed(log))

    decision = parse((await log.read(DECISIONS.name, 0, 4))[0].value)
    assert decision.data["evidence"]["id"] == taken
    assert len(await looks_in(log)) == 1


async def test_two_analyzers_make_one_chain_and_one_decision() -> None:
    log = MemoryEventLog()
    decisions = await begin(log)
    async with analyzing(log), analyzing(log):
        for upto in range(1, 6):
            await publish(log, better(upto * 1000))
        await until(lambda: _completed(log))
    await decisions.catch_up()

    made = [one for one in decisions.history.judged if one.accepted and one.decision and one.decision.evidence]
    assert len(made) == 1
    ids = [one.id for one in await looks_in(log)]
    assert [one.data.previous and one.data.previous.id for one in await looks_in(log)] == [None, *ids[:-1]]


async def test_recommendation_is_made_once_and_not_again_after_it_was_dismissed() -> None:
    log = MemoryEventLog()
    decisions = await begin(log, policy={"promote": "recommend"})
    await publish(log, better())
    clock = Clock()
    async with analyzing(log, clock=clock):
        await until(lambda: _recommends(log))
        await decisions.catch_up()
        standing = decisions.registry.experiments[EXPERIMENT].recommendation
        assert standing is not None
        dismissal = dismiss_recommendation(decisions.registry, EXPERIMENT, standing.id, PERSON)
        await decisions.propose(dismissal, event_id="dismissed", time_us=NOW_US)
        seen = len(await looks_in(log))
        await until(lambda: _has_looks(log, seen + 1))
        await clock.looked_at(3)
    await decisions.catch_up()

    actions = [one.decision.action for one in decisions.history.judged if one.decision is not None]
    assert actions.count("recommend") == 1


async def test_window_that_went_back_is_not_used() -> None:
    log, compacted = MemoryEventLog(), MemoryEventLog()
    for each in (log, compacted):
        await begin(each, policy={"promote": "off"})
    await publish(log, better(2000))
    async with analyzing(log):
        await until(lambda: _has_looks(log, 1))
    taken = await log.read(ANALYSES.name, 0, 0)
    await compacted.append(ANALYSES.name, [Record(record.value, record.key) for record in taken])
    await publish(compacted, better(1000))
    hour_later = Clock(NOW_US + round(HOUR_S) * instants.SECOND_US)  # so any look would be logged
    async with analyzing(compacted, clock=hour_later) as analyzer:
        await until(lambda: _ready(analyzer))
        await publish(compacted, better(3000))
        await until(lambda: _has_looks(compacted, 2))

    assert [one.data.positions for one in await looks_in(compacted)] == [{0: 2000}, {0: 3000}]


async def test_window_made_from_decisions_not_read_yet_waits_for_them() -> None:
    log = MemoryEventLog()
    decisions = await begin(log)
    ahead = better().model_copy(update={"decisions_offset": 5})
    await publish(log, ahead)
    async with analyzing(log) as analyzer:
        await until(lambda: _ready(analyzer))
        assert await looks_in(log) == []
        pause = pause_experiment(decisions.registry, EXPERIMENT, PERSON)
        await decisions.propose(pause, event_id="p", time_us=NOW_US)
        await until(lambda: _has_looks(log, 1))

    assert (await looks_in(log))[0].data.decisions.upto == 5


async def test_what_is_no_window_and_no_analysis_goes_to_the_dead_letters() -> None:
    log = MemoryEventLog()
    await begin(log)
    for topic in (WINDOWS.name, ANALYSES.name):
        await log.append(topic, [Record(b"garbage", b"x")])
    async with analyzing(log):
        await log.append(WINDOWS.name, [Record(b"", b"x/-1/60000000")])  # a time bucket that was removed is no window
        await publish(log, better())
        await until(lambda: _completed(log))
        await log.append(ANALYSES.name, [Record(b"", b"x")])
        await until(lambda: _has_letters(log, 3))

    letters = [decode(record.value)["data"] for record in await log.read(DEAD_LETTERS.name, 0, 0)]
    ends = {topic: (await log.bounds(topic))[0].end for topic in (WINDOWS.name, ANALYSES.name)}
    assert {(letter["topic"], letter["offset"]) for letter in letters} == {
        (WINDOWS.name, 0),
        (ANALYSES.name, 0),
        (ANALYSES.name, ends[ANALYSES.name] - 1),
    }


async def _completed(log: MemoryEventLog) -> bool:
    return (await state_in(log)).status == "completed"


async def _ready(analyzer: Analyzer) -> bool:
    return analyzer.status()["ready"] is True


async def _recommends(log: MemoryEventLog) -> bool:
    return (await state_in(log)).recommendation is not None


async def _has_letters(log: MemoryEventLog, count: int) -> bool:
    return (await log.bounds(DEAD_LETTERS.name))[0].end >= count


async def _has_looks(log: MemoryEventLog, count: int) -> bool:
    return len(await looks_in(log)) >= count


async def _look_as_crashed(log: MemoryEventLog) -> str:
    """An analyzer's look in the log, without the decision that follows. Returns its id."""
    decisions = DecisionLog(log, source=SOURCES["analyzer"], instance="crashed")
    state = (await decisions.catch_up()).experiments[EXPERIMENT]
    read = decisions_read(decisions.history, decisions.history.end)
    taken = look(state, better(), looked_at=at(48 * HOUR_S), previous=None, decisions=read)
    await log.append(ANALYSES.name, [Record(analysis_event(taken), EXPERIMENT.encode())])
    return taken.id
