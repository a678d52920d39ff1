"""Stage 2 in the cluster, a Faust app: any number of workers, each with the partials of some experiments.

Partials of an experiment share a partition, so one worker has them all. Its table holds the newest of each experiment,
source partition and fold version; the position is in the value, and a row never goes back. Faust restores the table
from its changelog; but while partitions move it throws away some of what it has fetched, and a zombie may write into
the changelog. So whoever gets partitions reads their partials once itself, as soon as the streams run again (the topic
is compacted), and publishes nothing before, nor anything older than what stands. Owns the app and its life; what is
held and summed is `window_set`'s.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import faust

from splitgauge.aggregator.changelog import TABLE, app_id, make_changelog
from splitgauge.aggregator.publisher import Publisher, remove
from splitgauge.aggregator.table_events import experiment_of, partial_key, partial_row, window_rank
from splitgauge.aggregator.window_set import WindowSet
from splitgauge.eventlog.dead_letters import dead_letter
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.partitions import partition_of_key
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.schemas.errors import LogUnavailableError, MalformedError
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import is_removal
from splitgauge.schemas.topics import DEAD_LETTERS, PARTIALS, WINDOWS

__all__ = ["FaustTablesWorker"]

STUCK_S = 120.0
"""So long a worker may have partials before it and take none. A rebalance takes a minute at most in Faust."""
_LOOK_EVERY = 0.1
"""A part of `STUCK_S`: how often a worker looks whether anything has moved."""


class FaustTablesWorker:
    """One worker of the app."""

    def __init__(
        self,
        log: EventLog,
        settings: KafkaSettings,
        *,
        now_us: Callable[[], int],
        instance: str,
        publish_interval_s: float = 0.1,
    ) -> None:
        self._log = log
        self._settings = settings
        self._now_us = now_us
        self._instance = instance
        self._publish_interval_s = publish_interval_s
        self._publisher = Publisher(log, WINDOWS.name, rank_of=window_rank)
        self._windows: WindowSet | None = None
        self._complete = False
        self._owned: frozenset[int] = frozenset()
        self._n_partitions = 0
        self._moved = asyncio.Event()
        self._taken: dict[int, int] = {}
        """Of each partition that is ours, where the first partial stands that was not taken."""

    @property
    def ready(self) -> bool:
        """Whether it publishes; it may have no partitions, where there are more workers than those."""
        return self._complete

    @property
    def partitions(self) -> frozenset[int]:
        """Of `splitgauge.partials`, those whose windows this worker publishes."""
        return self._owned

    async def run(self) -> None:
        """Until cancelled.

        Raises: LogUnavailableError (also where dead letters cannot be written), LogDamagedError, in an ExceptionGroup;
            ConflictError where the changelog does not fit.
        """
        self._n_partitions = await make_changelog(self._settings)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._live())
            tasks.create_task(self._publisher.watch(self._publish_again))
            tasks.create_task(self._keep())
            tasks.create_task(self._expect_to_move())

    async def _live(self) -> None:
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        app, table = self._app(failed)
        owning = asyncio.create_task(self._own_what_is_given(app, table, failed))
        try:
            await app.start()
            ended = asyncio.create_task(app.wait_until_stopped())
            await asyncio.wait((failed, ended), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if failed.done():
                failed.result()
            raise LogUnavailableError(f"stage 2 has lost Kafka: {app.crash_reason!r}", where=self._settings.bootstrap)
        finally:
            owning.cancel()
            self._release()
            await app.stop()

    def _app(self, failed: asyncio.Future[None]) -> tuple["_App", faust.Table]:
        """The app, with its table and its agent."""
        app = _App(app_id(self._settings), **_app_settings(self._settings))
        topic = app.topic(
            self._settings.topic(PARTIALS.name), key_serializer="raw", value_serializer="raw", allow_empty=True
        )
        table = app.Table(TABLE, key_type=bytes, value_type=bytes, partitions=self._n_partitions)

        async def keep_newest(stream: faust.Stream) -> None:
            async for event in stream.events():
                with _reported(failed):
                    await self._keep_row(event, table)

        async def taken(*_: object, **__: object) -> None:
            self._release()

        app.agent(topic, name="keep_newest")(keep_newest)
        app.on_partitions_revoked.connect(taken)
        return app, table

    async def _own_what_is_given(self, app: "_App", table: faust.Table, failed: asyncio.Future[None]) -> None:
        topic = self._settings.topic(PARTIALS.name)
        with _reported(failed):
            while True:
                await app.resumed.wait()
                app.resumed.clear()
                await self._own(frozenset(at.partition for at in app.consumer.assignment() if at.topic == topic), table)

    async def _own(self, partitions: frozenset[int], table: faust.Table) -> None:
        self._owned = partitions
        windows = self._windows = WindowSet()
        for key, value in table.items():
            if self._partition_of(key) in partitions:
                windows.take(value)
        bounds = await self._log.bounds(PARTIALS.name)
        for partition in partitions:
            position, end = bounds[partition]
            self._taken[partition] = position
            while position < end and (records := await self._log.read(PARTIALS.name, partition, position)):
                for record in records:
                    await self._take(record, windows)
                position = self._taken[partition] = records[-1].offset + 1
        await self._publisher.read(
            wanted=lambda key: windows.holds(key) and self._partition_of(key.encode()) in partitions,
            over=lambda key: windows.is_over(key) and self._partition_of(key.encode()) in partitions,
        )
        if self._windows is windows:
            self._complete = True
            self._moved.set()

    def _release(self) -> None:
        self._owned, self._windows, self._complete, self._taken = frozenset(), None, False, {}
        self._publisher.disown()

    async def _keep_row(self, event: faust.Event, table: faust.Table) -> None:
        message = event.message
        record = StoredRecord(PARTIALS.name, message.partition, message.offset, message.key, message.value or b"")
        # Between two ownerships there is nothing to publish, but the table goes on.
        if await self._take(record, self._windows or WindowSet()):
            row = partial_row(record.value)
            if row is not None and _is_newer(row.upto, table.get(row.key)):
                table[row.key] = record.value
        if message.partition in self._taken:
            self._taken[message.partition] = max(self._taken[message.partition], message.offset + 1)
        self._moved.set()

    async def _take(self, record: StoredRecord, windows: WindowSet) -> bool:
        """Whether it can be used; a dead letter says so if not."""
        if is_removal(record.key, record.value):
            windows.remove(record.key or b"")
            return False
        try:
            self._expect_in_place(record)
            windows.take(record.value)
        except MalformedError as exc:
            letter = dead_letter(
                record,
                code=exc.code,
                reason=str(exc),
                role="aggregator",
                time=to_text(self._now_us()),
                instance=self._instance,
            )
            await self._log.append(DEAD_LETTERS.name, [letter])
            return False
        return True

    def _expect_in_place(self, record: StoredRecord) -> None:
        """Raises: MalformedError; in another partition it would be summed by a worker that has not the others."""
        experiment_id = experiment_of(record.value)
        if self._partition_of(partial_key(experiment_id, 0).encode()) != record.partition:
            raise MalformedError(f"the partials of experiment {experiment_id!r} stand in another partition")

    async def _keep(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self._windows is not None and self._complete:
                time = to_text(self._now_us())
                windows, stands = self._windows, self._publisher.stands
                made = windows.publications(time=time, instance=self._instance, stands=stands)
                await self._publisher.publish(made)
                await remove(self._log, PARTIALS.name, windows.removals())
            await asyncio.sleep(self._publish_interval_s)

    async def _expect_to_move(self) -> None:
        """Faust's consumer can hang as ours can (aiokafka#1154), and nobody there looks.

        Raises: LogUnavailableError, so that the role begins again.
        """
        now = asyncio.get_running_loop().time
        before, since = (self._complete, dict(self._taken)), now()
        while True:
            await asyncio.sleep(STUCK_S * _LOOK_EVERY)
            state = self._complete, dict(self._taken)
            if state != before or await self._has_all(state[1]):
                before, since = state, now()
            elif now() - since > STUCK_S:
                raise LogUnavailableError(
                    f"stage 2 has taken nothing for {STUCK_S:g} s, up to {state[1]}, and there is more",
                    where=PARTIALS.name,
                )

    async def _has_all(self, taken: Mapping[int, int]) -> bool:
        """Also where nobody can tell."""
        try:
            bounds = await self._log.bounds(PARTIALS.name)
        except LogUnavailableError:
            return True
        return self._complete and all(upto >= bounds[partition].end for partition, upto in taken.items())

    def _publish_again(self, key: str) -> None:
        if self._windows is not None:
            self._windows.publish_again(key)
            self._moved.set()

    def _partition_of(self, key: bytes) -> int:
        return partition_of_key(PARTIALS.name, key, self._n_partitions)


class _App(faust.App):
    """Tells when its streams run again. Faust's own signal of that comes before; what arrives in between is lost.
    Writes no files."""

    def __init__(self, id: str, **settings: object) -> None:  # noqa: A002 - Faust's name for it
        super().__init__(id, **settings)
        self.resumed = asyncio.Event()

    def on_rebalance_end(self) -> None:
        super().on_rebalance_end()
        self.resumed.set()

    def _create_directories(self) -> None:
        """None: the table is in memory, and what a killed worker leaves behind nobody would remove."""


@contextmanager
def _reported(failed: asyncio.Future[None]) -> Generator[None]:
    """Faust would log an error, and start again behind the event that it came with."""
    try:
        yield
    except Exception as exc:  # whatever it is: it is raised again, here and by who waits for `failed`
        if not failed.done():
            failed.set_exception(exc)
        raise


def _is_newer(upto: int, held: bytes | None) -> bool:
    row = None if held is None else partial_row(held)
    return row is None or row.upto < upto


def _app_settings(settings: KafkaSettings) -> dict[str, Any]:
    security = settings.security
    tls = security.tls()
    credentials: object = None
    if security.protocol.startswith("SASL"):
        credentials = faust.SASLCredentials(
            username=security.username, password=security.password, mechanism=security.mechanism, ssl_context=tls
        )
    elif tls is not None:
        credentials = faust.SSLCredentials(tls)
    # A broker answers a member that joins when the slowest of the others has: no later than their session ends.
    patience_s = max(settings.request_timeout_s, settings.session_timeout_s + 5.0)
    return {
        "broker": [f"aiokafka://{address.strip()}" for address in settings.bootstrap.split(",")],
        "broker_client_id": settings.client_id,
        "broker_credentials": credentials,
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": settings.heartbeat_s,
        "broker_request_timeout": patience_s,
        "consumer_max_fetch_size": settings.event_bytes,
        "producer_max_request_size": settings.event_bytes,
        "producer_acks": -1,
        # Of Faust's own, 20 minutes, a worker would wait to its end for a changelog that takes nothing any more.
        "producer_request_timeout": settings.append_timeout_s,
        "autodiscover": False,
        "store": "memory://",
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": False,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
    }
