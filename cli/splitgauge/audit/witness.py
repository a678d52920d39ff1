"""A partition that analyses bear witness to: the running digests that they recorded, held against those of the log as
it is now (events.md, rule 12). Pure.

A digest covers everything before it. So one that agrees vouches for all the log up to there, whatever earlier ones say:
then it is the analysis that was altered. And what was altered in the log lies between the last digest that agrees and
the first one behind it.
"""

from splitgauge.audit.report import Finding, FindingKind, Unprotected
from splitgauge.eventlog.port import Bounds

__all__ = ["Witnessed"]


class Witnessed:
    """What the analyses say of one partition of observations, or of the decisions.

    Attributes:
        trusted_upto: everything below is as it was.
        recorded_upto: the highest position of which a digest is recorded.
        damage: why it can be read no further.
        findings: what is wrong with it, the first cause first; known when all analyses have been compared.
    """

    def __init__(self, topic: str, number: int, bounds: Bounds) -> None:
        self.topic = topic
        self.number = number
        self.bounds = bounds
        self.trusted_upto = 0
        self.recorded_upto = 0
        self.damage: Finding | None = None
        self.findings: list[Finding] = []
        self._other: set[int] = set()

    def expect(self, position: int) -> None:
        """A digest is recorded there, whether it can be compared or not."""
        self.recorded_upto = max(self.recorded_upto, position)

    def compare(self, position: int, *, recorded: str | None, made: str) -> bool:
        """Whether the digest recorded for `position` is the one of the log."""
        self.expect(position)
        if recorded == made:
            self.trusted_upto = max(self.trusted_upto, position)
        else:
            self._other.add(position)
        return recorded == made

    def conclude(self) -> None:
        """All analyses have been compared."""
        behind = [position for position in self._other if position > self.trusted_upto]
        if behind:
            self.findings.append(self._altered(self.trusted_upto, min(behind)))
        # Where something was removed and the rest has closed up, an early end is the echo of it.
        if self.damage is not None and not (behind and self.damage.start == self.bounds.end):
            self.findings.append(self.damage)

    def _altered(self, start: int, end: int) -> Finding:
        where = (
            f"the event at offset {start}" if end == start + 1 else f"an event between offsets {start} and {end - 1}"
        )
        message = f"{where} was changed, removed, swapped or added: the running digest recorded at {end} is another"
        return Finding(FindingKind.ALTERED, self.topic, self.number, start, end, message)

    def unprotected(self) -> Unprotected | None:
        """What lies behind the last recorded digest."""
        start, end = max(self.recorded_upto, self.bounds.start), self.bounds.end
        return Unprotected(self.topic, self.number, start, end) if start < end else None
