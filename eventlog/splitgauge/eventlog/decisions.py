"""The decisions topic as the services use it: followed, folded, written to, and read back.

Owns the I/O around `splitgauge.experiments`: what a decision means and whether it is legal is said there. One
`DecisionLog` belongs to one event loop.
"""

import asyncio
from collections.abc import Callable

from splitgauge.eventlog.believed_bounds import believed_bounds
from splitgauge.eventlog.port import Bounds, EventLog, Record
from splitgauge.experiments.history import DecisionHistory, Judged, chain
from splitgauge.experiments.lifecycle import apply
from splitgauge.experiments.state import Registry
from splitgauge.schemas import instants
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.errors import LogDamagedError
from splitgauge.schemas.topics import DECISIONS

__all__ = ["DecisionLog"]

NO_EVENT_AFTER_S = 10.0
"""So long nothing may come from an offset below the end. Longer than brokers take to agree who leads (9 s)."""
_LOOK_AGAIN_S = 0.1


class DecisionLog:
    """Everything decided so far, kept up to date, and the door through which new decisions go."""

    def __init__(self, log: EventLog, *, source: str, instance: str) -> None:
        self._log = log
        self._source = source
        self._instance = instance
        self._listeners: list[Callable[[list[Judged]], None]] = []
        self._moved = asyncio.Condition()
        self._reading = asyncio.Lock()
        self.history = DecisionHistory()

    @property
    def registry(self) -> Registry:
        """The state after all that is read."""
        return self.history.newest

    def on_change(self, listener: Callable[[list[Judged]], None]) -> None:
        """Call `listener` with every batch of decisions, in order, right after it was folded."""
        self._listeners.append(listener)

    async def catch_up(self, *, at_least: int = 0) -> Registry:
        """Read to the present end. Raises: UnknownRulesError, LogDamagedError, LogUnavailableError.

        `at_least`: below it everything is known to be in the log.
        """
        read = max(self.history.end, at_least)  # as it was: while the log answers, `follow` may read more
        end = (await believed_bounds(self._bounds, read=read)).end
        if end < read:
            raise _another_log(end)
        while self.history.end < end:
            await self._read_on()
        return self.registry

    async def _read_on(self) -> None:
        """What comes next, where something does."""
        clock = asyncio.get_running_loop().time
        start, give_up = self.history.end, clock() + NO_EVENT_AFTER_S
        while self.history.end == start:
            async with self._reading:
                records = await self._log.read(DECISIONS.name, 0, self.history.end)
                await self._take([(record.offset, record.value) for record in records])
            if not records:
                if clock() >= give_up:
                    raise _no_event(start)
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _bounds(self) -> Bounds:
        return (await self._log.bounds(DECISIONS.name))[0]

    async def follow(self) -> None:
        """Stay up to date until cancelled. Raises: as `catch_up`."""
        async for records in self._log.follow(DECISIONS.name, {0: self.history.end}):
            async with self._reading:
                await self._take([(record.offset, record.value) for record in records])

    async def wait_for(self, offset: int) -> Registry:
        """Until the decisions below `offset` are read by `follow` or `catch_up`; the state there."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.history.end >= offset)
        return self.history.at(offset)

    async def propose(self, decision: DecisionData, *, event_id: str, time_us: int) -> Judged:
        """Write a decision that is legal as far as is known, and read back what became of it.

        Returns: how it was judged; not accepted where another writer was faster.
        Raises: the ConflictError or ContractError that makes it illegal now, nothing being written then;
            LogUnavailableError where the log does not take it.
        """
        await self.catch_up()
        apply(self.registry, decision, offset=self.history.end, time_us=time_us)
        event = wrap(
            encode(decision.model_dump(mode="json", exclude_none=True)),
            type="splitgauge.decision.v1",
            id=event_id,
            source=self._source,
            time=instants.to_text(time_us),
            subject=decision.subject.id,
            key=decision.subject.id,
            instance=self._instance,
        )
        [(_, offset)] = await self._log.append(DECISIONS.name, [Record(event, decision.subject.id.encode())])
        await self.catch_up(at_least=offset + 1)
        return self.history.judged_at(offset)

    async def _take(self, records: list[tuple[int, bytes]]) -> None:
        if self.history.end and any(offset >= self.history.end for offset, _ in records):
            await self._expect_same_log()
        judged = self.history.extend(records)
        if not judged:
            return
        for listener in self._listeners:
            listener(judged)
        async with self._moved:
            self._moved.notify_all()

    async def _expect_same_log(self) -> None:
        """New decisions count only behind those that were read: a topic that was made again has others."""
        last = self.history.end - 1
        events = await self._log.read(DECISIONS.name, 0, last, limit=1)
        if not events or chain(self.history.digest_at(last), last, events[0].value) != self.history.digest_at(last + 1):
            raise _another_log(last)


def _no_event(offset: int) -> LogDamagedError:
    return LogDamagedError(
        "no event stands there, though the log goes on behind it: the mark of a transaction perhaps",
        where=f"{DECISIONS.name}/0/{offset}",
        remedy="Restore the topic from the archive or an export, and write no decisions in transactions",
    )


def _another_log(offset: int) -> LogDamagedError:
    return LogDamagedError(
        f"what stands at offset {offset} is not what was read there: the topic has lost its end, or was made again",
        where=f"{DECISIONS.name}/0/{offset}",
        remedy="Restore the log from an export or a backup; or start again, where this is another log on purpose",
    )
