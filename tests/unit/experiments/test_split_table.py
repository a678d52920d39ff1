"""The split table by example; `tests/property/experiments` has the laws."""

import json
from pathlib import Path
from typing import Any

import pytest

from splitgauge.experiments.assignment import SLOTS
from splitgauge.experiments.split_table import SplitTable, from_runs, lay_out, remove, reweight
from splitgauge.schemas.errors import ContractError

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("assignment_vectors.json").read_text(encoding="utf-8"))
Ranges = list[tuple[float, float]]

# GrowthBook falls back to equal weights where they do not add up to 1 or are not one a variant. Here only ratios count
# (weights may be any non-negative numbers), and a mapping has one weight for each variant.
FALLS_BACK = {"weights sum below 1", "weights sum above 1", "weights.length not equal to num variations"}


def weights_of(values: list[float]) -> dict[str, float]:
    return {str(index): value for index, value in enumerate(values)}


def moved(before: SplitTable, after: SplitTable) -> set[int]:
    return {slot for slot in range(SLOTS) if before.variant_of(slot) != after.variant_of(slot)}


@pytest.mark.parametrize(("name", "arguments", "ranges"), VECTORS["getBucketRange"])
def test_first_layout_gives_every_bucket_range_to_its_variant(name: str, arguments: list[Any], ranges: Ranges) -> None:
    variations, coverage, weights = arguments
    if weights is None or name in FALLS_BACK:
        weights = [1] * variations
    table = lay_out(weights_of(weights))
    for index, (start, end) in enumerate(ranges):
        in_range = {table.variant_of(slot) for slot in range(round(start * SLOTS), round(end * SLOTS))}
        assert in_range <= {str(index)}
    if coverage >= 1:
        assert [end - start for start, end in ranges] == pytest.approx(list(table.shares().values()), abs=1e-4)


def test_weights_that_do_not_add_up_to_one_keep_their_ratio() -> None:
    assert lay_out({"a": 0.4, "b": 0.1}).counts() == {"a": 8000, "b": 2000}
    assert lay_out({"a": 0.7, "b": 0.6}).counts() == {"a": 5385, "b": 4615}


# An index of -1 is a unit that GrowthBook's reduced coverage leaves out; coverage is a gate here, before any table.
@pytest.mark.parametrize(("name", "n", "ranges", "index"), [v for v in VECTORS["chooseVariation"] if v[3] >= 0])
def test_table_look_up_chooses_the_variation(name: str, n: float, ranges: Ranges, index: int) -> None:
    ends = [start for start, _ in ranges[1:]] + [1.0]
    widths = [end - start for (start, _), end in zip(ranges, ends, strict=True)]
    assert lay_out(weights_of(widths)).variant_of(round(n * SLOTS)) == str(index), name


@pytest.mark.parametrize(("variations", "shares"), [v for v in VECTORS["getEqualWeights"] if v[0] > 0])
def test_equal_weights_give_equal_shares(variations: int, shares: list[float]) -> None:
    assert list(lay_out(weights_of([1] * variations)).shares().values()) == pytest.approx(shares, abs=1e-4)


def test_first_layout_is_one_range_a_variant_in_the_order_given() -> None:
    table = lay_out({"control": 80, "off": 0, "challenger": 20})
    assert table.names == ("control", "off", "challenger")
    assert table.counts() == {"control": 8000, "off": 0, "challenger": 2000}
    assert table.shares() == {"control": 0.8, "off": 0.0, "challenger": 0.2}
    assert (table.variant_of(0), table.variant_of(7999)) == ("control", "control")
    assert (table.variant_of(8000), table.variant_of(9999)) == ("challenger", "challenger")


def test_left_over_slots_go_to_the_largest_remainders_then_to_the_first() -> None:
    assert lay_out({"a": 1, "b": 1, "c": 1}).counts() == {"a": 3334, "b": 3333, "c": 3333}
    assert lay_out({"a": 1, "b": 1, "c": 5}).counts() == {"a": 1429, "b": 1428, "c": 7143}
    assert lay_out({"a": 0.1, "b": 0.2, "c": 0.7}).counts() == {"a": 1000, "b": 2000, "c": 7000}


def test_tiny_weight_gets_a_slot_and_huge_weights_do_not_overflow() -> None:
    assert lay_out({"a": 1, "b": 1e-300}).counts() == {"a": 9999, "b": 1}
    assert lay_out({"a": 1e308, "b": 1e308}).counts() == {"a": 5000, "b": 5000}
    many = lay_out(weights_of([1.0] + [1e-9] * 255)).counts()
    assert (many.pop("0"), set(many.values())) == (9745, {1})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "0 variants in one split"),
        ({"a": 0, "b": 0}, "no variant has a weight above 0"),
        ({"a": 1, "b": -1}, "weights/b: a weight of -1"),
        ({"a": 1, "b": float("nan")}, "weights/b: a weight of nan"),
        ({"a": float("inf")}, "weights/a: a weight of inf"),
        (dict.fromkeys(map(str, range(257)), 1), "257 variants in one split"),
    ],
)
def test_weights_that_make_no_split_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        lay_out(weights)


