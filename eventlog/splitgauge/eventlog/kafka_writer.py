"""Appends on Kafka: gathered into one batch a partition, sent one after the other, settled with their offsets.

A partition has one task and at most one batch under way, so order is the order in which appends came, whatever is
tried again. While a batch is under way the next gathers; the first waits a few milliseconds for company. An append
stays whole, its offsets consecutive, as long as it fits into one batch. Owns queues and room; knows no events.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from splitgauge.eventlog.kafka_errors import FOREIGN, closed_error, translate
from splitgauge.eventlog.kafka_producer import Producers
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.room import Release, Room
from splitgauge.schemas.errors import ContractError, LogUnavailableError, SplitgaugeError

__all__ = ["RECORD_OVERHEAD", "Headers", "KafkaWriter", "KeyValue"]

KeyValue = tuple[bytes | None, bytes]
Headers = list[tuple[str, bytes]]

RECORD_OVERHEAD = 21
"""The most that a record's lengths, time and offset take in a batch, besides key, value and headers."""
_BATCH_OVERHEAD = 61
_logger = logging.getLogger(__name__)


class KafkaWriter:
    """All appends of one log, in one event loop."""

    def __init__(self, settings: KafkaSettings, headers: Mapping[str, Headers]) -> None:
        """`headers`: what every record of a topic carries, by topic; no more than a few bytes."""
        self._settings = settings
        self._headers = headers
        self._producers = Producers(settings)
        self._room = Room(settings.buffer_bytes, settings.buffer_records)
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._closing: asyncio.Task[None] | None = None

    async def append(self, topic: str, partitions: Mapping[int, Sequence[KeyValue]]) -> dict[int, Sequence[int]]:
        """Partition -> offsets of its records, once all are durable. Cancelling the wait takes nothing back.

        Raises: LogUnavailableError. What was sent may then be in the log, or still come.
        """
        parts = [_Part(partition, records) for partition, records in partitions.items()]
        n_bytes, n_records = sum(part.n_bytes for part in parts), sum(len(part.records) for part in parts)
        await self._make_room(topic, n_bytes, n_records)
        if self._closed:  # between being let in and going on
            self._room.give(n_bytes, n_records)
            raise closed_error(self._settings.bootstrap)
        append = _Append(parts, release=lambda: self._room.give(n_bytes, n_records))
        for part in parts:
            part.append = append
            self._lane(topic, part.partition).put(part)
        return await append.settled

    @property
    def waiting(self) -> tuple[int, int]:
        """Bytes and records that are not acknowledged yet."""
        return self._room.taken

    async def close(self) -> None:
        """Send what was appended, for as long as an append may take; then let go."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._end(), name="end of the writer")
        await asyncio.shield(self._closing)  # who is cancelled here ends it all the same

    @property
    def _closed(self) -> bool:
        return self._closing is not None

    async def _end(self) -> None:
        self._room.close(closed_error(self._settings.bootstrap))
        await asyncio.gather(*(lane.end() for lane in self._lanes.values()))
        await self._producers.close()

    async def _make_room(self, topic: str, n_bytes: int, n_records: int) -> None:
        if self._closed:
            raise closed_error(self._settings.bootstrap)
        try:
            async with asyncio.timeout(self._settings.append_timeout_s):
                await self._room.take(n_bytes, n_records)
        except TimeoutError as exc:
            bytes_waiting, records_waiting = self._room.taken
            raise LogUnavailableError(
                f"{records_waiting} events ({bytes_waiting} bytes) wait for Kafka, and no more may",
                where=topic,
                remedy="Try again when it takes them; `buffer_bytes` and `buffer_records` limit what waits",
            ) from exc

    def _lane(self, topic: str, partition: int) -> "_Lane":
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(
                self._settings, self._producers, topic, partition, headers=self._headers.get(topic, [])
            )
        return lane


class _Append:
    """One call, whose parts lie in several partitions."""

    def __init__(self, parts: "Sequence[_Part]", *, release: Release) -> None:
        self.settled: asyncio.Future[dict[int, Sequence[int]]] = asyncio.get_running_loop().create_future()
        self._offsets: dict[int, Sequence[int]] = {}
        self._left = len(parts)
        self._release = release
        self._error: SplitgaugeError | None = None

    def settle(self, partition: int, outcome: Sequence[int] | SplitgaugeError) -> None:
        """One part is done; the call when all are."""
        if isinstance(outcome, SplitgaugeError):
            self._error = self._error or outcome
        else:
            self._offsets[partition] = outcome
        self._left -= 1
        if self._left:
            return
        self._release()
        if self.settled.done():  # its caller was cancelled
            return
        if self._error is not None:
            self.settled.set_exception(self._error)
        else:
            self.settled.set_result(self._offsets)


@dataclass(slots=True)
class _Part:
    """Of one append, what goes to one partition."""

    partition: int
    records: Sequence[KeyValue]
    n_bytes: int = 0
    since: float = 0.0
    append: _Append | None = field(default=None)

    def __post_init__(self) -> None:
        self.n_bytes = sum(len(value) + (len(key) if key else 0) for key, value in self.records)

    def settle(self, outcome: Sequence[int] | SplitgaugeError) -> None:
        if self.append is not None:
            self.append.settle(self.partition, outcome)


class _Lane:
    """One partition."""

    def __init__(
        self, settings: KafkaSettings, producers: Producers, topic: str, partition: int, *, headers: Headers
    ) -> None:
        self._settings = settings
        self._headers = headers
        self._overhead = RECORD_OVERHEAD + sum(2 + len(name) + len(value) for name, value in headers)
        self._producers = producers
        self._topic = topic
        self._partition = partition
        self._queue: deque[_Part] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._ending = False
        self._task = asyncio.create_task(self._run(), name=f"appends to {topic}/{partition}")
        self._task.add_done_callback(self._ended)

    def put(self, part: _Part) -> None:
        if self._task.done():
            part.settle(closed_error(f"{self._topic}/{self._partition}"))
            return
        part.since = asyncio.get_running_loop().time()
        self._queue.append(part)
        self._queued_bytes += part.n_bytes
        self._wake.set()
        if self._queued_bytes >= self._settings.batch_bytes:
            self._full.set()

    async def end(self) -> None:
        """Once all that is queued is settled."""
        self._ending = True
        self._wake.set()
        self._full.set()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._linger()
            while self._queue:
                await self._send_next()
            if self._ending:
                return

    async def _linger(self) -> None:
        if self._ending:
            return
        self._full.clear()
        if self._queued_bytes < self._settings.batch_bytes:
            try:
                async with asyncio.timeout(self._settings.linger_s):
                    await self._full.wait()
            except TimeoutError:
                return  # no more company came

    async def _send_next(self) -> None:
        parts = self._take()
        if parts:
            await self._deliver(parts)

    async def _deliver(self, parts: Sequence[_Part]) -> None:
        try:
            offsets = await self._send(parts)
        except (*FOREIGN, SplitgaugeError) as exc:
            error = translate(exc, where=f"{self._topic}/{self._partition}")
            if isinstance(error, ContractError) and len(parts) > 1:
                for part in parts:  # one of them is refused, and the others have nothing to do with it
                    await self._deliver([part])
                return
            _settle(parts, error)
        except BaseException:
            _settle(parts, closed_error(f"{self._topic}/{self._partition}"))
            raise
        else:
            begin = 0
            for part in parts:
                part.settle(offsets[begin : begin + len(part.records)])
                begin += len(part.records)

    def _take(self) -> list[_Part]:
        """What goes next: all that fits into a batch, but at least the first that has not waited too long."""
        too_old = asyncio.get_running_loop().time() - self._settings.append_timeout_s
        parts: list[_Part] = []
        size = _BATCH_OVERHEAD
        while self._queue and (not parts or size + self._size(self._queue[0]) <= self._settings.batch_bytes):
            part = self._queue.popleft()
            self._queued_bytes -= part.n_bytes
            if part.since < too_old:
                part.settle(
                    LogUnavailableError(
                        "Kafka took too long for what came before; this was not sent",
                        where=f"{self._topic}/{self._partition}",
                    )
                )
                continue
            parts.append(part)
            size += self._size(part)
        return parts

    def _size(self, part: _Part) -> int:
        """The most that it takes in a batch."""
        return part.n_bytes + self._overhead * len(part.records)

    async def _send(self, parts: Sequence[_Part]) -> Sequence[int]:
        """In one batch; a single part that is larger in as many as it takes."""
        if len(parts) > 1 or _BATCH_OVERHEAD + self._size(parts[0]) <= self._settings.batch_bytes:
            return await self._send_batch([record for part in parts for record in part.records])
        batches = _cut(parts[0].records, self._settings.batch_bytes, self._overhead)
        return [offset for batch in batches for offset in await self._send_batch(batch)]

    async def _send_batch(self, records: Sequence[KeyValue]) -> range:
        async with self._producers.lend(self._topic, self._partition, records=len(records)) as producer:
            batch, headers = producer.create_batch(), self._headers
            for key, value in records:
                # No value is how Kafka is told that what stands under a key may go.
                if batch.append(timestamp=None, key=key, value=value or None, headers=headers) is None:
                    message = f"a batch of {len(records)} records was cut too large"
                    raise RuntimeError(message)
            batch.close()
            async with asyncio.timeout(self._settings.append_timeout_s):
                sent = await producer.send_batch(batch, self._topic, partition=self._partition)
                place = await sent
            if place is None or place.offset < 0:
                raise LogUnavailableError(
                    "the events were written, and the broker has forgotten where",
                    where=f"{self._topic}/{self._partition}",
                    remedy="Append them again: the same ids count once",
                )
            return range(place.offset, place.offset + len(records))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Nobody is left waiting, also where a bug ended the task."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _logger.error("appends to %s/%s have ended", self._topic, self._partition, exc_info=error)
        _settle(self._queue, closed_error(f"{self._topic}/{self._partition}"))
        self._queue.clear()


def _settle(parts: Iterable[_Part], error: SplitgaugeError) -> None:
    for part in parts:
        part.settle(error)


def _cut(records: Sequence[KeyValue], batch_bytes: int, overhead: int) -> list[Sequence[KeyValue]]:
    """Into batches that are no larger, where not a single record is."""
    batches: list[Sequence[KeyValue]] = []
    begin, size = 0, _BATCH_OVERHEAD
    for index, (key, value) in enumerate(records):
        n_bytes = overhead + len(value) + (len(key) if key else 0)
        if index > begin and size + n_bytes > batch_bytes:
            batches.append(records[begin:index])
            begin, size = index, _BATCH_OVERHEAD
        size += n_bytes
    batches.append(records[begin:])
    return batches
