"""What a replay found: counts, named differences, and what no digest protects.

A finding is a cause. What could not be judged because of it is counted on it and makes no finding of its own, so that
whoever reads the report sees what happened to the log and not its echo in everything behind it.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from splitgauge.schemas.topics import ANALYSES, DEAD_LETTERS, DECISIONS, OBSERVATIONS

__all__ = ["Finding", "FindingKind", "ReplayReport", "Unprotected"]


class FindingKind(Enum):
    """The ways in which a log and its replay can disagree."""

    DAMAGED = "damaged"
    """Events are missing or cannot be read, and their offsets are known."""
    ALTERED = "altered"
    """Within these offsets something was changed, removed, swapped or added."""
    ANALYSIS_DIFFERS = "analysis-differs"
    """The recorded inputs make another analysis than the one recorded."""
    DECISION_WITHOUT_EVIDENCE = "decision-without-evidence"
    """An automatic decision that does not follow from the look that it names."""
    DEAD_LETTERS_DIFFER = "dead-letters-differ"
    """What could not be used is not what was put aside as such."""


@dataclass(slots=True)
class Finding:
    """One disagreement, and how much could not be judged because of it.

    Attributes:
        start, end: the offsets [start, end) that it is about.
        message: what is recorded and what was made, both values where there are two.
        analyses: accepted looks that stand on it and could not be made again.
        decisions: automatic decisions that stand on it and could not be held against their evidence.
    """

    kind: FindingKind
    topic: str
    partition: int
    start: int
    end: int
    message: str
    analyses: int = 0
    decisions: int = 0

    @property
    def where(self) -> str:
        """Topic, partition and offset, or first and last offset."""
        offsets = f"{self.start}" if self.end == self.start + 1 else f"{self.start}..{self.end - 1}"
        return f"{self.topic}/{self.partition}/{offsets}"

    def covers(self, topic: str, partition: int, offset: int) -> bool:
        """Whether it is about that place."""
        return (self.topic, self.partition) == (topic, partition) and self.start <= offset < self.end

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the report's document."""
        return {
            "kind": self.kind.value,
            "where": self.where,
            "topic": self.topic,
            "partition": self.partition,
            "start": self.start,
            "end": self.end,
            "message": self.message,
            "analyses_not_made_again": self.analyses,
            "decisions_not_judged": self.decisions,
        }


@dataclass(frozen=True, slots=True)
class Unprotected:
    """Events that no recorded digest covers yet: a change among them would not be found by one."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def events(self) -> int:
        """How many."""
        return self.end - self.start


_CAUSES_FIRST = (DECISIONS.name, OBSERVATIONS.name, ANALYSES.name, DEAD_LETTERS.name)
"""Each topic stands on those before it."""


@dataclass(slots=True)
class ReplayReport:
    """The whole result.

    Attributes:
        events: in the log, by topic.
        analyses, forks: accepted looks, and those that every reader ignores.
        reproduced: accepted looks whose bytes came out the same.
        nearly: of those that did not, the ones that differ in floats within 1e-9 only: another processor, no finding.
        nearly_example: the place of the first of these, and its largest difference.
        decisions, automatic: accepted decisions, and of those the analyzer's.
        automatic_reproduced: of those, the ones whose evidence is an accepted look that proposes just this.
        dead_letters: observations that are put aside.
    """

    events: dict[str, int] = field(default_factory=dict[str, int])
    analyses: int = 0
    forks: int = 0
    reproduced: int = 0
    nearly: int = 0
    nearly_example: str | None = None
    decisions: int = 0
    ignored_decisions: int = 0
    automatic: int = 0
    automatic_reproduced: int = 0
    dead_letters: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    unprotected: list[Unprotected] = field(default_factory=list[Unprotected])

    @property
    def sound(self) -> bool:
        """Whether everything came out as recorded."""
        return not self.findings

    def sort(self) -> None:
        """Causes before what stands on them, and then as they stand in the log."""
        self.findings.sort(key=lambda one: (_CAUSES_FIRST.index(one.topic), one.partition, one.start, one.end))

    def to_json(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "sound": self.sound,
            "events": self.events,
            "analyses": {
                "accepted": self.analyses,
                "reproduced": self.reproduced,
                "within_1e-9": self.nearly,
                "within_1e-9_example": self.nearly_example,
                "forks": self.forks,
            },
            "decisions": {
                "accepted": self.decisions,
                "ignored": self.ignored_decisions,
                "automatic": self.automatic,
                "automatic_reproduced": self.automatic_reproduced,
            },
            "dead_letters": self.dead_letters,
            "mismatches": len(self.findings),
            "findings": [finding.to_json() for finding in self.findings],
            "unprotected": [
                {
                    "topic": gap.topic,
                    "partition": gap.partition,
                    "start": gap.start,
                    "end": gap.end,
                    "events": gap.events,
                }
                for gap in self.unprotected
            ],
        }
