"""A member of a consumer group on Kafka: partitions come and go, what was lost is neither delivered nor committed.

Every rebalance takes all partitions from all members and deals them anew. A partition that comes back at once goes on
where it was, with what its owner still has under way: nobody else has finished anything of it meanwhile.

    revoked, or the consumer left     _owned -> _revoked, `_settled` cleared: nothing is delivered, commits wait
    dealt, and nobody else committed  _revoked -> _owned: the same object, so what is under way may be committed
    dealt otherwise                   a new object in _owned: what was delivered under the old one is not committed
    dealt, and no answer from where   nothing is owned, the member leaves and joins again

Owns ownership and positions of one member; what is finished, and when to commit it, is the caller's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError

from splitgauge.eventlog import kafka_consumer
from splitgauge.eventlog.believed_bounds import believed_bounds
from splitgauge.eventlog.kafka_errors import FOREIGN, closed_error, mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_watchdog import POLL_MS, Watchdog
from splitgauge.eventlog.port import StoredRecord
from splitgauge.schemas.errors import LogUnavailableError

__all__ = ["KafkaMember"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Ownership:
    """Of one partition, from when it came until it went to somebody else."""

    position: int
    """Of the next event to deliver."""
    committed: int | None
    """What the group has committed, as far as this member knows."""


class KafkaMember(ConsumerRebalanceListener):
    """One `join`. `open` before, `close` after."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._consumer: AIOKafkaConsumer | None = None
        self._owned: dict[int, _Ownership] = {}
        self._revoked: dict[int, _Ownership] = {}
        self._delivered: dict[int, _Ownership] = {}
        """Partition -> the ownership under which its last batch was handed out: what a commit speaks of."""
        self._settled = asyncio.Event()
        self._committing = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._closed = False
        self._dealt_in_vain = False
        """The group has dealt, and what we got is not known: it may be long before it deals again."""
        self.watchdog = Watchdog(f"{topic} in group {group}", stall_s=settings.stall_s)

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self._owned)

    def status(self) -> dict[str, object]:
        """For operators."""
        return {
            "topic": self._topic,
            "group": self._group,
            "partitions": sorted(self._owned),
            "last_poll_s": self.watchdog.last_poll_s,
            "restarts": self.watchdog.restarts,
        }

    async def open(self) -> None:
        """Join the group. Raises: LogUnavailableError where no broker answers in time, or when closed."""
        async with self._opening:
            consumer = AIOKafkaConsumer(**self._settings.member(self._group))
            consumer.subscribe([self._settings.topic(self._topic)], listener=self)
            self._consumer = consumer
            try:
                await kafka_consumer.start(
                    consumer,
                    where=self._settings.bootstrap,
                    timeout_s=self._settings.connect_timeout_s + self._settings.session_timeout_s,
                )
                await self._settle()
            except BaseException:
                await self._leave()
                raise
            if self._closed:
                await self._leave()
                raise closed_error(self._topic)

    async def close(self) -> None:
        """Leave the group, so that others take over at once; who iterates meets an error."""
        self._closed = True
        self._owned = {}
        self._settled.set()
        async with self._opening:  # a consumer that is stopped while it starts goes on starting
            await self._leave()

    async def batches(self, *, limit: int = 500) -> AsyncIterator[list[StoredRecord]]:
        self.watchdog.asks()
        while True:
            found = await self._poll(limit)
            owned = self._owned
            for place, records in found.items():
                # What comes before it is known where to begin is fetched again. And while others of the same poll
                # were worked on, this one may have gone to another member.
                ownership = owned.get(place.partition)
                if ownership is None or self._owned.get(place.partition) is not ownership:
                    continue
                batch = self._accept(place, records, ownership)
                if batch:
                    yield batch
                    self.watchdog.asks()
                else:
                    await self._expect_there(place, ownership)

    async def commit(self, partition: int, offset: int) -> bool:
        ownership = self._delivered.get(partition, self._owned.get(partition))
        place = self._place(partition)
        while True:
            await self._settle()
            consumer = self._consumer
            if ownership is None or consumer is None or self._owned.get(partition) is not ownership:
                return False
            async with self._committing:
                if not self._settled.is_set():
                    continue
                if await self._commit(consumer, place, offset):
                    ownership.committed = offset
                    return True

    async def _commit(self, consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> bool:
        """False where a rebalance came first: whether the partition is still ours is known after it."""
        with mapped(f"group {self._group} of {self._topic}"):
            try:
                async with asyncio.timeout(self._settings.append_timeout_s):
                    await consumer.commit({place: offset})
            except (CommitFailedError, IllegalStateError):
                self._settled.clear()
                return False
        return True

    async def on_partitions_revoked(self, revoked: AbstractSet[TopicPartition]) -> None:  # noqa: ARG002 - the library gives all of them back, whichever it names
        """The group is about to deal anew. A commit under way is waited for: afterwards it would count for others."""
        self._settled.clear()
        async with self._committing:
            self._revoked, self._owned = self._owned or self._revoked, {}

    async def on_partitions_assigned(self, assigned: AbstractSet[TopicPartition]) -> None:
        """The group has dealt anew. The library only logs what is raised here, so nothing may be."""
        consumer = self._consumer
        if consumer is None or self._closed:
            return
        try:
            owned = await self._take(consumer, list(assigned))
            for partition, ownership in owned.items():
                consumer.seek(self._place(partition), ownership.position)
        except FOREIGN as exc:  # brokers are away, or another rebalance has come first
            _logger.warning("group %s joins again, where it begins is not known: %s", self._group, exc)
            self._dealt_in_vain = True
            return
        self.watchdog.asks()
        self._owned, self._revoked = owned, {}
        self._settled.set()

    async def _take(self, consumer: AIOKafkaConsumer, assigned: Sequence[TopicPartition]) -> dict[int, _Ownership]:
        """The ownership there was, where nobody else has committed anything meanwhile; else a new one."""
        committed = await asyncio.gather(*(consumer.committed(place) for place in assigned))
        owned: dict[int, _Ownership] = {}
        for place, offset in zip(assigned, committed, strict=True):
            before = self._revoked.get(place.partition)
            if before is not None and before.committed == offset:
                owned[place.partition] = before
            elif offset is not None:
                owned[place.partition] = _Ownership(offset, offset)
        new = [place for place in assigned if place.partition not in owned]
        for place, start in (await consumer.beginning_offsets(new)).items():
            owned[place.partition] = _Ownership(start, None)
        return owned

    async def _poll(self, limit: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        if self._closed:
            raise closed_error(self._topic)
        if self._consumer is None:
            await self.open()
        consumer = self._consumer
        if consumer is None:
            raise closed_error(self._topic)
        try:
            found = await kafka_consumer.poll(consumer, timeout_ms=POLL_MS, limit=limit)
        except FOREIGN as exc:
            if self._closed:
                raise closed_error(self._topic) from exc
            # Whatever it was, a consumer that has failed once does not always come back: the next call joins anew.
            await self._leave()
            if isinstance(exc, ConsumerStoppedError):
                return {}
            raise translate(exc, where=f"group {self._group} of {self._topic}") from exc
        self.watchdog.polled()
        if self._closed:
            raise closed_error(self._topic)
        owned = (place for place in consumer.assignment() if place.partition in self._owned)
        if self._dealt_in_vain or (not found and self.watchdog.hangs(consumer, owned)):
            await self._leave()
        return found

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._dealt_in_vain = False
        if not self._closed:
            self._revoked, self._owned = self._owned or self._revoked, {}
            self._settled.clear()
        if consumer is not None:
            await kafka_consumer.stop(consumer)

    async def _settle(self) -> None:
        """Until it is known which partitions are ours. Raises: LogUnavailableError where that takes too long."""
        try:
            async with asyncio.timeout(self._settings.append_timeout_s):
                await self._settled.wait()
        except TimeoutError as exc:
            raise LogUnavailableError(
                "the group deals its partitions anew, for long", where=f"group {self._group} of {self._topic}"
            ) from exc

    def _accept(
        self, place: TopicPartition, records: Sequence[ConsumerRecord], ownership: _Ownership
    ) -> list[StoredRecord]:
        """The records as a batch; none where they were fetched before the position was moved."""
        expected = ownership.position
        if records[0].offset < expected:
            if self._consumer is not None:
                self._consumer.seek(place, expected)
            return []
        kafka_consumer.check_complete(self._topic, place.partition, records, expected=expected)
        ownership.position = records[-1].offset + 1
        self._delivered[place.partition] = ownership
        return kafka_consumer.stored(self._topic, place.partition, records)

    async def _expect_there(self, place: TopicPartition, ownership: _Ownership) -> None:
        """What lies before the position may have come because nothing lies behind it.

        Raises: LogDamagedError where the topic has lost its end, or was made again.
        """
        if self._consumer is None:
            return
        ask = partial(kafka_consumer.bounds_of, self._consumer, place)
        read = ownership.position
        with mapped(self._topic):
            end = (await believed_bounds(ask, read=read)).end
        if end < read:
            what = f"events up to {read} were read, and the log ends here"
            raise kafka_consumer.damaged(self._topic, place.partition, end, what)

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._settings.topic(self._topic), partition)
