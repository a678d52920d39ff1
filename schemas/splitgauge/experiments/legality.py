"""Checks that every decision passes, whatever its subject: the fields it needs, the revision it follows."""

from typing import TypeVar

from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.errors import ContractError, StaleRevisionError

__all__ = ["expect_revision", "required"]

_T = TypeVar("_T")


def expect_revision(decision: DecisionData, current: int) -> None:
    """Raises: StaleRevisionError unless the decision's revision is the one after `current`."""
    if decision.revision != current + 1:
        raise StaleRevisionError(
            f"the decision makes revision {decision.revision} of {decision.subject.kind} {decision.subject.id!r}, "
            f"which is at revision {current}",
            where=f"{decision.subject.kind} {decision.subject.id}",
            remedy="Read it again and decide on what it is now",
        )


def required(value: _T | None, field: str) -> _T:
    """The value of a field that the decision's action needs. Raises: ContractError where it is missing."""
    if value is None:
        raise ContractError(f"the decision lacks {field!r}", where=f"/data/{field}")
    return value
