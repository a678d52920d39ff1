"""The roles that work on the log by themselves, each kept alive on its own: a role without its log or database waits
and begins again, and says so meanwhile; one that finds the log damaged stays stopped, and says that.

Owns how a role is put together and kept alive. What it does is its service's, which is loaded with the role: a process
that only routes needs neither mathematics nor Faust.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from splitgauge.cluster.role import Role
from splitgauge.cluster.settings import ClusterSettings
from splitgauge.eventlog.port import EventLog
from splitgauge.router.clock import SYSTEM_CLOCK
from splitgauge.schemas.envelope import SOURCES
from splitgauge.schemas.errors import ContractError, LogUnavailableError, SplitgaugeError

if TYPE_CHECKING:
    from splitgauge.aggregator.fold_group import FoldGroup

__all__ = ["BACKGROUND", "KeptRole", "Work"]

RETRY_S = 1.0
"""After a role could not use its log or database."""
SAY_AGAIN_S = 60.0
"""What still is as it was is not said after every attempt."""

Status = Callable[[], Mapping[str, object]]
Work = Callable[["KeptRole"], Awaitable[None]]

_logger = logging.getLogger(__name__)


class KeptRole:
    """One role of the process, from its start to its stop."""

    def __init__(self, role: Role, work: Work, log: EventLog) -> None:
        self.role = role
        self.log = log
        self._work = work
        self._says: Status | None = None
        self._failure: str | None = None
        self._say_again_s = 0.0

    def begun(self, says: Status) -> None:
        """The role is put together; what it says of itself from now on."""
        self._says = says

    def status(self) -> Mapping[str, object]:
        """For `/readyz`. What stopped the role is told until it is ready again: it may stop it at once once more."""
        said: dict[str, object] = {"ready": False} if self._says is None else dict(self._says())
        if said["ready"]:
            self._failure = None
        elif self._failure is not None:
            said["reason"] = self._failure
        return said

    async def run(self) -> None:
        """Until cancelled, or stopped for good by what it found."""
        again = True
        while again:
            try:
                await self._work(self)
            except* LogUnavailableError as group:
                self._fail(group, again=True)
            except* SplitgaugeError as group:
                self._fail(group, again=False)
                again = False
            await asyncio.sleep(RETRY_S if again else 0)

    def _fail(self, group: BaseExceptionGroup[SplitgaugeError], *, again: bool) -> None:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        now_s = asyncio.get_running_loop().time()
        if str(first) != self._failure or now_s >= self._say_again_s:
            _logger.error("%s stopped%s: %s", self.role, ", and tries again" if again else "", first)
            self._say_again_s = now_s + SAY_AGAIN_S
        self._says, self._failure = None, str(first)

    def ended(self, task: "asyncio.Task[None]") -> None:
        """For `add_done_callback`: an error that nobody foresaw ends no role in silence."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._says, self._failure = None, f"it has failed: {error!r}"
            _logger.error("%s has failed", self.role, exc_info=error)


def _aggregator(settings: ClusterSettings) -> Work:
    from splitgauge.aggregator.engine import compiled_engine
    from splitgauge.aggregator.fold_group import FoldGroup
    from splitgauge.aggregator.partition_worker import Pace, Surroundings
    from splitgauge.eventlog.decisions import DecisionLog
    from splitgauge.eventlog.postgres_checkpoints import PostgresCheckpoints

    database = _database(settings, Role.AGGREGATOR)
    engine = compiled_engine()

    async def work(kept: KeptRole) -> None:
        checkpoints = await PostgresCheckpoints.open(database)
        try:
            decisions = DecisionLog(kept.log, source=SOURCES["aggregator"], instance=settings.instance)
            await decisions.catch_up()
            around = Surroundings(kept.log, checkpoints, decisions, SYSTEM_CLOCK.now_us, settings.instance, engine)
            pace = Pace(settings.publish_interval_s, settings.checkpoint_interval_s)
            folds = FoldGroup(around, pace=pace)
            kept.begun(lambda: _said_by(folds) | {"engine": "plain" if engine is None else "compiled"})
            await folds.run()
        finally:
            await checkpoints.close()

    return work


def _said_by(folds: "FoldGroup") -> dict[str, object]:
    said: dict[str, object] = {
        "ready": folds.ready,
        "positions": {str(at): upto for at, upto in folds.positions.items()},
    }
    return said if folds.unsaved_reason is None else said | {"unsaved_reason": folds.unsaved_reason}


def _tables(settings: ClusterSettings) -> Work:
    from splitgauge.aggregator.faust_tables import FaustTablesWorker

    async def work(kept: KeptRole) -> None:
        worker = FaustTablesWorker(
            kept.log,
            settings.kafka,
            now_us=SYSTEM_CLOCK.now_us,
            instance=settings.instance,
            publish_interval_s=settings.publish_interval_s,
        )
        kept.begun(lambda: {"ready": worker.ready, "partitions": sorted(worker.partitions)})
        await worker.run()

    return work


def _analyzer(settings: ClusterSettings) -> Work:
    from splitgauge.analyzer.service import Analyzer, AnalyzerSettings

    async def work(kept: KeptRole) -> None:
        paced = AnalyzerSettings(instance=settings.instance, debounce_s=settings.look_debounce_s)
        analyzer = Analyzer(kept.log, clock=SYSTEM_CLOCK.now_us, settings=paced)
        kept.begun(analyzer.status)
        await analyzer.run()

    return work


def _archiver(settings: ClusterSettings) -> Work:
    from splitgauge.archiver.service import Archiver, ArchiverSettings
    from splitgauge.eventlog.postgres_archive_writer import ArchiveWriter

    database = _database(settings, Role.ARCHIVER)

    async def work(kept: KeptRole) -> None:
        writer = await ArchiveWriter.open(database)
        try:
            archiver = Archiver(kept.log, writer, ArchiverSettings(rest_s=settings.archive_rest_s))
            kept.begun(archiver.status)
            await archiver.run()
        finally:
            await writer.close()

    return work


def _database(settings: ClusterSettings, role: Role) -> str:
    if settings.postgres is None:
        raise ContractError(
            f"the {role} needs a database",
            where="the setting `postgres`",
            remedy="Set it to postgresql://user@host/name",
        )
    return settings.postgres


BACKGROUND: Mapping[Role, Callable[[ClusterSettings], Work]] = {
    Role.AGGREGATOR: _aggregator,
    Role.TABLES: _tables,
    Role.ANALYZER: _analyzer,
    Role.ARCHIVER: _archiver,
}
"""The roles that need nobody to ask them anything, each with what loads its modules. That is done before any event loop
runs: it would stand still meanwhile, for seconds on a busy machine."""
