"""The chains of analyses: which looks count, and where a chain was cut, so that what follows can still be judged.

Every reader takes a look that continues no accepted one for a fork and goes on without it. In an honest log a fork
continues a look that was the last one shortly before, and nothing continues a fork: whoever sees anything else stands
before a log that was altered, and goes on from there as the recorded looks do.
"""

from collections import Counter
from dataclasses import dataclass, replace

from splitgauge.audit.partition import Stops
from splitgauge.audit.reading import records_of
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.experiments.looks import AcceptedLook, Looks, read_look
from splitgauge.schemas.errors import UnknownRulesError
from splitgauge.schemas.identifiers import analysis_id
from splitgauge.schemas.topics import ANALYSES

__all__ = ["Chains", "Link", "read_analysis", "read_chains"]


@dataclass(frozen=True, slots=True)
class Link:
    """A look in its chain, without its numbers.

    Attributes:
        previous: the id of the look that it names as the one before.
        cut: why that one cannot be had.
    """

    id: str
    experiment_id: str
    partition: int
    offset: int
    positions: dict[int, int]
    previous: str | None
    cut: Finding | None = None


class Chains:
    """All looks that count, those that do not, and what is wrong between them."""

    def __init__(self) -> None:
        self._looks = Looks()
        self._links: dict[str, Link] = {}
        self.forks: dict[str, Link] = {}
        self.repeated = 0
        """Looks that stand in the log twice: delivered again."""
        self.cuts: list[Finding] = []
        self.detours: list[Finding] = []
        """Places where a look was added beside a chain: worth saying only where no finding says it already."""
        self.referred: set[str] = set()
        """Ids of looks that are continued by another than the next one."""
        self.removed: dict[str, Finding] = {}
        """Ids of looks that others stand on and that are not there."""

    def in_order(self) -> list[Link]:
        """The looks that count, as they stand in the log."""
        return sorted(self._links.values(), key=lambda link: (link.partition, link.offset))

    def stops(self) -> dict[int, Stops]:
        """Partition of the observations -> position -> experiments that are wanted there."""
        stops: dict[int, Stops] = {}
        for link in self._links.values():
            for partition, upto in link.positions.items():
                stops.setdefault(partition, {}).setdefault(upto, Counter())[link.experiment_id] += 1
        return stops

    def cut_that_hides(self, look_id: str) -> Finding | None:
        """Why a look that something stands on is not there; None if nothing is known to be missing."""
        unnamed = (cut for cut in self.cuts if cut not in self.removed.values())
        return self.removed.get(look_id) or next(unnamed, None)

    def take(self, record: StoredRecord) -> None:
        """The next record of a partition."""
        look = read_analysis(record)
        if look is None:
            self._cut(FindingKind.DAMAGED, record, record.offset, "the event is no analysis that can be read")
            return
        data = look.data
        named = data.previous
        if look.id != analysis_id(data.experiment_id, named.id if named else None, data.positions, data.looked_at):
            message = "the analysis' id does not follow from its experiment, previous look, positions and moment"
            self._cut(FindingKind.ALTERED, record, record.offset, message)
            return
        last = self._looks.last(data.experiment_id)
        link = Link(
            look.id, data.experiment_id, record.partition, look.offset, data.positions, named.id if named else None
        )
        if self._looks.accept(look):
            self._links[link.id] = link
        else:
            self._take_refused(link, look, last)

    def _take_refused(self, link: Link, look: AcceptedLook, last: AcceptedLook | None) -> None:
        named = look.data.previous
        if link.id in self._links:
            self.repeated += 1
        elif link.id in self.removed:
            self._swap(link)
        elif named is None or self._is_fork(named.id, named.sha256, last):
            self.forks[link.id] = link
        else:
            cut = None
            if named.id in self.forks:
                self._take_up(self.forks.pop(named.id))
            elif last is None or named.id != last.id:
                cut = self._missing_before(link, named.id, last)
            self._links[link.id] = replace(link, cut=cut)
            self._looks.resume(look)

    def _is_fork(self, previous: str, sha256: str, last: AcceptedLook | None) -> bool:
        """Whether it continues a look that was continued otherwise, or goes back behind the one it continues."""
        if last is not None and previous == last.id:
            return sha256 == last.sha256
        return previous in self._links or previous in self.removed

    def _take_up(self, fork: Link) -> None:
        """A later look continues it: it was the chain once, and something has come between."""
        self._links[fork.id] = fork
        before = self._links.get(fork.previous) if fork.previous is not None else None
        self.referred |= {before.id} if before else set()
        start = before.offset + 1 if before else 0
        message = (
            f"the analysis at {fork.offset} was continued by later ones, and what stands between it and the one it "
            "continues makes every reader ignore it: an analysis was added there"
        )
        self.detours.append(Finding(FindingKind.ALTERED, ANALYSES.name, fork.partition, start, fork.offset, message))

    def _missing_before(self, link: Link, missing: str, last: AcceptedLook | None) -> Finding:
        start = last.offset if last is not None else 0
        known = (cut for cut in self.cuts if cut.partition == link.partition and start <= cut.start < link.offset)
        cut = next(known, None)
        if cut is None:
            message = f"the analysis at {link.offset} continues analysis {missing}, which is not in the log"
            cut = Finding(FindingKind.ALTERED, ANALYSES.name, link.partition, start, link.offset + 1, message)
            self.cuts.append(cut)
        self.removed[missing] = cut
        return cut

    def _swap(self, link: Link) -> None:
        """What was thought to be missing stands behind the look that continues it."""
        cut = self.removed.pop(link.id)
        cut.start, cut.end = cut.end - 1, link.offset + 1
        cut.message = f"the analysis at {link.offset} stands behind one that continues it: they were swapped"
        self._links[link.id] = replace(link, cut=cut)

    def _cut(self, kind: FindingKind, record: StoredRecord, start: int, message: str) -> None:
        self.cuts.append(Finding(kind, ANALYSES.name, record.partition, start, record.offset + 1, message))


def read_analysis(record: StoredRecord) -> AcceptedLook | None:
    """The look in a record, counting or not. Raises: UnknownRulesError naming its place."""
    try:
        return read_look(record.offset, record.value)
    except UnknownRulesError as exc:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        raise UnknownRulesError(exc.message, where=where, remedy=exc.remedy) from exc


async def read_chains(log: EventLog, bounds: dict[int, Bounds], report: ReplayReport) -> Chains:
    """The chain of every experiment. Raises: UnknownRulesError naming the offset."""
    chains = Chains()
    for partition, within in bounds.items():
        async for batch in records_of(log, ANALYSES.name, partition, bounds=within):
            for record in batch.records:
                chains.take(record)
            if batch.damage is not None:
                chains.cuts.append(batch.damage)
    report.events[ANALYSES.name] = sum(within.end - within.start for within in bounds.values())
    report.analyses = len(chains.in_order())
    report.forks = len(chains.forks) + chains.repeated
    return chains
