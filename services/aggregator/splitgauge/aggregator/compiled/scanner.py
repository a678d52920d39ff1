"""An observation read from its JSON bytes, compiled: only in the forms that almost all events have.

Owns which events are recognised: ids of 128 bits, `type` before `data`, each field once, live, no unit of its own.
Whatever else there is, valid or not, is left to `observation`, which is the judge of what is valid; nothing may be
recognised here that it would refuse or read differently.
"""

import numpy as np

from splitgauge.aggregator.compiled.jit import Bytes, Doubles, Longs, compiled
from splitgauge.aggregator.compiled.json_bytes import (
    CLOSE,
    COLON,
    COMMA,
    OPEN,
    QUOTE,
    hex_number,
    instant,
    literal_end,
    number,
    numbers_end,
    text_end,
    uuid_at,
    value_end,
)
from splitgauge.aggregator.compiled.words import which, words
from splitgauge.aggregator.observation import FIXED_POINT_LIMIT
from splitgauge.schemas.metric import ROUTER_METRICS

__all__ = [
    "ASSIGNMENT",
    "AT_US",
    "CALLER",
    "DECISIONS",
    "EPOCH",
    "EVENT",
    "EXPERIMENT",
    "KIND",
    "METRIC_TEXTS",
    "N_FIELDS",
    "N_METRICS",
    "OUTCOME",
    "REASON",
    "REASONS",
    "REQUEST",
    "STATUS",
    "STATUSES",
    "UNIT",
    "UNIT_TEXT",
    "VARIANT",
    "scan",
]

STATUSES = ("complete", "upstream_error", "timeout", "breaker_open", "client_gone", "too_large")
REASONS = ("split", "forced", "holdout", "outside", "default")
N_METRICS = len(ROUTER_METRICS)

# Fields of a scanned event. An id takes two; a text its place and its length (-1: none); METRIC_TEXTS for each metric
# the place and length of a number that is to be read again with all its digits (length 0: it was read exactly).
KIND, EVENT, REQUEST, UNIT, UNIT_TEXT, AT_US, DECISIONS, EPOCH, STATUS, REASON = 0, 1, 3, 5, 7, 8, 9, 10, 11, 12
EXPERIMENT, VARIANT, CALLER, METRIC_TEXTS = 14, 16, 18, 20
N_FIELDS = METRIC_TEXTS + 2 * N_METRICS
ASSIGNMENT, OUTCOME = 0, 1

_TRUE, _FALSE, _NULL = b"tfn"
_EXACT_BELOW = 2**53
_EXACT_POWER = 22
_POWERS = np.array([float(f"1e{power}") for power in range(_EXACT_POWER + 1)])
_BOUNDS = np.array([0.999 * FIXED_POINT_LIMIT / metric.scale for metric in ROUTER_METRICS.values()])
_IS_COUNT = np.array([name.endswith("_tokens") for name in ROUTER_METRICS])
_IS_SUCCESS = np.array([name == "success" for name in ROUTER_METRICS])

_ID, _SOURCE, _TYPE, _TIME, _DATA = range(5)
_ATTRIBUTES = words("id", "source", "type", "time", "data")
_NEEDED_ATTRIBUTES = 1 << _ID | 1 << _SOURCE | 1 << _TYPE | 1 << _DATA
_TYPES = words("splitgauge.assignment.v1", "splitgauge.outcome.v1")
_ROUTER = words("/splitgauge/router")
_TIME_LENGTH, _UUID_LENGTH, _UNIT_LENGTH = 27, 36, 32

(
    _EXPERIMENT, _VARIANT, _CALLER, _REQUEST, _UNIT, _ASSIGNED_AT, _REASON, _STATUS, _MODE, _DECISIONS, _EPOCH,
    _METRICS, _OWN_UNIT, _COVARIATES,
) = range(14)  # fmt: skip
_FIELDS = words(
    "experiment_id", "variant", "caller", "request_id", "unit_id", "assigned_at", "reason", "status", "mode",
    "decisions_offset", "epoch", "metrics", "own_unit", "covariates",
)  # fmt: skip
_OF_OUTCOMES = 1 << _ASSIGNED_AT | 1 << _STATUS | 1 << _METRICS
_OF_ASSIGNMENTS = 1 << _OWN_UNIT | 1 << _COVARIATES
_ALWAYS = 1 << _REQUEST | 1 << _UNIT | 1 << _REASON | 1 << _DECISIONS
_METRIC_NAMES = words(*ROUTER_METRICS)
_MODES = words("live")
_STATUSES = words(*STATUSES)
_REASONS = words(*REASONS)


