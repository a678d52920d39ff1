"""Rule by rule what the fold makes of a story. The laws that hold for any story are in `tests/property/aggregator`."""

from typing import Any

import pytest

from fold_stories import MINUTE, START, Decisions, Stored, assignment, outcome, report, stored
from splitgauge.aggregator.partition_fold import FoldResult, PartitionFold
from splitgauge.experiments.history import DecisionHistory
from splitgauge.schemas.errors import LogDamagedError, UnknownSubjectError
from splitgauge.schemas.tables import Cell, PartialData

HOUR = 60 * MINUTE


class Told:
    """A story told to the fold, one experiment `exp` running."""

    def __init__(self, **specification: Any) -> None:
        self.decisions = Decisions()
        self.decisions.start("exp", **specification)
        self.fold = PartitionFold(0)

    def then(self, *events: bytes) -> FoldResult:
        return self.fold.fold(stored(list(events), self.fold.position), self.decisions.history)

    @property
    def partial(self) -> PartialData:
        return PartialData.model_validate_json(self.fold.partial("exp"))

    def cell(self, variant: str = "control", epoch: int = 1) -> Cell:
        return self.partial.epochs[str(epoch)][variant]


def test_a_unit_belongs_to_the_first_variant_it_got() -> None:
    told = Told()
    told.then(assignment("r1", "u1"), outcome("r1", "u1"), assignment("r2", "u1"), outcome("r2", "u1"))
    cell = told.cell()
    assert (cell.exposed, cell.units, cell.requests, cell.metrics["success"].m, cell.metrics["success"].d) == (
        1,
        1,
        2,
        2,
        2,
    )


def test_sums_are_of_units_and_not_of_requests() -> None:
    told = Told()
    for request, unit, latency_ms in (("r1", "u1", 1.0), ("r2", "u1", 2.0), ("r3", "u2", 4.0)):
        told.then(assignment(request, unit), outcome(request, unit, metrics={"latency_ms": latency_ms}))
    sums = told.cell().metrics["latency_ms"]
    assert (sums.m, sums.d, sums.dd, sums.present) == (7_000_000, 3, 5, 2)
    assert (sums.mm, sums.md) == (25 * 10**12, 10 * 10**6)


def test_a_crossover_leaves_all_sums_and_stays_exposed() -> None:
    told = Told()
    told.then(assignment("r1", "u1"), outcome("r1", "u1"), assignment("r2", "u2"))
    before = told.cell()
    told.then(assignment("r3", "u1", "challenger"))
    cell = told.cell()
    assert (before.units, cell.exposed, cell.units, cell.crossovers, cell.requests) == (2, 2, 1, 1, 1)
    assert cell.metrics["success"].d == 0


def test_a_returning_unit_of_another_epoch_is_foreign() -> None:
    told = Told()
    told.decisions.reweight("exp", 2, 1)
    told.then(assignment("r1", "u1"), assignment("r2", "u1", epoch=2, seen=5), outcome("r2", "u1", epoch=2, seen=5))
    assert told.partial.counts.foreign == 2
    assert list(told.partial.epochs) == ["1"]
    assert told.partial.totals["control"].jobs == 2


def test_only_live_split_assignments_are_analysed() -> None:
    told = Told()
    told.then(assignment("r1", "u1", reason="forced"), assignment("r2", "u2", mode="shadow"))
    assert told.partial.epochs == {}
    assert told.partial.totals["control"].reasons == {"forced": 1}


def test_an_outcome_that_disagrees_is_a_conflict_and_its_request_not_missing() -> None:
    told = Told()
    told.then(assignment("r1", "u1"), outcome("r1", "u1", "challenger"), assignment("r2", "u2", at=START + HOUR))
    assert told.partial.counts.conflicts == 1
    assert (told.cell().missing, told.cell().metrics["success"].d) == (0, 0)


def test_a_request_is_missing_after_a_quarter_of_an_hour_until_its_outcome_comes() -> None:
    told = Told()
    told.then(assignment("r1", "u1"), assignment("r2", "u2", at=START + 15 * MINUTE - 1))
    assert told.cell().missing == 0
    told.then(assignment("r3", "u3", at=START + 15 * MINUTE))
    assert (told.cell().missing, told.cell().missing_units, told.partial.totals["control"].missing) == (1, 1, 1)
    told.then(outcome("r1", "u1"))
    assert (told.cell().missing, told.partial.totals["control"].missing) == (0, 0)


def test_one_assignment_moves_the_clock_by_an_hour_at_most() -> None:
    told = Told()
    told.then(assignment("r1", "u1"), assignment("r2", "u2", at=START + 1_000 * HOUR))
    assert told.partial.as_of == "2026-09-21T15:13:20.000000Z"


def test_an_outcome_before_its_assignment_waits_for_it() -> None:
    told = Told()
    told.then(outcome("r1", "u1"), assignment("r1", "u1"))
    assert told.cell().metrics["success"].m == 1


