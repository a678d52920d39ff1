"""Units in a checkpoint: what is restored is what was saved, and the store stays about as large as its units."""

from random import Random

import numpy as np
import pytest

from splitgauge.aggregator.segments import SIZE, SPARE, Segments
from splitgauge.aggregator.unit_table import UnitTable

WIDTH = 3
Rows = dict[bytes, bytes]


class Saved:
    """A table of units, and its checkpoint after each save."""

    def __init__(self) -> None:
        self.units = UnitTable(WIDTH)
        self.segments = Segments(self.units)
        self.wide: dict[int, list[int]] = {}
        self.rows: Rows = {}
        self.written = 0
        self._chance = Random(1)

    def change(self, unit_ids: list[str]) -> None:
        for unit_id in unit_ids:
            row = self.units.rows.get(unit_id)
            row = self.units.add(unit_id) if row is None else row
            self.units.matrix[row] = [self._chance.randrange(-(2**63), 2**63) for _ in range(WIDTH)]
            self.units.reports[row] = self._chance.randbytes(self._chance.randrange(3) * 8)
            self.units.changed[row] = True

    def save(self) -> dict[bytes, bytes | None]:
        changed = self.segments.changed_rows(self.wide)
        self.written += sum(len(value) for value in changed.values() if value is not None)
        self.rows = {key: value for key, value in (self.rows | changed).items() if value is not None}
        return changed

    def restored(self) -> "Saved":
        again = Saved()
        again.wide = again.segments.restore(self.rows)
        again.rows = self.rows
        return again

    def what(self) -> dict[str, tuple[list[int], bytes]]:
        return {
            unit_id: (self.wide.get(row) or self.units.matrix[row].tolist(), self.units.reports[row])
            for unit_id, row in self.units.rows.items()
        }


def names(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in range(*numbers)]


def test_what_was_saved_is_restored() -> None:
    saved = Saved()
    saved.change(names(1_000))
    saved.save()
    assert saved.restored().what() == saved.what()
    assert len(saved.rows) == -(-1_000 // SIZE)


def test_rows_beyond_64_bits_are_restored() -> None:
    saved = Saved()
    saved.change(names(600))
    saved.wide = {row: [0, 2**64 + row, -(2**70)] for row in (3, 300, 599)}
    saved.save()
    assert saved.restored().what() == saved.what()


def test_nothing_new_writes_nothing() -> None:
    saved = Saved()
    saved.change(names(1_000))
    saved.save()
    assert saved.save() == {}
    assert saved.restored().save() == {}


def test_of_a_unit_that_was_saved_often_the_newest_row_counts() -> None:
    saved = Saved()
    for _ in range(30):
        saved.change(names(10))
        saved.save()
        assert saved.restored().what() == saved.what()
    assert len(saved.rows) <= SPARE + 1


@pytest.mark.parametrize("restarting", [False, True])
def test_whatever_changes_and_goes_all_that_stays_is_restored_and_the_store_stays_small(*, restarting: bool) -> None:
    saved, chance = Saved(), Random(2)
    gone: set[str] = set()
    for save in range(80):
        known = list(saved.units.rows)
        saved.change([name for name in names(save * 40, save * 40 + 40) if name not in gone])
        saved.change(chance.sample(known, min(len(known), chance.choice([3, 30, 900]))))
        for unit_id in chance.sample(known, min(len(known), 20)):
            saved.units.remove(unit_id)
            gone.add(unit_id)
        saved.save()
        again = saved.restored()
        left = again.what()
        assert {name: row for name, row in left.items() if name not in gone} == saved.what()
        assert len(left) <= 2 * len(saved.units.rows) + SPARE * SIZE
        assert len(saved.rows) <= 2 * len(saved.units.rows) / SIZE + SPARE
        if restarting and save % 10 == 9:
            for unit_id in left.keys() & gone:
                again.units.remove(unit_id)
            saved = again


def test_a_few_units_that_change_again_and_again_cost_little() -> None:
    saved = Saved()
    saved.change(names(20_000))
    saved.save()
    first, saved.written = saved.written, 0
    for _ in range(500):
        saved.change(names(40))
        saved.save()
    assert saved.written < 3 * 500 * first * 40 / 20_000


def test_units_that_change_at_random_cost_as_much_again() -> None:
    saved, chance = Saved(), np.random.default_rng(3)
    every = names(10_000)
    saved.change(every)
    saved.save()
    first, saved.written = saved.written, 0
    for _ in range(50):
        saved.change([every[number] for number in chance.choice(len(every), 1_000, replace=False)])
        saved.save()
    assert saved.written < 2 * 50 * first * 1_000 / 10_000
    assert len(saved.rows) <= 2 * len(every) / SIZE + SPARE


def test_a_table_without_units_keeps_no_segment() -> None:
    saved = Saved()
    saved.change(names(1_000))
    saved.save()
    for unit_id in list(saved.units.rows):
        saved.units.remove(unit_id)
    saved.save()
    assert saved.rows == {}
