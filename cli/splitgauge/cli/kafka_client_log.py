"""What the Kafka client says on the standard error: each line at most once a minute.

A broker that is away makes it say the same hundreds of times a second, and nobody would find our own lines among them.
Owns how often its lines are shown. What everybody else logs is none of its business.
"""

import logging
import time
from collections.abc import Callable

__all__ = ["SAY_AGAIN_S", "SeldomRepeated", "repeat_seldom"]

SAY_AGAIN_S = 60.0
_REMEMBERED = 1_000
"""Lines. Some name things that do not come again; then it begins to forget."""


class SeldomRepeated(logging.Filter):
    """Of the loggers below a name, lines that were not shown lately; of all others everything."""

    def __init__(self, name: str, *, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name)
        self._now_s = now_s
        self._shown_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show it."""
        if not super().filter(record):
            return True
        line, now_s = record.getMessage(), self._now_s()
        if line in self._shown_s and now_s < self._shown_s[line] + SAY_AGAIN_S:
            return False
        if len(self._shown_s) >= _REMEMBERED:
            self._shown_s.clear()
        self._shown_s[line] = now_s
        return True


def repeat_seldom() -> None:
    """For a process that has set up no logging: what it logs goes through `logging.lastResort`."""
    if logging.lastResort is not None:
        logging.lastResort.addFilter(SeldomRepeated("aiokafka"))
