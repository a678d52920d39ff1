"""Stage 2 in the cluster, a Faust app: any number of workers, each with the partials of some experiments.

Partials of an experiment share a partition, so one worker has them all. Its table holds the newest of each experiment,
source partition and fold version; the position is in the value, and a row never goes back. Nothing is committed: a
worker that gets partitions has its table restored from the changelog, then reads the partials of these partitions from
the beginning (the topic is compacted) and so mends whatever the changelog lacks. Publishes nothing older than what
stands. Owns the app and its life; what is held and summed is `window_set`'s.
"""

import asyncio
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import faust

from splitgauge.aggregator.changelog import TABLE, app_id, make_changelog
from splitgauge.aggregator.partial_letters import dead_letter
from splitgauge.aggregator.publisher import Publisher
from splitgauge.aggregator.table_events import partial_row, window_rank
from splitgauge.aggregator.window_set import WindowSet
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.partitions import partition_of_key
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.schemas.errors import LogUnavailableError, MalformedError
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.topics import DEAD_LETTERS, PARTIALS, WINDOWS

__all__ = ["FaustTablesWorker"]


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
        self._owned: frozenset[int] = frozenset()
        self._n_partitions = 0
        self._moved = asyncio.Event()

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
        with tempfile.TemporaryDirectory(prefix="splitgauge-tables-") as folder:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._live(folder))
                tasks.create_task(self._publisher.watch(self._publish_again))
                tasks.create_task(self._keep())

    async def _live(self, folder: str) -> None:
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        app = self._app(folder, failed)
        try:
            await app.start()
            ended = asyncio.create_task(app.wait_until_stopped())
            await asyncio.wait((failed, ended), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if failed.done():
                failed.result()
            raise LogUnavailableError(f"stage 2 has lost Kafka: {app.crash_reason!r}", where=self._settings.bootstrap)
        finally:
            self._release()
            await app.stop()

    def _app(self, folder: str, failed: asyncio.Future[None]) -> faust.App:
        """The app, with its table, its agent and what it does when partitions come and go."""
        app = faust.App(app_id(self._settings), **_app_settings(self._settings, folder))
        topic = app.topic(
            self._settings.topic(PARTIALS.name),
            key_serializer="raw",
            value_serializer="raw",
            acks=False,
            allow_empty=True,
        )
        table = app.Table(TABLE, key_type=bytes, value_type=bytes, partitions=self._n_partitions)

        async def keep_newest(stream: faust.Stream) -> None:
            async for event in stream.events():
                with _reported(failed):
                    await self._take(event, table)

        async def given(*_: object, **__: object) -> None:
            with _reported(failed):
                owned = [at for at in app.consumer.assignment() if at.topic == topic.get_topic_name()]
                await self._own(frozenset(at.partition for at in owned), table)
                # What Faust had fetched when partitions moved it has thrown away, and goes on behind it.
                bounds = await self._log.bounds(PARTIALS.name)
                await app.consumer.seek_wait({at: bounds[at.partition].start for at in owned})

        async def taken(*_: object, **__: object) -> None:
            self._release()

        app.agent(topic, name="keep_newest")(keep_newest)
        app.on_rebalance_complete.connect(given)
        app.on_partitions_revoked.connect(taken)
        return app

    async def _own(self, partitions: frozenset[int], table: faust.Table) -> None:
        """The table is restored: begin with its rows. What has come since then follows, with all the rest."""
        windows = WindowSet()
        for key, value in table.items():
            if self._partition_of(key) in partitions:
                windows.take(value)
        await self._publisher.read(wanted=lambda key: self._partition_of(key.encode()) in partitions)
        self._owned, self._windows = partitions, windows
        self._moved.set()

    def _release(self) -> None:
        self._owned, self._windows = frozenset(), None
        self._publisher.disown()

    async def _take(self, event: faust.Event, table: faust.Table) -> None:
        message = event.message
        record = StoredRecord(PARTIALS.name, message.partition, message.offset, message.key, message.value or b"")
        windows = self._windows
        if windows is None:
            return  # in hand when its partition was revoked; whoever has it now reads it as well
        try:
            row = partial_row(record.value)
            if row is None or _is_newer(row.upto, table.get(row.key)):
                windows.take(record.value)
                if row is not None:
                    table[row.key] = record.value
        except MalformedError as exc:
            letter = dead_letter(record, exc, time=to_text(self._now_us()), instance=self._instance)
            await self._log.append(DEAD_LETTERS.name, [letter])
        self._moved.set()

    async def _keep(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self._windows is not None:
                time = to_text(self._now_us())
                await self._publisher.publish(self._windows.publications(time=time, instance=self._instance))
            await asyncio.sleep(self._publish_interval_s)

    def _publish_again(self, key: str) -> None:
        if self._windows is not None:
            self._windows.publish_again(key)
            self._moved.set()

    def _partition_of(self, key: bytes) -> int:
        return partition_of_key(PARTIALS.name, key, self._n_partitions)


@contextmanager
def _reported(failed: asyncio.Future[None]) -> Generator[None]:
    """Faust would log an error, and start again behind the event that it came with."""
    try:
        yield
    except Exception as exc:
        if not failed.done():
            failed.set_exception(exc)
        raise


def _is_newer(upto: int, held: bytes | None) -> bool:
    row = None if held is None else partial_row(held)
    return row is None or row.upto < upto


def _app_settings(settings: KafkaSettings, folder: str) -> dict[str, Any]:
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
        "autodiscover": False,
        "datadir": folder,  # nothing is written there; without it, it would be made where the process was started
        "store": "memory://",
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": False,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
    }