@compiled
def _metric(buffer: Bytes, at: int, metric: int, fields: Longs, values: Doubles) -> int:
    """Read one of the router's metrics. Returns the place behind it; -1: not recognised, as in all that follow."""
    if buffer[at] == _NULL:  # as good as left out
        return literal_end(buffer, at)
    if _IS_SUCCESS[metric]:
        values[metric] = 1.0 if buffer[at] == _TRUE else 0.0
        return literal_end(buffer, at) if buffer[at] == _TRUE or buffer[at] == _FALSE else -1
    end, digits, power, whole = number(buffer, at)
    if end < 0 or digits < 0 or (_IS_COUNT[metric] and not whole) or abs(power) > _EXACT_POWER:
        return -1
    value = digits / _POWERS[-power] if power < 0 else digits * _POWERS[power]
    if value >= _BOUNDS[metric]:
        return -1
    values[metric] = value
    if digits > _EXACT_BELOW:
        fields[METRIC_TEXTS + 2 * metric], fields[METRIC_TEXTS + 2 * metric + 1] = at, end - at
    return end


@compiled
def _metrics(buffer: Bytes, at: int, fields: Longs, values: Doubles) -> int:
    """Read `metrics`."""
    if buffer[at] != OPEN:
        return -1
    if buffer[at + 1] == CLOSE:
        return at + 2
    seen = 0
    while True:
        at += 1
        end = text_end(buffer, at)
        if end < 0 or buffer[end + 1] != COLON:
            return -1
        metric = which(buffer, at + 1, end - at - 1, _METRIC_NAMES)
        if metric < 0:
            at = value_end(buffer, end + 2)
        else:
            at = -1 if seen >> metric & 1 else _metric(buffer, end + 2, metric, fields, values)
            seen |= 1 << metric
        if at < 0 or buffer[at] != COMMA:
            return at + 1 if at >= 0 and buffer[at] == CLOSE else -1


@compiled
def _text_field(buffer: Bytes, at: int, fields: Longs, place: int) -> int:
    """Put down where a text stands, or that there is none."""
    if buffer[at] == _NULL:
        return literal_end(buffer, at)
    end = text_end(buffer, at)
    if end < 0:
        return -1
    fields[place], fields[place + 1] = at + 1, end - at - 1
    return end + 1


@compiled
def _id_field(buffer: Bytes, at: int, field: int, fields: Longs) -> int:
    """Read an id or a time, which are always as long."""
    if buffer[at] != QUOTE:
        return -1
    start = at + 1
    if field == _REQUEST:
        fine, fields[REQUEST], fields[REQUEST + 1] = uuid_at(buffer, start)
        end = start + _UUID_LENGTH
    elif field == _UNIT:
        fields[UNIT], upper = hex_number(buffer, start, 16)
        fields[UNIT + 1], lower = hex_number(buffer, start + 16, 16)
        fields[UNIT_TEXT], fine, end = start, upper | lower == 0, start + _UNIT_LENGTH
    else:
        fields[AT_US] = instant(buffer, start)
        fine, end = bool(fields[AT_US] >= 0), start + _TIME_LENGTH
    return end + 1 if fine and buffer[end] == QUOTE else -1


@compiled
def _word_field(buffer: Bytes, at: int, field: int, fields: Longs) -> int:
    """Read one of a few words."""
    end = text_end(buffer, at)
    length = end - at - 1
    if field == _REASON:
        word = fields[REASON] = which(buffer, at + 1, length, _REASONS)
    elif field == _STATUS:
        word = fields[STATUS] = which(buffer, at + 1, length, _STATUSES)
    else:
        word = which(buffer, at + 1, length, _MODES)
    return end + 1 if end >= 0 and word >= 0 else -1


@compiled
def _number_field(buffer: Bytes, at: int, field: int, fields: Longs) -> int:
    """Read an integer that is not negative, or that there is no epoch."""
    if field == _EPOCH and buffer[at] == _NULL:
        return literal_end(buffer, at)
    end, digits, _, whole = number(buffer, at)
    fields[DECISIONS if field == _DECISIONS else EPOCH] = digits
    return end if whole and digits >= 0 else -1


