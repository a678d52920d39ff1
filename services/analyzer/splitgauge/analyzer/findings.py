"""All that the decision rule reads of a look.

Owns the collection, nothing else: who makes the numbers, and what follows from them, stands elsewhere.
"""

from dataclasses import dataclass

from splitgauge.experiments import ExperimentState
from splitgauge.schemas.analysis import Comparison, GuardrailFinding, Health, LookState, Novelty, VariantNumbers

__all__ = ["Findings", "goals"]


@dataclass(frozen=True, slots=True)
class Findings:
    """Every float is as it is recorded.

    Attributes:
        looked_at_us: when the look was taken.
        as_of_us: the latest assignment time of the window; None: no assignment yet.
        novelty: of whom all else would promote; None where nobody is, or before it is asked.
    """

    state: ExperimentState
    looked_at_us: int
    as_of_us: int | None
    variants: dict[str, VariantNumbers]
    comparisons: tuple[Comparison, ...]
    leader: Comparison | None
    guardrails: tuple[GuardrailFinding, ...]
    health: Health
    carried: LookState
    novelty: Novelty | None = None


def goals(findings: Findings) -> tuple[Comparison, ...]:
    """The goal's comparison of each challenger that is still in."""
    return tuple(one for one in findings.comparisons if one.role == "goal")
