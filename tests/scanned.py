"""What the compiled scanner reads in an event's bytes, and what the judge of them reads, in the same words."""

from math import isnan
from typing import Any

import numpy as np

from splitgauge.aggregator.clock import instant_us
from splitgauge.aggregator.compiled import scanner
from splitgauge.aggregator.compiled.ids import text_of
from splitgauge.aggregator.compiled.units import unit_text
from splitgauge.aggregator.observation import AssignmentEvent, BoundedMeasured, OutcomeEvent, decode_observation
from splitgauge.aggregator.values import raw_values
from splitgauge.schemas.envelope import SOURCES

__all__ = ["decoded", "scanned"]

_BEHIND = bytes(64)
_OLD = -77


def scanned(value: bytes, *, behind: bytes = _BEHIND) -> dict[str, Any] | None:
    """An event as it is scanned; None where it is not recognised. `behind`: what stands after it in memory."""
    joined = value + behind + _BEHIND
    fields = np.full(scanner.N_FIELDS, _OLD, dtype=np.int64)
    values = np.full(scanner.N_METRICS, _OLD, dtype=np.float64)
    if not scanner.scan(np.frombuffer(joined, dtype=np.uint8), 0, len(value), fields, values):
        return None
    held: list[int] = fields.tolist()

    def text(place: int) -> str | None:
        at, length = held[place], held[place + 1]
        return None if length < 0 else joined[at : at + length].decode("ascii")

    metrics: list[float] = values.tolist()
    for metric in range(scanner.N_METRICS):
        at, length = held[scanner.METRIC_TEXTS + 2 * metric : scanner.METRIC_TEXTS + 2 * metric + 2]
        if length:
            metrics[metric] = float(joined[at : at + length])
    is_outcome = held[scanner.KIND] == scanner.OUTCOME
    unit = unit_text(held[scanner.UNIT], held[scanner.UNIT + 1])
    assert joined[held[scanner.UNIT_TEXT] :].startswith(unit.encode())
    return {
        "outcome": is_outcome,
        "id": text_of(held[scanner.EVENT], held[scanner.EVENT + 1]),
        "request": text_of(held[scanner.REQUEST], held[scanner.REQUEST + 1]),
        "unit": unit,
        "at_us": held[scanner.AT_US],
        "decisions": held[scanner.DECISIONS],
        "epoch": None if held[scanner.EPOCH] == -1 else held[scanner.EPOCH],
        "reason": scanner.REASONS[held[scanner.REASON]],
        "status": scanner.STATUSES[held[scanner.STATUS]] if is_outcome else None,
        "experiment": text(scanner.EXPERIMENT),
        "variant": text(scanner.VARIANT),
        "caller": text(scanner.CALLER),
        "metrics": [None if isnan(metric) else metric for metric in metrics],
    }


def decoded(value: bytes) -> dict[str, Any]:
    """The same of an event as it is decoded, which has to be one that may be scanned. Raises: `UNDECODABLE`."""
    event = decode_observation(value)
    assert isinstance(event, (AssignmentEvent, OutcomeEvent))
    assert (event.source, event.data.mode) == (SOURCES["router"], "live")
    status, at = None, ""
    metrics: list[float | None] = [None] * scanner.N_METRICS
    if isinstance(event, AssignmentEvent):
        assert not event.data.own_unit
        at = event.time
    else:
        assert type(event.data.metrics) is BoundedMeasured
        status, at = event.data.status, event.data.assigned_at
        metrics = [None if isnan(metric) else metric for metric in raw_values(event.data.metrics)]
    data = event.data
    return {
        "outcome": status is not None,
        "id": event.id,
        "request": data.request_id,
        "unit": data.unit_id,
        "at_us": instant_us(at),
        "decisions": data.decisions_offset,
        "epoch": data.epoch,
        "reason": data.reason,
        "status": status,
        "experiment": data.experiment_id,
        "variant": data.variant,
        "caller": data.caller,
        "metrics": metrics,
    }
