"""Where a unit falls: the hash that gives it a slot, and the gates in front of a split.

Owns the one hash of the product and the arithmetic of coverage. It must not know variants (`split_table`), experiments
or their states (`state`), nor how a unit id came about.

The hash is version 2 of GrowthBook's SDK specification: the decimal digits of one FNV-1a are hashed a second time,
because a single pass leaves the order of similar units visible, and correlates between experiments. Every gate and
every split has a seed of its own: the same hash for both would admit one end of the table only, and skew the split.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import unpack

from splitgauge.schemas.errors import ContractError

__all__ = ["SLOTS", "Gate", "Seed", "coverage_slots", "hash_slot"]

SLOTS = 10_000
"""Resolution of every split and gate: one slot is 0.01 % of the traffic. A log means nothing under another."""

_FNV_BASIS = 0x811C9DC5
_FNV_PRIME = 0x01000193
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed with the hash of its text done beforehand, so that a request pays for its unit only.

    Attributes:
        text: what the seed is, as it stands in the log.
    """

    text: str
    _state: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_state", _fnv32a(_FNV_BASIS, _code_units(self.text)))

    def slot(self, unit: str) -> int:
        """The slot of a unit under this seed, 0..9999.

        >>> Seed("seed").slot("a")
        505
        """
        first = _fnv32a(self._state, _code_units(unit))
        return _fnv32a(_FNV_BASIS, str(first).encode()) % SLOTS


@dataclass(frozen=True, slots=True)
class Gate:
    """Admits the units whose slot under the gate's own seed lies in [start, end).

    A layer's share, the coverage of an experiment (from 0) and a holdout (those admitted are held out) are all gates.
    Moving `end` up leaves everyone inside who was inside.

    Attributes:
        seed: not the seed of the split behind it, nor of another gate before that split.
        start, end: slots, 0 <= start <= end <= 10,000; equal: nobody.

    Raises: ContractError where the range is none.
    """

    seed: Seed
    start: int = 0
    end: int = SLOTS

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= SLOTS:
            raise ContractError(
                f"a gate cannot admit the slots [{self.start}, {self.end})",
                where=f"gate {self.seed.text!r}",
                remedy=f"Give 0 <= start <= end <= {SLOTS}",
            )

    def admits(self, unit: str) -> bool:
        """Whether the unit is inside."""
        # Most gates are wide open (one experiment takes the whole layer, coverage is full): those cost no hash.
        if self.end - self.start == SLOTS:
            return True
        return self.start <= self.seed.slot(unit) < self.end


def hash_slot(seed: str, unit: str) -> int:
    """The slot of a unit, 0..9999. Where one seed serves many units, keep a `Seed` instead.

    >>> hash_slot("foo", "ab")
    2575
    """
    return Seed(seed).slot(unit)


def coverage_slots(step: float, joint_weight: float) -> int:
    """Slots of the coverage gate that bring the challengers to a joint share `step` of all traffic.

    Args:
        step: the share wanted, in (0, joint_weight].
        joint_weight: the challengers' joint share of the split table, in (0, 1]; at that share coverage is full.
    Returns: 1..10,000, rounded half to even.
    Raises: ContractError where a share is out of range, or the step is too small for a single slot.

    >>> coverage_slots(0.05, 0.2)
    2500
    """
    if not 0 < joint_weight <= 1:  # not a number fails this too
        raise ContractError(
            f"the challengers' joint weight is {joint_weight}",
            where="joint_weight",
            remedy="A ramp needs a challenger with a weight above 0; shares lie in (0, 1]",
        )
    # The step is judged after rounding: 1 - 0.8 is a little less than 0.2, and a ramp to 0.2 is meant to be full then.
    slots = round(SLOTS * step / joint_weight) if math.isfinite(step) else 0
    if not 1 <= slots <= SLOTS:
        raise ContractError(
            f"a ramp to a joint share of {step} is not possible where the challengers weigh {joint_weight} together",
            where="step",
            remedy=f"Name a share from {joint_weight / SLOTS:g} to {joint_weight:g}; beyond it, change the weights",
        )
    return slots


def _code_units(text: str) -> Iterable[int]:
    """UTF-16 code units, as the JavaScript SDK sees them: two beyond the basic plane; lone surrogates as they are."""
    if text.isascii():  # as unit ids are; their bytes are their code units
        return text.encode()
    data = text.encode("utf-16-le", "surrogatepass")
    return unpack(f"<{len(data) // 2}H", data)


def _fnv32a(state: int, codes: Iterable[int]) -> int:
    for code in codes:
        state = ((state ^ code) * _FNV_PRIME) & _MASK
    return state
