"""`splitgauge up` where something around it is wrong: a folder that is taken, another key, a full disk, a damaged log.

Real processes. Each refusal names what is wrong and ends with a status; whatever can go on, goes on.
"""

import asyncio
import os
import shutil
import signal
import socket
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from pipeline_harness import Application, Endpoints, Up, experiment
from plain_fold import accepted_looks, events_in, newest_windows, plain_windows, tables_in
from splitgauge.audit import FindingKind, replay
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.router.spool import FILE_NAME as SPOOL
from splitgauge.schemas.envelope import Envelope, parse
from splitgauge.schemas.topics import OBSERVATIONS
from waiting import until

REFUSED = 1
"""Exit status of the command line (`splitgauge.cli.failures`)."""

NO_ROOM = 100
"""Bytes that no file grows beyond, fewer than an event has: neither log nor spool take any."""


@pytest.fixture
async def endpoints() -> AsyncGenerator[Endpoints]:
    async with Endpoints.running() as endpoints:
        yield endpoints


async def observed(folder: Path) -> list[Envelope]:
    """All observations, events that came twice included."""
    log = SqliteEventLog.open_readonly(folder)
    try:
        return [parse(record.value) for record in await events_in(log, OBSERVATIONS.name)]
    finally:
        await log.close()


async def expect_consistent(folder: Path) -> None:
    """The newest windows say what the plain fold says, and the replay finds nothing."""

    async def settled() -> bool:
        log = SqliteEventLog.open_readonly(folder)
        try:
            return tables_in(await newest_windows(log)) == tables_in(await plain_windows(log))
        finally:
            await log.close()

    await until(settled, what="the windows say what the plain fold says")
    log = SqliteEventLog.open_readonly(folder)
    try:
        assert (await replay(log)).findings == []
    finally:
        await log.close()


async def refused(folder: Path, **settings: Any) -> tuple[int, str]:
    """Exit status and message of a start that has to fail."""
    up = await Up.start(folder, **settings)
    try:
        return await up.ended(), up.said()
    finally:
        await up.kill()


async def test_a_data_folder_in_use_is_refused_with_the_pid_of_its_owner(tmp_path: Path) -> None:
    async with Up.running(tmp_path / "data") as owner:
        status, said = await refused(tmp_path / "data")
        assert status == REFUSED
        assert f"pid {owner.process.pid}" in said
        assert "Traceback" not in said
        assert (await owner.get("/readyz"))["ready"]


async def test_another_unit_key_than_the_logs_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with Up.running(folder) as up:
        assert await up.stop() == 0
    status, said = await refused(folder, unit_key="ab" * 32)
    assert status == REFUSED
    assert "unit key" in said
    assert "Traceback" not in said
    assert "ab" * 32 not in said
    async with Up.running(folder):
        pass  # with its own key it starts as ever


async def test_an_address_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, said = await refused(tmp_path / "data", port=port)
    assert status == REFUSED
    assert f"127.0.0.1:{port}" in said
    assert "Traceback" not in said


@asynccontextmanager
async def measured_traffic(
    folder: Path, endpoints: Endpoints, **settings: Any
) -> AsyncGenerator[tuple[Up, Application]]:
    """A running experiment that nothing is decided about, and an application that has used it already."""
    application = Application(seed=1, users=50)
    undecided = {"winning": experiment("winning", minimum={"units": 10_000, "requests": 1, "duration_s": 0})}
    async with Up.running(folder, **settings) as up:
        await application.define(up, endpoints, experiments=undecided)
        before = await application.send(up, 60)
        assert {answer.status for answer in before} == {200}
        yield up, application


async def test_full_disk_serves_the_base_and_loses_nothing_that_the_spool_took(
    tmp_path: Path, endpoints: Endpoints
) -> None:
    """The log's file is at its limit, the spool's far below: requests are answered, outside the experiment."""
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        up.limit_files(_room_for_the_spool(folder))
        during = await application.send(up, 40)
        assert {answer.status for answer in during} == {200}
        assert {answer.variant for answer in during[-20:] if answer.workload == "main"} == {None}
        assert {answer.model for answer in during[-20:] if answer.workload == "main"} == {"poor"}
        assert (folder / SPOOL).stat().st_size > 0

        up.limit_files(None)
        await until(lambda: _spool_is_empty(folder), what="the spooled events are in the log")
        after = await application.send(up, 40)
        assert None not in {answer.variant for answer in after if answer.workload == "main"}
        await _until_all_have_ended(folder, len(application.answers))
        await expect_consistent(folder)
        assert await up.stop() == 0, up.said()
    assert "Traceback" not in up.said()


async def test_full_disk_for_log_and_spool_answers_503_and_recovers(tmp_path: Path, endpoints: Endpoints) -> None:
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        up.limit_files(NO_ROOM)
        during = await application.send(up, 40)
        assert {answer.status for answer in during} == {503}
        up.limit_files(None)
        await _until_served(up, application)
        await application.send(up, 40)
        answered = [answer for answer in application.answers if answer.status == 200]
        await until(lambda: _answered_and_none_missing(folder, len(answered)), what="every request has its outcome")
        await expect_consistent(folder)
        assert await up.stop() == 0, up.said()