def test_what_waited_longer_than_keep_is_unattributable() -> None:
    told = Told(keep_s=1_800, metrics=[{"name": "rating"}])
    told.then(assignment("r0", "u0"), outcome("r1", "u1"), report("u2", {"rating": 1}, experiment="exp"))
    told.then(assignment("r2", "u3", at=START + HOUR))
    assert told.partial.counts.unattributable == 2


def test_an_outcome_later_than_keep_is_too_late() -> None:
    told = Told(keep_s=1_800)
    told.then(assignment("r1", "u1", own_unit=True), assignment("r2", "u2", at=START + HOUR), outcome("r1", "u1"))
    assert told.partial.counts.too_late == 1
    assert (told.cell().exposed, told.cell().missing) == (2, 1)


def test_units_of_an_ended_experiment_go_and_what_they_added_stays() -> None:
    told = Told(keep_s=1_800)
    told.then(assignment("r1", "u1"), outcome("r1", "u1"))
    seen = told.decisions.complete("exp")
    told.then(assignment("r2", "u2", experiment=None, epoch=None, reason="default", seen=seen))
    before = told.cell()
    assert told.fold.n_units == 1
    told.then(assignment("r3", "u3", experiment=None, epoch=None, reason="default", seen=seen, at=START + HOUR))
    assert told.fold.n_units == 0
    assert told.cell() == before
    told.then(assignment("r4", "u1", seen=seen, at=START + HOUR))
    assert told.partial.counts.too_late == 1


def test_a_unit_of_a_running_experiment_never_goes() -> None:
    told = Told(keep_s=1_800)
    told.then(assignment("r1", "u1"))
    told.then(*(assignment(f"x{hour}", "u2", at=START + hour * HOUR) for hour in range(1, 30)))
    assert told.fold.n_units == 2


def test_a_report_by_unit_counts_until_the_epoch_ends_in_the_partition() -> None:
    told = Told(metrics=[{"name": "rating", "scale": 1}])
    told.then(assignment("r1", "u1"))
    seen = told.decisions.reweight("exp", 2, 1)
    told.then(report("u1", {"rating": 4}, experiment="exp", seen=seen))
    told.then(assignment("r2", "u2", seen=seen), report("u1", {"rating": 5}, experiment="exp", seen=seen))
    assert told.cell().metrics["rating"].m == 4
    assert told.partial.counts.foreign == 1


def test_a_report_by_token_counts_in_its_epoch_also_after_the_end() -> None:
    told = Told(metrics=[{"name": "rating", "scale": 1}])
    seen = told.decisions.reweight("exp", 2, 1)
    told.then(assignment("r1", "u1"), assignment("r2", "u2", seen=seen))
    told.then(report("u1", {"rating": 4}, request="r1", experiment="exp", epoch=1, seen=seen))
    assert told.cell().metrics["rating"].m == 4


def test_a_request_has_one_value_of_a_metric_and_the_first_holds() -> None:
    told = Told(metrics=[{"name": "rating", "scale": 1}, {"name": "tone", "scale": 1}])
    told.then(assignment("r1", "u1"))
    token = {"request": "r1", "experiment": "exp", "epoch": 1}
    told.then(report("u1", {"rating": 4}, **token), report("u1", {"rating": 5, "tone": 1}, **token))
    told.then(report("u1", {"rating": 4}, **token))
    assert (told.cell().metrics["rating"].m, told.cell().metrics["tone"].m) == (4, 1)
    assert told.partial.counts.duplicates == 1


def test_a_report_for_nobody_is_counted_outside_and_is_no_dead_letter() -> None:
    told = Told(metrics=[{"name": "rating"}])
    result = told.then(report("u9", {"rating": 4}), report("u9", {"rating": 4}, request="r9"))
    assert (told.fold.outside, result.dead_letters) == (2, [])


def test_a_report_after_the_attribution_window_is_too_late() -> None:
    told = Told(metrics=[{"name": "rating", "scale": 1}], attribution_window_s=3_600)
    told.then(assignment("r1", "u1"))
    told.then(report("u1", {"rating": 1}, at=START + HOUR), report("u1", {"rating": 2}, at=START + HOUR + 1))
    assert (told.cell().metrics["rating"].m, told.partial.counts.too_late) == (1, 1)
    assert told.cell().days["2026-09-21"].metrics["rating"].m == 1


