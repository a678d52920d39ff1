"""The event log on Kafka while its only broker dies, hangs, or was never there."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import cast

import pytest

from kafka_broker import LIBS, OpenLog, fresh_settings
from kafka_cluster import KafkaCluster
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.port import EventLog, GroupMember, Record, StoredRecord
from splitgauge.schemas.errors import LogUnavailableError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, TOPICS

pytestmark = pytest.mark.timeout(400)
PATIENCE_S = 60.0
"""Only a failing test waits that long."""

Places = dict[tuple[int, int], bytes]
"""(partition, offset) -> value."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """A broker of our own: it does not outlive these tests unharmed."""
    with KafkaCluster(LIBS) as cluster:
        yield cluster


async def take(
    log: EventLog, count: int, *, topic: str = OBSERVATIONS.name, within_s: float = PATIENCE_S
) -> list[StoredRecord]:
    """The first `count` events of all partitions, followed from the start."""
    partitions = range(4) if topic == OBSERVATIONS.name else range(1)
    events: list[StoredRecord] = []
    batches = cast("AsyncGenerator[list[StoredRecord]]", log.follow(topic, dict.fromkeys(partitions, 0)))
    async with asyncio.timeout(within_s), aclosing(batches):
        async for batch in batches:
            events += batch
            if len(events) >= count:
                return events
    return events


async def restart(cluster: KafkaCluster, *, number: int = signal.SIGKILL) -> None:
    node = cluster.nodes[0]
    await asyncio.to_thread(cluster.stop_node, node, number=number)
    cluster.launch(node)
    await asyncio.to_thread(cluster.await_ready, node)


class Writers:
    """Several that each append one event after the other, to a partition of theirs; all that was acknowledged."""

    def __init__(self, log: EventLog, *, writers: int = 8) -> None:
        self.acknowledged: Places = {}
        self.by_writer: dict[int, list[tuple[int, int]]] = {writer: [] for writer in range(writers)}
        self._log = log
        self._stopping = False
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(writers)]

    async def until(self, count: int) -> None:
        """Until so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - it counts what many tasks do
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _write(self, writer: int) -> None:
        index = 0
        while not self._stopping:
            value = f"{writer}.{index}".encode()
            (place,) = await self._log.append(OBSERVATIONS.name, [Record(value, partition=writer % 4)])
            assert place not in self.acknowledged
            self.acknowledged[place] = value
            self.by_writer[writer].append(place)
            index += 1


async def test_a_killed_broker_loses_nothing_and_doubles_nothing(cluster: KafkaCluster, open_log: OpenLog) -> None:
    log = await open_log(fresh_settings(cluster, append_timeout_s=PATIENCE_S))
    writers = Writers(log)
    following = asyncio.create_task(take(log, 400, within_s=4 * PATIENCE_S))
    await writers.until(100)
    await restart(cluster)
    await writers.until(100)
    await writers.stop()
    await writers_end(log, following, writers.acknowledged)
    assert all(places == sorted(places) for places in writers.by_writer.values())


async def writers_end(log: EventLog, following: "asyncio.Task[list[StoredRecord]]", acknowledged: Places) -> None:
    """What stands in the log is what was acknowledged, each once and in its place; a follower saw the same."""
    stored = await take(log, len(acknowledged))
    assert {(event.partition, event.offset): event.value for event in stored} == acknowledged
    assert len(stored) == len(acknowledged)
    more = max(0, 400 - len(acknowledged))
    if more:
        await log.append(OBSERVATIONS.name, [Record(b"more", partition=0)] * more)
    followed = await following
    seen = [(event.partition, event.offset) for event in followed]
    assert len(set(seen)) == len(seen)
    for partition in range(4):
        offsets = [offset for place, offset in seen if place == partition]
        assert offsets == list(range(len(offsets)))


async def test_an_append_that_takes_too_long_fails_and_the_next_one_works(
    cluster: KafkaCluster, open_log: OpenLog
) -> None:
    log = await open_log(fresh_settings(cluster, append_timeout_s=0.5, request_timeout_s=0.5))
    await after_a_while(log, Record(b"before"))
    node = cluster.nodes[0]
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailableError, match="in time"):
            await log.append(DECISIONS.name, [Record(b"unknown")])
    finally:
        node.process.send_signal(signal.SIGCONT)
    place = await after_a_while(log, Record(b"after"))
    stored = await take(log, place[1] + 1, topic=DECISIONS.name)
    values = [event.value for event in stored]
    assert (values[0], values[-1]) == (b"before", b"after")
    assert values.count(b"unknown") <= 1


