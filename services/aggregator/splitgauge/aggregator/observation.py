"""Observations as the fold reads them: typed structs decoded from an event's bytes in one pass.

Owns which fields the fold uses and what they must look like. Pydantic (`splitgauge.schemas.traffic`) is the contract
for those who write; this is the same contract read five times faster. Fields that the fold does not use are skipped.
The structs cannot be part of a cycle, so the garbage collector need not look at them (gc=False).
"""

from collections.abc import Callable
from math import inf, nan, nextafter
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.schemas.traffic import OutcomeStatus, Reason

__all__ = [
    "FIXED_POINT_LIMIT",
    "UNDECODABLE",
    "Arm",
    "Assignment",
    "AssignmentEvent",
    "BoundedMeasured",
    "Measured",
    "ObservationEvent",
    "Outcome",
    "OutcomeEvent",
    "Report",
    "ReportEvent",
    "arm_of",
    "decode_observation",
    "malformed",
]

FIXED_POINT_LIMIT = 2**53
"""Values stay below this, times their scale: float64 holds every integer up to here, so rounding is exact."""

_Offset = Annotated[int, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(gt=-FIXED_POINT_LIMIT, lt=FIXED_POINT_LIMIT)]
_Mode = Literal["live", "shadow"]
_LEFT_OUT: Any = nan


def _bounds(metric: str) -> msgspec.Meta:
    """Bounds of a value that stays below the limit times its scale, for float64: the first that does not."""
    scale = ROUTER_METRICS[metric].scale
    bound = FIXED_POINT_LIMIT / scale
    while bound * scale >= FIXED_POINT_LIMIT:
        bound = nextafter(bound, 0)
    bound = nextafter(bound, inf)
    return msgspec.Meta(gt=-bound, lt=bound)


class Measured(msgspec.Struct, frozen=True, gc=False):
    """What the router measured of one request; None where it was not to be had."""

    success: bool | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: _Count | None = None
    cached_input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cost: float | None = None


class BoundedMeasured(Measured, frozen=True, gc=False):
    """The same where every value is in range. What was left out is nan, as the fold wants it; null stays None."""

    success: bool | None = _LEFT_OUT
    latency_ms: Annotated[float, _bounds("latency_ms")] | None = nan
    ttft_ms: Annotated[float, _bounds("ttft_ms")] | None = nan
    input_tokens: _Count | None = _LEFT_OUT
    cached_input_tokens: _Count | None = _LEFT_OUT
    output_tokens: _Count | None = _LEFT_OUT
    cost: Annotated[float, _bounds("cost")] | None = nan


class Assignment(msgspec.Struct, gc=False):
    """`assignment.v1`."""

    request_id: str
    unit_id: str
    reason: Reason
    decisions_offset: _Offset
    experiment_id: str | None = None
    epoch: int | None = None
    variant: str | None = None
    mode: _Mode = "live"
    own_unit: bool = False
    covariates: dict[str, float] = {}
    caller: str | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """`outcome.v1`."""

    request_id: str
    unit_id: str
    reason: Reason
    decisions_offset: _Offset
    assigned_at: str
    status: OutcomeStatus
    metrics: Measured
    experiment_id: str | None = None
    epoch: int | None = None
    variant: str | None = None
    mode: _Mode = "live"
    caller: str | None = None


class _BoundedOutcome(Outcome, frozen=True, gc=False):
    metrics: BoundedMeasured


class Report(msgspec.Struct, gc=False):
    """`report.v1` as the router attributed it to a unit."""

    unit_id: str
    metrics: dict[str, bool | int | float]
    received_at: str
    decisions_offset: _Offset
    experiment_id: str | None = None
    epoch: int | None = None
    request_id: str | None = None


class AssignmentEvent(msgspec.Struct, tag_field="type", tag="splitgauge.assignment.v1", gc=False):
    """Its `time` is `assigned_at`."""

    id: str
    source: str
    time: str
    data: Assignment


class OutcomeEvent(msgspec.Struct, tag_field="type", tag="splitgauge.outcome.v1", frozen=True, gc=False):
    """One a request."""

    id: str
    source: str
    data: Outcome


class _BoundedOutcomeEvent(OutcomeEvent, tag_field="type", tag="splitgauge.outcome.v1", frozen=True, gc=False):
    data: _BoundedOutcome


class ReportEvent(msgspec.Struct, tag_field="type", tag="splitgauge.report.v1", gc=False):
    """What an application said later."""

    id: str
    source: str
    data: Report


class Arm(NamedTuple):
    """What a request was given to, and why: an outcome that says something else is in conflict with its assignment."""

    experiment_id: str | None
    epoch: int | None
    variant: str | None
    reason: Reason
    caller: str | None


arm_of: Callable[[Assignment | Outcome], tuple[Any, ...]] = attrgetter(*Arm._fields)
"""The fields of an `Arm`, fast."""

ObservationEvent = AssignmentEvent | OutcomeEvent | ReportEvent
_decode: Callable[[bytes], ObservationEvent] = msgspec.json.Decoder(
    AssignmentEvent | _BoundedOutcomeEvent | ReportEvent
).decode
_decode_unbounded: Callable[[bytes], ObservationEvent] = msgspec.json.Decoder(ObservationEvent).decode


def decode_observation(value: bytes) -> ObservationEvent:
    """The observation in an event's bytes. Raises `UNDECODABLE`, which `malformed` explains.

    What was measured is `BoundedMeasured`, but for an outcome with a value out of range: whether it matters is seen
    later.
    """
    try:
        return _decode(value)
    except msgspec.ValidationError:
        return _decode_unbounded(value)


UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def malformed(exc: Exception) -> MalformedError:
    """What could not be read: code `malformed` (no JSON), `unknown-type`, `not-finite` (1e999), or `invalid-field`."""
    text = str(exc)
    if not isinstance(exc, msgspec.ValidationError):
        return MalformedError(f"not JSON: {text}", code="malformed")
    if "out of range" in text:
        return MalformedError(text, code="not-finite")
    return MalformedError(text, code="unknown-type" if text.endswith("`$.type`") else "invalid-field")