async def test_full_disk_with_fail_closed_takes_nothing_new(tmp_path: Path, endpoints: Endpoints) -> None:
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints, fail_closed=True) as (up, application):
        up.limit_files(_room_for_the_spool(folder))
        during = await application.send(up, 40)
        # Those in flight when the log went are answered: the spool has them.
        assert {answer.status for answer in during[-20:]} == {503}
        up.limit_files(None)
        await _until_served(up, application)
        await expect_consistent(folder)
        assert await up.stop() == 0, up.said()


async def test_requests_in_flight_when_the_disk_fills_are_answered(tmp_path: Path, endpoints: Endpoints) -> None:
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        endpoints.delay_s = 1.0
        asked = asyncio.create_task(application.send(up, 8))
        await until(lambda: _assigned(folder, 68), what="their assignments are durable")
        up.limit_files(_room_for_the_spool(folder))
        assert {answer.status for answer in await asked} == {200}
        up.limit_files(None)
        await _until_all_have_ended(folder, 68)
        assert await up.stop() == 0, up.said()


async def test_ctrl_c_under_traffic_answers_what_is_in_flight_and_the_next_start_goes_on(
    tmp_path: Path, endpoints: Endpoints
) -> None:
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        [measuring] = up.children()
        endpoints.delay_s = 0.5
        asked = asyncio.create_task(application.send(up, 8))
        await until(lambda: _assigned(folder, 68), what="their assignments are durable")
        assert await up.stop(signal.SIGINT) == 0, up.said()
        assert [answer.status for answer in await asked] == [200] * 8
        assert "Traceback" not in up.said()
        assert not _lives(measuring)
    ended = [event for event in await observed(folder) if event.type == "splitgauge.outcome.v1"]
    assert len(ended) == len(application.answers)
    async with Up.running(folder) as up:
        assert {answer.status for answer in await application.send(up, 20)} == {200}
        await expect_consistent(folder)
        assert await up.stop(signal.SIGTERM) == 0, up.said()


async def test_measuring_process_that_dies_is_started_again_and_loses_nothing(
    tmp_path: Path, endpoints: Endpoints
) -> None:
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        [first] = up.children()
        os.kill(first, signal.SIGKILL)
        assert {answer.status for answer in await application.send(up, 40)} == {200}

        async def another_one() -> bool:
            return (await up.get("/readyz"))["ready"] is True and up.children() not in ([first], [])

        await until(another_one, what="another process measures")
        await expect_consistent(folder)
        assert await up.stop() == 0, up.said()
    assert f"ended with status {-signal.SIGKILL}" in up.said()


async def test_measuring_process_ends_with_the_process_that_started_it(tmp_path: Path, endpoints: Endpoints) -> None:
    async with measured_traffic(tmp_path / "data", endpoints) as (up, _):
        [measuring] = up.children()
        await up.kill()

        async def gone() -> bool:
            return not _lives(measuring)

        await until(gone, what="the measuring process has ended")