def test_totals_beyond_64_bits_stay_exact() -> None:
    told = Told(metrics=[{"name": "huge", "scale": 1}])
    largest = 2**53 - 1
    told.then(assignment("r1", "u1"))
    told.then(*(report("u1", {"huge": largest}, event=f"e{number}") for number in range(1_100)))
    assert told.cell().metrics["huge"].m == 1_100 * largest
    assert told.cell().metrics["huge"].mm == (1_100 * largest) ** 2
    rows = {key: row for key, row in told.fold.changed_rows().items() if row is not None}
    restored = PartitionFold.restore(0, told.fold.position, rows, told.decisions.history)
    assert restored.partial("exp") == told.fold.partial("exp")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"{", "malformed"),
        (b"\xff", "malformed"),
        (b"[]", "invalid-field"),
        (assignment("r1", "u1", experiment="nowhere"), "unknown-experiment"),
        (assignment("r1", "u1", "nobody"), "unknown-variant"),
        (assignment("r1", "u1", epoch=7), "unknown-epoch"),
        (assignment("r1", "u1").replace(b"2026", b"yyyy"), "invalid-field"),
        (report("u1", {"success": 1}, experiment="exp"), "unknown-metric"),
        (report("u1", {"correct": 0.5}, experiment="exp"), "out-of-range"),
        (report("u1", {"correct": 1}, experiment="exp").replace(b'"correct":1', b'"rating":1e999'), "not-finite"),
        (outcome("r1", "u1", metrics={"latency_ms": 1e300}), "out-of-range"),
    ],
)
def test_what_cannot_be_used_is_a_dead_letter_and_the_partition_moves_on(event: bytes, code: str) -> None:
    told = Told(metrics=[{"name": "correct", "kind": "proportion"}, {"name": "rating"}])
    result = told.then(event, assignment("r2", "u2"))
    assert [(letter.offset, letter.code) for letter in result.dead_letters] == [(0, code)]
    assert (result.folded, told.cell().units) == (2, 1)


def test_it_stops_before_an_event_whose_decisions_are_not_read() -> None:
    told = Told()
    short = DecisionHistory()
    short.extend(list(enumerate(told.decisions.values[:3])))
    events = stored([assignment("r0", "u0", experiment=None, epoch=None, seen=2), assignment("r1", "u1")])
    fold = PartitionFold(0)
    assert fold.fold(events, short)[1:] == (1, 4)
    assert fold.fold(events, told.decisions.history)[1:] == (1, None)
    assert fold.partial("exp") == _plain_partial(events, told.decisions.history)


def _plain_partial(events: list[Stored], history: DecisionHistory) -> bytes:
    fold = PartitionFold(0)
    fold.fold(events, history)
    return fold.partial("exp")


def test_a_missing_offset_is_damage_and_an_old_one_is_passed_over() -> None:
    told = Told()
    told.then(assignment("r1", "u1"))
    assert told.fold.fold([Stored(0, assignment("r1", "u1"))], told.decisions.history).folded == 0
    with pytest.raises(LogDamagedError, match="offset 1 is missing"):
        told.fold.fold([Stored(2, outcome("r1", "u1"))], told.decisions.history)


def test_a_checkpoint_of_another_position_is_refused() -> None:
    told = Told()
    told.then(assignment("r1", "u1"))
    rows = {key: row for key, row in told.fold.changed_rows().items() if row is not None}
    with pytest.raises(LogDamagedError, match="partition 0 at 1"):
        PartitionFold.restore(0, 2, rows, told.decisions.history)


def test_a_checkpoint_holds_only_what_changed() -> None:
    told = Told()
    told.then(*(assignment(f"r{number}", f"u{number}") for number in range(50)))
    told.fold.changed_rows()
    told.then(outcome("r7", "u7"))
    kinds = sorted(key[:1] if b'"u/' not in key else b"unit" for key in told.fold.changed_rows())
    assert kinds == sorted([b"d", b"m", b"o", b"unit", b"x", b"x", b"x"])


def test_only_experiments_that_something_happened_to_are_published_again() -> None:
    told = Told()
    told.decisions.start("other")
    told.then(assignment("r1", "u1"), assignment("r2", "u1", experiment="other", seen=7))
    assert set(told.fold.partials()) == {"exp", "other"}
    told.then(outcome("r1", "u1"))
    assert set(told.fold.partials()) == {"exp"}
    assert told.fold.partials() == {}


def test_an_experiment_that_the_partition_has_not_met_has_no_partial() -> None:
    with pytest.raises(UnknownSubjectError, match="nothing of experiment 'exp'"):
        Told().fold.partial("exp")


def test_endless_requests_without_unit_do_not_grow_the_state() -> None:
    told = Told(keep_s=1_800)
    rows: dict[bytes, bytes] = {}
    sizes: list[int] = []
    for number in range(300):
        at = START + number * 10 * MINUTE
        told.then(
            assignment(f"r{number}", f"r{number}", own_unit=True, at=at),
            outcome(f"r{number}", f"r{number}", at=at),
            assignment(f"lost{number}", f"lost{number}", own_unit=True, at=at),
        )
        told.fold.bucket_events()
        changed = {**rows, **told.fold.changed_rows()}
        rows = {key: row for key, row in changed.items() if row is not None}
        sizes.append(len(rows))
    assert told.fold.n_units == 8  # of half an hour, and until the next tick
    assert max(sizes[200:]) <= max(sizes[150:200])
    assert (told.cell().units, told.cell().missing, told.cell().metrics["success"].m) == (600, 298, 300)
