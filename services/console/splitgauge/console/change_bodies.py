"""Bodies of the actions: what a person may say when changing an experiment. Closed: unknown fields are refused."""

from typing import Annotated

from pydantic import Field

from splitgauge.schemas.model import Name, Specification

__all__ = ["Promotion", "Reason", "RollBack", "Weights"]

_ReasonText = Annotated[str, Field(min_length=1, max_length=2_000, description="why; it stands in the log")]


class Reason(Specification):
    """Why. Every action takes one."""

    reason: _ReasonText | None = None


class Promotion(Reason):
    """Whom to promote. Left out: the winner of the latest accepted look."""

    variant: Name | None = None


class RollBack(Reason):
    """Whom to roll back. Left out: the only challenger."""

    variant: Name | None = None


Weights = dict[Name, Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]]
"""A weight for every variant: any non-negative numbers; only their ratios count."""
