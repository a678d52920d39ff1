"""What a replay found: counts, named differences, and what no digest protects."""

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Finding", "FindingKind", "ReplayReport", "Unprotected"]


class FindingKind(Enum):
    """The ways in which a log and its replay can disagree."""

    DAMAGED = "damaged"
    """A place that cannot be read, or an offset that is missing. Nothing behind it in its partition can be judged."""
    ALTERED = "altered"
    """Between two recorded digests something was changed, removed, swapped or added."""
    ANALYSIS_DIFFERS = "analysis-differs"
    """The same inputs make another analysis than the one recorded."""
    ANALYSIS_UNREADABLE = "analysis-unreadable"
    """An event among the analyses is none, or stands on a look whose bytes are not those it names."""
    ANALYSIS_NOT_REACHED = "analysis-not-reached"
    """Its inputs cannot be read or are not those it was made from, so it cannot be made again."""
    DECISION_WITHOUT_EVIDENCE = "decision-without-evidence"
    """An automatic decision whose evidence is no accepted look, or not with that verdict."""
    DEAD_LETTERS_DIFFER = "dead-letters-differ"
    """What could not be used is not what was put aside as such."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement.

    Attributes:
        where: topic, partition and offset, or topic, partition and a range of offsets.
        message: what is recorded and what was made, both values where there are two.
    """

    kind: FindingKind
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Unprotected:
    """Events that no recorded digest covers yet: a change among them would not be found."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def events(self) -> int:
        """How many."""
        return self.end - self.start


@dataclass(slots=True)
class ReplayReport:
    """The whole result.

    Attributes:
        events: read, by topic.
        analyses, forks: accepted looks, and those that every reader ignores.
        reproduced: accepted looks whose bytes came out the same.
        nearly: of those that did not, the ones that differ in floats within 1e-9 only: another processor, no finding.
        decisions, automatic: accepted decisions, and of those the analyzer's.
        automatic_reproduced: of those, the ones whose evidence is an accepted look that proposes just this.
    """

    events: dict[str, int] = field(default_factory=dict[str, int])
    analyses: int = 0
    forks: int = 0
    reproduced: int = 0
    nearly: int = 0
    decisions: int = 0
    ignored_decisions: int = 0
    automatic: int = 0
    automatic_reproduced: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    unprotected: list[Unprotected] = field(default_factory=list[Unprotected])

    @property
    def sound(self) -> bool:
        """Whether everything came out as recorded."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "sound": self.sound,
            "events": self.events,
            "analyses": {
                "accepted": self.analyses,
                "reproduced": self.reproduced,
                "within_1e-9": self.nearly,
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
            "findings": [{**asdict(finding), "kind": finding.kind.value} for finding in self.findings],
            "unprotected": [{**asdict(gap), "events": gap.events} for gap in self.unprotected],
        }
