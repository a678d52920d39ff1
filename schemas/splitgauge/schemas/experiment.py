"""What an experiment is, as a person writes it. Defaults stand here, the same for YAML, HTTP and the log."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from splitgauge.schemas.goal import Engine, Goal, GroupSequential
from splitgauge.schemas.metric import ROUTER_METRICS, Metric
from splitgauge.schemas.model import Listed, Name, Specification, Title
from splitgauge.schemas.workload import Overrides, WorkloadConfiguration, WorkloadId

__all__ = [
    "DAY_S",
    "ExperimentSpecification",
    "Goal",
    "GroupSequential",
    "Guardrail",
    "Minimum",
    "Policy",
    "Ramp",
    "RampStep",
    "TrafficShare",
    "VariantSpecification",
]

DAY_S = 86_400.0

MAX_COUNT = 10**15
"""Nobody has more units or requests, and JSON holds it exactly."""

Consent = Literal["act", "recommend", "off"]
"""What the analyzer does when a step of the decision rule holds: decide, propose to a person, or only say so."""


class VariantSpecification(Specification):
    """One arm: a workload by reference (with overrides) or written out in place, and a weight."""

    name: Name
    workload_id: WorkloadId | None = None
    workload: WorkloadConfiguration | None = None
    overrides: Overrides = Overrides()
    weight: float | None = Field(default=None, strict=True, ge=0, allow_inf_nan=False)
    traffic_percent: float | None = Field(default=None, strict=True, ge=0, le=100, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_each(self) -> "VariantSpecification":
        if (self.workload_id is None) == (self.workload is None):
            message = f"variant {self.name!r} needs either `workload_id` or `workload`"
            raise ValueError(message)
        if (self.weight is None) == (self.traffic_percent is None):
            message = f"variant {self.name!r} needs either `weight` or `traffic_percent`"
            raise ValueError(message)
        return self

    @property
    def share(self) -> float:
        """Its weight, in whatever unit the experiment's weights are written."""
        return self.weight if self.weight is not None else (self.traffic_percent or 0.0)


class Guardrail(Specification):
    """A metric that must not get worse by more than a margin."""

    metric: Name
    margin: float = Field(gt=0, allow_inf_nan=False, description="absolute: in the metric's unit; relative: a fraction")
    margin_kind: Literal["absolute", "relative"] | None = Field(
        default=None, description="left out: absolute for proportions, relative for all else"
    )
    roll_back_above: Literal["zero", "margin"] = Field(
        default="zero", description="roll back when the harm is shown to be above this"
    )


class Minimum(Specification):
    """What has to be there before a verdict."""

    units: int = Field(default=100, ge=1, le=MAX_COUNT, description="per variant")
    requests: int = Field(default=100, ge=1, le=MAX_COUNT, description="per variant")
    duration_s: float = Field(default=DAY_S, ge=0, allow_inf_nan=False)


class RampStep(Specification):
    """One step of a ramp: the challengers' joint share of all traffic."""

    share: float = Field(gt=0, le=1)
    duration_s: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="before the next step, pauses left out"
    )
    units: int = Field(default=100, ge=1, le=MAX_COUNT, description="an arm's units in total before the next step")


class Ramp(Specification):
    """Coverage in steps. The last one is the challengers' joint weight (full coverage), added where it is left out."""

    steps: Annotated[tuple[RampStep, ...], Listed] = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> "Ramp":
        shares = [step.share for step in self.steps]
        if any(after <= before for before, after in pairwise(shares)):
            message = f"steps have to rise; they are {shares}"
            raise ValueError(message)
        return self


class Policy(Specification):
    """Who has the last word."""

    promote: Consent = "recommend"
    roll_back: Consent = "act"
    ramp: Consent = "act"
    stop: Consent = Field(default="act", description="when control wins, the maximum duration is over, or it is futile")
    promote_from_partial_coverage: bool = False
    expected_loss_threshold: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="in the goal's unit. Engine bayes decides at most there; with several arms it is enough for the "
        "leader, who else has to beat the next",
    )


