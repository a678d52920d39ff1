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
    kind: Literal["proportion", "mean", "ratio", "count", "quantile"] = Field(
        default="mean",
        description="quantile describes and decides nothing: to decide, declare the share of values under a limit",
    )
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
    quantile: float | None = Field(default=None, gt=0, lt=1, description="of kind quantile: 0.95 for the p95")
    source: Literal["latency_ms", "ttft_ms", "input_tokens", "cached_input_tokens", "output_tokens", "cost"] | None = (
        Field(
            default=None,
            description="of a proportion of requests: nobody reports it, it is the share of those with this metric of "
            "the router's at most `under`",
        )
    )
    under: float | None = Field(default=None, allow_inf_nan=False, description="the limit, in the unit of `source`")
    engine: Literal["asymptotic", "rare"] = Field(
        default="asymptotic",
        description="rare: for rates under about 10 % or over 90 %, from counts of the rarer outcome, valid from the "
        "first unit on",
    )

    @property
    def counted_over(self) -> str:
        """The denominator in force."""
        return self.denominator or ("units" if self.level == "unit" else "reports")

    @property
    def reported(self) -> bool:
        """Whether applications report it: not what the router measures, or what follows from that."""
        return self.source is None and self.name not in ROUTER_METRICS

    @property
    def sketched(self) -> bool:
        """Whether a histogram of its values is kept, for quantiles."""
        return self.kind == "quantile" or self.name in {"latency_ms", "ttft_ms"}

    @model_validator(mode="after")
    def _quantile_fits(self) -> "Metric":
        if (self.kind == "quantile") != (self.quantile is not None):
            message = "`quantile` (0.95 for the p95) belongs to kind `quantile`, and to no other"
            raise ValueError(message)
        if self.kind == "quantile" and (self.level != "request" or self.counted_over != "reports" or self.covariate):
            message = "a quantile is of the values that were reported: level `request`, over `reports`, no covariate"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _source_fits(self) -> "Metric":
        if (self.source is None) != (self.under is None):
            message = "`source` and `under` belong together: the share of requests with `source` at most `under`"
            raise ValueError(message)
        if self.source is not None and (self.kind != "proportion" or self.level != "request"):
            message = f"a share of requests by `{self.source}` has kind `proportion` and level `request`"
            raise ValueError(message)
        if self.source is not None and self.counted_over == "units":
            message = "a share of requests is counted over `reports` (answers that have it) or over `requests`"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _cap_fits(self) -> "Metric":
        if self.cap is not None and not 1 <= self.cap * self.scale < 2**53:
            message = f"cap times scale has to be at least 1 and below 2^53; it is {self.cap * self.scale:g}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Metric":
        if (self.kind == "ratio") != self.counted_over.startswith("metric:"):
            message = "a ratio, and nothing else, has a denominator `metric:NAME`"
            raise ValueError(message)
        if self.fold != "sum" and self.level != "unit":
            message = f"fold `{self.fold}` is of several values within a unit: it needs level `unit`"
            raise ValueError(message)
        if self.engine == "rare" and self.kind != "proportion":
            message = f"engine `rare` counts the rarer outcome of a rate; a {self.kind} takes `asymptotic`"
            raise ValueError(message)
        if self.engine == "rare" and self.covariate is not None:
            message = "engine `rare` counts outcomes, which no covariate adjusts: leave one of the two out"
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
