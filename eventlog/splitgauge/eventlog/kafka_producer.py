"""The idempotent producer, replaced by a new one where Kafka's numbering leaves the old one no way on.

An idempotent producer numbers its batches, and a broker takes no batch after a gap: once a batch was given up, nothing
more can be sent to its partition under the same number. Other partitions may still have batches under way; so a
producer is retired first, and stopped when its last batch is settled. Owns the lives of producers, sends nothing.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from splitgauge.eventlog.kafka_clients import let_go, started
from splitgauge.eventlog.kafka_errors import FOREIGN, closed_error, mapped
from splitgauge.eventlog.kafka_settings import KafkaSettings

__all__ = ["Producers"]

MOST_RECORDS = 2_000_000_000
"""To one partition. The broker's number has 31 bits and begins anew at 0; aiokafka 0.14 goes on below 0, which the
broker refuses."""
_STOP_S = 10.0
_logger = logging.getLogger(__name__)


class _Life:
    """One producer, and who uses it."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.users = 0
        self.sent = Counter[tuple[str, int]]()


class Producers:
    """The producer of the moment."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._current: _Life | None = None
        self._starting = asyncio.Lock()
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def lend(self, topic: str, partition: int, *, records: int) -> AsyncGenerator[AIOKafkaProducer]:
        """The producer for one batch. An error or a cancellation inside gives the batch up, and the producer with it.

        Raises: LogUnavailableError where a new one is needed and no broker answers.
        """
        life = await self._life()
        if life.sent[topic, partition] + records > MOST_RECORDS:
            self._retire(life)
            life = await self._life()
        life.users += 1
        life.sent[topic, partition] += records
        try:
            yield life.producer
        except BaseException:
            self._retire(life)
            raise
        finally:
            life.users -= 1
            if life is not self._current and not life.users:
                self._stop(life)

    async def close(self) -> None:
        """Stop all, once nothing is under way."""
        self._closed = True
        if self._current is not None:
            self._retire(self._current)
        while self._stopping:
            await asyncio.wait(self._stopping)

    async def _life(self) -> _Life:
        if self._current is not None:
            return self._current
        async with self._starting:
            if self._closed:
                raise closed_error(self._settings.bootstrap)
            if self._current is None:
                producer = await self._start()
                if self._closed:
                    await _end(producer)
                    raise closed_error(self._settings.bootstrap)
                self._current = _Life(producer)
            return self._current

    async def _start(self) -> AIOKafkaProducer:
        with mapped(self._settings.bootstrap):
            producer = AIOKafkaProducer(**self._settings.producer())
            try:
                await started(producer.start(), timeout_s=self._settings.connect_timeout_s)
            except BaseException:
                await producer.stop()  # nothing was sent yet: it waits for nothing
                raise
        return producer

    def _retire(self, life: _Life) -> None:
        if life is not self._current:
            return
        self._current = None
        if not life.users:
            self._stop(life)

    def _stop(self, life: _Life) -> None:
        task = asyncio.create_task(_end(life.producer), name="end of a producer")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


async def _end(producer: AIOKafkaProducer) -> None:
    """Stop it without waiting for what was given up: left to itself it would try for ever."""
    try:
        async with asyncio.timeout(_STOP_S):
            await let_go(producer.client)  # what is on its way is answered by an error at once, not after its time-out
            await producer._sender.close()  # noqa: SLF001 - it does not expect that its batches are settled by others
            _give_up(producer._message_accumulator)  # noqa: SLF001 - the library has no way to give a batch up
            await producer.stop()
    except FOREIGN as exc:
        _logger.info("a producer did not end cleanly: %s", exc)


def _give_up(held: Any) -> None:  # noqa: ANN401 - the library's own, without types
    """Settle the batches that a producer holds, and look at the errors that nobody waits for."""
    pending = held._pending_batches  # noqa: SLF001 - the library has no way to give a batch up
    # A batch that is settled takes itself out of here, also one that has gone back into the queue.
    pending.update(batch for batches in held._batches.values() for batch in batches)  # noqa: SLF001 - as above
    for batch in tuple(pending):
        batch.failure(KafkaConnectionError("given up"))
        for future in (batch.future, batch._drain_waiter):  # noqa: SLF001 - as above
            if not future.cancelled():
                future.exception()
