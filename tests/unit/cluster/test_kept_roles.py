"""A role that cannot use its log or database: how often it says so, and where it does not begin at all."""

from pathlib import Path

import pytest

from splitgauge.cluster import roles
from splitgauge.cluster.role import Role
from splitgauge.cluster.roles import KeptRole
from splitgauge.cluster.server import run
from splitgauge.cluster.settings import ClusterSettings
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.router.settings import RouterSettings
from splitgauge.schemas.errors import ContractError, LogDamagedError, LogUnavailableError, SplitgaugeError

AWAY = LogUnavailableError("connection refused", where="database", remedy="Start it")
REFUSED = LogUnavailableError("wrong password", where="database", remedy="Check it")
DAMAGED = LogDamagedError("an event is missing", where="offset 3", remedy="Restore it")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "RETRY_S", 0.0)


async def _said(caplog: pytest.LogCaptureFixture, *failures: SplitgaugeError | None) -> list[str]:
    """What a role says that meets these, one after the other; None: it works, and somebody asks how it is."""
    coming = iter(failures)

    async def work(kept: KeptRole) -> None:
        failure = next(coming)
        if failure is not None:
            raise failure
        kept.begun(lambda: {"ready": True})
        assert kept.status() == {"ready": True}

    await KeptRole(Role.AGGREGATOR, work, MemoryEventLog()).run()
    return [message.partition(":")[0] for message in caplog.messages]


async def test_what_stays_as_it_was_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    tries, ends = "aggregator stopped, and tries again", "aggregator stopped"
    assert await _said(caplog, AWAY, AWAY, AWAY, REFUSED, REFUSED, DAMAGED) == [tries, tries, ends]


async def test_a_failure_that_comes_again_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    assert len(await _said(caplog, AWAY, AWAY, None, AWAY, DAMAGED)) == 3


async def test_a_failure_that_lasts_is_said_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "SAY_AGAIN_S", 0.0)
    assert len(await _said(caplog, AWAY, AWAY, AWAY, DAMAGED)) == 4


@pytest.mark.parametrize("role", [Role.AGGREGATOR, Role.ARCHIVER])
def test_a_process_whose_role_needs_a_database_does_not_start_without_one(role: Role, tmp_path: Path) -> None:
    chosen = frozenset({role, Role.ROUTER})
    settings = ClusterSettings(chosen, KafkaSettings("nowhere:9092"), RouterSettings(tmp_path), "a")
    with pytest.raises(ContractError, match=rf"the {role} needs a database.*Set it to postgresql://"):
        run(settings)
