"""The topics of the log: names, partitions, keys, retention. The contract is `events.md` of the product.

Owns what a topic is; knows nothing of any engine. Adapters create topics from this table and refuse others.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ANALYSES",
    "DEAD_LETTERS",
    "DECISIONS",
    "OBSERVATIONS",
    "PARTIALS",
    "REPORTS",
    "REQUESTS",
    "RESPONSES",
    "TOPICS",
    "WINDOWS",
    "Retention",
    "Topic",
    "unit_partition",
]


class Retention(Enum):
    """How long a topic keeps its events."""

    FOREVER = "forever"
    NEWEST_PER_KEY = "newest-per-key"
    """Compacted: an adapter may drop an event once a later one has the same key. Offsets then have gaps."""
    SHORT = "short"
    """What callers sent: hours to days, never archived or exported unless asked."""
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: as it stands in the log.
        retention: how long events stay.
        single_partition: must have exactly one partition, because it is one total order.
        embedded_partitions: how many the embedded log gives it (0: as many as `observations` was created with).
        counts_up: whether partitions may be added later. Not where the partition is part of an event's meaning, nor
            where only the newest event of a key counts: it would stand in two places.
        by_first_part: events whose keys agree up to the first `/` share a partition.
    """

    name: str
    retention: Retention
    single_partition: bool = False
    embedded_partitions: int = 1
    counts_up: bool = True
    by_first_part: bool = False


REQUESTS = Topic("splitgauge.requests", Retention.SHORT, embedded_partitions=2)
RESPONSES = Topic("splitgauge.responses", Retention.SHORT)
REPORTS = Topic("splitgauge.reports", Retention.SHORT)
OBSERVATIONS = Topic("splitgauge.observations", Retention.FOREVER, embedded_partitions=0, counts_up=False)
# Keys are experiment and source partition: one reader sums all partials of an experiment.
PARTIALS = Topic("splitgauge.partials", Retention.NEWEST_PER_KEY, counts_up=False, by_first_part=True)
WINDOWS = Topic("splitgauge.windows", Retention.NEWEST_PER_KEY, counts_up=False)
ANALYSES = Topic("splitgauge.analyses", Retention.FOREVER)
DECISIONS = Topic("splitgauge.decisions", Retention.FOREVER, single_partition=True, counts_up=False)
DEAD_LETTERS = Topic("splitgauge.dead-letters", Retention.LONG)

TOPICS = {
    topic.name: topic
    for topic in (
        REQUESTS,
        RESPONSES,
        REPORTS,
        OBSERVATIONS,
        PARTIALS,
        WINDOWS,
        ANALYSES,
        DECISIONS,
        DEAD_LETTERS,
    )
}
"""All topics by name, in the order in which data flows."""


def unit_partition(unit_id: str, partitions: int) -> int:
    """The partition of `observations` that holds all of a unit's story.

    Unit ids are keyed hashes (128 bits, lower-case hexadecimal), so their leading 32 bits are uniform already; the
    same function serves every engine, so that a log keeps its meaning when it is copied from one to the other.

    >>> unit_partition("00000005" + "0" * 24, 4)
    1
    """
    return int(unit_id[:8], 16) % partitions
