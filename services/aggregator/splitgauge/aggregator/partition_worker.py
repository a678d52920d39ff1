"""One partition of observations, followed and folded: from the log to partials, dead letters and checkpoints.

Owns the order of the writes. Dead letters are durable before anything that stands on the events after them; a crash
between any two writes repeats some of them with the same ids and loses none. Knows no rule of the fold.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from splitgauge.aggregator.partition_fold import FoldResult, MakeEngine, PartitionFold, checkpoint_owner
from splitgauge.aggregator.publisher import Publication, Publisher
from splitgauge.aggregator.table_events import partial_bucket_key, partial_key, table_event
from splitgauge.eventlog.believed_bounds import believed_bounds
from splitgauge.eventlog.checkpoints import Checkpoints
from splitgauge.eventlog.dead_letters import dead_letter
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.experiments.history import ZERO_DIGEST, chain
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import FOLD_VERSION
from splitgauge.schemas.topics import DEAD_LETTERS, DECISIONS, OBSERVATIONS

__all__ = ["LAST", "Pace", "PartitionWorker", "Source", "Surroundings", "mark_of"]

_logger = logging.getLogger(__name__)

_BATCH = 500
LAST = b"last"
"""The row of a checkpoint that tells the last event folded."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often results are written; nothing but delay and disk traffic depends on it."""

    publish_interval_s: float = 0.1
    checkpoint_interval_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker works with. `now_us` dates envelopes; no number depends on it, nor on the engine of the fold."""

    log: EventLog
    checkpoints: Checkpoints
    decisions: DecisionLog
    now_us: Callable[[], int]
    instance: str
    engine: MakeEngine | None = None


class Source(Protocol):
    """Where the events of one partition come from, and whether they are still this worker's to fold."""

    @property
    def owned(self) -> bool:
        """False: somebody else folds the partition now."""
        ...

    def batches(self, position: int, *, limit: int) -> AsyncIterator[Sequence[StoredRecord]]:
        """From the position on, for ever, without a gap; events below it may come again."""
        ...

    async def saved(self, position: int) -> None:
        """A checkpoint stands at this position."""
        ...


class _Followed:
    """A partition that nobody else in this log's processes folds."""

    owned = True

    def __init__(self, partition: int, log: EventLog) -> None:
        self._partition = partition
        self._log = log

    def batches(self, position: int, *, limit: int) -> AsyncIterator[Sequence[StoredRecord]]:
        return self._log.follow(OBSERVATIONS.name, {self._partition: position}, limit=limit)

    async def saved(self, position: int) -> None:
        """Nobody else needs to know."""


class _Changes(NamedTuple):
    """What a checkpoint at this position has to store anew."""

    position: int
    rows: dict[bytes, bytes | None]
    last: bytes


class _CheckpointLost(Exception):  # noqa: N818 - it ends one life of the worker and is no error of the user's
    """Somebody else has moved the checkpoint: this state is a zombie's."""


def mark_of(event: StoredRecord) -> bytes:
    """What tells an event from any other at its place."""
    return chain(ZERO_DIGEST, event.offset, event.value)


