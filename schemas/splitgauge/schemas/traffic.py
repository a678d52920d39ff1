"""Events of the traffic: requests, responses, assignments, outcomes, reports. The router reads and writes them."""

from typing import Literal

from pydantic import Field, JsonValue

from splitgauge.schemas.model import EventData, Instant

__all__ = [
    "AssignmentData",
    "Attempt",
    "OutcomeData",
    "OutcomeMetrics",
    "OutcomeStatus",
    "Reason",
    "ReportData",
    "ReportObservationData",
    "RequestData",
    "ResponseData",
    "ResponseMetadata",
]

Reason = Literal["split", "forced", "holdout", "outside", "default"]
"""Why a request got its variant. Only `split` is analysed.

split: the slot table; forced: a tester's header; holdout, outside: a gate kept it out; default: no experiment.
"""

Mode = Literal["live", "shadow"]

OutcomeStatus = Literal["complete", "upstream_error", "timeout", "breaker_open", "client_gone", "too_large"]


class RequestData(EventData):
    """`request.v1`: written by applications to `splitgauge.requests`."""

    request_id: str | None = Field(
        default=None, description="the application's own; the id used inside follows from the event"
    )
    workload: str | int
    unit: str | None = None
    attributes: dict[str, str | float | bool] = {}
    headers: dict[str, str] = {}
    body: JsonValue
    stream: bool = False
    reply: bool = Field(default=True, description="whether a response event is wanted")


class ResponseMetadata(EventData):
    """Which experiment and variant a request was given to; null outside experiments."""

    ab_test_id: str | None = None
    ab_variant_name: str | None = None


class ResponseData(EventData):
    """`response.v1`: the answer to a request event."""

    request_id: str
    caller_request_id: str | None = None
    token: str | None = None
    status: int
    body: JsonValue
    metadata: ResponseMetadata = ResponseMetadata()


class AssignmentData(EventData):
    """`assignment.v1`: which variant a request was given to, and why. Its `time` is `assigned_at`."""

    experiment_id: str | None = None
    epoch: int | None = None
    workload: str
    request_id: str
    unit_id: str
    slot: int | None = Field(
        default=None, ge=0, le=9_999, description="in the split table; null where no table was asked"
    )
    variant: str | None = None
    reason: Reason
    mode: Mode = "live"
    own_unit: bool = Field(default=False, description="the request came without a unit and is its own")
    covariates: dict[str, float] = {}
    decisions_offset: int = Field(ge=0, description="how far its router had read the decisions (exclusive)")
    caller: str | None = None


class Attempt(EventData):
    """One try at one endpoint."""

    variant: str | None
    status: OutcomeStatus
    latency_ms: float
    tokens: int | None = None
    cost: float | None = None


class OutcomeMetrics(EventData):
    """What the router measured. A number that was not to be had is left out, not zero."""

    success: bool | None = Field(default=None, description="null where it counts neither way (client_gone)")
    latency_ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = Field(default=None, description="USD, at the assigned variant's own rate")


class OutcomeData(EventData):
    """`outcome.v1`: how a request ended; one a request, whatever the end was."""

    experiment_id: str | None = None
    epoch: int | None = None
    workload: str
    request_id: str
    unit_id: str
    variant: str | None = None
    reason: Reason
    mode: Mode = "live"
    assigned_at: Instant
    served: str | None = None
    status: OutcomeStatus
    attempts: tuple[Attempt, ...] = ()
    metrics: OutcomeMetrics
    decisions_offset: int = Field(ge=0)
    caller: str | None = None


class ReportData(EventData):
    """`report.v1` as applications write it to `splitgauge.reports`: by token or by unit."""

    token: str | None = None
    unit: str | None = None
    experiment_id: str | None = None
    id: str | None = None
    metrics: dict[str, float | bool] = Field(
        min_length=1,
        description="by name. What the experiment does not declare is accepted, counts nowhere, and becomes a dead "
        "letter (`unknown-metric`) when the report is folded",
    )


class ReportObservationData(EventData):
    """`report.v1` as the router writes it to `splitgauge.observations`: attributed to a unit.

    By token: request_id, and experiment_id and epoch where the request was in an experiment's split. By unit: no
    request_id; without experiment_id it is for every experiment that has the unit and declares the metric.
    """

    unit_id: str
    experiment_id: str | None = None
    epoch: int | None = None
    request_id: str | None = None
    metrics: dict[str, float | bool] = Field(min_length=1)
    received_at: Instant
    decisions_offset: int = Field(ge=0)
