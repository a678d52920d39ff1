"""The crashes on purpose crash where they are told to, once and for all."""

import pytest

from faults import Crash, Crashed, FaultyCheckpoints, FaultyEventLog
from splitgauge.eventlog.memory import MemoryCheckpoints, MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.schemas.topics import DECISIONS


@pytest.mark.parametrize(("after", "stored"), [(True, 2), (False, 1)])
async def test_the_chosen_append_takes_effect_or_not_and_then_nothing_more(after: bool, stored: int) -> None:
    real, crash = MemoryEventLog(), Crash.at(2, after=after)
    log = FaultyEventLog(real, crash)
    await log.append(DECISIONS.name, [Record(b"1")])
    for _ in range(2):
        with pytest.raises(Crashed):
            await log.append(DECISIONS.name, [Record(b"2")])
    with pytest.raises(Crashed):
        await log.read(DECISIONS.name, 0, 0)
    assert crash.happened
    assert len(await real.read(DECISIONS.name, 0, 0)) == stored


async def test_writes_of_log_group_and_checkpoints_are_counted_together() -> None:
    crash = Crash.never()
    log, checkpoints = FaultyEventLog(MemoryEventLog(), crash), FaultyCheckpoints(MemoryCheckpoints(), crash)
    await log.append(DECISIONS.name, [Record(b"1")])
    async with log.join(DECISIONS.name, "g") as member:
        assert await member.commit(0, 1)
    assert await checkpoints.save("o", expected=None, position=1, changed={})
    assert crash.writes == 3


@pytest.mark.parametrize(("after", "position"), [(True, 2), (False, 1)])
async def test_the_chosen_checkpoint_takes_effect_or_not(after: bool, position: int) -> None:
    real = MemoryCheckpoints()
    await real.save("o", expected=None, position=1, changed={})
    checkpoints = FaultyCheckpoints(real, Crash.at(1, after=after))
    with pytest.raises(Crashed):
        await checkpoints.save("o", expected=1, position=2, changed={})
    found = await real.load("o")
    assert found is not None
    assert found.position == position


async def test_a_dead_process_hears_nothing_of_the_log() -> None:
    real, crash = MemoryEventLog(), Crash.at(1, after=True)
    log = FaultyEventLog(real, crash)
    followed = log.follow(DECISIONS.name, {0: 0})
    with pytest.raises(Crashed):
        await log.append(DECISIONS.name, [Record(b"1")])
    with pytest.raises(Crashed):
        await anext(followed)
