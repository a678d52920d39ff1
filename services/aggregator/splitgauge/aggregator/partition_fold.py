"""The fold of one partition of observations (stage 1): a pure function of the partition's prefix and the decisions.

Whatever the batches, the worker and the restarts: the same prefix gives the same partials, byte for byte. Owns
position, digest and view of the decisions, what is published, and the rows of a checkpoint.

    fold = PartitionFold(3)
    result = fold.fold(records, history)     # dead letters; how far decisions have to be read first
    fold.partials()                          # bytes of `partial.v1` data, of experiments that changed
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import json

from splitgauge.aggregator.attribution import Attribution
from splitgauge.aggregator.book import Book
from splitgauge.aggregator.buckets import BUCKET_S
from splitgauge.aggregator.observation import UNDECODABLE, ObservationEvent, decode_observation, malformed
from splitgauge.experiments.history import ZERO_DIGEST, DecisionHistory, chain
from splitgauge.schemas.codec import encode
from splitgauge.schemas.errors import ContractError, LogDamagedError, UnknownSubjectError
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import FOLD_VERSION
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = [
    "BucketChange",
    "DeadLetter",
    "Engine",
    "FoldResult",
    "MakeEngine",
    "Observation",
    "PartitionFold",
    "checkpoint_owner",
]


class Observation(Protocol):
    """A stored event of the partition; `splitgauge.eventlog.port.StoredRecord` is one."""

    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes: ...


class DeadLetter(NamedTuple):
    """An event that could not be used: where it stands, a stable code, and why in words."""

    offset: int
    code: str
    reason: str


class BucketChange(NamedTuple):
    """A time bucket of an experiment that changed: its start, and the bytes of `partial-buckets.v1` data."""

    experiment_id: str
    start_us: int
    data: bytes


class FoldResult(NamedTuple):
    """What one call of `fold` did.

    Attributes:
        folded: events taken in. Those before `position` are passed over and not counted.
        behind: how far the decisions have to be read before the next event can be (exclusive); None: all were taken.
    """

    dead_letters: list[DeadLetter]
    folded: int
    behind: int | None = None


class _Meta(NamedTuple):
    fold_version: int
    partition: int
    position: int
    digest: str
    seen: int
    assigned_seen: int
    now_us: int | None
    outside: int
    recent_total: int


_ROWS_VERSION = 3
"""Of the form of a checkpoint's rows. Another one begins again from the log, under another owner's name."""
_META = b"m"
_EXPERIMENT = b"x/"


def checkpoint_owner(partition: int) -> str:
    """Under whose name the fold of a partition is saved."""
    return f"fold-{FOLD_VERSION}.{_ROWS_VERSION}/{OBSERVATIONS.name}/{partition}"


class Engine(Protocol):
    """Takes in, of a batch, the events in a row that it can. Has a share in the state, and changes it to the same."""

    def begin(self, values: Sequence[bytes]) -> None:
        """A batch."""
        ...

    def take(self, number: int, viewed: int) -> int:
        """How many it has taken in, from this event of the batch on. `viewed`: how far decisions are known."""
        ...

    def before(self, event: ObservationEvent) -> None:
        """An event that it has left is about to be observed."""
        ...

    def after(self, event: ObservationEvent) -> None:
        """It has been observed, or refused."""
        ...

    def restored(self) -> None:
        """The state has come from a checkpoint."""
        ...


MakeEngine = Callable[[Attribution], Engine]


class PartitionFold:
    """The state of one partition after the events below `position`."""

    def __init__(self, partition: int, engine: MakeEngine | None = None) -> None:
        """`engine`: what takes in many events at a time; left out, all are observed one by one."""
        self.partition = partition
        self.position = 0
        self.digest = ZERO_DIGEST
        self.decisions_offset = 0
        self._state = Attribution()
        self._engine = None if engine is None else engine(self._state)
        self._viewed = -1  # so that the first event looks, whatever it needs

    def fold(self, records: Iterable[Observation], history: DecisionHistory) -> FoldResult:
        """Take in the next events. Stops before the first one whose decisions `history` has not read.

        Raises: LogDamagedError where an offset is missing.
        """
        dead: list[DeadLetter] = []
        batch = list(records)
        first, end, number = self.position, history.end, 0
        behind = self.decisions_offset if self.decisions_offset > end else None
        engine, follow = self._engine, _follow_each_other(batch, first)
        if engine is not None and follow:
            engine.begin([record.value for record in batch])
        while behind is None and number < len(batch):
            if engine is not None and follow and (calm := engine.take(number, self._viewed)):
                self._pass(batch[number : number + calm])
                number += calm
                continue
            record = batch[number]
            number += 1
            if record.offset < self.position:
                continue
            if record.offset > self.position:
                raise self._gap(self.position)
            try:
                behind = self._observe(record, history, engine)
            except ContractError as exc:
                dead.append(DeadLetter(record.offset, exc.code, str(exc)))
            except UNDECODABLE as exc:
                dead.append(DeadLetter(record.offset, malformed(exc).code, str(malformed(exc))))
            if behind is None:
                self._pass([record])
        self._state.settle()
        return FoldResult(dead, self.position - first, behind)

    def _observe(self, record: Observation, history: DecisionHistory, engine: Engine | None) -> int | None:
        """Let an event count. Returns how far decisions have to be read before; None: it was taken in.

        Raises: ContractError, `UNDECODABLE`.
        """
        event = decode_observation(record.value)
        needed = event.data.decisions_offset
        if needed > self._viewed:
            if needed > history.end:
                return needed
            self._look(needed, history)
        if engine is None:
            self._state.observe(record.offset, event)
            return None
        engine.before(event)
        try:
            self._state.observe(record.offset, event)
        finally:
            engine.after(event)
        return None

    def _pass(self, records: Sequence[Observation]) -> None:
        """Digest and position after the next events."""
        digest = self.digest
        for record in records:
            digest = chain(digest, record.offset, record.value)
        self.digest = digest
        self.position += len(records)

    # What is published.

    def partials(self) -> dict[str, bytes]:
        """Partials of the experiments that something happened to since the last call."""
        self._state.mark_missing()
        changed = [experiment_id for experiment_id, book in self._state.books.items() if book.changed]
        partials = {experiment_id: self.partial(experiment_id) for experiment_id in changed}
        for experiment_id in changed:
            self._state.books[experiment_id].changed = False
        return partials

    def partial(self, experiment_id: str) -> bytes:
        """The bytes of an experiment's `partial.v1` data at this position. Raises: UnknownSubjectError."""
        book = self._state.books.get(experiment_id)
        if book is None:
            raise UnknownSubjectError(
                f"partition {self.partition} has nothing of experiment {experiment_id!r} below {self.position}"
            )
        self._state.mark_missing()
        now_us = self._state.clock.now_us
        return encode(
            {
                "experiment_id": experiment_id,
                "partition": self.partition,
                "upto": self.position,
                "decisions_offset": self.decisions_offset,
                "fold_version": FOLD_VERSION,
                "as_of": None if now_us is None else to_text(now_us),
                "digest": self.digest.hex(),
                **book.published(),
            }
        )

    def touch(self, experiment_id: str) -> None:
        """Let `partials` give this experiment's again."""
        book = self._state.books.get(experiment_id)
        if book is not None:
            book.changed = True

    @property
    def experiments(self) -> frozenset[str]:
        """Those that something of stands in the partition."""
        return frozenset(self._state.books)

    @property
    def n_units(self) -> int:
        """Units held in memory, over all experiments."""
        return sum(len(book.cohorts.units.rows) for book in self._state.books.values())

    @property
    def outside(self) -> int:
        """Reports that were for no experiment."""
        return self._state.outside

    def bucket_events(self) -> list[BucketChange]:
        """Time buckets changed since the last call."""
        for book in self._state.books.values():
            book.settle()
        return [
            BucketChange(experiment_id, start, encode(self._bucket(experiment_id, start, variants)))
            for experiment_id, book in self._state.books.items()
            for start, variants in book.activity.buckets.changed().items()
        ]

    def _bucket(self, experiment_id: str, start_us: int, variants: dict[str, object]) -> dict[str, object]:
        return {
            "experiment_id": experiment_id,
            "start": to_text(start_us),
            "seconds": BUCKET_S,
            "positions": {str(self.partition): self.position},
            "fold_version": FOLD_VERSION,
            "variants": variants,
        }

    # Checkpoint.

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows changed since the last call, None where they are gone; with all before they are the whole state."""
        state = self._state
        state.mark_missing()
        state.give_back()
        rows = {**state.recent.changed_rows(), **state.open.changed_rows(), **state.waiting.changed_rows()}
        for experiment_id, book in state.books.items():
            prefix = _EXPERIMENT + json.encode(experiment_id)
            rows.update({prefix + key: value for key, value in book.changed_rows().items()})
        meta = _Meta(
            FOLD_VERSION,
            self.partition,
            self.position,
            self.digest.hex(),
            self.decisions_offset,
            state.assigned_seen,
            state.clock.now_us,
            state.outside,
            state.recent.total,
        )
        rows[_META] = json.encode(meta)
        return rows

    @classmethod
    def restore(
        cls,
        partition: int,
        position: int,
        rows: Mapping[bytes, bytes],
        history: DecisionHistory,
        engine: MakeEngine | None = None,
    ) -> "PartitionFold":
        """The fold at `position` from all rows written up to there; `history` read as far as it had been then.

        Raises: LogDamagedError if the rows are of another partition, position or fold; ContractError where `history`
            has not been read far enough (`decisions_needed`).
        """
        meta = _meta(rows)
        if (meta.fold_version, meta.partition, meta.position) != (FOLD_VERSION, partition, position):
            raise LogDamagedError(
                f"the checkpoint is of partition {meta.partition} at {meta.position}, fold {meta.fold_version}",
                where=f"{OBSERVATIONS.name}/{partition}/{position}",
                remedy="Remove the checkpoint: the fold then starts again from the log",
            )
        fold = cls(partition, engine)
        fold.position, fold.digest = position, bytes.fromhex(meta.digest)
        state = fold._state
        state.clock.now_us, state.outside, state.assigned_seen = meta.now_us, meta.outside, meta.assigned_seen
        state.recent.restore(rows, meta.recent_total)
        state.open.restore(rows, meta.now_us)
        state.waiting.restore(rows)
        fold._look(meta.seen, history)
        view = history.at(meta.seen)
        for experiment_id, own in _by_experiment(rows).items():
            book = state.books[experiment_id] = Book(view.experiments[experiment_id])
            book.restore(own, state.clock)
        if fold._engine is not None:
            fold._engine.restored()
        return fold

    @staticmethod
    def decisions_needed(rows: Mapping[bytes, bytes]) -> int:
        """How far the decisions have to be read before `restore` (exclusive)."""
        return _meta(rows).seen

    def _look(self, offset: int, history: DecisionHistory) -> None:
        self._state.look(history.at(offset))
        self.decisions_offset = self._viewed = offset

    def _gap(self, offset: int) -> LogDamagedError:
        return LogDamagedError(
            f"the event at offset {offset} is missing",
            where=f"{OBSERVATIONS.name}/{self.partition}/{offset}",
            remedy="Restore the log from an export or a backup: nothing after it can be folded",
        )


def _follow_each_other(records: Sequence[Observation], position: int) -> bool:
    return bool(records) and all(record.offset == offset for offset, record in enumerate(records, position))


def _meta(rows: Mapping[bytes, bytes]) -> _Meta:
    return json.decode(rows[_META], type=_Meta)


def _by_experiment(rows: Mapping[bytes, bytes]) -> dict[str, dict[bytes, bytes]]:
    """Rows by experiment, their keys without it. A key is `x/`, the id as JSON text, and the row's own key."""
    experiments: dict[str, dict[bytes, bytes]] = {}
    for key, value in rows.items():
        if key.startswith(_EXPERIMENT):
            end = key.index(b'"', len(_EXPERIMENT) + 1) + 1
            experiment_id = json.decode(key[len(_EXPERIMENT) : end], type=str)
            experiments.setdefault(experiment_id, {})[key[end:]] = value
    return experiments
