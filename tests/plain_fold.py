"""What a log's numbers have to be: the plain fold over it, from the first event to the last, with nothing in between.

Whatever crashed, restarted or came twice on the live path, its windows, registry and accepted looks are compared with
what stands here. Reads any event log; writes nothing.
"""

from typing import Any

from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.table_events import UNREADABLE, Bucket, read_bucket, read_table_event, window_rank
from splitgauge.aggregator.tables import buckets_of, window_of
from splitgauge.eventlog.port import EventLog, StoredRecord
from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.looks import AcceptedLook, Looks
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.tables import PartialData, is_removal
from splitgauge.schemas.topics import ANALYSES, DECISIONS, OBSERVATIONS, WINDOWS

__all__ = [
    "accepted_looks",
    "decisions_in",
    "ends_of",
    "events_in",
    "newest_buckets",
    "newest_windows",
    "plain_buckets",
    "plain_window",
    "plain_windows",
    "positions_of",
    "standing",
    "tables_in",
]

Positions = dict[int, int]
Buckets = dict[tuple[str, str], object]
"""(experiment, start) -> what a time bucket says of the variants."""

_TABLES = ("epochs", "totals", "callers", "counts")


async def events_in(log: EventLog, topic: str) -> list[StoredRecord]:
    """All that stands in a topic, partition by partition."""
    found: list[StoredRecord] = []
    for partition, bounds in (await log.bounds(topic)).items():
        position = bounds.start
        while position < bounds.end and (batch := await log.read(topic, partition, position, limit=10_000)):
            found += batch
            position = batch[-1].offset + 1
    return found


async def standing(log: EventLog, topic: str) -> list[StoredRecord]:
    """The events of a topic whose keys were not removed after them."""
    records = await events_in(log, topic)
    removed = {record.key: record.offset for record in records if is_removal(record.key, record.value)}
    return [record for record in records if record.offset > removed.get(record.key, -1)]


async def ends_of(log: EventLog) -> Positions:
    """Where the partitions of the observations end."""
    return {partition: bounds.end for partition, bounds in (await log.bounds(OBSERVATIONS.name)).items()}


async def decisions_in(log: EventLog) -> DecisionHistory:
    """All decisions, folded."""
    history = DecisionHistory()
    history.extend([(record.offset, record.value) for record in await events_in(log, DECISIONS.name)])
    return history


async def accepted_looks(log: EventLog) -> list[AcceptedLook]:
    """All looks that count."""
    looks = Looks()
    taken = [looks.take(record.offset, record.value) for record in await events_in(log, ANALYSES.name)]
    return [look for look in taken if look is not None]


async def newest_windows(log: EventLog) -> dict[str, bytes]:
    """Experiment -> the bytes of the data of its last window."""
    return {decode(data)["experiment_id"]: data for data in await _published(log, "splitgauge.window.v1")}


async def newest_buckets(log: EventLog) -> Buckets:
    """What stands in the windows' topic."""
    read = [decode(data) for data in await _published(log, "splitgauge.window-buckets.v1")]
    return {(data["experiment_id"], data["start"]): data["variants"] for data in read}


async def plain_buckets(log: EventLog) -> Buckets:
    """The time buckets at the end of the log, none forgotten."""
    history = await decisions_in(log)
    parts: dict[tuple[str, str], dict[int, Bucket]] = {}
    for partition, end in (await ends_of(log)).items():
        for change in (await _folded(log, history, partition, end)).bucket_events():
            part = read_bucket(change.data)
            parts.setdefault((part.experiment_id, part.start), {})[partition] = part
    return {place: decode(encode(buckets_of(held)))["variants"] for place, held in parts.items()}


def positions_of(window: bytes) -> Positions:
    """Where a published window stands."""
    return {int(partition): upto for partition, upto in decode(window)["positions"].items()}


def tables_in(windows: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """What windows say beside where they stand: one is not published again where only others' events came."""
    read = {experiment_id: decode(window) for experiment_id, window in windows.items()}
    return {experiment_id: {name: window[name] for name in _TABLES} for experiment_id, window in read.items()}


async def plain_windows(log: EventLog) -> dict[str, bytes]:
    """Experiment -> its window at the end of the log; a partition that has nothing of it is left out."""
    history = await decisions_in(log)
    partials: dict[str, dict[int, PartialData]] = {}
    for partition, end in (await ends_of(log)).items():
        fold = await _folded(log, history, partition, end)
        for experiment_id in fold.experiments:
            partial = PartialData.model_validate_json(fold.partial(experiment_id))
            partials.setdefault(experiment_id, {})[partition] = partial
    return {experiment_id: _bytes(held) for experiment_id, held in partials.items()}


async def plain_window(log: EventLog, experiment_id: str, positions: Positions) -> bytes:
    """An experiment's window at these positions."""
    history = await decisions_in(log)
    return _bytes(
        {
            partition: PartialData.model_validate_json(
                (await _folded(log, history, partition, upto)).partial(experiment_id)
            )
            for partition, upto in positions.items()
        }
    )


async def _published(log: EventLog, kind: str) -> list[bytes]:
    """The data of all windows of a type, one after the other; what cannot be read is none."""
    events = [
        read_table_event(record.value)
        for record in await standing(log, WINDOWS.name)
        if window_rank(record.value) != UNREADABLE
    ]
    return [bytes(event.data) for event in events if event.type == kind]


async def _folded(log: EventLog, history: DecisionHistory, partition: int, upto: int) -> PartitionFold:
    fold = PartitionFold(partition)
    while fold.position < upto:
        records = await log.read(OBSERVATIONS.name, partition, fold.position, limit=upto - fold.position)
        result = fold.fold(records, history)
        assert result.behind is None
        assert result.folded
    return fold


def _bytes(partials: dict[int, PartialData]) -> bytes:
    return encode(window_of(partials).model_dump(mode="json"))
