"""Reading the log for an audit: to the end that stood when it began, and with every unreadable place named."""

from collections.abc import AsyncIterator

from splitgauge.audit.report import Finding, FindingKind
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.schemas.errors import LogDamagedError

__all__ = ["BATCH", "damaged", "records_of"]

BATCH = 2_000
"""Events read at once: few calls, and no more than some megabytes in memory."""


async def records_of(log: EventLog, topic: str, partition: int, *, bounds: Bounds) -> AsyncIterator[list[StoredRecord]]:
    """All records within the bounds, in batches. Raises: LogDamagedError naming the place."""
    position = bounds.start
    while position < bounds.end:
        batch = await log.read(topic, partition, position, limit=min(BATCH, bounds.end - position))
        if not batch:
            raise LogDamagedError(
                f"the log said that it ends at {bounds.end}, and gives nothing from {position} on",
                where=f"{topic}/{partition}/{position}",
            )
        yield batch
        position = batch[-1].offset + 1


def damaged(error: LogDamagedError) -> Finding:
    """The finding that an unreadable place is."""
    return Finding(FindingKind.DAMAGED, error.where, error.message)
