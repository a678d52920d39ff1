"""What stage 2 cannot use of `splitgauge.partials`, as dead letters: the same from both engines' workers."""

from splitgauge.aggregator.partition_fold import DeadLetter
from splitgauge.aggregator.table_events import dead_letter_event
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.schemas.errors import MalformedError

__all__ = ["dead_letter"]


def dead_letter(record: StoredRecord, error: MalformedError, *, time: str, instance: str) -> Record:
    """For `splitgauge.dead-letters`, under the record's own key."""
    letter = DeadLetter(record.offset, error.code, str(error))
    value = dead_letter_event(
        letter, record.value, topic=record.topic, partition=record.partition, time=time, instance=instance
    )
    return Record(value, record.key)