class TrafficShare(Specification):
    """Which part of the base workload's traffic this experiment may have: [start, end) of 0..1."""

    start: float = Field(default=0.0, ge=0, lt=1)
    end: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _not_empty(self) -> "TrafficShare":
        if self.end <= self.start:
            message = f"the share [{self.start}, {self.end}) is empty"
            raise ValueError(message)
        return self


class ExperimentSpecification(Specification):
    """One control and one or more challengers on a base workload, what is measured, and who decides when."""

    name: Title = Field(min_length=1, max_length=200)
    id: Name | None = None
    base_workload_id: WorkloadId
    variants: Annotated[tuple[VariantSpecification, ...], Listed] = Field(min_length=2, max_length=20)
    control: Name | None = Field(
        default=None, description="left out: the variant whose workload is the base, else the one named `control`"
    )
    unit: str | None = Field(
        default=None, pattern=r"^(header:[A-Za-z0-9-]+|body:/.+)$", description="where the unit is found in a request"
    )
    traffic: TrafficShare = TrafficShare()
    holdout: float = Field(default=0.0, ge=0, lt=1, description="share of units that is never let in")
    metrics: Annotated[tuple[Metric, ...], Listed] = ()
    goal: Goal = Goal()
    guardrails: Annotated[tuple[Guardrail, ...], Listed] = (
        Guardrail(metric="success", margin=0.005),
        Guardrail(metric="latency_ms", margin=0.05),
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="error rate of a promotion, over all looks and challengers"
    )
    guardrail_alpha: float | None = Field(default=None, gt=0, lt=0.5, description="left out: as alpha")
    power: float = Field(default=0.8, gt=0, lt=1)
    group_sequential: GroupSequential | None = Field(
        default=None, description="of the engine group_sequential; left out: five equal looks, O'Brien-Fleming type"
    )
    planned_units: int = Field(
        default=5_000, ge=20, le=MAX_COUNT, description="in the control and one challenger together"
    )
    minimum: Minimum = Minimum()
    maximum_duration_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    attribution_window_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    keep_s: float = Field(default=7 * DAY_S, gt=0, allow_inf_nan=False)
    ramp: Ramp | None = None
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _variants_fit(self) -> "ExperimentSpecification":
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            message = f"variant names have to differ; they are {names}"
            raise ValueError(message)
        if len({variant.weight is None for variant in self.variants}) > 1:
            message = "write all variants with `weight`, or all with `traffic_percent`"
            raise ValueError(message)
        total = sum(variant.share for variant in self.variants)
        if self.variants[0].traffic_percent is not None and abs(total - 100) > 1e-9:
            message = f"traffic_percent has to add up to 100; it adds up to {total:g}"
            raise ValueError(message)
        if total <= 0:
            message = "at least one weight has to be above 0"
            raise ValueError(message)
        self._find_control()
        return self

    @model_validator(mode="after")
    def _metrics_fit(self) -> "ExperimentSpecification":
        declared = [metric.name for metric in self.metrics]
        if len(set(declared)) < len(declared):
            message = f"metric names have to differ; they are {declared}"
            raise ValueError(message)
        reserved = sorted(set(declared) & set(ROUTER_METRICS))
        if reserved:
            message = f"metric {reserved[0]!r} is the router's own; name yours otherwise"
            raise ValueError(message)
        known = self.all_metrics
        for metric in self.metrics:
            other = metric.counted_over.removeprefix("metric:")
            if metric.kind == "ratio" and (other not in declared or other == metric.name):
                message = f"metric {metric.name!r} is over {other!r}, which is no other declared metric"
                raise ValueError(message)
        for where, name in [("goal", self.goal.metric)] + [("guardrail", g.metric) for g in self.guardrails]:
            if name not in known:
                message = f"{where} metric {name!r} is neither declared nor the router's own ({', '.join(known)})"
                raise ValueError(message)
            if known[name].kind == "quantile":
                message = (
                    f"{where} metric {name!r} is a quantile, which describes and decides nothing: declare a "
                    "proportion, the share of values under a limit (`source` and `under` do so for the router's own)"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _engine_fits(self) -> "ExperimentSpecification":
        metric, engine = self.all_metrics[self.goal.metric], self.engine_of(self.goal.metric)
        if engine == "rare" and metric.kind != "proportion":
            message = f"engine `rare` counts the rarer outcome of a rate; goal {metric.name!r} is a {metric.kind}"
            raise ValueError(message)
        if engine == "rare" and metric.covariate is not None:
            message = f"engine `rare` counts outcomes, which no covariate adjusts; goal {metric.name!r} declares one"
            raise ValueError(message)
        if engine == "bayes" and self.policy.expected_loss_threshold is None:
            message = "engine `bayes` decides under policy.expected_loss_threshold, in the goal's unit: write one"
            raise ValueError(message)
        if self.group_sequential is not None and engine != "group_sequential":
            message = f"group_sequential plans looks of goal.engine `group_sequential`; the goal's engine is `{engine}`"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _guardrails_fit(self) -> "ExperimentSpecification":
        names = [guardrail.metric for guardrail in self.guardrails]
        if len(set(names)) < len(names):
            message = f"one guardrail a metric; they are {names}"
            raise ValueError(message)
        for guardrail in self.guardrails:
            if guardrail.margin_kind == "relative" and self.all_metrics[guardrail.metric].kind == "proportion":
                message = (
                    f"guardrail {guardrail.metric!r} is a rate and takes an absolute margin: a relative one would let "
                    "rare failures grow many times over"
                )
                raise ValueError(message)
        if self.attribution_window_s is not None and self.keep_s < self.attribution_window_s:
            message = "keep_s has to be at least attribution_window_s"
            raise ValueError(message)
        return self

    def _find_control(self) -> str:
        names = [variant.name for variant in self.variants]
        if self.control is not None:
            if self.control not in names:
                message = f"control {self.control!r} is none of the variants {names}"
                raise ValueError(message)
            return self.control
        base = [
            variant.name
            for variant in self.variants
            if variant.workload_id is not None and str(variant.workload_id) == self.base
        ]
        if len(base) == 1:
            return base[0]
        if "control" in names:
            return "control"
        message = "no control: name one in `control`, or let exactly one variant run the base workload"
        raise ValueError(message)

    @property
    def base(self) -> str:
        """The base workload's id as the registry knows it."""
        return str(self.base_workload_id)

    @property
    def control_name(self) -> str:
        """The control in force."""
        return self._find_control()

    @property
    def challenger_names(self) -> tuple[str, ...]:
        """All variants but the control, in the order written."""
        control = self.control_name
        return tuple(variant.name for variant in self.variants if variant.name != control)

    @property
    def weights(self) -> dict[str, float]:
        """Weights by variant, in the order written."""
        return {variant.name: variant.share for variant in self.variants}

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """The router's metrics and the declared ones, by name."""
        return {**ROUTER_METRICS, **{metric.name: metric for metric in self.metrics}}

    @property
    def planned_looks(self) -> GroupSequential:
        """Of the engine group_sequential, those in force."""
        return self.group_sequential or GroupSequential()

    def engine_of(self, metric: str) -> Engine:
        """What the comparisons on a metric come from: the goal's engine, or the metric's own."""
        own = self.goal.engine if metric == self.goal.metric else None
        return own or self.all_metrics[metric].engine

    def margin_kind(self, guardrail: Guardrail) -> Literal["absolute", "relative"]:
        """The kind of margin in force."""
        if guardrail.margin_kind is not None:
            return guardrail.margin_kind
        return "absolute" if self.all_metrics[guardrail.metric].kind == "proportion" else "relative"
