"""Two analyzers on Kafka look at the same window at once, and one dies between its analysis and its decision."""

import asyncio
from collections.abc import Sequence

import pytest

from faults import Crash, Crashed, FaultyEventLog
from kafka_broker import OpenLog, fresh_settings
from look_stories import EXPERIMENT, HOUR_S, START_US, begin, better, publish
from plain_fold import accepted_looks, decisions_in, events_in
from splitgauge.analyzer import Analyzer, AnalyzerSettings
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.schemas import instants
from splitgauge.schemas.decision import Evidence
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.topics import ANALYSES, DECISIONS
from waiting import until

NOW_US = START_US + round(48 * HOUR_S) * instants.SECOND_US


class OneOfTwo(FaultyEventLog):
    """The log as one of two analyzers has it: it may die at its first decision, and nowhere else."""

    def __init__(self, log: EventLog, crash: Crash, *, both: asyncio.Barrier, turn: asyncio.Event) -> None:
        """`both`: have looked. `turn`: when to decide."""
        super().__init__(log, crash)
        self._both = both
        self._turn = turn

    async def append(self, topic: str, records: Sequence[Record]) -> list[tuple[int, int]]:
        if topic == DECISIONS.name:
            await self._turn.wait()
            return await super().append(topic, records)
        if topic == ANALYSES.name:
            await self._both.wait()
        return await self._log.append(topic, records)


@pytest.mark.parametrize("after", [False, True])
async def test_what_one_has_analysed_the_other_decides_once(open_log: OpenLog, *, after: bool) -> None:
    log = await open_log(fresh_settings())
    await begin(log)
    await publish(log, better())
    both, now, later = asyncio.Barrier(2), asyncio.Event(), asyncio.Event()
    now.set()
    dying, other = (
        Analyzer(
            OneOfTwo(log, crash, both=both, turn=turn),
            clock=lambda: NOW_US,
            settings=AnalyzerSettings(instance=instance, debounce_s=0.0, interval_s=3600.0),
        )
        for instance, crash, turn in (("a1", Crash.at(1, after=after), now), ("a2", Crash.never(), later))
    )

    async def completed() -> bool:
        return (await decisions_in(log)).newest.experiments[EXPERIMENT].status == "completed"

    lives = [asyncio.create_task(analyzer.run()) for analyzer in (dying, other)]
    async with asyncio.timeout(60):
        with pytest.raises(Crashed):
            await lives[0]
    later.set()
    await until(completed, what="the other one has decided")
    lives[1].cancel()

    analyses = [parse(record.value) for record in await events_in(log, ANALYSES.name)]
    assert {one.instance for one in analyses} == {"a1", "a2"}
    assert len({(one.id, str(one.data)) for one in analyses}) == 1
    [look] = await accepted_looks(log)
    accepted = [one.decision for one in (await decisions_in(log)).judged if one.accepted]
    [decision] = [one for one in accepted if one is not None and one.evidence is not None]
    assert (decision.action, decision.variant) == ("promote", "challenger")
    assert decision.evidence == Evidence(id=look.id, sha256=look.sha256, revision=look.data.revision)
