"""The compiled tables against dictionaries, and the ring of ids against the plain memory of them."""

from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from splitgauge.aggregator.compiled import tables
from splitgauge.aggregator.compiled.ids import RecentIdRing, halves_of, text_of
from splitgauge.aggregator.compiled.units import BOOK_SHIFT, UnitIndex, unit_halves, unit_text
from splitgauge.aggregator.duplicates import RECENT_EVENTS, RecentIds

LINES = 64
Id = tuple[int, int]


def _ids(chance: Random, n: int, *, homes: int, more: int = 0) -> list[Id]:
    """Ids whose searches begin at few lines, the last ones of a table of `LINES`: they run around its end."""
    wanted = {LINES - 1 - number for number in range(homes)}
    ids: list[Id] = []
    while len(ids) < n:
        high, low = chance.getrandbits(64) - 2**63, chance.choice([chance.getrandbits(64) - 2**63, 0, -1, 1])
        if tables.home(high, low, more, LINES - 1) in wanted:
            ids.append((high, low))
    return ids


@pytest.mark.parametrize("homes", [1, 3, 64])
def test_open_requests_are_found_until_they_are_taken(homes: int) -> None:
    chance = Random(homes)
    ids = _ids(chance, 60, homes=homes)
    table: NDArray[np.int64] = np.zeros((LINES, 6), dtype=np.int64)
    held: dict[Id, tuple[int, ...]] = {}
    for step in range(4_000):
        key = chance.choice(ids)
        line = tables.find_open(table, *key)
        assert (tuple(table[line].tolist()[2:]) if line >= 0 else None) == held.get(key)
        if line >= 0:
            tables.take_open(table, line)
            del held[key]
        elif len(held) < LINES // 2:
            values = (step, -step, step, chance.randrange(9))
            tables.put_open(table, *key, *values)
            held[key] = (*values[:3], values[3] + 1)
        assert np.count_nonzero(table[:, 5] != tables.FREE) == len(held)
    larger = np.zeros((4 * LINES, 6), dtype=np.int64)
    tables.move_open(table, larger)
    assert {key: tuple(larger[tables.find_open(larger, *key)].tolist()[2:]) for key in held} == held
    assert np.count_nonzero(larger[:, 5]) == len(held)


@pytest.mark.parametrize("homes", [1, 3, 64])
def test_units_are_found_by_book_until_they_are_taken(homes: int) -> None:
    chance = Random(homes)
    ids = _ids(chance, 30, homes=homes, more=1)
    table: NDArray[np.int64] = np.zeros((LINES, 4), dtype=np.int64)
    held: dict[tuple[Id, int], tuple[int, int]] = {}
    for step in range(4_000):
        key, book = chance.choice(ids), chance.choice([0, 0, 1, 2**15 - 2])
        line = tables.find_unit(table, *key, book)
        assert (tuple(table[line].tolist()[2:]) if line >= 0 else None) == held.get((key, book))
        if line >= 0:
            tables.take_unit(table, line)
            del held[key, book]
        elif len(held) < LINES // 2:
            held[key, book] = step, book << BOOK_SHIFT | step + 1
            tables.put_unit(table, *key, *held[key, book])
        assert np.count_nonzero(table[:, 3] != tables.FREE) == len(held)


def test_a_set_of_ids_has_what_was_added() -> None:
    ids = _ids(Random(1), 32, homes=2)
    table: NDArray[np.int64] = np.zeros((LINES, 3), dtype=np.int64)
    for place, key in enumerate(ids):
        assert [tables.find_id(table, *other) for other in ids] == [other in ids[:place] for other in ids]
        assert tables.add_id(table, *key)
        assert not tables.add_id(table, *key)