async def after_a_while(log: EventLog, record: Record, *, topic: str = DECISIONS.name) -> tuple[int, int]:
    """As a caller of the log does it: again until it is taken."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                (place,) = await log.append(topic, [record])
            except LogUnavailableError:
                await asyncio.sleep(0.05)
            else:
                return place


async def test_what_waits_for_a_broker_that_hangs_is_bounded(cluster: KafkaCluster, open_log: OpenLog) -> None:
    log = await open_log(fresh_settings(cluster, append_timeout_s=0.5, buffer_records=10))
    await after_a_while(log, Record(b"first"))
    node = cluster.nodes[0]
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        answers = await asyncio.gather(
            *(log.append(DECISIONS.name, [Record(b"%d" % index)] * 5) for index in range(4)), return_exceptions=True
        )
    finally:
        node.process.send_signal(signal.SIGCONT)
    assert all(isinstance(answer, LogUnavailableError) for answer in answers)
    assert sum("no more may" in str(answer) for answer in answers) == 2
    assert (log.status()["unacknowledged_events"], log.status()["unacknowledged_bytes"]) == (0, 0)


async def test_a_consumer_without_an_answer_is_started_again_and_misses_nothing(
    cluster: KafkaCluster, open_log: OpenLog
) -> None:
    log = await open_log(fresh_settings(cluster, stall_s=1.0, request_timeout_s=20.0, append_timeout_s=PATIENCE_S))
    await log.append(DECISIONS.name, [Record(b"a")])
    following = asyncio.create_task(take(log, 3, topic=DECISIONS.name))
    await log.append(DECISIONS.name, [Record(b"b")])
    await until(lambda: bool(followers(log)) and followers(log)[0]["positions"] == {"0": 2})
    node = cluster.nodes[0]
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        await until(lambda: bool(followers(log)[0]["restarts"]))
    finally:
        node.process.send_signal(signal.SIGCONT)
    await log.append(DECISIONS.name, [Record(b"c")])
    assert [event.value for event in await following] == [b"a", b"b", b"c"]


async def test_a_member_without_an_answer_joins_again_and_misses_nothing(
    cluster: KafkaCluster, open_log: OpenLog
) -> None:
    log = await open_log(fresh_settings(cluster, stall_s=1.0, append_timeout_s=PATIENCE_S))
    async with log.join(DECISIONS.name, "g") as member:
        delivered: list[bytes] = []
        working = asyncio.create_task(work(member, delivered))
        await log.append(DECISIONS.name, [Record(b"a")])
        await until(lambda: delivered == [b"a"])
        node = cluster.nodes[0]
        assert node.process is not None
        node.process.send_signal(signal.SIGSTOP)
        try:
            await until(lambda: bool(members(log)[0]["restarts"]))
        finally:
            node.process.send_signal(signal.SIGCONT)
        await log.append(DECISIONS.name, [Record(b"b")])
        await until(lambda: delivered == [b"a", b"b"])
        assert await member.commit(0, 2)
        working.cancel()
        await asyncio.wait((working,))


async def work(member: GroupMember, delivered: list[bytes]) -> None:
    """As a service does it: again while the log is away."""
    while True:
        try:
            async for batch in member.batches():
                delivered += [event.value for event in batch]
        except LogUnavailableError:
            await asyncio.sleep(0.05)


async def test_closing_writes_what_was_appended(cluster: KafkaCluster, open_log: OpenLog) -> None:
    log = await open_log(settings := fresh_settings(cluster, linger_s=0.2))
    appends = [asyncio.create_task(log.append(DECISIONS.name, [Record(b"%d" % index)])) for index in range(20)]
    await asyncio.sleep(0)
    await log.close()
    assert [await append for append in appends] == [[(0, index)] for index in range(20)]
    again = await open_log(settings)
    assert len(await take(again, 20, topic=DECISIONS.name)) == 20


async def test_closing_does_not_wait_for_ever_for_a_broker_that_hangs(cluster: KafkaCluster, open_log: OpenLog) -> None:
    log = await open_log(fresh_settings(cluster, append_timeout_s=0.5))
    await after_a_while(log, Record(b"before"))
    node = cluster.nodes[0]
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        append = asyncio.create_task(log.append(DECISIONS.name, [Record(b"unknown")]))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await log.close()
        with pytest.raises(LogUnavailableError):
            await append
    finally:
        node.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_what_was_given_up_leaves_no_error_that_nobody_meets(
    cluster: KafkaCluster, open_log: OpenLog, number: signal.Signals
) -> None:
    unmet: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unmet.append(context))
    log = await open_log(fresh_settings(cluster, append_timeout_s=1.5, request_timeout_s=0.5))
    await asyncio.gather(*(after_a_while(log, Record(b"before", b"key"), topic=topic) for topic in TOPICS))
    node = cluster.nodes[0]
    assert node.process is not None
    node.process.send_signal(number)
    try:
        for _ in range(2):
            appends = (log.append(topic, [Record(b"unknown", b"key")]) for topic in TOPICS for _ in range(4))
            answers = await asyncio.gather(*appends, return_exceptions=True)
            assert {type(answer) for answer in answers} == {LogUnavailableError}
        async with asyncio.timeout(PATIENCE_S):
            await log.close()
    finally:
        if number is signal.SIGSTOP:
            node.process.send_signal(signal.SIGCONT)
        else:
            await restart(cluster)
    gc.collect()
    await asyncio.sleep(0)
    assert unmet == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what others see has no event to wait for
            await asyncio.sleep(0.01)


def members(log: KafkaEventLog) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", log.status()["members"])


def followers(log: KafkaEventLog) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", log.status()["followers"])


async def test_a_broker_that_is_away_at_the_start_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(LogUnavailableError, match=address):
            await KafkaEventLog.connect(KafkaSettings(bootstrap=address, connect_timeout_s=5.0))


async def test_a_broker_that_never_answers_is_given_up(cluster: KafkaCluster) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LogUnavailableError, match="in time"):
            await KafkaEventLog.connect(fresh_settings(cluster, bootstrap=address, connect_timeout_s=0.5))
