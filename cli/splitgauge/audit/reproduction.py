"""Every look made again from its recorded inputs, with the functions of the live path, and compared.

What cannot be made again, or comes out otherwise, is kept until all digests have been compared: only then is it known
whether the log was altered before it (that is the cause, and counts it) or the analysis itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from splitgauge.aggregator.tables import window_of
from splitgauge.analyzer.analysis import decisions_read, empty_window, look
from splitgauge.audit.chain import Chains, Link, read_analysis
from splitgauge.audit.decisions import AuditedDecisions
from splitgauge.audit.difference import first_difference
from splitgauge.audit.partition import AuditedPartition
from splitgauge.audit.reading import records_of
from splitgauge.audit.report import Finding, FindingKind, ReplayReport
from splitgauge.audit.witness import Witnessed
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.analysis import AnalysisData
from splitgauge.schemas.codec import decode
from splitgauge.schemas.envelope import data_bytes
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.tables import PartialData
from splitgauge.schemas.topics import ANALYSES, OBSERVATIONS

__all__ = ["Progress", "Reproduction", "Versions"]

Progress = Callable[[int, int], None]
"""Called with how many analyses are compared, and how many there are."""


@dataclass(slots=True)
class Versions:
    """A look as it is recorded and, where that comes out otherwise, as it was made again."""

    recorded: AcceptedLook
    made: AcceptedLook | None = None
    reproduced: bool = False

    def with_sha256(self, sha256: str) -> AcceptedLook | None:
        """The version with these bytes: where a recorded look was altered, the one made again is what it was."""
        found = (one for one in (self.recorded, self.made) if one is not None and one.sha256 == sha256)
        return next(found, None)


@dataclass(slots=True)
class _Doubt:
    """A look that did not come out the same.

    Attributes:
        sources: what it stands on that was not what it recorded there, and where.
        after: the look before it, where that one's bytes are not the ones that this look names.
        message: how it differs.
    """

    link: Link
    sources: list[tuple[Witnessed, int]] = field(default_factory=list[tuple[Witnessed, int]])
    after: str | None = None
    message: str = ""


class Reproduction:
    """The looks of a log, one after the other."""

    def __init__(
        self, chains: Chains, decisions: AuditedDecisions, partitions: dict[int, AuditedPartition], *, keep: set[str]
    ) -> None:
        """`keep`: ids of looks that somebody asks for afterwards."""
        self._decisions = decisions
        self._partitions = partitions
        self._links = {(link.partition, link.offset): link for link in chains.in_order()}
        self._keep = keep | chains.referred
        self._last: dict[str, Versions] = {}
        self._doubts: list[_Doubt] = []
        self.kept: dict[str, Versions] = {}
        self.findings: list[Finding] = []
        self.causes: dict[str, Finding] = {}
        """Why a look, by id, was not reproduced."""

    async def run(
        self, log: EventLog, bounds: dict[int, Bounds], report: ReplayReport, *, progress: Progress | None
    ) -> None:
        """Make all of them again."""
        done = 0
        for partition, within in bounds.items():
            async for batch in records_of(log, ANALYSES.name, partition, bounds=within):
                for record in batch.records:
                    link, recorded = self._links.get((partition, record.offset)), read_analysis(record)
                    if link is None or recorded is None:
                        continue
                    await self._compare(link, recorded, record=record, report=report)
                    done += 1
                    if progress is not None:
                        progress(done, len(self._links))

    def conclude(self) -> None:
        """All digests have been compared, and all partitions have concluded: name what each doubt comes from."""
        for doubt in self._doubts:
            cause = self._cause(doubt)
            if cause is None:
                link = doubt.link
                cause = Finding(
                    FindingKind.ANALYSIS_DIFFERS,
                    ANALYSES.name,
                    link.partition,
                    link.offset,
                    link.offset + 1,
                    f"analysis {link.id} of experiment {link.experiment_id!r}: {doubt.message}",
                )
                self.findings.append(cause)
            else:
                cause.analyses += 1
            self.causes[doubt.link.id] = cause

    def _cause(self, doubt: _Doubt) -> Finding | None:
        for source, position in doubt.sources:
            if position > source.trusted_upto:
                return source.findings[0]
        if doubt.link.cut is not None:
            return doubt.link.cut
        return self.causes.get(doubt.after) if doubt.after is not None else None

    async def _compare(self, link: Link, recorded: AcceptedLook, *, record: StoredRecord, report: ReplayReport) -> None:
        versions = Versions(recorded)
        doubt = _Doubt(link)
        # Before the observations: what a partition is folded to depends on the decisions.
        known = self._decisions_there(recorded.data, doubt)
        partials = await self._partials(recorded.data, doubt)
        if known and partials is not None and link.cut is None:
            self._make_again(versions, record, partials=partials, doubt=doubt, report=report)
        if not versions.reproduced:
            self._doubts.append(doubt)
        self._last[link.experiment_id] = versions
        if link.id in self._keep:
            self.kept[link.id] = versions

    async def _partials(self, data: AnalysisData, doubt: _Doubt) -> dict[int, PartialData] | None:
        """The numbers of every partition, or None where some are not to be had."""
        partials: dict[int, PartialData] = {}
        for number, upto in data.positions.items():
            partition = self._partitions.get(number)
            if partition is None:
                doubt.message = f"it stands on partition {number} of {OBSERVATIONS.name}, which the log does not have"
                continue
            if not await partition.advance(upto):
                doubt.sources.append((partition, upto))
                continue
            partial, agrees = partition.take(data.experiment_id, upto, recorded=data.digests.get(number))
            if not agrees:
                doubt.sources.append((partition, upto))
            if partial is None:
                doubt.message = f"nothing of the experiment stands in {OBSERVATIONS.name}/{number} below {upto}"
            else:
                partials[number] = partial
        return partials if len(partials) == len(data.positions) else None

    def _decisions_there(self, data: AnalysisData, doubt: _Doubt) -> bool:
        self._decisions.expect(data.decisions.upto)
        there = self._decisions.reaches(data.decisions.upto, needed_by=f"the analysis at {doubt.link.offset}")
        if not there or not self._decisions.agrees(data.decisions):
            doubt.sources.append((self._decisions, data.decisions.upto))
        return there

    def _make_again(
        self,
        versions: Versions,
        record: StoredRecord,
        *,
        partials: dict[int, PartialData],
        doubt: _Doubt,
        report: ReplayReport,
    ) -> None:
        recorded = versions.recorded
        data = recorded.data
        previous = self._previous(data, doubt)
        if doubt.after is not None:
            doubt.message = f"analysis {doubt.after}, which it continues, is not there as it was"
            return
        history = self._decisions.history
        state = history.at(data.decisions.upto).experiments.get(data.experiment_id)
        if state is None:
            doubt.message = f"the decisions below {data.decisions.upto} define no such experiment"
            return
        try:
            made = look(
                state,
                window_of(partials) if partials else empty_window(data.experiment_id),
                looked_at=data.looked_at,
                previous=previous,
                decisions=decisions_read(history, data.decisions.upto),
            )
        except SplitgaugeError as exc:
            doubt.message = f"it cannot be made again: {exc}"
            return
        if made.sha256 == recorded.sha256:
            versions.reproduced = True
            report.reproduced += 1
            return
        made_data = AnalysisData.model_validate_json(made.value)
        versions.made = AcceptedLook(made.id, made.sha256, recorded.offset, made_data)
        difference = first_difference(decode(data_bytes(record.value)), decode(made.value))
        if difference is not None and difference.floats_only:
            versions.reproduced = True
            report.nearly += 1
            place = f"{record.topic}/{record.partition}/{record.offset}"
            report.nearly_example = report.nearly_example or f"{place}: {difference}"
            return
        doubt.message = str(difference) if difference is not None else "the same values stand there in other bytes"

    def _previous(self, data: AnalysisData, doubt: _Doubt) -> AcceptedLook | None:
        """The look that this one names, as it was then."""
        named = data.previous
        if named is None:
            return None
        versions = self._last.get(data.experiment_id)
        if versions is None or versions.recorded.id != named.id:
            versions = self.kept.get(named.id)
        if versions is None:
            doubt.after = named.id
            return None
        found = versions.with_sha256(named.sha256)
        if found is None and not versions.reproduced:
            doubt.after = named.id
        if versions.reproduced and found is not None and found is versions.made:
            self._name_altered_floats(found, doubt.link)
        return found or versions.recorded

    def _name_altered_floats(self, look: AcceptedLook, next_link: Link) -> None:
        """No other processor: the look after it had read the bytes that are made here."""
        message = f"its numbers are not, to the last digit, those that the analysis at {next_link.offset} had read"
        place = (next_link.partition, look.offset, look.offset + 1)
        self.findings.append(Finding(FindingKind.ALTERED, ANALYSES.name, *place, message))
