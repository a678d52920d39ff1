"""The split table: which variant each of the 10,000 slots belongs to, and how little of it a change of weights moves.

Owns the layout of a split: the first one, re-weightings, removals, and its coding for the decision event. It must not
know how a unit gets its slot (`assignment`), nor when a split may change (`lifecycle`).

The table is state, carried from decision to decision, and not computed from the weights: only so can a change of
weights move exactly the units that it has to, while everybody else keeps their variant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby, repeat
from math import isfinite

from splitgauge.experiments.assignment import SLOTS
from splitgauge.schemas.errors import ContractError

__all__ = ["MAX_VARIANTS", "SplitTable", "from_runs", "lay_out", "remove", "reweight"]

MAX_VARIANTS = 256
"""A slot holds the variant's index in one byte."""


@dataclass(frozen=True, slots=True)
class SplitTable:
    """An immutable split. Equal tables send every unit to the same variant, and know the same variants.

    Attributes:
        names: all variants in the order of the specification, those without a slot included.
        slots: 10,000 bytes; byte s is the index in `names` of the variant that has slot s.

    Raises: ContractError where names repeat, are none or too many, or a slot belongs to none of them.
    """

    names: tuple[str, ...]
    slots: bytes

    def __post_init__(self) -> None:
        _check_names(self.names)
        if len(self.slots) != SLOTS or max(self.slots) >= len(self.names):
            raise _bad_split(
                "the slots are not those of a split",
                where="slots",
                remedy=f"Give {SLOTS} bytes, each the index of one of {len(self.names)} variants",
            )

    def variant_of(self, slot: int) -> str:
        """The variant that has the slot, 0..9999 (not checked: it is on the data path, and slots come from a hash)."""
        return self.names[self.slots[slot]]

    def counts(self) -> dict[str, int]:
        """Slots of each variant; they add up to 10,000."""
        return {name: self.slots.count(index) for index, name in enumerate(self.names)}

    def shares(self) -> dict[str, float]:
        """Share of the split that each variant has, as the health checks expect it: the slots, not the weights."""
        return {name: count / SLOTS for name, count in self.counts().items()}

    def to_runs(self) -> list[tuple[str, int]]:
        """The table as (variant, number of slots in a row), from slot 0 on; `from_runs` reads it back.

        >>> lay_out({"control": 80, "challenger": 20}).to_runs()
        [('control', 8000), ('challenger', 2000)]
        """
        return [(self.names[index], sum(1 for _ in run)) for index, run in groupby(self.slots)]


def from_runs(runs: Iterable[tuple[str, int]], *, names: Sequence[str]) -> SplitTable:
    """The table that `to_runs` coded.

    Args:
        runs: as in the decision event.
        names: all variants of the experiment in the order of its specification.
    Raises: ContractError where a run names an unknown variant, has no length, continues the run before it (one table
        has one coding, so that equal splits are equal bytes), they are not 10,000 slots together, or `names` repeat.
    """
    _check_names(names)
    index_of = {name: index for index, name in enumerate(names)}
    parts: list[bytes] = []
    total, before = 0, None
    for place, (name, length) in enumerate(runs):
        where = f"runs/{place}"
        if name not in index_of:
            raise _bad_split(f"no variant {name!r} in this experiment", where=where, remedy=_one_of(names))
        if name == before:
            raise _bad_split(f"the run of {name!r} goes on from the one before", where=where, remedy="Join the two")
        total += length
        if not 1 <= length <= SLOTS or total > SLOTS:
            raise _bad_split(f"a run of {length} slots makes {total} in all", where=where, remedy=_RUNS_REMEDY)
        parts.append(bytes((index_of[name],)) * length)
        before = name
    if total != SLOTS:
        raise _bad_split(f"the runs hold {total} slots", where="runs", remedy=_RUNS_REMEDY)
    return SplitTable(tuple(names), b"".join(parts))


def lay_out(weights: Mapping[str, float]) -> SplitTable:
    """The first layout: each variant one range of slots, in the order of the mapping.

    The ranges are those of GrowthBook's `getBucketRange` at full coverage, with two differences. They end on whole
    slots, so that 10, 20 and 70 % are 1000, 2000 and 7000 slots (its floats give 2001 and 6999). And weights that do
    not add up to 1 keep their ratios, where GrowthBook would fall back to equal ones.

    Args:
        weights: any non-negative numbers, not all 0; only their ratios count. 0 keeps a variant without slots.
    Raises: ContractError where a weight is negative or not finite, or none is above 0.
    """
    counts = _slot_counts(weights)
    slots = b"".join(bytes((index,)) * count for index, count in enumerate(counts))
    return SplitTable(tuple(weights), slots)


