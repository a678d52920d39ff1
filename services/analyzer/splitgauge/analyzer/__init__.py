"""Looks: what the numbers of an experiment say, what follows by the decision rule, and the service that acts on it."""

from splitgauge.analyzer.analysis import Look, analyse, decisions_read, empty_window, encode_analysis, look
from splitgauge.analyzer.cadence import is_worth_logging
from splitgauge.analyzer.proposals import ProposedDecision, propose
from splitgauge.analyzer.service import Analyzer, AnalyzerSettings

__all__ = [
    "Analyzer",
    "AnalyzerSettings",
    "Look",
    "ProposedDecision",
    "analyse",
    "decisions_read",
    "empty_window",
    "encode_analysis",
    "is_worth_logging",
    "look",
    "propose",
]
