"""What an experiment is decided by: the one primary metric, the engine that judges it, and looks planned beforehand."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from splitgauge.schemas.model import Listed, Name, Specification

__all__ = ["Engine", "Goal", "GroupSequential"]

Engine = Literal["asymptotic", "rare", "group_sequential", "bayes", "fixed"]
"""asymptotic: a confidence sequence, valid at every look, after some hundred units. rare: counts of a rate's rarer
outcome, valid at every look from the first unit on. group_sequential: at looks planned beforehand. bayes: Bayes factor
and expected loss together, at every look. fixed: once, at the first look with the planned units."""


_APART = 0.001
"""Looks closer than this only repeat each other."""


class Goal(Specification):
    """The one primary metric, the smallest effect worth knowing of, and the engine that decides on it."""

    metric: Name = "success"
    minimum_detectable_effect: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    effect: Literal["absolute", "relative"] = Field(
        default="absolute", description="what the minimum effect and the prior are in: the metric's unit, or a fraction"
    )
    engine: Engine | None = Field(default=None, description="left out: the metric's own")
    prior_mean: float | None = Field(
        default=None, allow_inf_nan=False, description="of the effect, challenger minus control; left out: 0"
    )
    prior_sd: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of the effect; left out: every effect is as likely"
    )

    @model_validator(mode="after")
    def _prior_is_whole(self) -> "Goal":
        if self.prior_mean is not None and self.prior_sd is None:
            message = "prior_mean needs prior_sd: where every effect is as likely there is no mean"
            raise ValueError(message)
        return self


class GroupSequential(Specification):
    """Looks planned beforehand, and how the error is spent over them."""

    looks: Annotated[tuple[float, ...], Listed] = Field(
        default=(0.2, 0.4, 0.6, 0.8, 1.0), min_length=1, max_length=20, description="shares of planned_units, rising"
    )
    spending: Literal["obrien_fleming", "pocock", "power"] = "obrien_fleming"
    phi: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="exponent of `power`")

    @model_validator(mode="after")
    def _in_order(self) -> "GroupSequential":
        if not self.looks[0] > 0 or any(not after - before >= _APART for before, after in pairwise(self.looks)):
            message = f"looks rise from above 0, each by at least {_APART:g}; they are {list(self.looks)}"
            raise ValueError(message)
        if self.looks[-1] != 1:
            message = f"the last look is at 1, the planned units; it is at {self.looks[-1]:g}"
            raise ValueError(message)
        if (self.phi is not None) != (self.spending == "power"):
            message = "spending `power`, and no other, takes phi"
            raise ValueError(message)
        return self
