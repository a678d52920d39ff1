"""What an answer waits for, and what happens while the log is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from router_world import AilingLog, Endpoint, Gate, Reply, observations, routing, splitting
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.router.spool import Spool
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.topics import OBSERVATIONS
from waiting import until


class Stage:
    """A router on a log that can fall ill, and an experiment that splits every unit."""

    def __init__(self, log: AilingLog, endpoint: Endpoint, folder: Path, stack: AsyncExitStack) -> None:
        self.log = log
        self.endpoint = endpoint
        self.folder = folder
        self._stack = stack

    async def gate(self, **settings: object) -> Gate:
        gate = await self._stack.enter_async_context(routing(self.log, self.folder, **settings))
        await gate.up_to_date()
        return gate

    async def kinds(self) -> list[str]:
        """Of the events in the log, each id once, as folds see them."""
        events = {event.id: event for event in await observations(self.log)}
        return sorted(event.type.split(".")[1] for event in events.values())

    async def have(self, *kinds: str) -> None:
        async def there() -> bool:
            return await self.kinds() == sorted(kinds)

        await until(there)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    log, endpoint = AilingLog(MemoryEventLog()), Endpoint()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(splitting(log, endpoint, weight=0))
        yield Stage(log, endpoint, tmp_path, stack)


async def asked(gate: Gate) -> "asyncio.Task[Reply]":
    """A request whose endpoint has answered, if not its caller."""
    task = asyncio.create_task(gate.ask("anna"))
    await asyncio.wait((task,), timeout=0.15)
    return task


async def test_by_default_an_answer_waits_for_its_assignment(stage: Stage) -> None:
    gate = await stage.gate()
    stage.log.hang()
    waiting = await asked(gate)
    assert not waiting.done()
    stage.log.recover()
    assert (await waiting).status == 200
    await stage.have("assignment", "outcome")


async def test_by_default_an_answer_does_not_wait_for_its_outcome(stage: Stage) -> None:
    gate = await stage.gate(outcome_linger_s=3600.0)
    assert (await gate.ask("anna")).status == 200
    assert await stage.kinds() == ["assignment"]


async def test_strict_answers_wait_for_their_outcome(stage: Stage) -> None:
    gate = await stage.gate(durability="strict", outcome_linger_s=3600.0)
    assert (await gate.ask("anna")).status == 200
    assert await stage.kinds() == ["assignment", "outcome"]


async def test_batched_answers_wait_for_nothing(stage: Stage) -> None:
    gate = await stage.gate(durability="batched")
    stage.log.hang()
    assert (await gate.ask("anna")).status == 200
    assert await stage.kinds() == []
    stage.log.recover()
    await stage.have("assignment", "outcome")


@pytest.mark.parametrize("ailment", ["failing", "hanging"])
async def test_what_is_in_flight_when_the_log_goes_away_is_answered_and_kept(stage: Stage, ailment: str) -> None:
    gate = await stage.gate(log_patience_s=0.05)
    if ailment == "failing":
        stage.log.failing = True
    else:
        stage.log.hang()
    reply = await gate.ask("anna")
    assert (reply.status, reply.variant) == (200, "control")
    assert gate.router.status()["log_away"] is True
    stage.log.recover()
    await stage.have("assignment", "outcome")


async def test_while_the_log_is_away_the_workload_serves_outside_the_experiment(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05)
    stage.log.failing = True
    await gate.ask("anna")
    reply = await gate.ask("anna")
    assert (reply.status, reply.variant) == (200, None)
    assert reply.json["metadata"] == {"ab_test_id": None, "ab_variant_name": None}
    status = gate.router.status()
    assert (status["log_absences_total"], status["unmeasured_requests_total"]) == (1, 1)
    assert (status["ready"], status["refused_requests_total"], status["refused_events_total"]) == (True, 0, 0)
    stage.log.recover()
    await stage.have("assignment", "assignment", "outcome", "outcome")
    reasons = [event.data["reason"] for event in await observations(stage.log, "assignment")]
    assert reasons == ["split", "default"]

    async def back() -> bool:
        return (await gate.ask("anna")).variant == "control"

    await until(back)


async def test_what_was_kept_comes_in_order_before_what_comes_later(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, outcome_linger_s=0.0)
    stage.log.hang()
    for _ in range(5):
        await gate.ask("anna")
    stage.log.recover()

    async def back() -> bool:
        return gate.router.status()["log_away"] is False

    await until(back)
    await gate.ask("anna")
    await stage.have(*["assignment", "outcome"] * 6)
    firsts = list({event.id: event for event in reversed(await observations(stage.log))}.values())[::-1]
    assert [event.type.split(".")[1] for event in firsts] == ["assignment", "outcome"] * 6
    assigned = [str(event.data.get("assigned_at", event.time)) for event in firsts]
    assert assigned == sorted(assigned)


async def test_a_late_append_that_succeeds_is_not_written_again(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, outcome_linger_s=3600.0)
    stage.log.hang()
    await gate.ask("anna")
    stage.log.recover()

    async def back() -> bool:
        return gate.router.status()["log_away"] is False

    await until(back)
    assert len(await observations(stage.log, "assignment")) == 1


async def test_a_restart_brings_what_was_kept(stage: Stage) -> None:
    async with routing(stage.log, stage.folder, log_patience_s=0.05) as gate:
        await gate.up_to_date()
        stage.log.failing = True
        await gate.ask("anna")
    assert await stage.kinds() == []
    stage.log.recover()
    await stage.gate()
    await stage.have("assignment", "outcome")


async def test_what_an_earlier_process_kept_is_written_on_start(stage: Stage) -> None:
    spool = Spool(stage.folder, limit_bytes=10_000)
    spool.append([Record(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":{}}', None, 0)])
    spool.close()
    await stage.gate()

    async def there() -> bool:
        return (await stage.log.bounds(OBSERVATIONS.name))[0].end == 1

    await until(there)


async def test_fail_closed_takes_nothing_new_without_a_log(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, fail_closed=True)
    stage.log.failing = True
    assert (await gate.ask("anna")).status == 200
    reply = await gate.ask("anna")
    assert (reply.status, reply.json["code"]) == (503, "log-unavailable")
    stage.log.recover()

    async def back() -> bool:
        return (await gate.ask("anna")).status == 200

    await until(back)


async def test_a_full_spool_is_a_503_until_the_log_is_back(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, spool_bytes=10)
    stage.log.failing = True
    for _ in range(2):
        reply = await gate.ask("anna")
        assert (reply.status, reply.json["code"]) == (503, "spool-full")
    stage.log.recover()

    async def back() -> bool:
        return (await gate.ask("anna")).status == 200

    await until(back)


@pytest.mark.parametrize("ailment", ["failing", "hanging"])
async def test_a_request_that_was_refused_is_not_missing_where_its_assignment_comes_to_stand(
    stage: Stage, ailment: str
) -> None:
    """What was given up is tried again to see whether the log is back; what hangs may go through late."""
    gate = await stage.gate(log_patience_s=0.05, spool_bytes=10)
    if ailment == "failing":
        stage.log.failing = True
    else:
        stage.log.hang()
    for _ in range(2):
        assert (await gate.ask("anna")).status == 503
    assert gate.router.status()["refused_events_total"] == 1
    stage.log.recover()
    await stage.have("assignment", "outcome")
    [outcome] = {event.id: event for event in await observations(stage.log, "outcome")}.values()
    assert (outcome.data["status"], outcome.data.get("served")) == ("client_gone", None)
    assert outcome.data["metrics"].get("success") is None


async def test_the_outcome_of_a_request_that_was_taken_before_the_spool_was_full_is_not_lost(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, spool_bytes=10)
    stage.endpoint.delay_s = 0.3
    early = asyncio.create_task(gate.ask("anna"))
    await stage.have("assignment")
    stage.log.failing = True
    assert (await gate.ask("berta")).status == 503
    assert (await early).status == 200
    stage.log.recover()
    await stage.have("assignment", "outcome", "assignment", "outcome")

    async def let_go() -> bool:
        return gate.router.status()["held_events"] == 0

    await until(let_go)
    statuses = {event.id: event.data["status"] for event in await observations(stage.log, "outcome")}
    assert sorted(statuses.values()) == ["client_gone", "complete"]


async def test_what_nobody_waits_for_is_held_where_neither_log_nor_spool_take_it(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, spool_bytes=10, durability="batched")
    stage.log.failing = True
    assert (await gate.ask("anna")).status == 200

    async def refusing() -> bool:
        return (await gate.ask("anna")).status == 503

    await until(refusing)
    assert gate.router.status()["refused_events_total"] == 0
    stage.log.recover()

    async def all_there() -> bool:
        kinds = await stage.kinds()
        return len(kinds) >= 2 and kinds.count("assignment") == kinds.count("outcome")

    await until(all_there)


async def test_without_room_in_log_and_spool_the_router_is_not_ready_and_stays_so(stage: Stage) -> None:
    """A full disk: nothing can be written, everything can be read."""
    gate = await stage.gate(log_patience_s=0.05, spool_bytes=10)
    stage.log.failing = True
    tried = stage.log.appends
    assert (await gate.ask("anna")).status == 503

    async def tried_again() -> bool:
        return stage.log.appends >= tried + 3

    await until(tried_again)
    status = gate.router.status()
    assert (status["ready"], status["log_away"], status["refused_requests_total"]) == (False, True, 1)
    assert status["refused_events_total"] == 1  # the assignment; its caller was told
    assert (await gate.ask("anna")).json["code"] == "spool-full"

    stage.log.recover()

    async def ready() -> bool:
        return gate.router.ready

    await until(ready)
    assert (await gate.ask("anna")).variant == "control"
    assert gate.router.status()["log_away"] is False


async def test_fail_closed_is_not_ready_without_a_log(stage: Stage) -> None:
    gate = await stage.gate(log_patience_s=0.05, fail_closed=True)
    stage.log.failing = True
    await gate.ask("anna")
    assert not gate.router.ready


async def test_stopping_writes_what_is_queued(stage: Stage) -> None:
    async with routing(stage.log, stage.folder, outcome_linger_s=3600.0) as gate:
        await gate.up_to_date()
        await gate.ask("anna")
        assert await stage.kinds() == ["assignment"]
    assert await stage.kinds() == ["assignment", "outcome"]


async def test_a_log_that_does_what_nobody_foresaw_leaves_no_caller_waiting(stage: Stage) -> None:
    gate = await stage.gate()
    stage.log.failing_with = ContractError("a test wants it")
    for _ in range(2):
        reply = await gate.ask("anna")
        assert (reply.status, reply.json["code"]) == (503, "log-unavailable")
    assert not gate.router.ready
