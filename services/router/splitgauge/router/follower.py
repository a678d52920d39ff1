"""The routing table in force: swapped whole, as soon as a decision appears in the log.

Owns which table requests are planned with, and whether there is one that may be used; what is in it says `plan`.
"""

import asyncio
import logging

from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.experiments.history import Judged
from splitgauge.router.clock import Clock
from splitgauge.router.plan import RoutingTable, compile_table
from splitgauge.schemas import instants
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError, SplitgaugeError, UnknownRulesError

__all__ = ["Follower"]

_PAUSE_S = 0.25
_logger = logging.getLogger(__name__)


class Follower:
    """Follows the decisions for one router."""

    def __init__(self, decisions: DecisionLog, clock: Clock) -> None:
        self._decisions = decisions
        self._clock = clock
        self._table = compile_table(decisions.registry)
        self._swapped_us = clock.now_us()
        self.failure: SplitgaugeError | None = None
        """Why no request can be planned any more."""
        decisions.on_change(self._swap)

    def current(self) -> RoutingTable:
        """The table for a request that comes now.

        Raises: UnknownRulesError, LogDamagedError: there are decisions that cannot be read, and a router that went on
            with older ones would guess that they change nothing.
        """
        if self.failure is not None:
            raise self.failure
        return self._table

    def status(self) -> dict[str, object]:
        """For operators."""
        return {
            "decisions_offset": self._table.offset,
            "applied": {"offset": self._table.offset - 1, "at": instants.to_text(self._swapped_us)},
        }

    async def run(self) -> None:
        """Follow until cancelled, or until a decision cannot be read. While the log is away the table stays."""
        while self.failure is None:
            try:
                await self._decisions.follow()
            except LogUnavailableError as exc:
                _logger.info("the decisions cannot be read now: %s", exc)
                await asyncio.sleep(_PAUSE_S)
            except (UnknownRulesError, LogDamagedError) as exc:
                self.failure = exc
                _logger.error("the decisions cannot be followed: %s", exc)  # noqa: TRY400 - the message says it all; a trace would not help an operator

    def _swap(self, _judged: list[Judged]) -> None:
        self._table = compile_table(self._decisions.registry)
        self._swapped_us = self._clock.now_us()
