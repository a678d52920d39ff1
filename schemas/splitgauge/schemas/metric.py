"""What is measured: the router's own metrics, and what a specification declares beside them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from splitgauge.schemas.model import Name, Specification

__all__ = ["ROUTER_METRICS", "Covariate", "Metric"]

_MICRO = 1_000_000


class Covariate(Specification):
    """A number known before the experiment: a numeric attribute of the unit's first assignment."""

    attribute: str = Field(min_length=1)
    default: float = Field(default=0.0, allow_inf_nan=False, description="for units that come without it")
    scale: int = Field(default=_MICRO, ge=1, le=10**15)


class Metric(Specification):
    """How values become, per unit, a numerator m and a denominator d; everything else follows from those."""

    name: Name
    kind: Literal["proportion", "mean", "ratio", "count"] = "mean"
    direction: Literal["up", "down"] = Field(default="up", description="which way is good")
    level: Literal["request", "unit"] = "request"
    fold: Literal["sum", "any", "max"] = Field(default="sum", description="of several values within a unit")
    denominator: Annotated[str, StringConstraints(pattern=r"^(units|requests|reports|metric:.+)$")] | None = Field(
        default=None,
        description="units: exposed units; requests: live requests of the split; reports: values that came; "
        "metric:NAME: the sum of another metric (kind ratio). Left out: reports at level request, units at level unit",
    )
    cap: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="values above count as this")
    covariate: Covariate | None = None
    scale: int = Field(default=_MICRO, ge=1, le=10**15, description="fixed point: value 1 is stored as this integer")
    operational: bool = Field(default=False, description="a failure or safety signal, judged from its first event on")

    @property
    def counted_over(self) -> str:
        """The denominator in force."""
        return self.denominator or ("units" if self.level == "unit" else "reports")

    @model_validator(mode="after")
    def _consistent(self) -> "Metric":
        if (self.kind == "ratio") != self.counted_over.startswith("metric:"):
            message = "a ratio, and nothing else, has a denominator `metric:NAME`"
            raise ValueError(message)
        if self.fold != "sum" and self.level != "unit":
            message = f"fold `{self.fold}` is of several values within a unit: it needs level `unit`"
            raise ValueError(message)
        if self.kind == "proportion" and self.cap is not None:
            message = "a proportion has no outliers to cap"
            raise ValueError(message)
        if self.kind == "proportion" and self.level == "unit" and self.fold == "sum":
            message = "a proportion of units folds with `any` or `max`: a sum could exceed 1"
            raise ValueError(message)
        return self


def _router(name: str, kind: Literal["proportion", "mean"], direction: Literal["up", "down"], scale: int) -> Metric:
    return Metric(
        name=name, kind=kind, direction=direction, denominator="reports", scale=scale, operational=name == "success"
    )


ROUTER_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _router("success", "proportion", "up", 1),
        _router("latency_ms", "mean", "down", _MICRO),
        _router("ttft_ms", "mean", "down", _MICRO),
        _router("input_tokens", "mean", "down", 1),
        _router("cached_input_tokens", "mean", "up", 1),
        _router("output_tokens", "mean", "down", 1),
        _router("cost", "mean", "down", 10**12),
    )
}
"""Measured of every request of every experiment; their names are reserved. Per answered request, over its units."""
