"""The laws of splitting: fewest moves, stickiness, exact coding, uniform and independent slots."""

from fractions import Fraction
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chi2

from splitgauge.experiments.assignment import SLOTS, Gate, Seed, coverage_slots
from splitgauge.experiments.split_table import SplitTable, from_runs, lay_out, remove, reweight

WEIGHT = st.one_of(st.just(0.0), st.integers(0, 1000), st.floats(0, 1e6, allow_nan=False))


def weights_for(variants: int) -> st.SearchStrategy[dict[str, float]]:
    values = st.lists(WEIGHT, min_size=variants, max_size=variants).filter(any)
    return values.map(lambda chosen: {f"v{index}": weight for index, weight in enumerate(chosen)})


@st.composite
def tables(draw: st.DrawFn) -> SplitTable:
    """A table with a past: a first layout and up to three changes of it."""
    variants = draw(st.integers(1, 6))
    table = lay_out(draw(weights_for(variants)))
    for _ in range(draw(st.integers(0, 3))):
        table = reweight(table, draw(weights_for(variants)))
    return table


def moved(before: SplitTable, after: SplitTable) -> set[int]:
    return {slot for slot in range(SLOTS) if before.slots[slot] != after.slots[slot]}


@given(tables(), st.data())
def test_reweighting_moves_the_theoretical_minimum(before: SplitTable, data: st.DataObject) -> None:
    weights = data.draw(weights_for(len(before.names)))
    after = reweight(before, weights)
    old, new = before.counts(), after.counts()
    assert new == lay_out(weights).counts()
    assert len(moved(before, after)) == sum(max(0, old[name] - new[name]) for name in before.names)


@given(tables(), st.data())
def test_reweighting_does_not_depend_on_the_order_of_the_weights(before: SplitTable, data: st.DataObject) -> None:
    weights = data.draw(weights_for(len(before.names)))
    shuffled = dict(data.draw(st.permutations(list(weights.items()))))
    assert reweight(before, shuffled) == reweight(before, weights)


@given(tables(), st.data())
def test_larger_change_moves_the_same_slots_and_more(past: SplitTable, data: st.DataObject) -> None:
    before = SplitTable(("a", "b"), bytes(min(index, 1) for index in past.slots))
    start = before.counts()["a"]
    less = data.draw(st.integers(0, start))
    least = data.draw(st.integers(0, less))
    small, large = (reweight(before, {"a": count, "b": SLOTS - count}) for count in (less, least))
    assert moved(before, small) <= moved(before, large)


@given(tables())
def test_runs_code_a_table_exactly(table: SplitTable) -> None:
    runs = table.to_runs()
    assert from_runs(runs, names=table.names) == table
    assert from_runs(runs, names=table.names).to_runs() == runs


@given(st.integers(1, 40).flatmap(weights_for))
def test_counts_are_within_a_slot_of_the_weights(weights: dict[str, float]) -> None:
    counts = lay_out(weights).counts()
    exact = {name: Fraction(weight) for name, weight in weights.items()}
    quotas = {name: SLOTS * weight / sum(exact.values()) for name, weight in exact.items()}
    assert sum(counts.values()) == SLOTS
    assert [name for name in weights if counts[name] > 0] == [name for name in weights if weights[name] > 0]
    # A weight worth less than a slot has one all the same; larger ones pay for it, at most one slot each time.
    lifted = sum(0 < quota < 1 for quota in quotas.values())
    for name, quota in quotas.items():
        assert quota - 1 - lifted < counts[name] < quota + 1


@given(tables(), st.data())
def test_removal_moves_only_the_removed_arm(before: SplitTable, data: st.DataObject) -> None:
    assume(len(before.names) > 1)
    arm, heir = data.draw(st.permutations(before.names))[:2]
    after = remove(before, arm, to=heir)
    assert {before.names[before.slots[slot]] for slot in moved(before, after)} <= {arm}
    assert after.counts()[arm] == 0


@given(tables(), st.data(), st.text(min_size=1), st.text())
def test_unit_keeps_its_variant_unless_its_slot_moved(
    before: SplitTable, data: st.DataObject, unit: str, seed: str
) -> None:
    after = reweight(before, data.draw(weights_for(len(before.names))))
    slot = Seed(seed).slot(unit)
    same = before.variant_of(slot) == after.variant_of(slot)
    assert same == (slot not in moved(before, after))


@given(st.text(), st.text())
def test_seed_and_unit_hash_as_one_text(seed: str, unit: str) -> None:
    assert Seed(seed).slot(unit) == Seed("").slot(seed + unit) == Seed(seed + unit).slot("")


@given(st.floats(1e-3, 1), st.floats(1e-3, 1), st.floats(0.05, 1), st.integers(0, 10**6))
def test_ramp_by_coverage_moves_nobody_out(one: float, other: float, joint_weight: float, number: int) -> None:
    low, high = sorted((one * joint_weight, other * joint_weight))
    unit, seed = f"unit-{number}", Seed("exp:coverage")
    before = Gate(seed, end=coverage_slots(low, joint_weight))
    after = Gate(seed, end=coverage_slots(high, joint_weight))
    assert after.admits(unit) or not before.admits(unit)


# The laws below look at one fixed sample: the same units, so the same figures in every run.
UNITS = [sha256(b"unit-%d" % number).hexdigest()[:32] for number in range(200_000)]
RARE = 1e-3


def slots_of(seed: str) -> npt.NDArray[np.int64]:
    slot = Seed(seed).slot
    return np.fromiter(map(slot, UNITS), dtype=np.int64, count=len(UNITS))


@pytest.fixture(scope="module")
def split_slots() -> npt.NDArray[np.int64]:
    return slots_of("exp-1:split")


def test_slots_are_uniform(split_slots: npt.NDArray[np.int64]) -> None:
    seen = np.bincount(split_slots, minlength=SLOTS)
    expected = len(UNITS) / SLOTS
    statistic = float(np.sum((seen - expected) ** 2)) / expected
    assert RARE < chi2.sf(statistic, SLOTS - 1) < 1 - RARE


# The last seed ends in a state whose low byte is that of the split's seed: there FNV-1a alone keeps a constant distance
# for all units, which is the worst that two seeds can do.
@pytest.mark.parametrize("seed", ["exp-1:coverage", "exp-2:split", "layer:default", "exp-160:coverage"])
def test_slots_under_two_seeds_are_independent(split_slots: npt.NDArray[np.int64], seed: str) -> None:
    cells = np.zeros((20, 20))
    np.add.at(cells, (split_slots // 500, slots_of(seed) // 500), 1)
    expected = len(UNITS) / cells.size
    statistic = float(np.sum((cells - expected) ** 2)) / expected
    assert RARE < chi2.sf(statistic, cells.size - 1) < 1 - RARE


def test_units_that_pass_the_coverage_gate_split_as_all_units_do(split_slots: npt.NDArray[np.int64]) -> None:
    gate = Gate(Seed("exp-1:coverage"), end=coverage_slots(0.02, 0.2))
    inside = np.fromiter(map(gate.admits, UNITS), dtype=np.bool_, count=len(UNITS))
    challenger = split_slots >= 8000
    assert inside.mean() == pytest.approx(0.1, abs=0.003)
    assert challenger[inside].mean() == pytest.approx(0.2, abs=0.01)