def test_an_index_of_units_grows_and_has_them_all() -> None:
    chance, index = Random(1), UnitIndex()
    held: dict[Id, int] = {}
    for row in range(3_000):
        index.make_room(1)
        key = chance.getrandbits(64) - 2**63, chance.getrandbits(64) - 2**63
        tables.put_unit(index.table, *key, row, row + 1)
        held[key], index.count = row, index.count + 1
    assert 2 * len(held) <= len(index.table) <= 8 * len(held)
    assert {key: index.table[tables.find_unit(index.table, *key, 0), 2] for key in held} == held


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 2**127, 2**128 - 1])
def test_halves_of_ids_are_ids_again(number: int) -> None:
    digits = f"{number:032x}"
    uuid = "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
    halves = halves_of(uuid)
    assert halves is not None
    assert (text_of(*halves), unit_halves(digits), unit_text(*halves)) == (uuid, halves, digits)


@pytest.mark.parametrize(
    "text",
    ["", "0" * 32, "0" * 36, "00000000-0000-0000-0000-00000000000G", "00000000-0000-0000-0000-00000000000A", "é" * 36],
)
def test_what_is_no_id_has_no_halves(text: str) -> None:
    assert halves_of(text) is None
    assert unit_halves(text) is None or len(text) == 32


class _Both:
    """The ring and the plain memory, told the same."""

    def __init__(self) -> None:
        self.plain, self.ring = RecentIds(), RecentIdRing()
        self.rows: dict[bytes, bytes] = {}

    def claim(self, text: str, *, released: bool = False) -> bool:
        new = self.plain.claim(text)
        assert self.ring.claim(text) == new
        if new and released:
            self.plain.release(text)
            self.ring.release(text)
        assert self.plain.total == self.ring.total
        return new

    def forget(self) -> None:
        self.plain.forget()
        self.ring.forget()

    def save(self, *, restore: bool) -> None:
        changed = self.plain.changed_rows()
        assert self.ring.changed_rows() == changed
        merged = {**self.rows, **changed}
        self.rows = {key: row for key, row in merged.items() if row is not None}
        if restore:
            total = self.plain.total
            self.plain, self.ring = RecentIds(), RecentIdRing()
            self.plain.restore(self.rows, total)
            self.ring.restore(self.rows, total)


def _id(number: int) -> str:
    # One in nine in another form.
    return f"/another\n{number}" if number % 9 == 4 else text_of(number * 0x9E3779B97F4A7C15 >> 3, number)


def test_the_first_id_is_new_in_whatever_form_it_is() -> None:
    assert RecentIdRing().claim("r1/assignment")
    assert RecentIdRing().claim("00000000-0000-0000-0000-000000000000")


def test_the_ring_remembers_what_the_plain_memory_remembers() -> None:
    chance, both, newest, repeated = Random(5), _Both(), 0, 0
    while both.plain.total < 2 * RECENT_EVENTS + 50_000:
        for _ in range(chance.choice([1, 900, 9_000])):
            newest += 1
            both.claim(_id(newest))
            if chance.random() < 0.05:
                age = chance.choice([1, 50, RECENT_EVENTS - 900, RECENT_EVENTS, RECENT_EVENTS + 900, 131_072, 140_000])
                repeated += both.claim(
                    _id(max(1, newest - age + chance.randrange(900))), released=chance.random() < 0.4
                )
        if chance.random() < 0.7:
            both.forget()
        if chance.random() < 0.3:
            both.save(restore=chance.random() < 0.3)
    both.save(restore=True)
    assert repeated > 1_000
    assert [both.claim(_id(number)) for number in range(newest - 300, newest)] == [False] * 300


def test_ids_of_events_that_could_not_be_used_take_no_room_however_many_there_are() -> None:
    ring = RecentIdRing()
    for number in range(len(ring.lines) + 10):
        text = text_of(number, -number)
        assert ring.claim(text)
        ring.release(text)
    assert ring.total == 0
    assert [ring.claim(text_of(1, 2)) for _ in range(2)] == [True, False]


def test_a_released_line_is_nobodys_not_even_that_of_an_id_of_zeros() -> None:
    ring, lines = np.zeros((8, 3), dtype=np.int64), np.zeros(8, dtype=np.int64)
    lines[tables.home(0, 0, 0, 7)] = -1
    assert tables.find_recent(ring, lines, 0, 0, 3) < 0
