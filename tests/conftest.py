"""What holds for every test: how hypothesis draws, and that no process outlives the tests that started it."""

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from altered_log import HISTORY
from kafka_broker import OpenLog, plan, stop_broker
from marked_processes import marked
from postgres_server import PostgresServer
from splitgauge.eventlog.jsonl import import_log
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topics import check_topics, init_topics
from splitgauge.eventlog.partitions import Layout
from waiting import until

# No deadline and no complaint about slow drawing: a loaded machine is no failure. In CI the same examples every time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_MARK = "SPLITGAUGE_TEST_RUN"
_GRACE_S = 10.0
# Helpers of multiprocessing end by themselves with the process that they serve.
_BORROWED = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """Every process that a test starts inherits a mark, by which it is found even when its parent is gone."""
    mark = uuid4().hex
    os.environ[_MARK] = mark
    yield
    give_up = time.monotonic() + _GRACE_S
    while (left := _processes_with(mark)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not left, f"processes left behind by tests: {left}"


@pytest.fixture(scope="session", autouse=True)
def broker_stopped(no_process_left_behind: None) -> Iterator[None]:  # noqa: ARG001 - ends before that one looks
    """The broker that tests may have started ends with the run."""
    yield
    stop_broker()


@pytest.fixture(scope="session")
def postgres(no_process_left_behind: None) -> Iterator[PostgresServer]:  # noqa: ARG001 - ends before that one looks
    """A PostgreSQL for all tests of this process, started with the first that needs it. Faults start their own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def recorded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded history as a data folder, to be read."""
    folder = tmp_path_factory.mktemp("log") / "data"
    import_log(HISTORY, folder)
    return folder


@pytest.fixture
async def open_log() -> AsyncIterator[OpenLog]:
    """A log on the topics of these settings, which are made where they are missing; closed with the test."""
    opened: list[KafkaEventLog] = []

    async def make(settings: KafkaSettings) -> KafkaEventLog:
        # However short of patience the log is that is wanted; and a broker that was paused is not at once what it was.
        patient = replace(settings, connect_timeout_s=60.0, request_timeout_s=30.0)
        layouts: list[Layout] = []

        async def made() -> bool:
            await init_topics(patient, plan())
            layouts.append(await check_topics(patient))
            return True

        await until(made, what="the topics are made")
        opened.append(KafkaEventLog(settings, layouts[-1]))
        return opened[-1]

    yield make
    for log in opened:
        await log.close()


def _processes_with(mark: str) -> dict[int, str]:
    return {
        pid: command.replace(b"\0", b" ").decode(errors="replace").strip()
        for pid, command in marked(_MARK, mark).items()
        if not any(name in command for name in _BORROWED)
    }
