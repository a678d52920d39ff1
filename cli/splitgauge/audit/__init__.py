"""Replay: every analysis and every automatic decision of a log made again, and compared with what was recorded."""

from splitgauge.audit.replay import Progress, replay
from splitgauge.audit.report import Finding, FindingKind, ReplayReport, Unprotected
from splitgauge.audit.wording import lines_of

__all__ = ["Finding", "FindingKind", "Progress", "ReplayReport", "Unprotected", "lines_of", "replay"]
