"""What a check has found: one line for an operator, one object for a machine."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from splitgauge.schemas.errors import SplitgaugeError

__all__ = ["Finding", "Outcome"]


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, and is not as it should be."""
    FAILED = "failed"
    """A role does not start, or stops, or loses what it should keep."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one thing.

    Attributes:
        check: what was looked at; stable, to branch on.
        subject: which of them.
        message: what is so.
        remedy: what to do; empty where nothing is wrong.
    """

    check: str
    outcome: Outcome
    subject: str
    message: str
    remedy: str = ""

    @classmethod
    def ok(cls, check: str, subject: str, message: str) -> Self:
        """Nothing to do."""
        return cls(check, Outcome.OK, subject, message)

    @classmethod
    def warning(cls, check: str, subject: str, message: str, remedy: str) -> Self:
        """It works, and is not as it should be."""
        return cls(check, Outcome.WARNING, subject, message, remedy)

    @classmethod
    def failed(cls, check: str, subject: str, message: str, remedy: str) -> Self:
        """It does not work."""
        return cls(check, Outcome.FAILED, subject, message, remedy)

    @classmethod
    def of_error(cls, check: str, subject: str, error: SplitgaugeError) -> Self:
        """What could not be looked at, or is refused by the part that needs it."""
        return cls(check, Outcome.FAILED, subject, error.message, error.remedy)
