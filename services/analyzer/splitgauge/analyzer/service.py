"""The analyzer: follows decisions, windows and its own analyses, decides when to look, and proposes what follows.

The imperative shell around `analysis`, `cadence` and `proposals`: log, time and threads are here, numbers are not. Any
number of analyzers may run: of two looks at once one is accepted, and a decision is accepted once.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from splitgauge.analyzer.analysis import Look, decisions_read, empty_window, look
from splitgauge.analyzer.analysis_log import AnalysisLog
from splitgauge.analyzer.cadence import LOG_EVERY_S, is_worth_logging
from splitgauge.analyzer.proposals import propose
from splitgauge.analyzer.windows import Windows, not_before
from splitgauge.eventlog.dead_letters import dead_letter
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import EventLog, Record, StoredRecord
from splitgauge.experiments import Judged
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas import instants
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import ConflictError, LogUnavailableError, MalformedError
from splitgauge.schemas.tables import WindowData, is_removal
from splitgauge.schemas.topics import DEAD_LETTERS, WINDOWS

__all__ = ["Analyzer", "AnalyzerSettings"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnalyzerSettings:
    """How an analyzer runs.

    Attributes:
        name: of the actor in its decisions.
        instance: which process it is, in the envelopes of its events.
        debounce_s: at most one look at an experiment in this time.
        interval_s: a look at a running experiment at least this often, changed or not.
        retry_s: after the log did not take an event.
    """

    name: str = "analyzer"
    instance: str = "analyzer"
    debounce_s: float = 0.25
    interval_s: float = LOG_EVERY_S
    retry_s: float = 2.0


@dataclass(slots=True)
class _Pace:
    """When an experiment was looked at, by the loop's clock, and whether something changed since."""

    taken_s: float | None = None
    changed: bool = True
    not_before_s: float = 0.0

    def due_s(self, settings: AnalyzerSettings) -> float:
        if self.taken_s is None:
            return self.not_before_s
        wait_s = settings.debounce_s if self.changed else settings.interval_s
        return max(self.not_before_s, self.taken_s + wait_s)


