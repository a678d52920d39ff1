"""Which partitions a topic has in an engine without brokers, and which of them a record belongs to.

Owns the layout and the choice; knows no storage. The choice is the same in every run and on every machine, so that the
events of one key stay in one partition for ever.
"""

from collections.abc import Sequence
from zlib import crc32

from splitgauge.eventlog.port import Record
from splitgauge.schemas.errors import ContractError, UnknownSubjectError
from splitgauge.schemas.topics import TOPICS

__all__ = [
    "DEFAULT_OBSERVATION_PARTITIONS",
    "Layout",
    "by_partition",
    "layout",
    "partition_in",
    "partition_of_key",
    "partitions_of",
]

DEFAULT_OBSERVATION_PARTITIONS = 4
MOST_OBSERVATION_PARTITIONS = 1024
"""A table each in the embedded log; beyond this a typing error is likelier than a wish."""

Layout = dict[str, int]
"""Topic name -> number of its partitions, for all topics."""


def layout(observation_partitions: int) -> Layout:
    """The embedded layout, with as many partitions of observations as wished.

    Raises: ContractError where the wish is no count that a log can have.
    """
    if not 1 <= observation_partitions <= MOST_OBSERVATION_PARTITIONS:
        raise ContractError(
            f"a log cannot have {observation_partitions} partitions of observations",
            where="observation_partitions",
            remedy=f"Choose 1 to {MOST_OBSERVATION_PARTITIONS}",
        )
    return {topic.name: topic.embedded_partitions or observation_partitions for topic in TOPICS.values()}


def partitions_of(layout: Layout, topic: str) -> int:
    """How many partitions the topic has. Raises: UnknownSubjectError for a topic that is not ours."""
    try:
        return layout[topic]
    except KeyError as exc:
        raise UnknownSubjectError(
            f"there is no topic {topic!r}", where="topic", remedy=f"The topics are {', '.join(layout)}"
        ) from exc


def partition_in(layout: Layout, topic: str, partition: int) -> int:
    """The partition, checked. Raises: ContractError where the topic has none of that number; UnknownSubjectError."""
    count = partitions_of(layout, topic)
    if not 0 <= partition < count:
        raise ContractError(f"{topic} has partitions 0 to {count - 1}, not {partition}", where="partition")
    return partition


def by_partition(topic: str, records: Sequence[Record], *, partitions: int) -> dict[int, list[int]]:
    """Partition -> indices of its records, in order.

    Raises: ContractError for a partition that the topic does not have; nothing was written then.
    """
    places: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        partition = _partition(topic, record, partitions)
        if not 0 <= partition < partitions:
            raise ContractError(
                f"{topic} has partitions 0 to {partitions - 1}, not {partition}", where=f"records[{index}].partition"
            )
        places.setdefault(partition, []).append(index)
    return places


def partition_of_key(topic: str, key: bytes, partitions: int) -> int:
    """Where the events of a key stand, if their writer does not say."""
    if topic in TOPICS and TOPICS[topic].by_first_part:
        key = key.partition(b"/")[0]
    return crc32(key) % partitions


def _partition(topic: str, record: Record, partitions: int) -> int:
    if record.partition is not None:
        return record.partition
    if partitions == 1:
        return 0
    # By the value where there is no key: spreads evenly, and a request appended again lands in the same place.
    return crc32(record.value) % partitions if record.key is None else partition_of_key(topic, record.key, partitions)