@compiled
def _field(buffer: Bytes, at: int, field: int, fields: Longs, values: Doubles) -> int:
    """Read one of the fields of `data`."""
    if field <= _CALLER:
        return _text_field(buffer, at, fields, EXPERIMENT + 2 * field)
    if field <= _ASSIGNED_AT:
        return _id_field(buffer, at, field, fields)
    if field <= _MODE:
        return _word_field(buffer, at, field, fields)
    if field <= _EPOCH:
        return _number_field(buffer, at, field, fields)
    if field == _METRICS:
        return _metrics(buffer, at, fields, values)
    if field == _COVARIATES:
        return numbers_end(buffer, at)
    return literal_end(buffer, at) if buffer[at] == _FALSE else -1  # the row of a unit of its own goes with time


@compiled
def _data(buffer: Bytes, at: int, fields: Longs, values: Doubles) -> int:
    """Read `data`, in which nothing may be missing."""
    if buffer[at] != OPEN:
        return -1
    is_assignment = fields[KIND] == ASSIGNMENT
    passed_over = _OF_OUTCOMES if is_assignment else _OF_ASSIGNMENTS
    needed = _ALWAYS if is_assignment else _ALWAYS | _OF_OUTCOMES
    seen = 0
    while True:
        at += 1
        end = text_end(buffer, at)
        if end < 0 or buffer[end + 1] != COLON:
            return -1
        field = which(buffer, at + 1, end - at - 1, _FIELDS)
        if field < 0 or passed_over >> field & 1:
            at = value_end(buffer, end + 2)
        else:
            at = -1 if seen >> field & 1 else _field(buffer, end + 2, field, fields, values)
            seen |= 1 << field
        if at < 0 or buffer[at] != COMMA:
            return at + 1 if at >= 0 and buffer[at] == CLOSE and seen & needed == needed else -1


@compiled
def _attribute(buffer: Bytes, at: int, attribute: int, fields: Longs, values: Doubles) -> int:
    """Read one of the envelope's."""
    if attribute == _DATA:
        return _data(buffer, at, fields, values) if fields[KIND] >= 0 else -1
    if attribute == _ID:
        end = at + 1 + _UUID_LENGTH
        fine, fields[EVENT], fields[EVENT + 1] = uuid_at(buffer, at + 1)
        return end + 1 if fine and buffer[at] == QUOTE and buffer[end] == QUOTE else -1
    end = text_end(buffer, at)
    if end < 0:
        return -1
    if attribute == _TYPE:
        fields[KIND] = which(buffer, at + 1, end - at - 1, _TYPES)
        return end + 1 if fields[KIND] >= 0 else -1
    return end + 1 if attribute == _TIME or which(buffer, at + 1, end - at - 1, _ROUTER) == 0 else -1


@compiled
def scan(buffer: Bytes, at: int, end: int, fields: Longs, values: Doubles) -> bool:
    """Read the event in `buffer[at:end]`, which has zeros or another event behind it, into `fields` and `values`.

    False: it is not recognised, and says nothing about what is in it. Metrics that were left out are nan.
    """
    fields[KIND] = fields[EXPERIMENT + 1] = fields[VARIANT + 1] = fields[CALLER + 1] = fields[EPOCH] = -1
    for metric in range(N_METRICS):
        values[metric] = np.nan
        fields[METRIC_TEXTS + 2 * metric + 1] = 0
    if buffer[at] != OPEN:
        return False
    seen, time = 0, -1
    while True:
        at += 1
        stop = text_end(buffer, at)
        if stop < 0 or buffer[stop + 1] != COLON:
            return False
        attribute = which(buffer, at + 1, stop - at - 1, _ATTRIBUTES)
        start = stop + 2
        if attribute < 0:
            at = value_end(buffer, start)
        else:
            at = -1 if seen >> attribute & 1 else _attribute(buffer, start, attribute, fields, values)
            seen |= 1 << attribute
            if attribute == _TIME and at - start == _TIME_LENGTH + 2:
                time = start + 1
        if at < 0 or buffer[at] != COMMA:
            break
    if at < 0 or buffer[at] != CLOSE or at + 1 != end or seen & _NEEDED_ATTRIBUTES != _NEEDED_ATTRIBUTES:
        return False
    if fields[KIND] == ASSIGNMENT:
        fields[AT_US] = instant(buffer, time) if time >= 0 else -1
        return bool(fields[AT_US] >= 0)
    return True
