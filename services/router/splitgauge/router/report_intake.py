"""Reports that come as events: attributed like those over HTTP.

Owns the work on `splitgauge.reports`: batch by batch, committed when all of a batch is durable. A batch that a crash
cut short is done again, with the same ids.
"""

from functools import partial

from pydantic import ValidationError

from splitgauge.eventlog.port import EventLog, GroupMember, Record, StoredRecord
from splitgauge.router.clock import Clock
from splitgauge.router.events import EventMaker
from splitgauge.router.follower import Follower
from splitgauge.router.outbox import Outbox
from splitgauge.router.persistence import Waiting, persistently
from splitgauge.router.plan import RoutingTable
from splitgauge.router.reports import Attributed, Attribution, Submitted
from splitgauge.schemas import instants
from splitgauge.schemas.envelope import Envelope, parse
from splitgauge.schemas.errors import ContractError, MalformedError
from splitgauge.schemas.identifiers import report_id_from_log
from splitgauge.schemas.topics import DEAD_LETTERS, REPORTS
from splitgauge.schemas.traffic import ReportData
from splitgauge.schemas.validation import first_fault

__all__ = ["ReportIntake"]

GROUP = "splitgauge-reports"
_FIELDS = {"experiment_id": "experiment"}
"""What is called otherwise over HTTP."""


class ReportIntake:
    """Works on report events while `run` runs."""

    def __init__(
        self,
        log: EventLog,
        *,
        attribution: Attribution,
        follower: Follower,
        outbox: Outbox,
        events: EventMaker,
        clock: Clock,
    ) -> None:
        self._log = log
        self._attribution = attribution
        self._follower = follower
        self._outbox = outbox
        self._events = events
        self._clock = clock
        self.waiting = Waiting()
        """Batches of reports that cannot be settled now."""

    async def run(self) -> None:
        """Until cancelled."""
        await persistently(self._take_part)

    async def _take_part(self) -> None:
        async with self._log.join(REPORTS.name, GROUP) as member:
            await persistently(partial(self._take, member))

    async def _take(self, member: GroupMember) -> None:
        async for batch in member.batches():
            await persistently(partial(self._settle, batch), self.waiting)
            await persistently(partial(member.commit, batch[0].partition, batch[-1].offset + 1), self.waiting)

    async def _settle(self, batch: list[StoredRecord]) -> None:
        table = self._follower.current()
        now = instants.to_text(self._clock.now_us())
        reports: list[Record] = []
        dead: list[Record] = []
        for stored in batch:
            try:
                attributed = self._attribute(stored.value, table)
            except ContractError as exc:
                dead.append(self._events.dead_letter(stored, exc, time=now))
            else:
                reports.append(self._events.report(attributed, received_at=now, decisions_offset=table.offset))
        if dead:
            await self._log.append(DEAD_LETTERS.name, dead)
        if reports:
            await self._outbox.put(reports, urgent=True).durable()

    def _attribute(self, value: bytes, table: RoutingTable) -> Attributed:
        envelope, report = _read(value)
        event_id = report_id_from_log(envelope.source, envelope.id)
        return self._attribution.attribute(report, registry=table.registry, event_id=event_id)


def _read(value: bytes) -> tuple[Envelope, Submitted]:
    """Raises: MalformedError naming the field."""
    envelope = parse(value)
    if envelope.type != "splitgauge.report.v1":
        raise MalformedError(f"a {envelope.type} is no report", where="/type")
    known = {_FIELDS.get(name, name): value for name, value in envelope.data.items() if name in ReportData.model_fields}
    submitted = {**known, "time": envelope.time}
    try:
        return envelope, Submitted.model_validate(submitted)
    except ValidationError as exc:
        where, fault = first_fault(exc, submitted)
        raise MalformedError(f"no report: {fault}", where=f"/data{where}") from exc
