"""One partition of the observations, folded again up to the positions that analyses name, and then to its end.

Owns where the fold stands and what cannot be used. Where an event is missing the fold stops. Where one was altered it
goes on, because a later digest may say that it was the analysis and not the log.
"""

from collections import Counter
from hashlib import sha256
from typing import NamedTuple

from splitgauge.aggregator.partition_fold import FoldResult, PartitionFold
from splitgauge.audit.decisions import AuditedDecisions
from splitgauge.audit.reading import records_of
from splitgauge.audit.report import Finding, FindingKind
from splitgauge.audit.witness import Witnessed
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.schemas.errors import UnknownSubjectError
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import OBSERVATIONS

__all__ = ["AuditedPartition", "PutAside", "Stops"]

Stops = dict[int, Counter[str]]
"""Position -> the experiments whose numbers are wanted there, and by how many analyses."""


class PutAside(NamedTuple):
    """An observation that could not be used: why, and the digest of its bytes."""

    code: str
    sha256: str


class _Kept(NamedTuple):
    partial: PartialData | None
    digest: str


class AuditedPartition(Witnessed):
    """The fold of one partition on its way through the log."""

    def __init__(
        self, log: EventLog, number: int, *, bounds: Bounds, decisions: AuditedDecisions, stops: Stops
    ) -> None:
        super().__init__(OBSERVATIONS.name, number, bounds)
        self.expect(max(stops, default=0))
        self._log = log
        self._decisions = decisions
        self._fold = PartitionFold(number)
        self._stops = sorted(stops.items(), key=lambda stop: stop[0], reverse=True)
        self._wanted = stops
        self._kept: dict[tuple[str, int], _Kept] = {}
        self._stopped = False
        """Whether decisions that an event stands on are not there."""
        self.dead_letters: dict[int, PutAside] = {}

    @property
    def position(self) -> int:
        """How far it is folded, exclusive."""
        return self._fold.position

    async def advance(self, upto: int) -> bool:
        """Fold up to `upto`, and keep everybody's numbers on the way. False where it cannot be reached."""
        while self._goes_on and self._stops and self._stops[-1][0] <= upto:
            position, experiments = self._stops.pop()
            await self._fold_to(position)
            if self._fold.position == position:
                for experiment_id in experiments:
                    self._kept[experiment_id, position] = self._keep(experiment_id)
        return self._fold.position >= upto

    def take(self, experiment_id: str, upto: int, *, recorded: str | None) -> tuple[PartialData | None, bool]:
        """An experiment's numbers at a stop, None where it has none there; whether the digest is the recorded one."""
        kept = self._kept[experiment_id, upto]
        self._wanted[upto][experiment_id] -= 1
        if not self._wanted[upto][experiment_id]:
            del self._kept[experiment_id, upto]
        return kept.partial, self.compare(upto, recorded=recorded, made=kept.digest)

    async def finish(self) -> None:
        """Fold what no analysis stands on."""
        if self._goes_on:
            await self._fold_to(self.bounds.end)

    def conclude(self) -> None:
        """As for any witnessed partition; the decisions have concluded before."""
        super().conclude()
        if self._stopped:
            self.findings.append(self._decisions.findings[0])

    @property
    def _goes_on(self) -> bool:
        return self.damage is None and not self._stopped

    async def _fold_to(self, position: int) -> None:
        within = Bounds(self._fold.position, min(position, self.bounds.end))
        async for batch in records_of(self._log, self.topic, self.number, bounds=within, end=self.bounds.end):
            result = self._fold.fold(batch.records, self._decisions.history)
            self._put_aside(batch.records, result)
            if result.behind is not None:
                place = f"{OBSERVATIONS.name}/{self.number}/{self._fold.position}"
                self._stopped = not self._decisions.reaches(result.behind, needed_by=place)
                return
            if batch.damage is not None:
                self.damage = batch.damage
                return
        if position > self.bounds.end:
            message = f"an analysis stands on everything below {position}, and the log ends at {self.bounds.end}"
            self.damage = Finding(
                FindingKind.DAMAGED, OBSERVATIONS.name, self.number, self.bounds.end, position, message
            )

    def _put_aside(self, records: list[StoredRecord], result: FoldResult) -> None:
        if not result.dead_letters:
            return
        values = {record.offset: record.value for record in records}
        for letter in result.dead_letters:
            self.dead_letters[letter.offset] = PutAside(letter.code, sha256(values[letter.offset]).hexdigest())

    def _keep(self, experiment_id: str) -> _Kept:
        try:
            partial = PartialData.model_validate_json(self._fold.partial(experiment_id))
        except UnknownSubjectError:
            partial = None
        return _Kept(partial, self._fold.digest.hex())
