"""Endless input: the state of a fold grows with the units of running experiments, and with nothing else."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from fold_stories import MINUTE, START, Decisions, Stored, assignment, outcome, report, stored
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.schemas.codec import decode

HOUR = 60 * MINUTE
KEEP_S = 2 * 3600
EVERY_HOUR = 12
"""Requests, each of another kind; divisible by the kinds."""


def endless_hour(hour: int, *, seen: int) -> Iterator[bytes]:
    """Requests that are their own unit: a third answered, a third never, a third reported before they are assigned (and
    they never are); all inside the experiment."""
    for number in range(EVERY_HOUR):
        place: dict[str, Any] = {"at": START + hour * HOUR + number * MINUTE, "seen": seen}
        request = f"r{hour}/{number}"
        if number % 3 == 2:
            yield report(request, {"rating": 4}, request=request, experiment="exp", epoch=1, **place)
            yield outcome(f"{request}/lost", request, own_unit=True, **place)
            continue
        yield assignment(request, request, own_unit=True, **place)
        yield report(request, {"rating": 3}, request=request, experiment="exp", epoch=1, **place)
        if number % 3 == 0:
            yield outcome(request, request, own_unit=True, **place)


class Partition:
    """A fold, and the rows of its checkpoint as they stand after each save."""

    def __init__(self, decisions: Decisions) -> None:
        self.fold = PartitionFold(0)
        self.rows: dict[bytes, bytes] = {}
        self._decisions = decisions

    def take(self, values: Iterator[bytes]) -> None:
        events: list[Stored] = stored(list(values), self.fold.position)
        assert self.fold.fold(events, self._decisions.history).dead_letters == []
        self.fold.bucket_events()  # published by the worker before it saves; only then they may go
        for key, row in self.fold.changed_rows().items():
            self.rows.pop(key, None)
            if row is not None:
                self.rows[key] = row

    @property
    def kinds(self) -> Counter[bytes]:
        """How many rows of each kind; the ids of recent events apart, of which there are at most 100,000."""
        own = [key.removeprefix(b'x/"exp"') for key in self.rows]
        return Counter(key[:2] for key in own if key[:2] not in {b"d/", b"u/"})

    @property
    def bytes_of_units(self) -> int:
        """In the checkpoint; rows of units that have gone may stay for a while."""
        return sum(len(row) for key, row in self.rows.items() if b"u/" in key)


@pytest.fixture
def decisions() -> Decisions:
    decisions = Decisions()
    decisions.start("exp", metrics=[{"name": "rating"}], keep_s=KEEP_S)
    return decisions


def test_requests_without_unit_open_requests_and_waiting_events_go_when_their_time_is_over(
    decisions: Decisions,
) -> None:
    partition = Partition(decisions)
    for hour in range(30):
        partition.take(endless_hour(hour, seen=decisions.end))
    steady, steady_units = partition.kinds, partition.bytes_of_units
    assert steady[b"o/"] > 0
    assert steady[b"w/"] > 0
    assert steady[b"v/"] > 0
    for hour in range(30, 60):
        partition.take(endless_hour(hour, seen=decisions.end))
    assert partition.kinds == steady
    assert partition.fold.n_units <= EVERY_HOUR * (KEEP_S / 3600 + 2)
    assert partition.bytes_of_units < 1.1 * steady_units


def test_what_has_gone_stays_in_the_sums(decisions: Decisions) -> None:
    partition = Partition(decisions)
    for hour in range(60):
        partition.take(endless_hour(hour, seen=decisions.end))
    partial = decode(partition.fold.partial("exp"))
    cell = partial["epochs"]["1"]["control"]
    assigned = 60 * EVERY_HOUR * 2 // 3
    assert (cell["exposed"], cell["requests"]) == (assigned, assigned)
    assert partial["totals"]["control"]["jobs"] == assigned
    assert partial["counts"]["unattributable"] > 0


def test_units_of_a_running_experiment_stay_and_go_after_its_end(decisions: Decisions) -> None:
    partition = Partition(decisions)
    partition.take(assignment(f"r{number}", f"u{number}", seen=decisions.end) for number in range(50))
    later = START + 30 * HOUR
    passing = [START + hour * HOUR for hour in range(1, 31)]
    partition.take(assignment(f"t{at}", "u0", at=at, seen=decisions.end) for at in passing)
    assert partition.fold.n_units == 50
    end = decisions.complete("exp")
    passing = [later + hour * HOUR for hour in range(1, 5)]
    partition.take(
        assignment(f"o{at}", "u0", None, at=at, seen=end, experiment=None, epoch=None, reason="outside")
        for at in passing
    )
    assert (partition.fold.n_units, partition.bytes_of_units) == (0, 0)
