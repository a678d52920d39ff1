"""Dead letters: what could not be used, why, and where it stands (events.md, rule 7).

Owns how they stand in the log, whoever writes them. The id of one is the place of its event: written again, after a
crash or by another instance, it is the same letter. Must not know why an event could not be used.
"""

import base64

from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.schemas.analysis import DeadLetterData
from splitgauge.schemas.codec import encode
from splitgauge.schemas.envelope import SOURCES, wrap
from splitgauge.schemas.topics import TOPICS, Retention

__all__ = ["dead_letter"]

_REASON_CHARACTERS = 1_000
"""At most: some reasons say what was found, and that may be as long as the event."""


def dead_letter(record: StoredRecord, *, code: str, reason: str, role: str, time: str, instance: str) -> Record:
    """For `splitgauge.dead-letters`, under the event's own key; what callers sent stays where it is.

    Args:
        role, instance: who could not use it.
    """
    place = f"{record.topic}/{record.partition}/{record.offset}"
    sent_by_callers = TOPICS[record.topic].retention is Retention.SHORT
    data = DeadLetterData(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason[:_REASON_CHARACTERS],
        code=code,
        value=None if sent_by_callers else base64.b64encode(record.value).decode(),
    )
    value = wrap(
        encode(data.model_dump(mode="json", exclude_none=True)),
        type="splitgauge.dead-letter.v1",
        id=place,
        source=SOURCES[role],
        time=time,
        subject=place,
        instance=instance,
    )
    return Record(value, record.key)