def _lives(pid: int) -> bool:
    """Whether there is a process of that number that has not ended (one that nobody has waited for has)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


@pytest.mark.parametrize("signals", [1, 2])
async def test_stop_does_not_wait_for_an_endpoint_for_ever(tmp_path: Path, endpoints: Endpoints, signals: int) -> None:
    """After `shutdown_s`, or at the second Ctrl-C: the request is broken off, and counted as what it is."""
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints, shutdown_s=1 if signals == 1 else 600) as (up, application):
        endpoints.delay_s = 600.0
        asked = asyncio.create_task(application.send(up, 2))
        await until(lambda: _assigned(folder, 62), what="their assignments are durable")
        for _ in range(signals):
            up.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.5)
        assert await up.ended() == 0, up.said()
        await asked
        assert [answer.status for answer in application.answers[60:]] == [503, 503]
        assert "Traceback" not in up.said()
    ended = [event for event in await observed(folder) if event.type == "splitgauge.outcome.v1"]
    assert [event.data["status"] for event in ended].count("client_gone") == 2


async def test_event_changed_in_the_middle_of_the_log_is_found_by_the_replay(
    tmp_path: Path, endpoints: Endpoints
) -> None:
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        await application.send(up, 100)
        await expect_consistent(folder)
        await until(lambda: _looked_at(folder), what="a look at the traffic is in the log")
        assert await up.stop() == 0, up.said()
    await _alter_an_observation(folder)
    log = SqliteEventLog.open_readonly(folder)
    try:
        found = await replay(log)
    finally:
        await log.close()
    assert [finding.kind for finding in found.findings][:1] == [FindingKind.ALTERED]
    assert found.findings[0].where.startswith(f"{OBSERVATIONS.name}/")


async def test_event_missing_in_the_middle_of_the_log_stops_measuring_by_name(
    tmp_path: Path, endpoints: Endpoints
) -> None:
    """Callers are still answered; what cannot be folded is not passed over."""
    folder = tmp_path / "data"
    async with measured_traffic(folder, endpoints) as (up, application):
        await application.send(up, 100)
        assert await up.stop() == 0, up.said()
    (folder / "checkpoints.db").unlink()  # else the fold does not come by there again
    damaged = _lose_an_observation(folder)
    up = await Up.start(folder)
    try:
        await up.listening()

        async def named() -> bool:
            return f"offset {damaged}" in str((await up.get("/readyz"))["parts"]["aggregator"])

        await until(named, what="the part that measures names the place")
        assert not (await up.get("/readyz"))["ready"]
        assert {answer.status for answer in await application.send(up, 10)} == {200}
        assert await up.stop() == 0, up.said()
    finally:
        await up.kill()
    log = SqliteEventLog.open_readonly(folder)
    try:
        findings = (await replay(log)).findings
    finally:
        await log.close()
    [found] = findings
    assert (found.kind, found.topic, found.partition) == (FindingKind.DAMAGED, OBSERVATIONS.name, 0)
    assert (found.start, found.end) == (damaged, damaged + 1)


async def test_log_restored_from_an_older_copy_is_refused_by_the_fold(tmp_path: Path, endpoints: Endpoints) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    async with measured_traffic(folder, endpoints) as (up, application):
        assert await up.stop() == 0, up.said()
        shutil.copytree(folder, copy)
    async with Up.running(folder) as up:
        async with application.sending(up, senders=1):
            await until(lambda: _checkpointed(folder), what="the folds have saved checkpoints")
        assert await up.stop() == 0, up.said()
    shutil.copy(copy / "log.db", folder / "log.db")
    up = await Up.start(folder)
    try:
        await up.listening()

        async def named() -> bool:
            return "lost its end" in str((await up.get("/readyz"))["parts"]["aggregator"])

        await until(named, what="the part that measures names the place")
    finally:
        await up.kill()


def _room_for_the_spool(folder: Path) -> int:
    """The write-ahead log stays as large as it is, so that it cannot take another page; the spool can grow as far."""
    return (folder / "log.db-wal").stat().st_size


async def _spool_is_empty(folder: Path) -> bool:
    return (folder / SPOOL).stat().st_size == 0


async def _assigned(folder: Path, count: int) -> bool:
    return len({event.id for event in await observed(folder) if event.type == "splitgauge.assignment.v1"}) >= count


async def _until_all_have_ended(folder: Path, count: int) -> None:
    async def ended() -> bool:
        return len({event.id for event in await observed(folder) if event.type == "splitgauge.outcome.v1"}) == count

    await until(ended, what=f"{count} requests have their outcome in the log")


async def _answered_and_none_missing(folder: Path, answered: int) -> bool:
    """Of those who were refused some may stand in the log: as callers who have gone without an answer."""
    events = await observed(folder)
    assigned = {event.data["request_id"] for event in events if event.type == "splitgauge.assignment.v1"}
    ended = {e.data["request_id"]: e.data["status"] for e in events if e.type == "splitgauge.outcome.v1"}
    return assigned == ended.keys() and sum(status != "client_gone" for status in ended.values()) == answered


async def _until_served(up: Up, application: Application) -> None:
    async def served() -> bool:
        [answer] = await application.send(up, 1)
        return answer.status == 200 and (answer.workload != "main" or answer.variant is not None)

    await until(served, what="requests are answered again")


async def _checkpointed(folder: Path) -> bool:
    with closing(sqlite3.connect(f"file:{folder / 'checkpoints.db'}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT count(*) FROM owners").fetchone()[0])


async def _looked_at(folder: Path) -> bool:
    log = SqliteEventLog.open_readonly(folder)
    try:
        return any(sum(look.data.positions.values()) > 1 for look in await accepted_looks(log))
    finally:
        await log.close()


async def _alter_an_observation(folder: Path) -> None:
    """Bytes of one that the last look stands on changed, as many as before."""
    log = SqliteEventLog.open_readonly(folder)
    try:
        [*_, look] = await accepted_looks(log)
    finally:
        await log.close()
    partition, upto = max(look.data.positions.items(), key=lambda place: place[1])
    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        table, place = f'"{OBSERVATIONS.name}/{partition}"', (upto // 2,)
        (value,) = connection.execute(f"SELECT value FROM {table} WHERE offset = ?", place).fetchone()  # noqa: S608 - ours
        altered = value.replace(b"decisions_offset", b"decisionS_offset")
        connection.execute(f"UPDATE {table} SET value = ? WHERE offset = ?", (altered, *place))  # noqa: S608 - ours


def _lose_an_observation(folder: Path) -> int:
    """Take one from the middle of partition 0. Returns its offset."""
    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        (newest,) = connection.execute('SELECT max(offset) FROM "splitgauge.observations/0"').fetchone()
        connection.execute('DELETE FROM "splitgauge.observations/0" WHERE offset = ?', (newest // 2,))
    return int(newest) // 2
