"""Which partition a record goes to, for ever."""

import pytest

from splitgauge.eventlog.partitions import by_partition, layout, partition_in, partitions_of
from splitgauge.eventlog.port import Record
from splitgauge.schemas.errors import ContractError, UnknownSubjectError
from splitgauge.schemas.topics import DECISIONS, OBSERVATIONS, PARTIALS, REQUESTS, TOPICS


def test_the_layout_has_every_topic_and_the_wished_partitions_of_observations() -> None:
    found = layout(7)
    assert list(found) == list(TOPICS)
    assert (found[OBSERVATIONS.name], found[DECISIONS.name], found[REQUESTS.name]) == (7, 1, 2)


def test_records_without_key_go_by_their_bytes_and_with_one_by_the_key() -> None:
    # crc32(b"a") = 0xE8B7BE43, crc32(b"b") = 0x71BEEFF9: these places are in logs, and may not change.
    records = [Record(b"a"), Record(b"b"), Record(b"x", key=b"a"), Record(b"x", key=b"b"), Record(b"a", partition=0)]
    assert by_partition("t", records, partitions=4) == {3: [0, 2], 1: [1, 3], 0: [4]}


def test_all_partials_of_an_experiment_share_a_partition() -> None:
    keys = [f"{experiment}/{partition}" for experiment in ("a", "b") for partition in range(20)]
    places = by_partition(
        PARTIALS.name, [Record(b"x", key.encode()) for key in [*keys, "a/3/1700000000"]], partitions=4
    )
    assert places == {3: [*range(20), 40], 1: list(range(20, 40))}


def test_a_single_partition_takes_everything_that_names_no_other() -> None:
    assert by_partition("t", [Record(b"a"), Record(b"b", key=b"k")], partitions=1) == {0: [0, 1]}
    with pytest.raises(ContractError, match="partitions 0 to 0, not 1"):
        by_partition("t", [Record(b"a", partition=1)], partitions=1)


def test_places_that_are_not_there_are_refused() -> None:
    found = layout(4)
    assert partition_in(found, OBSERVATIONS.name, 3) == 3
    with pytest.raises(ContractError, match="not 4"):
        partition_in(found, OBSERVATIONS.name, 4)
    with pytest.raises(UnknownSubjectError, match="no topic 'nothing'"):
        partitions_of(found, "nothing")
