"""Who answers a request, and why: a function of what is decided and of the request. Pure.

Owns the routing table, made once for every state of the decisions, and the order in which a request passes its gates:
layer (which experiment has the unit), holdout, coverage, then the slot table. Knows neither how requests come nor how
they are forwarded.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from splitgauge.experiments.assignment import SLOTS, Gate, Seed
from splitgauge.experiments.split_table import SplitTable
from splitgauge.experiments.state import ExperimentState, Registry, WorkloadState
from splitgauge.router.inquiry import Inquiry
from splitgauge.router.unit_choice import UnitChoice, default_unit, unit_choice
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.decision import Activation
from splitgauge.schemas.errors import ContractError, UnknownSubjectError
from splitgauge.schemas.traffic import Reason
from splitgauge.schemas.workload import WorkloadConfiguration

__all__ = ["Lane", "Plan", "Route", "RoutingTable", "compile_table", "plan", "plan_outside"]


@dataclass(frozen=True, slots=True)
class Lane:
    """An active experiment on a base workload, ready to be asked.

    Attributes:
        holdout: those admitted are held out; None: nobody is.
        covariates: names of the attributes that it wants to know of a unit.
    """

    experiment_id: str
    epoch: int
    unit: UnitChoice
    layer: Gate
    holdout: Gate | None
    coverage: Gate
    split: Seed
    table: SplitTable
    variants: Mapping[str, WorkloadConfiguration]
    covariates: frozenset[str]


@dataclass(frozen=True, slots=True)
class Route:
    """A workload that callers can ask for.

    Attributes:
        key: its id as the registry knows it.
        serves: what answers outside experiments.
        lanes: active experiments, in the order of their definition.
    """

    key: str
    name: str
    serves: WorkloadConfiguration
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All that routing needs to know of the decisions below `offset`."""

    offset: int
    routes: Mapping[str, Route]
    """By id and by name."""
    registry: Registry

    def route(self, inquiry: Inquiry) -> Route:
        """The workload asked for. Raises: UnknownSubjectError; ContractError where it speaks another protocol."""
        route = self.routes.get(inquiry.workload)
        if route is None:
            raise UnknownSubjectError(
                f"there is no workload {inquiry.workload[:200]!r}",
                where="/model" if inquiry.operation.provider == "openai" else "/workload",
                remedy="GET /v1/models lists the workloads",
                code="unknown-workload",
            )
        if route.serves.provider != inquiry.operation.provider:
            path = "/v1/chat/completions" if route.serves.provider == "openai" else f"/w/{route.key}"
            raise ContractError(
                f"workload {route.key!r} speaks {route.serves.provider}, not {inquiry.operation.provider}",
                where="workload",
                remedy=f"Send the request to {path}",
                code="wrong-provider",
            )
        return route


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a request.

    Attributes:
        workload: key of the base workload.
        configuration: what to call.
        experiment_id, epoch: of the experiment that has the unit, whether or not it let the request in.
        slot, variant: of a request that was split.
        own_unit: nobody named a unit.
        covariates: of a request that was split.
    """

    workload: str
    configuration: WorkloadConfiguration
    unit_id: str
    own_unit: bool
    reason: Reason
    experiment_id: str | None = None
    epoch: int | None = None
    slot: int | None = None
    variant: str | None = None
    covariates: Mapping[str, float] | None = None

    @property
    def split(self) -> bool:
        """Whether an experiment gave it a variant, which is what is analysed."""
        return self.reason == "split"


def compile_table(registry: Registry) -> RoutingTable:
    """The routing table of a state of the decisions."""
    active = [state for state in registry.experiments.values() if state.status == "active"]
    routes: dict[str, Route] = {}
    for key, state in registry.workloads.items():
        if not state.retired:
            on_it = (experiment for experiment in active if experiment.specification.base == key)
            lanes = tuple(_lane(experiment, experiment.activation) for experiment in on_it if experiment.activation)
            routes[key] = Route(key, state.workload.name, state.serves, lanes)
    for name, route in _names(registry.workloads.values(), routes):
        routes.setdefault(name, route)  # an id goes before a name, as in the registry
    return RoutingTable(registry.offset, routes, registry)


def _names(states: Iterable[WorkloadState], routes: Mapping[str, Route]) -> list[tuple[str, Route]]:
    return [
        (state.workload.name, routes[state.workload.key])
        for state in states
        if state.workload.name and not state.retired
    ]


def _lane(state: ExperimentState, activation: Activation) -> Lane:
    specification = state.specification
    share, held_out = specification.traffic, round(specification.holdout * SLOTS)
    return Lane(
        experiment_id=state.id,
        epoch=state.epochs[-1].number,
        unit=unit_choice(specification.unit),
        layer=Gate(Seed(activation.layer_seed), round(share.start * SLOTS), round(share.end * SLOTS)),
        holdout=Gate(Seed(activation.holdout_seed), 0, held_out) if held_out else None,
        coverage=Gate(Seed(activation.coverage_seed), 0, state.coverage_slots),
        split=Seed(activation.split_seed),
        table=state.table,
        variants=activation.variants,
        covariates=frozenset(m.covariate.attribute for m in specification.metrics if m.covariate is not None),
    )


def plan(route: Route, inquiry: Inquiry, *, request_id: str, key: UnitKey) -> Plan:
    """Who answers. The same unit gets the same answer from every router that has read the same decisions."""
    unit = default_unit(inquiry)
    unit_id = _unit_id(unit, request_id=request_id, key=key)
    # Which experiment has the unit is asked of the default unit, even where an experiment chooses another one: layers
    # divide the same traffic, and no request may be in two of them, or in none, because they look at it differently.
    for lane in route.lanes:
        if lane.layer.admits(unit_id):
            if lane.unit is not default_unit:
                unit = lane.unit(inquiry)
                unit_id = _unit_id(unit, request_id=request_id, key=key)
            return _in_lane(route, lane, inquiry, unit_id=unit_id, own_unit=not unit)
    return Plan(route.key, route.serves, unit_id, not unit, "default")


def plan_outside(route: Route, inquiry: Inquiry, *, request_id: str, key: UnitKey) -> Plan:
    """What the workload serves, outside any experiment: while the log is away nothing may be measured."""
    unit = default_unit(inquiry)
    return Plan(route.key, route.serves, _unit_id(unit, request_id=request_id, key=key), not unit, "default")


def _unit_id(unit: str | None, *, request_id: str, key: UnitKey) -> str:
    return key.unit_id(unit) if unit else key.own_unit_id(request_id)


def _in_lane(route: Route, lane: Lane, inquiry: Inquiry, *, unit_id: str, own_unit: bool) -> Plan:
    kept_out: Reason | None = None
    if lane.holdout is not None and lane.holdout.admits(unit_id):
        kept_out = "holdout"
    elif not lane.coverage.admits(unit_id):
        kept_out = "outside"
    if kept_out is not None:
        return Plan(route.key, route.serves, unit_id, own_unit, kept_out, lane.experiment_id, lane.epoch)
    slot = lane.split.slot(unit_id)
    variant = lane.table.variant_of(slot)
    return Plan(
        route.key,
        lane.variants[variant],
        unit_id,
        own_unit,
        "split",
        lane.experiment_id,
        lane.epoch,
        slot,
        variant,
        _covariates(lane, inquiry) if lane.covariates else None,
    )


def _covariates(lane: Lane, inquiry: Inquiry) -> dict[str, float]:
    values = ((name, _number(inquiry.attributes.get(name))) for name in sorted(lane.covariates))
    return {name: value for name, value in values if value is not None}


def _number(value: str | float | bool | None) -> float | None:
    """A finite number; headers carry numbers as text."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
