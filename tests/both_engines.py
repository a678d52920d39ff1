"""One history folded by both engines of the fold, side by side, and everything that they say of it compared."""

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from fold_stories import stored
from splitgauge.aggregator.compiled.calm import CalmEvents
from splitgauge.aggregator.partition_fold import MakeEngine, PartitionFold
from splitgauge.experiments.history import DecisionHistory

__all__ = ["EagerEngine", "SideBySide"]


class EagerEngine(CalmEvents):
    """Looks at every event whether it is calm, also where hardly any is.

    Attributes:
        calm: how many were, in all folds.
    """

    calm: ClassVar[int] = 0

    def take(self, number: int, viewed: int) -> int:
        self._passing = self._pause = 0
        taken = super().take(number, viewed)
        EagerEngine.calm += taken
        return taken


ENGINES: Sequence[MakeEngine | None] = (None, CalmEvents, EagerEngine)


class SideBySide:
    """Folds of the same partition: by the plain engine, by the compiled one, and by a more eager one of that kind."""

    def __init__(self, decisions: Sequence[bytes], *, read: int | None = None) -> None:
        """`read`: how many decisions are known to begin with; the others are read when they are needed."""
        self._decisions = decisions
        self.history = DecisionHistory()
        self._read(len(decisions) if read is None else read)
        self.folds = [PartitionFold(0, engine) for engine in ENGINES]
        self._rows: list[dict[bytes, bytes]] = [{} for _ in self.folds]

    @property
    def position(self) -> int:
        """Where all of them are."""
        return self.folds[0].position

    def fold(self, values: Sequence[bytes], *, first: int | None = None) -> bool:
        """Take in the next events, or those from an earlier offset on. False: one stands on decisions that there are
        none of, and all folds stop before it for good."""
        start = self.position if first is None else first
        batch = stored(list(values), start)
        while True:
            plain, *others = [fold.fold(batch, self.history) for fold in self.folds]
            assert all(other == plain for other in others)
            self.expect_alike()
            if plain.behind is None:
                return True
            assert plain.behind > self.history.end
            if plain.behind > len(self._decisions):
                return False
            self._read(plain.behind)

    def tell(self, values: Sequence[bytes], chance: Random) -> None:
        """A whole history in batches of any size, with looks and restarts in between."""
        while self.position < len(values):
            first = self.position - min(self.position, chance.choice([0, 0, 0, 0, 1, 5]))
            if not self.fold(values[first : self.position + chance.choice([1, 2, 9, 60, 400])], first=first):
                break
            if chance.random() < 0.3:
                self.look()
            if chance.random() < 0.3:
                self.save()
                if chance.random() < 0.6:
                    self.restart(chance.sample(ENGINES, len(ENGINES)))
        self.look()
        self.save()

    def expect_alike(self) -> None:
        """Everything that can be seen at any time without changing anything."""
        plain, *others = [
            (fold.position, fold.digest, fold.decisions_offset, fold.outside, fold.n_units, fold.experiments)
            for fold in self.folds
        ]
        assert all(other == plain for other in others)

    def look(self) -> None:
        """What is published."""
        for said in (PartitionFold.partials, PartitionFold.bucket_events, self._partials):
            plain, *others = [said(fold) for fold in self.folds]
            assert all(other == plain for other in others)

    def save(self) -> None:
        """A checkpoint."""
        changed = [fold.changed_rows() for fold in self.folds]
        assert all(other == changed[0] for other in changed)
        for rows, more in zip(self._rows, changed, strict=True):
            rows.update({key: row for key, row in more.items() if row is not None})
            for key in [key for key, row in more.items() if row is None]:
                rows.pop(key, None)

    def restart(self, engines: Sequence[MakeEngine | None]) -> None:
        """All go on from the last checkpoint, with engines that may be others."""
        self.folds = [
            PartitionFold.restore(0, self.position, rows, self.history, engine)
            for rows, engine in zip(self._rows, engines, strict=True)
        ]
        self.expect_alike()

    def _partials(self, fold: PartitionFold) -> dict[str, bytes]:
        return {experiment_id: fold.partial(experiment_id) for experiment_id in fold.experiments}

    def _read(self, end: int) -> None:
        self.history.extend(list(enumerate(self._decisions[:end])))
