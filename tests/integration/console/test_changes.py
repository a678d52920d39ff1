"""The same request, carried out by two writers at the same time: one change, one answer, whoever is later."""

from collections.abc import Callable
from functools import partial

import pytest

from decisions_harness import workload
from splitgauge.console.changes import Changes
from splitgauge.console.request_body import Conditions
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.experiments.commands import By, define_workload
from splitgauge.experiments.history import Judged
from splitgauge.experiments.state import Registry
from splitgauge.schemas.decision import DecisionData, IdempotencyKey
from splitgauge.schemas.errors import ConflictError

NOW_US = 1_800_000_000_000_000


class Overtaken(DecisionLog):
    """Another writer carries its own wish out just before this one proposes."""

    async def propose(self, decision: DecisionData, *, event_id: str, time_us: int) -> Judged:
        await self.overtake()
        return await super().propose(decision, event_id=event_id, time_us=time_us)

    async def overtake(self) -> None: ...


def changes(decisions: DecisionLog, *, ids: Callable[[], str]) -> Changes:
    return Changes(decisions, actor="somebody", clock=lambda: NOW_US, ids=ids)


def wish(registry: Registry, by: By) -> DecisionData:
    return define_workload(registry, workload(42), by)


async def overtaken_by(key: IdempotencyKey | None) -> tuple[Changes, MemoryEventLog]:
    """A writer that comes second to one with this key, and their log."""
    log = MemoryEventLog(observation_partitions=1)
    first = changes(DecisionLog(log, source="/one", instance="1"), ids=lambda: "one")
    late = Overtaken(log, source="/two", instance="2")
    late.overtake = partial(first.carry_out, wish, Conditions(None, key), reason="first")  # type: ignore[method-assign,assignment]  # its result is not asked for
    return changes(late, ids=lambda: "two"), log


async def test_the_later_of_two_same_requests_has_the_answer_of_the_first() -> None:
    key = IdempotencyKey(key="k" * 64, body="b" * 64)
    late, log = await overtaken_by(key)
    answer = await late.carry_out(wish, Conditions(None, key), reason="second")
    assert answer.revision == 1
    assert (await log.bounds("splitgauge.decisions"))[0].end == 1


async def test_another_request_that_was_faster_is_a_conflict() -> None:
    late, _ = await overtaken_by(None)
    with pytest.raises(ConflictError):
        await late.carry_out(wish, Conditions(None, IdempotencyKey(key="k" * 64, body="b" * 64)), reason="second")
