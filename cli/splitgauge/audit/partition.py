"""One partition of the observations, folded again up to the positions that analyses name.

Owns where the fold stands and whether what it read is what the recorded digests say. Where it is not, or where the log
cannot be read, the partition is broken from there on: nothing that stands on it can be made again.
"""

from collections import Counter
from dataclasses import dataclass, field

from splitgauge.aggregator.partition_fold import FoldResult, PartitionFold
from splitgauge.audit.reading import damaged, records_of
from splitgauge.audit.report import Finding, FindingKind, Unprotected
from splitgauge.eventlog.port import Bounds, EventLog
from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.errors import LogDamagedError, UnknownSubjectError
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["AuditedPartition", "Stop", "stops_of"]


@dataclass(slots=True)
class Stop:
    """A position that analyses name: whose numbers are wanted there, by how many looks, and which digests they recorded.

    Looks share a position of a partition in which nothing came between them.
    """

    looks: Counter[str] = field(default_factory=Counter[str])
    digests: set[str] = field(default_factory=set[str])


def stops_of(looks: list[AcceptedLook]) -> dict[int, dict[int, Stop]]:
    """Partition -> position -> what is wanted there."""
    stops: dict[int, dict[int, Stop]] = {}
    for look in looks:
        for partition, upto in look.data.positions.items():
            stop = stops.setdefault(partition, {}).setdefault(upto, Stop())
            stop.looks[look.data.experiment_id] += 1
            stop.digests.add(look.data.digests.get(partition, ""))
    return stops


class AuditedPartition:
    """The fold of one partition on its way through the log."""

    def __init__(
        self, log: EventLog, number: int, *, bounds: Bounds, history: DecisionHistory, stops: dict[int, Stop]
    ) -> None:
        self._log = log
        self._bounds = bounds
        self._history = history
        self._fold = PartitionFold(number)
        self._stops = sorted(stops.items())
        self._partials: dict[tuple[str, int], PartialData] = {}
        self._wanted: Counter[tuple[str, int]] = Counter()
        self._protected = bounds.start
        self._place = f"{OBSERVATIONS.name}/{number}"
        self.number = number
        self.broken: Finding | None = None
        self.dead_letters: dict[int, str] = {}

    async def advance(self, upto: int) -> None:
        """Fold up to `upto`; keep the numbers of everybody who wants them on the way."""
        while self.broken is None and self._stops and self._stops[0][0] <= upto:
            position, stop = self._stops.pop(0)
            await self._fold_to(position)
            if self.broken is None:
                self._compare_digest(position, stop.digests)
            if self.broken is None:
                for experiment_id, looks in stop.looks.items():
                    self._wanted[experiment_id, position] = looks
                    self._keep_partial(experiment_id, position)

    def take_partial(self, experiment_id: str, upto: int) -> PartialData | None:
        """What `advance` kept, once for each look there; None where the partition is broken before it."""
        place = (experiment_id, upto)
        self._wanted[place] -= 1
        if self._wanted[place] > 0:
            return self._partials.get(place)
        del self._wanted[place]
        return self._partials.pop(place, None)

    @property
    def position(self) -> int:
        """How far it is folded, exclusive."""
        return self._fold.position

    @property
    def events(self) -> int:
        """Folded so far."""
        return self._fold.position - self._bounds.start

    @property
    def unprotected(self) -> Unprotected | None:
        """What lies behind the last digest that agrees."""
        if self._protected >= self._bounds.end:
            return None
        return Unprotected(OBSERVATIONS.name, self.number, self._protected, self._bounds.end)

    async def _fold_to(self, position: int) -> None:
        if position > self._bounds.end:
            self.broken = Finding(
                FindingKind.DAMAGED,
                f"{self._place}/{self._bounds.end}",
                f"an analysis stands on everything below {position}, and the log ends at {self._bounds.end}",
            )
            return
        try:
            stretch = Bounds(self._fold.position, position)
            async for batch in records_of(self._log, OBSERVATIONS.name, self.number, bounds=stretch):
                self._take(self._fold.fold(batch, self._history))
        except LogDamagedError as exc:
            self.broken = damaged(exc)

    def _take(self, result: FoldResult) -> None:
        for letter in result.dead_letters:
            self.dead_letters[letter.offset] = letter.code
        if result.behind is not None:
            self.broken = Finding(
                FindingKind.DAMAGED,
                f"{self._place}/{self._fold.position}",
                f"the event stands on the decisions below {result.behind}, which end at {self._history.end}",
            )

    def _keep_partial(self, experiment_id: str, position: int) -> None:
        try:
            partial = PartialData.model_validate_json(self._fold.partial(experiment_id))
        except UnknownSubjectError as exc:
            self.broken = Finding(FindingKind.ALTERED, f"{self._place}/..{position}", str(exc))
            return
        self._partials[experiment_id, position] = partial

    def _compare_digest(self, position: int, recorded: set[str]) -> None:
        if recorded == {self._fold.digest.hex()}:
            self._protected = position
            return
        self.broken = Finding(
            FindingKind.ALTERED,
            f"{self._place}/{self._protected}..{position}",
            f"the running digest at {position} is not the recorded one: an event between offsets {self._protected} and "
            f"{position - 1} was changed, removed, swapped or added",
        )
