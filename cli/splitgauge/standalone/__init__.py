"""Splitgauge in one process on the embedded log: every role wired together, started, watched and stopped."""

from splitgauge.standalone.server import run
from splitgauge.standalone.settings import StandaloneSettings

__all__ = ["StandaloneSettings", "run"]
