"""Several routers, and the same one after a restart: one behaviour."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from router_world import BY, Decider, Endpoint, Gate, observations, routing, serve, specification, splitting, workload
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.experiments import commands
from splitgauge.router.service import Router
from splitgauge.router.settings import RouterSettings
from splitgauge.schemas.decision import RULES
from splitgauge.schemas.errors import ConflictError, LogInUseError
from splitgauge.schemas.topics import DECISIONS
from waiting import until

KEY = "07" * 32
"""What routers of one log share; not the folder."""


async def variants(gate: Gate, n_units: int = 60) -> dict[str, str | None]:
    return {f"u{i}": (await gate.ask(f"u{i}")).variant for i in range(n_units)}


async def test_a_unit_keeps_its_variant_on_every_instance_and_after_every_restart(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    async with splitting(log, Endpoint()):
        async with (
            routing(log, tmp_path / "r1", unit_key=KEY) as one,
            routing(log, tmp_path / "r2", unit_key=KEY) as two,
        ):
            before = await variants(one)
            assert await variants(two) == before
        await log.close()
        assert set(before.values()) == {"control", "challenger"}

        log = SqliteEventLog.open(tmp_path)
        async with routing(log, tmp_path / "r1", unit_key=KEY) as again:
            assert await variants(again) == before
            await Decider(log).decide(
                lambda r: commands.reweight_experiment(r, "e1", {"control": 30, "challenger": 70}, BY)
            )
            await again.up_to_date()
            after = await variants(again)
        moved = {(before[unit], after[unit]) for unit in before if before[unit] != after[unit]}
        assert moved == {("control", "challenger")}
        assert len(await observations(log, "assignment")) == 4 * 60
        await log.close()


async def test_every_instance_applies_the_same_decisions_in_the_same_order(tmp_path: Path) -> None:
    log = MemoryEventLog()
    decider = Decider(log)
    async with (
        serve(Endpoint()) as url,
        routing(log, tmp_path / "r1", unit_key=KEY) as one,
        routing(log, tmp_path / "r2", unit_key=KEY) as two,
    ):
        await decider.define(workload("a", url), workload("b", url))
        await decider.start("e1", specification("a", "b"))
        for share in range(10, 100, 10):
            weights = {"control": 100.0 - share, "challenger": float(share)}
            await decider.decide(partial(commands.reweight_experiment, experiment_id="e1", weights=weights, by=BY))
            await one.up_to_date()
            await two.up_to_date()
            assert await variants(one, 20) == await variants(two, 20)
        await decider.decide(lambda r: commands.promote_variant(r, "e1", "challenger", BY))
        await asyncio.gather(one.up_to_date(), two.up_to_date())
        assert set((await variants(one, 20)).values()) == {None}


async def test_a_router_with_another_key_than_the_logs_refuses_to_start(tmp_path: Path) -> None:
    log = MemoryEventLog()
    async with Router(log, RouterSettings(tmp_path, unit_key="11" * 32)):
        pass
    with pytest.raises(ConflictError, match="unit key") as caught:
        async with Router(log, RouterSettings(tmp_path, unit_key="22" * 32)):
            pass
    assert caught.value.code == "unit-key-mismatch"


async def test_a_data_folder_has_one_router(tmp_path: Path) -> None:
    """Two would write over each other's spool."""
    log = MemoryEventLog()
    async with Router(log, RouterSettings(tmp_path)):
        with pytest.raises(LogInUseError, match="belongs to the running process"):
            await Router(log, RouterSettings(tmp_path)).__aenter__()
    async with Router(log, RouterSettings(tmp_path)) as again:
        assert again.ready


async def test_routers_that_start_at_once_on_a_new_log_agree_on_its_key(tmp_path: Path) -> None:
    log = MemoryEventLog()
    routers = [Router(log, RouterSettings(tmp_path / str(number), unit_key=KEY)) for number in range(3)]
    await asyncio.gather(*(router.__aenter__() for router in routers))
    assert all(router.ready for router in routers)
    await asyncio.gather(*(router.__aexit__(None, None, None) for router in routers))
    registry = await Decider(log).registry()
    assert registry.key_fingerprint is not None


async def test_decisions_of_a_later_version_make_a_router_unready_and_it_does_not_guess(tmp_path: Path) -> None:
    log = MemoryEventLog()
    async with serve(Endpoint()) as url, routing(log, tmp_path) as gate:
        await Decider(log).define(workload("a", url))
        await gate.up_to_date()
        [stored] = await log.read(DECISIONS.name, 0, 1)
        later = stored.value.replace(f'"rules":{RULES}'.encode(), f'"rules":{RULES + 1}'.encode())
        assert later != stored.value
        await log.append(DECISIONS.name, [Record(later, b"a")])

        async def unready() -> bool:
            return not gate.router.ready

        await until(unready)
        reply = await gate.ask("anna")
        assert (reply.status, reply.json["code"]) == (503, "unknown-rules")
        assert "rules" in str(gate.router.status()["reason"])