def reweight(table: SplitTable, weights: Mapping[str, float]) -> SplitTable:
    """The table with new weights, the fewest slots moved: each variant that shrinks gives up just its surplus.

    A variant gives up its highest slots first, so that a larger change of the same kind moves the same slots and some
    more, and the order of `weights` does not matter.

    Args:
        weights: as for `lay_out`, for exactly the variants of the table.
    Raises: ContractError as `lay_out`, and where a variant is unknown or has no weight.
    """
    if set(weights) != set(table.names):
        raise _bad_split(
            f"weights for {', '.join(weights)}, but the variants are {', '.join(table.names)}",
            remedy="Give each variant a weight; 0 switches one off",
        )
    counts = [table.slots.count(index) for index in range(len(table.names))]
    target = _slot_counts({name: weights[name] for name in table.names})
    freed: list[int] = []
    for index, (old, new) in enumerate(zip(counts, target, strict=True)):
        if old > new:
            freed += [slot for slot, owner in enumerate(table.slots) if owner == index][new:]
    takers = chain.from_iterable(repeat(index, target[index] - old) for index, old in enumerate(counts))
    slots = bytearray(table.slots)
    for slot, taker in zip(sorted(freed), takers, strict=True):
        slots[slot] = taker
    return SplitTable(table.names, bytes(slots))


def remove(table: SplitTable, variant: str, *, to: str = "control") -> SplitTable:
    """The table with all slots of `variant` given to another; `variant` stays known, without a slot.

    Raises: ContractError where one of the two is unknown, or they are the same.
    """
    for name in (variant, to):
        if name not in table.names:
            raise _bad_split(f"no variant {name!r} in this split", where="variant", remedy=_one_of(table.names))
    if variant == to:
        raise _bad_split(f"the slots of {variant!r} cannot go to itself", where="variant", remedy="Remove another arm")
    old, new = table.names.index(variant), table.names.index(to)
    return SplitTable(table.names, table.slots.replace(bytes((old,)), bytes((new,))))


_RUNS_REMEDY = f"Runs are 1 slot or longer and hold {SLOTS} together"


def _slot_counts(weights: Mapping[str, float]) -> list[int]:
    """Slots of each variant by largest remainder, ties to the first; a weight above 0 gets at least one slot."""
    _check_names(tuple(weights))
    for name, weight in weights.items():
        if not isfinite(weight) or weight < 0:
            raise _bad_split(
                f"a weight of {weight}", where=f"weights/{name}", remedy="Weights are finite and 0 or more"
            )
    if not any(weights.values()):
        raise _bad_split("no variant has a weight above 0", remedy="Give at least one variant a weight")
    # Exact fractions: with floats, 0.1 + 0.2 would lay a boundary one slot off, and 1e308 twice would overflow.
    exact = [Fraction(weight) for weight in weights.values()]
    total = sum(exact)
    quotas = [SLOTS * weight / total for weight in exact]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(counts)), key=lambda index: counts[index] - quotas[index])
    for index in by_remainder[: SLOTS - sum(counts)]:
        counts[index] += 1
    for index, quota in enumerate(quotas):
        if quota > 0 and counts[index] == 0:
            # From whoever is furthest above its quota: so nobody is more than a slot off, unless many need this.
            giver = max((i for i, count in enumerate(counts) if count > 1), key=lambda i: counts[i] - quotas[i])
            counts[giver] -= 1
            counts[index] = 1
    return counts


def _check_names(names: Sequence[str]) -> None:
    if not 1 <= len(names) <= MAX_VARIANTS:
        raise _bad_split(f"{len(names)} variants in one split", where="names", remedy=f"Have 1 to {MAX_VARIANTS}")
    if len(set(names)) < len(names):
        raise _bad_split(f"variant names repeat in {', '.join(names)}", where="names", remedy="Make them differ")


def _one_of(names: Iterable[str]) -> str:
    return f"Name one of {', '.join(names)}"


def _bad_split(message: str, *, remedy: str, where: str = "weights") -> ContractError:
    return ContractError(message, where=where, remedy=remedy)
