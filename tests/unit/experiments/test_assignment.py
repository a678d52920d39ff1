"""The hash against the published vectors and the JavaScript SDK; the gates at their edges."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from splitgauge.experiments.assignment import SLOTS, Gate, Seed, coverage_slots, hash_slot
from splitgauge.schemas.errors import ContractError

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("assignment_vectors.json").read_text(encoding="utf-8"))
VERSION_2: list[Sequence[Any]] = [vector for vector in VECTORS["hash"] if vector[2] == 2]

# Made with the function of GrowthBook's JavaScript SDK (charCodeAt, so UTF-16 code units).
BEYOND_ASCII = [
    ("seed", "é", 8663),
    ("graine-é", "user", 468),
    ("seed", "Ωmega ユーザー", 234),
    ("🌱", "🙂🙃", 8916),
    ("seed", "\ud83d", 9009),
    ("seed\ud83d", "\ude42", 3551),
]


def test_vectors_of_the_hash_are_there() -> None:
    assert len(VERSION_2) == 7


@pytest.mark.parametrize(("seed", "unit", "version", "expected"), VERSION_2)
def test_hash_gives_the_published_slots(seed: str, unit: str, version: int, expected: float) -> None:
    assert version == 2
    assert hash_slot(seed, unit) / SLOTS == expected
    assert Seed(seed).slot(unit) / SLOTS == expected


@pytest.mark.parametrize(("seed", "unit", "expected"), BEYOND_ASCII)
def test_hash_beyond_ascii_goes_by_utf16_code_units(seed: str, unit: str, expected: int) -> None:
    assert hash_slot(seed, unit) == expected


@pytest.mark.parametrize(("seed", "unit", "expected"), [("", "", 2305), ("seed", "", 4286), ("", "x" * 1000, 3599)])
def test_hash_takes_texts_of_any_length(seed: str, unit: str, expected: int) -> None:
    assert hash_slot(seed, unit) == expected


def test_seeds_with_the_same_text_are_equal() -> None:
    assert Seed("exp:split") == Seed("exp:split") != Seed("exp:coverage")
    assert hash(Seed("exp:split")) == hash(Seed("exp:split"))


def test_gate_admits_its_slots_and_no_other() -> None:
    slot = hash_slot("foo", "ab")
    seed = Seed("foo")
    assert slot == 2575
    assert Gate(seed, 2575, 2576).admits("ab")
    assert not Gate(seed, 2576, 10_000).admits("ab")
    assert not Gate(seed, 0, 2575).admits("ab")


def test_gate_without_a_range_is_open_and_an_empty_one_shut() -> None:
    units = [f"unit-{number}" for number in range(100)]
    assert all(Gate(Seed("s")).admits(unit) for unit in units)
    assert not any(Gate(Seed("s"), 4000, 4000).admits(unit) for unit in units)


def test_shares_of_a_layer_exclude_each_other_and_leave_nobody_out() -> None:
    layer = Seed("layer:search")
    gates = [Gate(layer, 0, 3000), Gate(layer, 3000, 7000), Gate(layer, 7000, 10_000)]
    for number in range(1000):
        assert sum(gate.admits(f"unit-{number}") for gate in gates) == 1


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (6, 5), (0, 10_001)])
def test_gate_with_an_impossible_range_is_refused(start: int, end: int) -> None:
    with pytest.raises(ContractError, match=r"gate 's': a gate cannot admit the slots .* 0 <= start <= end <= 10000"):
        Gate(Seed("s"), start, end)


@pytest.mark.parametrize(
    ("step", "joint_weight", "slots"),
    [
        (0.05, 0.2, 2500),
        (0.2, 0.2, 10_000),
        (0.2, 1 - 0.8, 10_000),
        (0.1 + 0.2, 0.3, 10_000),
        (1, 1, 10_000),
        (0.00035, 1, 4),
        (0.00025, 1, 2),
        (1 / 3, 1, 3333),
    ],
)
def test_coverage_slots_round_half_to_even(step: float, joint_weight: float, slots: int) -> None:
    assert coverage_slots(step, joint_weight) == slots


@pytest.mark.parametrize("step", [0, -0.1, 0.21, 0.000001, float("nan"), float("inf")])
def test_impossible_ramp_step_is_refused_with_the_range(step: float) -> None:
    with pytest.raises(ContractError, match=r"step: a ramp to .* Name a share from 2e-05 to 0\.2"):
        coverage_slots(step, 0.2)


@pytest.mark.parametrize("joint_weight", [0, -0.1, 1.1, float("nan"), float("inf")])
def test_ramp_without_a_challenger_is_refused(joint_weight: float) -> None:
    with pytest.raises(ContractError, match="joint_weight: the challengers' joint weight is"):
        coverage_slots(0.1, joint_weight)
