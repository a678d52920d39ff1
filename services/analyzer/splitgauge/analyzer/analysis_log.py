"""The analyses topic as the analyzer uses it: followed, folded into accepted looks, written to, and read back.

Owns the I/O around `splitgauge.experiments.looks`, which says what is accepted. One `AnalysisLog` belongs to one event
loop.
"""

from collections.abc import Callable

from splitgauge.analyzer.analysis import Look
from splitgauge.eventlog.dead_letters import dead_letter
from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.experiments.looks import AcceptedLook, Looks, read_look
from splitgauge.schemas.envelope import SOURCES, wrap
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS

__all__ = ["AnalysisLog"]


class AnalysisLog:
    """The last accepted look of every experiment, kept up to date, and the door through which new ones go."""

    def __init__(self, log: EventLog, *, clock: Callable[[], int], instance: str) -> None:
        """`clock`: microseconds since 1970, for the envelopes of dead letters."""
        self._log = log
        self._clock = clock
        self._instance = instance
        self._looks = Looks()
        self._positions: dict[int, int] = {}

    def last(self, experiment_id: str) -> AcceptedLook | None:
        """The experiment's last accepted look, as far as is read."""
        return self._looks.last(experiment_id)

    async def catch_up(self) -> None:
        """Read to the present end. Raises: UnknownRulesError, LogDamagedError, LogUnavailableError."""
        for partition, bounds in (await self._log.bounds(ANALYSES.name)).items():
            while (position := self._positions.setdefault(partition, bounds.start)) < bounds.end:
                await self._take(await self._log.read(ANALYSES.name, partition, position))

    async def follow(self) -> None:
        """Stay up to date until cancelled: another analyzer may write too. Raises: as `catch_up`."""
        await self.catch_up()
        async for records in self._log.follow(ANALYSES.name, dict(self._positions)):
            await self._take(records)

    async def append(self, look: Look) -> AcceptedLook | None:
        """Log a look and read back what became of it: None where another analyzer was faster.

        Raises: as `catch_up`; LogUnavailableError where the log does not take it.
        """
        experiment_id = look.data.experiment_id
        event = wrap(
            look.value,
            type="splitgauge.analysis.v1",
            id=look.id,
            source=SOURCES["analyzer"],
            time=look.data.looked_at,
            subject=experiment_id,
            key=experiment_id,
            instance=self._instance,
        )
        await self._log.append(ANALYSES.name, [Record(event, experiment_id.encode())])
        await self.catch_up()
        last = self.last(experiment_id)
        return last if last is not None and last.id == look.id else None

    async def _take(self, records: list[StoredRecord]) -> None:
        new = [record for record in records if record.offset >= self._positions[record.partition]]
        looks = [(record, read_look(record.offset, record.value)) for record in new]
        await self._bury([record for record, look in looks if look is None])
        for record, look in looks:
            # `follow` and `catch_up` read the same events; between a check and its step here nobody else runs.
            if record.offset >= self._positions[record.partition]:
                self._positions[record.partition] = record.offset + 1
                if look is not None:
                    self._looks.accept(look)

    async def _bury(self, records: list[StoredRecord]) -> None:
        time = to_text(self._clock())
        letters = [
            dead_letter(
                record, code="malformed", reason="no analysis", role="analyzer", time=time, instance=self._instance
            )
            for record in records
        ]
        if letters:
            await self._log.append(DEAD_LETTERS.name, letters)
