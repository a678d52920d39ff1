"""What the compiled run knows of arms: the lanes that requests are given to, and the arms that units belong to.

Owns their numbers. A lane is learnt from an event that `attribution` has taken in, so it is always one that exists, and
learnt again after each that was not calm. Lanes go when what they say may have changed; numbers of a unit's arms stay.
"""

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.book import Book
from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.compiled.run import (
    ARM,
    BOOK,
    CELL_DAY,
    CELL_OF_NEW,
    EARLY_US,
    ENDED_GROUPS,
    GIVEN_GROUP,
    HAS_VARIANT,
    IS_SPLIT,
    LANE_EPOCH,
    LANE_REASON,
    LANE_TEXTS,
    N_LANE_FIELDS,
    lane_home,
)
from splitgauge.aggregator.compiled.scanner import REASONS, STATUSES
from splitgauge.aggregator.observation import Arm

__all__ = ["Lanes"]

_MOST = 1_024
"""Callers are whoever they are: beyond this the lanes are learnt anew."""

_LONGEST = 1_000
"""Characters of a lane's texts. Longer ones are no lane."""

_MOST_EPOCH = 10**15


class Lanes:
    """Lanes by what an event says of its arm.

    Attributes:
        arms: of each lane, what its requests were given to.
        numbers: a line of fields for each lane.
        lines: number (+ 1) of a lane by its hash.
        texts: experiment, variant and caller of all lanes.
    """

    def __init__(self) -> None:
        self.arms: list[Arm] = []
        self._known: dict[Arm, int] = {}
        self.numbers: NDArray[np.int64] = np.zeros((_MOST, N_LANE_FIELDS), dtype=np.int64)
        self.lines: NDArray[np.int32] = np.zeros(4 * _MOST, dtype=np.int32)
        self.texts: NDArray[np.uint8] = np.zeros(1 << 16, dtype=np.uint8)
        self._end = 0

    @property
    def full(self) -> bool:
        """Whether there may be no room for one more."""
        return len(self.arms) == _MOST or self._end + _LONGEST > len(self.texts)

    def clear(self) -> None:
        """Forget all."""
        self.arms.clear()
        self._known.clear()
        self.lines[:] = 0
        self._end = 0

    def learn(self, arm: Arm, book: Book | None, *, book_number: int, unit_arm: int, at_us: int) -> None:
        """A lane, and how things stand with it after a request at this time."""
        lane = self._known.get(arm)
        if lane is None:
            lane = self._add(arm)
            if lane is None:
                return
        fields = self.numbers[lane]
        split = book is not None and arm.reason == "split"
        fields[BOOK], fields[ARM], fields[IS_SPLIT] = book_number, unit_arm, split
        fields[HAS_VARIANT] = arm.variant is not None
        fields[GIVEN_GROUP] = fields[CELL_OF_NEW] = fields[CELL_DAY] = -1
        fields[ENDED_GROUPS : ENDED_GROUPS + len(STATUSES)] = -1
        if book is None or arm.variant is None:
            return
        fields[GIVEN_GROUP] = book.activity.given_groups.get((arm.caller, arm.variant, arm.reason), -1)
        analysed = arm.epoch if split else None
        for number, status in enumerate(STATUSES):
            group = book.activity.ended_groups.get((arm.caller, arm.variant, status, analysed), -1)
            fields[ENDED_GROUPS + number] = group
        fields[EARLY_US] = book.early_us
        if split and arm.epoch is not None and not book.gone and not book.layout.has_covariates:
            cell = book.cohorts.cell_at(arm.epoch, arm.variant, at_us)
            fields[CELL_OF_NEW] = -1 if cell is None else cell
            fields[CELL_DAY] = at_us // DAY_US if book.cohorts.by_day else -1

    def _add(self, arm: Arm) -> int | None:
        """The number of a new lane; None where the run could not recognise it."""
        texts = [arm.experiment_id, arm.variant, arm.caller]
        joined = "".join(text for text in texts if text is not None)
        if len(joined) > _LONGEST or not joined.isascii() or not 0 <= (arm.epoch or 0) < _MOST_EPOCH:
            return None
        epoch = -1 if arm.epoch is None else arm.epoch
        lane = self._known[arm] = len(self.arms)
        self.arms.append(arm)
        experiment, variant, caller = (-1 if text is None else len(text) for text in texts)
        lengths = experiment, variant, caller
        after_experiment = self._end + max(0, experiment)
        starts = self._end, after_experiment, after_experiment + max(0, variant)
        end = self._end + len(joined)
        self.texts[self._end : end] = np.frombuffer(joined.encode(), dtype=np.uint8)
        reason = REASONS.index(arm.reason)
        fields = self.numbers[lane]
        fields[LANE_EPOCH], fields[LANE_REASON] = epoch, reason
        fields[LANE_TEXTS : LANE_TEXTS + 4] = [self._end, *lengths]
        self._end = end
        mask = len(self.lines) - 1
        line = lane_home(self.texts, starts, lengths, epoch, reason, mask)
        while self.lines[line]:
            line = line + 1 & mask
        self.lines[line] = lane + 1
        return lane
