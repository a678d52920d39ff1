"""Replay: every analysis and every automatic decision of a log made again, and compared with what was recorded."""

from splitgauge.audit.replay import replay
from splitgauge.audit.report import Finding, FindingKind, ReplayReport

__all__ = ["Finding", "FindingKind", "ReplayReport", "replay"]
