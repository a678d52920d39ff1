"""When a look is logged: not every one that is taken, and never one too few.

Pure. Owns the thresholds; must not know clocks or the log.
"""

from splitgauge.schemas import instants
from splitgauge.schemas.analysis import AnalysisData

__all__ = ["LOG_EVERY_S", "is_worth_logging"]

LOG_EVERY_S = 60.0
"""A look is taken and logged at least this often while an experiment runs."""

_GROWTH = 0.02


def is_worth_logging(look: AnalysisData, previous: AnalysisData | None) -> bool:
    """Whether `look` goes to the log after `previous`, the last accepted one.

    It does when the verdict, the health or the experiment's state changed (a decision has to stand on the state as it
    is), when the units, or those with data on the goal, have grown by 2 %, or when 60 s have passed.
    """
    if previous is None or look.revision != previous.revision or _gist(look) != _gist(previous):
        return True
    grown = any(
        now >= before * (1 + _GROWTH) for now, before in zip(_units(look), _units(previous), strict=True) if now
    )
    if look.positions != previous.positions and grown:
        return True
    passed_us = instants.from_text(look.looked_at) - instants.from_text(previous.looked_at)
    return passed_us >= LOG_EVERY_S * instants.SECOND_US


def _gist(look: AnalysisData) -> tuple[object, ...]:
    """What people and the policy act on: the words of a reason may change at every look."""
    verdict = look.verdict
    return (
        verdict.step,
        verdict.kind,
        verdict.variant,
        verdict.winner,
        verdict.proposal,
        verdict.promotable,
        look.health.state,
        look.health.sample_ratio_latched,
        look.state,
        tuple((one.variant, one.metric, one.state) for one in look.guardrails),
    )


def _units(look: AnalysisData) -> tuple[int, int]:
    """Exposed, and with data on the goal: reports may come when nobody new does."""
    exposed = sum(variant.units for variant in look.variants.values())
    return exposed, sum(one.units + one.units_against for one in look.comparisons if one.role == "goal")