class Analyzer:
    """Looks at every active and paused experiment, and acts by their policies.

    Args:
        clock: microseconds since 1970; what it says is recorded as `looked_at`.
    """

    def __init__(self, log: EventLog, *, clock: Callable[[], int], settings: AnalyzerSettings | None = None) -> None:
        self._log = log
        self._clock = clock
        self._settings = settings if settings is not None else AnalyzerSettings()
        self._decisions = DecisionLog(log, source=SOURCES["analyzer"], instance=self._settings.instance)
        self._analyses = AnalysisLog(log, clock=clock, instance=self._settings.instance)
        self._windows = Windows()
        self._window_positions: dict[int, int] = {}
        self._paces: dict[str, _Pace] = {}
        self._wake = asyncio.Event()
        self._ready = False
        self._decisions.on_change(self._decided)

    def status(self) -> dict[str, object]:
        """For readiness: whether all topics are read to where they ended at the start, and how far decisions are."""
        return {"ready": self._ready, "decisions_offset": self._decisions.history.end}

    async def run(self) -> None:
        """Until cancelled. Raises: what stops an analyzer, as the log and the decisions raise it."""
        await self._decisions.catch_up()
        await self._analyses.catch_up()
        await self._catch_up_windows()
        for experiment_id in self._running():
            # A crash may have come between an analysis and its decision. The same ids are made again.
            await self._guarded(experiment_id, self._propose(experiment_id))
        self._ready = True
        await _until_one_fails(
            self._decisions.follow(), self._analyses.follow(), self._follow_windows(), self._look_on()
        )

    def _running(self) -> list[str]:
        experiments = self._decisions.registry.experiments.values()
        return [state.id for state in experiments if state.status in {"active", "paused"}]

    def _decided(self, judged: list[Judged]) -> None:
        """Another revision, or a window that waited for these decisions."""
        if any(one.accepted for one in judged):
            for pace in self._paces.values():
                pace.changed = True
        self._wake.set()

    async def _catch_up_windows(self) -> None:
        for partition, bounds in (await self._log.bounds(WINDOWS.name)).items():
            position = bounds.start
            while records := await self._log.read(WINDOWS.name, partition, position):
                await self._take_windows(records)
                position = records[-1].offset + 1
            self._window_positions[partition] = position

    async def _follow_windows(self) -> None:
        async for records in self._log.follow(WINDOWS.name, self._window_positions):
            await self._take_windows(records)

    async def _take_windows(self, records: list[StoredRecord]) -> None:
        letters: list[Record] = []
        for record in records:
            if is_removal(record.key, record.value):
                continue
            try:
                changed = self._windows.take(record.value)
            except MalformedError as exc:
                # Windows are made again from the log; the next one takes its place.
                time, instance = instants.to_text(self._clock()), self._settings.instance
                letters.append(
                    dead_letter(record, code=exc.code, reason=str(exc), role="analyzer", time=time, instance=instance)
                )
                continue
            if changed is not None:
                self._pace(changed).changed = True
                self._wake.set()
        if letters:
            await self._log.append(DEAD_LETTERS.name, letters)

    def _pace(self, experiment_id: str) -> _Pace:
        return self._paces.setdefault(experiment_id, _Pace())

    async def _look_on(self) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            running = self._running()
            for gone in self._paces.keys() - running:
                del self._paces[gone]
            for experiment_id in running:
                pace = self._pace(experiment_id)
                if pace.due_s(self._settings) <= now_s():
                    pace.taken_s, pace.changed = now_s(), False
                    await self._guarded(experiment_id, self._look(experiment_id))
            due_s = min((self._pace(one).due_s(self._settings) for one in running), default=None)
            await _wait(self._wake, None if due_s is None else due_s - now_s())

    async def _guarded(self, experiment_id: str, step: Coroutine[Any, Any, None]) -> None:
        """What the log does not take now is tried again: the look and the decision follow from what is in it."""
        try:
            await step
        except LogUnavailableError as exc:
            _logger.warning("experiment %s: %s", experiment_id, exc)
            pace = self._pace(experiment_id)
            pace.changed = True
            pace.not_before_s = asyncio.get_running_loop().time() + self._settings.retry_s

    async def _look(self, experiment_id: str) -> None:
        taken = await self._take_look(experiment_id)
        if taken is None:
            return
        previous = self._analyses.last(experiment_id)
        if is_worth_logging(taken.data, previous.data if previous is not None else None):
            accepted = await self._analyses.append(taken)
            # Another analyzer was faster: the next look continues its look.
            self._pace(experiment_id).changed |= accepted is None
        await self._propose(experiment_id)

    async def _take_look(self, experiment_id: str) -> Look | None:
        upto = self._decisions.history.end
        previous = self._analyses.last(experiment_id)
        window = self._windows.newest(experiment_id) or empty_window(experiment_id)
        if window.decisions_offset > upto or (previous is not None and previous.data.decisions.upto > upto):
            return None  # the decisions are on their way, and wake this experiment
        if previous is not None and not not_before(window, previous.data.positions):
            return None  # an aggregator started over; it publishes again when it has come as far
        return await asyncio.to_thread(self._look_at, window, upto, previous)

    def _look_at(self, window: WindowData, upto: int, previous: AcceptedLook | None) -> Look:
        """In a thread: numbers take milliseconds, and the loop has other things to do."""
        history = self._decisions.history
        now_us = self._clock()
        if previous is not None:
            now_us = max(now_us, instants.from_text(previous.data.looked_at))
        return look(
            history.at(upto).experiments[window.experiment_id],
            window,
            looked_at=instants.to_text(now_us),
            previous=previous,
            decisions=decisions_read(history, upto),
        )

    async def _propose(self, experiment_id: str) -> None:
        last = self._analyses.last(experiment_id)
        proposed = propose(self._decisions.registry, last, name=self._settings.name) if last is not None else None
        if proposed is None:
            return
        try:
            judged = await self._decisions.propose(proposed.decision, event_id=proposed.id, time_us=self._clock())
        except ConflictError as exc:
            _logger.info("experiment %s changed before its decision was written: %s", experiment_id, exc)
            self._pace(experiment_id).changed = True
            return
        _logger.info(
            "experiment %s: %s (%s)",
            experiment_id,
            proposed.decision.action,
            "accepted" if judged.accepted else f"not accepted: {judged.refusal}",
        )
        self._pace(experiment_id).changed = True


async def _until_one_fails(*steps: Coroutine[Any, Any, None]) -> None:
    """Run all; when one fails, or this is cancelled, none goes on. A TaskGroup would wrap the one error in a group."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
