"""The decisions of the log, folded, and whether they are the ones that analyses were made from."""

from splitgauge.audit.reading import records_of
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.audit.witness import Witnessed
from splitgauge.eventlog.port import Bounds, EventLog
from splitgauge.experiments.history import DecisionHistory
from splitgauge.schemas.analysis import DecisionsRead
from splitgauge.schemas.errors import UnknownRulesError
from splitgauge.schemas.topics import DECISIONS

__all__ = ["AuditedDecisions"]


class AuditedDecisions(Witnessed):
    """Their fold, and what is wrong with them: everything else stands on it."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(DECISIONS.name, 0, bounds)
        self.history = DecisionHistory()

    async def read(self, log: EventLog, report: ReplayReport) -> None:
        """All of them, up to the first that is missing. Raises: UnknownRulesError naming the offset."""
        async for batch in records_of(log, DECISIONS.name, 0, bounds=Bounds(0, self.bounds.end)):
            try:
                self.history.extend((record.offset, record.value) for record in batch.records)
            except UnknownRulesError as exc:
                where = f"{DECISIONS.name}/0/{self.history.end}"
                raise UnknownRulesError(exc.message, where=where, remedy=exc.remedy) from exc
            if batch.damage is not None:
                self.damage = batch.damage
                break
        report.events[DECISIONS.name] = self.bounds.end - self.bounds.start
        report.decisions = sum(judged.accepted for judged in self.history.judged)
        report.ignored_decisions = self.history.end - report.decisions

    def reaches(self, upto: int, *, needed_by: str) -> bool:
        """Whether all decisions below `upto` are there; if not, that is what is wrong with them."""
        end = self.history.end
        if upto > end and self.damage is None:
            message = f"{needed_by} stands on the decisions below {upto}, and the log ends at {end}"
            self.damage = Finding(FindingKind.DAMAGED, DECISIONS.name, 0, end, upto, message)
        return upto <= end

    def agrees(self, read: DecisionsRead) -> bool:
        """Whether the decisions are those that an analysis had read."""
        return self.compare(read.upto, recorded=read.digest, made=self.history.digest_at(read.upto).hex())
