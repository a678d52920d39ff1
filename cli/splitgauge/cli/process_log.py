"""What a process logs on the standard error: a line each, with its time, how grave it is and who says it.

A broker that is away makes the Kafka client say the same hundreds of times a second, and nobody would find our own
lines among them: its lines are shown at most once a minute each. Owns how lines look and how often they are shown.
"""

import logging
import time
from collections.abc import Callable

__all__ = ["SAY_AGAIN_S", "SeldomRepeated", "log_to_stderr"]

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


def log_to_stderr() -> None:
    """Warnings and errors of everybody in this process, in UTC."""
    lines = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    lines.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(lines)
    handler.addFilter(SeldomRepeated("aiokafka"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