def test_reweighting_moves_the_surplus_only() -> None:
    before = lay_out({"control": 50, "challenger": 50})
    after = reweight(before, {"challenger": 20, "control": 80})
    assert moved(before, after) == set(range(7000, 10_000))
    assert after.to_runs() == [("control", 5000), ("challenger", 2000), ("control", 3000)]


def test_taking_a_reweighting_back_restores_the_table() -> None:
    before = lay_out({"control": 50, "challenger": 50})
    assert reweight(reweight(before, {"control": 80, "challenger": 20}), {"control": 1, "challenger": 1}) == before


def test_freed_slots_go_from_the_lowest_on_to_the_growing_variants_in_order() -> None:
    before = reweight(lay_out({"a": 5, "b": 5, "c": 0, "d": 0}), {"a": 8, "b": 2, "c": 0, "d": 0})
    after = reweight(before, {"a": 7, "b": 1, "c": 1, "d": 1})
    assert after.to_runs() == [("a", 5000), ("b", 1000), ("c", 1000), ("a", 2000), ("d", 1000)]


def test_slot_of_a_tiny_weight_comes_from_the_variant_furthest_above_its_quota() -> None:
    assert lay_out({"a": 6000, "b": 3999.6, "c": 0.4}).counts() == {"a": 6000, "b": 3999, "c": 1}


def test_same_weights_move_nothing() -> None:
    before = lay_out({"a": 1, "b": 2, "c": 4})
    assert reweight(before, {"a": 10, "b": 20, "c": 40}) == before


def test_switched_off_variant_can_be_switched_on_again() -> None:
    before = lay_out({"control": 90, "b": 10, "c": 0})
    after = reweight(before, {"control": 45, "b": 10, "c": 45})
    assert after.counts() == {"control": 4500, "b": 1000, "c": 4500}
    assert moved(before, after) == set(range(4500, 9000))


@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "c": 1}])
def test_reweighting_other_variants_than_the_tables_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ContractError, match=r"but the variants are a, b\. Give each variant a weight"):
        reweight(lay_out({"a": 1, "b": 1}), weights)


def test_removed_variant_leaves_its_slots_to_control_and_nobody_else_moves() -> None:
    before = lay_out({"control": 50, "b": 30, "c": 20})
    after = remove(before, "b")
    assert moved(before, after) == set(range(5000, 8000))
    assert after.counts() == {"control": 8000, "b": 0, "c": 2000}
    assert after.names == before.names
    assert remove(after, "b") == after


def test_removed_variant_may_leave_its_slots_to_another() -> None:
    assert remove(lay_out({"a": 1, "b": 1}), "b", to="a").counts() == {"a": 10_000, "b": 0}


@pytest.mark.parametrize(
    ("variant", "message"),
    [("x", r"no variant 'x' in this split\. Name one of control, b"), ("control", "cannot go to itself")],
)
def test_impossible_removal_is_refused(variant: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        remove(lay_out({"control": 1, "b": 1}), variant)


def test_removal_in_favour_of_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ContractError, match="no variant 'control'"):
        remove(lay_out({"a": 1, "b": 1}), "b")


def test_runs_read_back_as_decoded_json() -> None:
    table = reweight(lay_out({"a": 1, "b": 1, "off": 0}), {"a": 3, "b": 1, "off": 0})
    assert from_runs(json.loads(json.dumps(table.to_runs())), names=["a", "b", "off"]) == table


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "runs: the runs hold 0 slots"),
        ([("a", 9999)], "runs: the runs hold 9999 slots"),
        ([("a", 9999), ("b", 2)], "runs/1: a run of 2 slots makes 10001 in all"),
        ([("a", 10_000), ("b", 0)], "runs/1: a run of 0 slots"),
        ([("a", 10_001), ("b", -1)], "runs/0: a run of 10001 slots"),
        ([("a", 5000), ("a", 5000)], "runs/1: the run of 'a' goes on from the one before. Join the two"),
        ([("a", 5000), ("x", 5000)], "runs/1: no variant 'x' in this experiment. Name one of a, b"),
    ],
)
def test_runs_that_code_no_table_are_refused(runs: list[tuple[str, int]], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        from_runs(runs, names=("a", "b"))


@pytest.mark.parametrize("names", [[], ["a", "a"], [str(index) for index in range(257)]])
def test_runs_over_impossible_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ContractError, match="names: "):
        from_runs([(name, SLOTS) for name in names[-1:]], names=names)


@pytest.mark.parametrize(
    ("names", "slots", "message"),
    [
        (("a", "a"), bytes(SLOTS), "variant names repeat in a, a"),
        ((), bytes(SLOTS), "0 variants"),
        (("a",), bytes(SLOTS - 1), "slots: the slots are not those of a split. Give 10000 bytes"),
        (("a",), b"\x01" * SLOTS, "each the index of one of 1 variants"),
    ],
)
def test_impossible_table_is_refused(names: tuple[str, ...], slots: bytes, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        SplitTable(names, slots)


def test_equal_tables_are_equal_and_hash_alike() -> None:
    one, other = lay_out({"a": 1, "b": 1}), lay_out({"a": 50, "b": 50})
    assert one == other
    assert hash(one) == hash(other)
    assert one != lay_out({"a": 1, "c": 1})
    assert one != lay_out({"a": 2, "b": 1})