class PartitionWorker:
    """Folds one partition for ever.

    Attributes:
        unsaved_reason: why its checkpoint cannot be saved for now; None: it can.
    """

    def __init__(
        self, partition: int, around: Surroundings, publisher: Publisher, pace: Pace, *, source: "Source | None" = None
    ) -> None:
        """`source`: where its events come from; left out, it follows the partition in the log."""
        self.partition = partition
        self._source = source or _Followed(partition, around.log)
        self._around = around
        self._publisher = publisher
        self._pace = pace
        self._owner = checkpoint_owner(partition)
        self._fold = PartitionFold(partition, around.engine)
        self._saved: int | None = None
        self._last = self._saved_last = b""
        self._caught_up = False
        self._moved = asyncio.Event()
        # Held from folding a batch until its dead letters are durable: no checkpoint may stand between the two.
        self._whole = asyncio.Lock()
        # Held from taking out what is to be published until it stands: a checkpoint between the two would forget a
        # finished time bucket that nobody has published.
        self._published = asyncio.Lock()
        self._unsaved = asyncio.Event()
        self.unsaved_reason: str | None = None
        self._left: _Changes | None = None  # that could not be saved, and are in no later ones

    @property
    def position(self) -> int:
        """Offset of the first event that is not folded yet."""
        return self._fold.position

    @property
    def ready(self) -> bool:
        """Whether all that was there when it began is folded."""
        return self._caught_up

    def publish_again(self, experiment_id: str) -> None:
        """Somebody has published an older partial after ours."""
        self._fold.touch(experiment_id)
        self._moved.set()

    async def run(self) -> None:
        """Until cancelled, or until its partition is somebody else's.

        Raises: LogDamagedError (a gap, a lost end, or decisions that an observation stands on are missing),
            LogUnavailableError (also where dead letters cannot be written: nothing may be skipped silently; but not
            while only checkpoints cannot be saved).
        """
        while True:
            self._caught_up = False
            await self._load()
            # What was published before the last stop is newer than the checkpoint: catch up before publishing.
            end = (await self._expect_same_log()).end
            try:
                await self._catch_up(end)
                await self._live()
            except* _CheckpointLost:
                pass  # load again: whoever saved it has folded the same log
            if not self._source.owned:
                return

    async def _expect_same_log(self) -> Bounds:
        """The partition's bounds, where it still has the events that were folded. One that has lost its end, or was
        made again, would have its next events passed over, or folded onto those of another log."""
        # As it stands now: while brokers answer, more is folded and saved.
        folded, saved, saved_last = self._fold.position, self._saved, self._saved_last
        bounds = await believed_bounds(self._bounds, read=folded)
        if folded > bounds.end:
            raise self._another_log(
                bounds.end, f"the events below {folded} were folded, and the log ends at {bounds.end}"
            )
        if saved is not None and saved > bounds.start:
            last = saved - 1
            events = await self._around.log.read(OBSERVATIONS.name, self.partition, last, limit=1)
            if not events or mark_of(events[0]) != saved_last:
                raise self._another_log(last, f"the event at offset {last} is another one than was folded")
        return bounds

    async def _bounds(self) -> Bounds:
        return (await self._around.log.bounds(OBSERVATIONS.name))[self.partition]

    def _another_log(self, offset: int, what: str) -> LogDamagedError:
        return LogDamagedError(
            f"{what}: the log has lost its end, was altered or made again",
            where=f"{OBSERVATIONS.name}/{self.partition}/{offset}",
            remedy="Restore the log from an export or a backup, whole; or remove the checkpoints, to fold it as it is",
        )

    async def _catch_up(self, end: int) -> None:
        now = asyncio.get_running_loop().time
        due_at = now() + self._pace.checkpoint_interval_s
        while self._fold.position < end:
            await self._take(await self._around.log.read(OBSERVATIONS.name, self.partition, self.position))
            if now() >= due_at:
                await self._try_to_save(await self._changes())
                due_at = now() + self._pace.checkpoint_interval_s

    async def _live(self) -> None:
        self._caught_up = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._publish())
            tasks.create_task(self._keep())

    async def _follow(self) -> None:
        self._moved.set()
        async for records in self._source.batches(self._fold.position, limit=_BATCH):
            async with self._whole:
                await self._take(records)
            self._moved.set()
            # A long backlog must not keep the loop from everything else.
            await asyncio.sleep(0)

    async def _take(self, records: Sequence[StoredRecord]) -> None:
        if records and records[0].offset < self._fold.position:
            await self._expect_same_log()
        result = self._fold.fold(records, self._around.decisions.history)
        await self._write_dead_letters(records, result)
        while result.behind is not None:
            await self._read_decisions(result.behind)
            result = self._fold.fold(records, self._around.decisions.history)
            await self._write_dead_letters(records, result)
        if records and records[-1].offset + 1 == self._fold.position:
            self._last = mark_of(records[-1])

    async def _read_decisions(self, needed: int) -> None:
        await self._around.decisions.catch_up()
        end = self._around.decisions.history.end
        if end < needed:
            raise LogDamagedError(
                f"an observation was made when decisions below {needed} were known, and the log has them up to {end}",
                where=f"{OBSERVATIONS.name}/{self.partition}/{self._fold.position}",
                remedy=f"Restore {DECISIONS.name}: it has lost its end, or the two topics are of different logs",
            )

    async def _write_dead_letters(self, records: Sequence[StoredRecord], result: FoldResult) -> None:
        if not result.dead_letters:
            return
        by_offset = {record.offset: record for record in records}
        time, instance = to_text(self._around.now_us()), self._around.instance
        letters = [
            dead_letter(by_offset[offset], code=code, reason=reason, role="aggregator", time=time, instance=instance)
            for offset, code, reason in result.dead_letters
        ]
        await self._around.log.append(DEAD_LETTERS.name, letters)

    async def _publish(self) -> None:
        """What changed, at most every `publish_interval_s`."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            async with self._published:
                async with self._whole:
                    publications = self._publications()
                await self._publisher.publish(publications)
            self._unsaved.set()
            await asyncio.sleep(self._pace.publish_interval_s)

    async def _keep(self) -> None:
        """Save checkpoints, where there is something new, at most every `checkpoint_interval_s`."""
        while True:
            await asyncio.sleep(self._pace.checkpoint_interval_s)
            await self._unsaved.wait()
            self._unsaved.clear()
            if self.position != self._saved:
                async with self._published:
                    changes = await self._changes()
                await self._try_to_save(changes)

    async def _try_to_save(self, changes: _Changes) -> None:
        """Save what has changed. Where that fails it is saved with what changes later, and the fold goes on."""
        if self._left is not None:
            changes = changes._replace(rows=self._left.rows | changes.rows)
        try:
            await self._save(changes)
        except LogUnavailableError as exc:
            if self.unsaved_reason is None:
                _logger.warning("partition %d goes on without saving its checkpoint: %s", self.partition, exc)
            self._left, self.unsaved_reason = changes, str(exc)
            self._unsaved.set()
        else:
            self._left, self.unsaved_reason = None, None

    def _publications(self) -> list[Publication]:
        positions = {self.partition: self._fold.position}
        time = to_text(self._around.now_us())
        rank = (FOLD_VERSION, self._fold.position)
        publications: list[Publication] = []
        for experiment_id, data in self._fold.partials().items():
            key = partial_key(experiment_id, self.partition)
            value = table_event(
                "partial",
                data,
                subject=experiment_id,
                key=key,
                positions=positions,
                time=time,
                instance=self._around.instance,
            )
            publications.append(Publication(key, rank, value))
        for change in self._fold.bucket_events():
            key = partial_bucket_key(change.experiment_id, change.start_us, self.partition)
            value = table_event(
                "partial-buckets",
                change.data,
                subject=change.experiment_id,
                key=key,
                positions=positions,
                time=time,
                instance=self._around.instance,
                start_us=change.start_us,
            )
            publications.append(Publication(key, rank, value))
        return publications

    async def _changes(self) -> _Changes:
        """In a thread, as rows of many units take a while; the other partitions go on."""
        async with self._whole:
            rows = await asyncio.to_thread(self._fold.changed_rows)
            return _Changes(self._fold.position, rows | {LAST: self._last}, self._last)

    async def _save(self, changes: _Changes) -> None:
        await self._expect_same_log()
        position, rows, last = changes
        saved = await self._around.checkpoints.save(self._owner, expected=self._saved, position=position, changed=rows)
        if not saved:
            raise _CheckpointLost
        self._saved, self._saved_last = position, last
        await self._source.saved(position)

    async def _load(self) -> None:
        self._left = self.unsaved_reason = None
        checkpoint = await self._around.checkpoints.load(self._owner)
        if checkpoint is None:
            self._fold, self._saved = PartitionFold(self.partition, self._around.engine), None
            return
        await self._read_decisions(PartitionFold.decisions_needed(checkpoint.rows))
        self._fold = await asyncio.to_thread(
            PartitionFold.restore,
            self.partition,
            checkpoint.position,
            checkpoint.rows,
            self._around.decisions.history,
            self._around.engine,
        )
        self._saved = checkpoint.position
        self._last = self._saved_last = checkpoint.rows[LAST]
