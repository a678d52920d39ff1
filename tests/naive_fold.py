"""The fold of a partition, written the slow, obvious way: every fact is kept, every number is computed from all facts.

Reads events with the pydantic models, shares no code with `splitgauge.aggregator`, and forgets nothing: what is over is
marked. Follows events.md rules 5-12 line by line, so that the fast fold can be held against it.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import ValidationError

from splitgauge.experiments.history import DecisionHistory
from splitgauge.experiments.state import ExperimentState
from splitgauge.schemas.envelope import Envelope
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.instants import from_text, to_text
from splitgauge.schemas.metric import ROUTER_METRICS, Metric
from splitgauge.schemas.tables import (
    SHARE_SCALE,
    BucketCell,
    Cell,
    Counts,
    MetricSums,
    NoveltySums,
    PartialData,
    VariantTotals,
)
from splitgauge.schemas.traffic import AssignmentData, OutcomeData, ReportObservationData

__all__ = ["NaiveFold"]

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
TICK = 10 * MINUTE
BUCKET = 60_000_000


class Unusable(Exception):  # noqa: N818 - a dead letter, not a failure
    """The event is a dead letter, with this code."""


@dataclass
class Request:
    """A live request, with everything that was ever known of it."""

    data: AssignmentData
    at: int
    open: bool = True
    given_up: bool = False


@dataclass
class Unit:
    """A unit of an experiment."""

    epoch: int
    variant: str
    at: int
    own: bool
    x: dict[str, int]
    crossover: bool = False
    requests: list[Request] = field(default_factory=list[Request])
    values: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    early: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    late: bool = False
    reports: list[str] = field(default_factory=list[str])
    gone: bool = False
    missing_when_gone: int = 0


@dataclass
class Experiment:
    """What happened in one experiment."""

    id: str
    specification: ExperimentSpecification
    ended_at: int | None = None
    gone: bool = False
    units: dict[str, Unit] = field(default_factory=dict[str, Unit])
    requests: list[Request] = field(default_factory=list[Request])
    outcomes: list[tuple[Request, OutcomeData]] = field(default_factory=list[tuple[Request, OutcomeData]])
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Counts.model_fields, 0))
    bucketed: list[tuple[int, str, str | None, int]] = field(default_factory=list[tuple[int, str, str | None, int]])
    sketched: list[tuple[str, str, str, int]] = field(default_factory=list[tuple[str, str, str, int]])

    @property
    def keep(self) -> int:
        return round(self.specification.keep_s * 1_000_000)

    def is_early(self, unit: Unit, at: int) -> bool:
        """Up to 3 days after first exposure; all of it where no report of the goal can be late."""
        window = self.specification.attribution_window_s
        goal = self.specification.all_metrics[self.specification.goal.metric]
        reported = goal.name not in ROUTER_METRICS and goal.source is None
        return at <= unit.at + 3 * DAY or (reported and window is not None and window * 1_000_000 <= 3 * DAY)

    def value(self, unit: Unit, name: str, value: int, at: int) -> None:
        unit.values.setdefault(name, []).append(value)
        if self.is_early(unit, at):
            unit.early.setdefault(name, []).append(value)
        else:
            unit.late = True


@dataclass
class Waiting:
    """An outcome or a report whose assignment has not come."""

    experiment: str | None
    event: Envelope
    data: OutcomeData | ReportObservationData
    tick: int
    over: bool = False


class NaiveFold:
    """Fold `values` from offset 0 in one go; then ask."""

    def __init__(
        self,
        values: Sequence[bytes],
        history: DecisionHistory,
        *,
        recent_events: int = 100_000,
        recent_reports: int = 256,
    ) -> None:
        self.history = history
        self.recent_reports = recent_reports
        self.clock: int | None = None
        self.seen = self.assigned_seen = self.outside = 0
        self.digest = bytes(32)
        self.position = len(values)
        self.dead: list[tuple[int, str]] = []
        self.router_ids: list[tuple[str, str]] = []
        self.experiments: dict[str, Experiment] = {}
        self.requests: dict[str, list[Request]] = {}
        self.waiting: list[Waiting] = []
        for offset, value in enumerate(values):
            self.digest = hashlib.sha256(self.digest + offset.to_bytes(8, "big") + value).digest()
            try:
                self._event(value, recent_events)
            except Unusable as exc:
                self.dead.append((offset, str(exc)))

    # One event.

    def _event(self, value: bytes, recent_events: int) -> None:
        event, data = _read(value)
        self.seen = max(self.seen, data.decisions_offset)
        if isinstance(data, ReportObservationData):
            self._report(event, data)
            return
        identity = (event.source, event.id)
        if identity in self.router_ids[-recent_events:]:
            self._count(data.experiment_id, "duplicates")
            return
        if isinstance(data, AssignmentData):
            self._assignment(data, _instant(event.time))
        elif data.mode == "live":
            self._outcome(event, data)
        self.router_ids.append(identity)

    def _experiment(self, experiment_id: str | None) -> Experiment | None:
        if experiment_id is None:
            return None
        if experiment_id not in self.experiments:
            state = self.history.at(self.seen).experiments.get(experiment_id)
            if state is None or not state.epochs:
                raise Unusable("unknown-experiment")
            self.experiments[experiment_id] = Experiment(experiment_id, state.specification)
            self._see_ends()
        return self.experiments[experiment_id]

    def _state(self, experiment: Experiment) -> ExperimentState:
        return self.history.at(self.seen).experiments[experiment.id]

    def _see_ends(self) -> None:
        for experiment in self.experiments.values():
            completed = self._state(experiment).completed_offset
            if completed is not None and self.assigned_seen > completed and experiment.ended_at is None:
                experiment.ended_at = self.clock

    def _count(self, experiment_id: str | None, why: str) -> None:
        if experiment_id in self.experiments:
            self.experiments[experiment_id].counts[why] += 1

    def _open_request(self, request_id: str) -> Request | None:
        held = [request for request in self.requests.get(request_id, []) if request.open and not request.given_up]
        return held[0] if held else None

    # Assignments.

    def _assignment(self, data: AssignmentData, at: int) -> None:
        experiment = self._experiment(data.experiment_id)
        x: dict[str, int] = {}
        if experiment is not None:
            split = data.reason == "split"
            names = [variant.name for variant in experiment.specification.variants]
            if (split or data.variant is not None) and data.variant not in names:
                raise Unusable("unknown-variant")
            if split and data.epoch not in [epoch.number for epoch in self._state(experiment).epochs]:
                raise Unusable("unknown-epoch")
            if split and (data.unit_id not in experiment.units or experiment.units[data.unit_id].gone):
                x = _covariates(experiment.specification, data)
        if data.mode == "live" and self._open_request(data.request_id) is not None:
            self._count(data.experiment_id, "duplicates")
            return
        self._pass_time(at, data.decisions_offset)
        if data.mode == "live":
            self._give(experiment, data, at, x)

    def _pass_time(self, at: int, decisions_offset: int) -> None:
        before = self.clock
        if before is None:
            self.clock = at
        elif at > before:
            self.clock = min(at, before + HOUR)
        self.assigned_seen = max(self.assigned_seen, decisions_offset)
        self._see_ends()
        if before is not None and self.clock is not None and self.clock // TICK > before // TICK:
            self._end_what_is_over(self.clock // TICK)

    def _end_what_is_over(self, tick: int) -> None:
        for experiment in self.experiments.values():
            over = experiment.ended_at is not None and _expiry(experiment.ended_at, experiment.keep) <= tick
            for unit in experiment.units.values():
                if not unit.gone and (over or (unit.own and _expiry(unit.at, experiment.keep) <= tick)):
                    unit.missing_when_gone = self._missing_of(unit)
                    unit.gone = True
            experiment.gone = experiment.gone or over
        for requests in self.requests.values():
            for request in requests:
                known = self.experiments.get(request.data.experiment_id or "")
                keep = 7 * DAY if known is None else known.keep
                if self._is_missing(request) and _expiry(request.at, keep) <= tick:
                    request.given_up = True
        for waiting in self.waiting:
            if not waiting.over and waiting.tick <= tick:
                waiting.over = True
                self._count(waiting.experiment, "unattributable")

    def _give(self, experiment: Experiment | None, data: AssignmentData, at: int, x: dict[str, int]) -> None:
        request = Request(data, at)
        self.requests.setdefault(data.request_id, []).append(request)
        if experiment is not None:
            experiment.requests.append(request)
            if data.reason == "split":
                self._split(experiment, request, x)
        for waiting in self.waiting:
            same = isinstance(waiting.data, OutcomeData) and waiting.data.request_id == data.request_id
            if same and not waiting.over and isinstance(waiting.data, OutcomeData):
                waiting.over = True
                self._ended(request, waiting.data)

    def _split(self, experiment: Experiment, request: Request, x: dict[str, int]) -> None:
        data = request.data
        assert data.variant is not None
        assert data.epoch is not None
        unit = experiment.units.get(data.unit_id)
        new = unit is None
        late = data.own_unit and _expiry(request.at, experiment.keep) <= (self.clock or 0) // TICK
        if (unit is None and (experiment.gone or late)) or (unit is not None and unit.gone):
            experiment.counts["too_late"] += 1
            return
        if unit is None:
            unit = experiment.units[data.unit_id] = Unit(data.epoch, data.variant, request.at, data.own_unit, x)
        if unit.epoch != data.epoch:
            experiment.counts["foreign"] += 1
        else:
            unit.requests.append(request)
            unit.late = unit.late or not experiment.is_early(unit, request.at)
            unit.crossover = unit.crossover or unit.variant != data.variant
            if not unit.crossover:
                self._bucket(experiment, request.at, unit.variant, None, 1)
        if new:
            for waiting in self.waiting:
                report = waiting.data
                mine = waiting.experiment == experiment.id and report.unit_id == data.unit_id
                if mine and not waiting.over and isinstance(report, ReportObservationData):
                    waiting.over = True
                    self._apply(experiment, waiting.event.id, report)

    # Outcomes.

    def _outcome(self, event: Envelope, data: OutcomeData) -> None:
        experiment = self._experiment(data.experiment_id)
        _router_values(data)
        at = _instant(data.assigned_at)
        request = self._open_request(data.request_id)
        if request is not None:
            self._ended(request, data)
            return
        keep = 7 * DAY if experiment is None else experiment.keep
        if self.clock is not None and _expiry(at, keep) <= self.clock // TICK:
            self._count(data.experiment_id, "too_late")
            return
        waiting = [w.data.request_id for w in self.waiting if isinstance(w.data, OutcomeData) and not w.over]
        if data.request_id in waiting:
            self._count(data.experiment_id, "duplicates")
            return
        self.waiting.append(Waiting(data.experiment_id, event, data, self._patience(at, keep)))

    def _ended(self, request: Request, data: OutcomeData) -> None:
        request.open = False
        given = request.data
        named = ("experiment_id", "epoch", "unit_id", "variant", "reason")
        if any(getattr(data, name) != getattr(given, name) for name in named):
            self._count(given.experiment_id if given.experiment_id is not None else data.experiment_id, "conflicts")
            return
        experiment = self.experiments.get(given.experiment_id or "")
        if experiment is None:
            return
        experiment.outcomes.append((request, data))
        if given.reason != "split":
            return
        unit = experiment.units.get(given.unit_id)
        if unit is None or unit.gone:
            experiment.counts["too_late"] += 1
        elif unit.epoch != given.epoch:
            experiment.counts["foreign"] += 1
        else:
            values = _router_values(data)
            for name, value in {**values, **_limit_values(experiment, values)}.items():
                experiment.value(unit, name, value, request.at)
                if not unit.crossover:
                    self._bucket(experiment, request.at, unit.variant, name, value)
                    self._sketch(experiment, unit, name, value)

    # Reports.

    def _report(self, event: Envelope, data: ReportObservationData) -> None:
        received = _instant(data.received_at)
        experiment = self._experiment(data.experiment_id)
        if experiment is None:
            self._report_to_all(event, data)
            return
        _report_values(experiment, data, named=True)
        unit = experiment.units.get(data.unit_id)
        if unit is not None and not unit.gone:
            self._apply(experiment, event.id, data)
        elif experiment.gone:
            experiment.counts["too_late"] += 1
        elif any(w.event.id == event.id and w.experiment == experiment.id and not w.over for w in self.waiting):
            experiment.counts["duplicates"] += 1
        else:
            self.waiting.append(Waiting(experiment.id, event, data, self._patience(received, experiment.keep)))

    def _report_to_all(self, event: Envelope, data: ReportObservationData) -> None:
        found: list[Experiment] = []
        if data.request_id is None:
            for experiment in self.experiments.values():
                unit = experiment.units.get(data.unit_id)
                here = unit is not None and not unit.gone and self._counts_for(experiment, unit, data)
                if here and _report_values(experiment, data, named=False):
                    found.append(experiment)
        for experiment in found:
            self._apply(experiment, event.id, data)
        self.outside += not found

    def _counts_for(self, experiment: Experiment, unit: Unit, data: ReportObservationData) -> bool:
        if data.request_id is not None:
            return data.epoch == unit.epoch
        [epoch] = [epoch for epoch in self._state(experiment).epochs if epoch.number == unit.epoch]
        return epoch.ended_offset is None or self.assigned_seen <= epoch.ended_offset

    def _apply(self, experiment: Experiment, event_id: str, data: ReportObservationData) -> None:
        unit = experiment.units[data.unit_id]
        if not self._counts_for(experiment, unit, data):
            experiment.counts["foreign"] += 1
            return
        values = _report_values(experiment, data, named=False)
        if data.request_id is None:
            fresh = self._first(unit, event_id)
            values = values if fresh else {}
        else:
            values = {name: v for name, v in values.items() if self._first(unit, f"{data.request_id} {name}")}
        received = _instant(data.received_at)
        window = experiment.specification.attribution_window_s
        if not values:
            experiment.counts["duplicates"] += 1
        elif window is not None and received > unit.at + round(window * 1_000_000):
            experiment.counts["too_late"] += 1
        else:
            for name, value in values.items():
                experiment.value(unit, name, value, received)
                if not unit.crossover:
                    self._bucket(experiment, received, unit.variant, name, value)
                    self._sketch(experiment, unit, name, value)

    def _first(self, unit: Unit, report: str) -> bool:
        if report in unit.reports[-self.recent_reports :]:
            return False
        unit.reports.append(report)
        return True

    def _patience(self, at: int, keep: int) -> int:
        return _expiry(at if self.clock is None else self.clock, keep)

    def _is_missing(self, request: Request) -> bool:
        return request.given_up or (request.open and self.clock is not None and self.clock >= request.at + 15 * MINUTE)

    def _missing_of(self, unit: Unit) -> int:
        return unit.missing_when_gone if unit.gone else sum(self._is_missing(request) for request in unit.requests)

    def _bucket(self, experiment: Experiment, at: int, variant: str, metric: str | None, value: int) -> None:
        start = at - at % BUCKET
        if start + DAY >= (self.clock or 0):
            experiment.bucketed.append((start, variant, metric, value))

    def _sketch(self, experiment: Experiment, unit: Unit, metric: str, value: int) -> None:
        declared = experiment.specification.all_metrics[metric]
        if metric in {"latency_ms", "ttft_ms"} or declared.kind == "quantile":
            experiment.sketched.append((str(unit.epoch), unit.variant, metric, value))

    # Questions.

    def partial(self, experiment_id: str, partition: int = 0) -> PartialData:
        """What the partition knows of an experiment."""
        experiment = self.experiments[experiment_id]
        names = {(str(unit.epoch), unit.variant) for unit in experiment.units.values()}
        epochs: dict[str, dict[str, Cell]] = {}
        for epoch, variant in sorted(names):
            epochs.setdefault(epoch, {})[variant] = self._cell_with_days(experiment, epoch, variant)
        callers = {request.data.caller for request in experiment.requests if request.data.caller is not None}
        return PartialData(
            experiment_id=experiment_id,
            partition=partition,
            upto=self.position,
            decisions_offset=self.seen,
            as_of=None if self.clock is None else to_text(self.clock),
            digest=self.digest.hex(),
            epochs=epochs,
            totals=self._totals(experiment, experiment.requests),
            callers={
                caller: self._totals(experiment, [r for r in experiment.requests if r.data.caller == caller])
                for caller in sorted(callers)
            },
            counts=Counts(**experiment.counts),
        )

    def buckets(self, experiment_id: str) -> dict[int, dict[str, BucketCell]]:
        """Time buckets by start and variant."""
        buckets: dict[int, dict[str, dict[str, Any]]] = {}
        for start, variant, metric, value in self.experiments[experiment_id].bucketed:
            cell = buckets.setdefault(start, {}).setdefault(variant, {"requests": 0, "metrics": {}})
            if metric is None:
                cell["requests"] += 1
            else:
                m, d = cell["metrics"].get(metric, (0, 0))
                cell["metrics"][metric] = (m + value, d + 1)
        return {
            start: {variant: BucketCell.model_validate(cell) for variant, cell in cells.items()}
            for start, cells in buckets.items()
        }

    def _cell_with_days(self, experiment: Experiment, epoch: str, variant: str) -> Cell:
        units = [u for u in experiment.units.values() if (str(u.epoch), u.variant) == (epoch, variant)]
        days: dict[str, Cell] = {}
        if experiment.specification.attribution_window_s is not None:
            for day in sorted({to_text(unit.at)[:10] for unit in units}):
                days[day] = self._cell(experiment, [unit for unit in units if to_text(unit.at)[:10] == day])
        metrics = experiment.specification.all_metrics
        mine = [(name, value) for *cell, name, value in experiment.sketched if cell == [epoch, variant]]
        histograms: dict[str, dict[int, int]] = {}
        for name, value in mine:
            counts, bucket = histograms.setdefault(name, {}), _bucket_of(value / metrics[name].scale)
            counts[bucket] = counts.get(bucket, 0) + 1
        return self._cell(experiment, units).model_copy(update={"days": days, "histograms": histograms})

    def _cell(self, experiment: Experiment, units: list[Unit]) -> Cell:
        analysed = [unit for unit in units if not unit.crossover]
        metrics = experiment.specification.all_metrics
        return Cell(
            exposed=len(units),
            units=len(analysed),
            crossovers=len(units) - len(analysed),
            requests=sum(len(unit.requests) for unit in analysed),
            missing=sum(self._missing_of(unit) for unit in analysed),
            missing_units=sum(self._missing_of(unit) > 0 for unit in analysed),
            metrics={name: _sums(metric, metrics, analysed) for name, metric in metrics.items()},
            novelty=_novelty(experiment, metrics[experiment.specification.goal.metric], metrics, analysed),
        )

    def _totals(self, experiment: Experiment, requests: list[Request]) -> dict[str, VariantTotals]:
        totals: dict[str, VariantTotals] = {}
        for variant in sorted({r.data.variant for r in requests if r.data.variant is not None}):
            mine = [request for request in requests if request.data.variant == variant]
            ended = [data for request, data in experiment.outcomes if request in mine]
            values = [_router_values(data) for data in ended]
            summed = {name: sum(value.get(name, 0) for value in values) for name in ROUTER_METRICS if name != "success"}
            totals[variant] = VariantTotals(
                jobs=len(mine),
                reasons=_tally([request.data.reason for request in mine]),
                statuses=_tally([data.status for data in ended]),
                missing=sum(self._is_missing(request) for request in mine),
                answered=sum(data.status == "complete" for data in ended),
                ttft_count=sum("ttft_ms" in value for value in values),
                first_at=to_text(min(request.at for request in mine)),
                last_at=to_text(max(request.at for request in mine)),
                **summed,
            )
        return totals


def _tally(names: Sequence[str]) -> dict[str, int]:
    return {name: list(names).count(name) for name in names}


def _expiry(since: int, keep: int) -> int:
    return math.ceil(Fraction(since + keep, TICK))


def _sums(metric: Metric, metrics: dict[str, Metric], units: list[Unit]) -> MetricSums:
    sums = dict.fromkeys(MetricSums.model_fields, 0)
    for unit in units:
        m, x = _numerator(metric, unit.values), unit.x.get(metric.name, 0)
        d = _denominator(metric, metrics, unit.values, len(unit.requests))
        whole = metric.scale if metric.kind == "proportion" else 1
        terms = {"m": m, "d": d, "mm": m * m, "dd": d * d, "md": m * d, "x": x, "xx": x * x, "mx": m * x, "dx": d * x}
        terms |= {"present": d > 0, "hits": m > 0, "misses": m < d * whole}
        if metric.kind == "proportion" and d > 0:
            terms["shares"] = math.floor(Fraction(m * SHARE_SCALE, d * whole) + Fraction(1, 2))
        for name, term in terms.items():
            sums[name] += int(term)
    return MetricSums(**sums)


def _novelty(experiment: Experiment, metric: Metric, metrics: dict[str, Metric], units: list[Unit]) -> NoveltySums:
    sums = dict.fromkeys(NoveltySums.model_fields, 0)
    for unit in units:
        requests = sum(experiment.is_early(unit, request.at) for request in unit.requests)
        m_early = _numerator(metric, unit.early)
        d_early = _denominator(metric, metrics, unit.early, requests)
        d_late = _denominator(metric, metrics, unit.values, len(unit.requests)) - d_early
        of = {
            "m_early": m_early,
            "d_early": d_early,
            "m_late": _numerator(metric, unit.values) - m_early,
            "d_late": int(unit.late) if metric.counted_over == "units" else d_late,
        }
        for name in sums:
            sums[name] += of[name] if name in of else math.prod(of[factor] for factor in _pair(name))
    return NoveltySums(**sums)


def _pair(name: str) -> list[str]:
    one, of_one, other, of_other = name.split("_")
    return [f"{one}_{of_one}", f"{other}_{of_other}"]


def _denominator(metric: Metric, metrics: dict[str, Metric], values: dict[str, list[int]], requests: int) -> int:
    over = metric.counted_over
    if over == "units":
        return 1
    if over == "requests":
        return requests
    if over == "reports":
        return len(values.get(metric.name, []))
    return _numerator(metrics[over.removeprefix("metric:")], values)


def _numerator(metric: Metric, by_name: dict[str, list[int]]) -> int:
    values = by_name.get(metric.name, [])
    m = sum(values) if metric.fold == "sum" else max(values, default=0)
    return min(m, round(metric.cap * metric.scale)) if metric.level == "unit" and metric.cap is not None else m


def _read(value: bytes) -> tuple[Envelope, AssignmentData | OutcomeData | ReportObservationData]:
    models: dict[str, type[AssignmentData | OutcomeData | ReportObservationData]] = {
        "splitgauge.assignment.v1": AssignmentData,
        "splitgauge.outcome.v1": OutcomeData,
        "splitgauge.report.v1": ReportObservationData,
    }
    try:
        event = Envelope.model_validate_json(value)
    except ValidationError as exc:
        raise Unusable("malformed" if exc.errors()[0]["type"] == "json_invalid" else "invalid-field") from exc
    if event.type not in models:
        raise Unusable("unknown-type")
    try:
        return event, models[event.type].model_validate(event.data)
    except ValidationError as exc:
        raise Unusable("invalid-field") from exc


def _instant(text: str | None) -> int:
    assert text is not None
    return from_text(text)


def _fixed(value: float, metric: Metric) -> int:
    if not math.isfinite(value):
        raise Unusable("not-finite")
    if metric.kind == "proportion" and value not in {0, 1}:
        raise Unusable("out-of-range")
    if metric.kind == "count" and (value < 0 or value != round(value)):
        raise Unusable("out-of-range")
    if metric.level == "request" and metric.cap is not None:
        value = min(value, metric.cap)
    if metric.fold == "any":
        return metric.scale if value != 0 else 0
    if abs(float(value) * metric.scale) >= 2**53:
        raise Unusable("out-of-range")
    return int(np.rint(float(value) * metric.scale))


def _router_values(data: OutcomeData) -> dict[str, int]:
    measured = data.metrics.model_dump(exclude_none=True)
    if data.status != "complete":
        measured.pop("latency_ms", None)
    return {name: _fixed(measured[name], metric) for name, metric in ROUTER_METRICS.items() if name in measured}


def _limit_values(experiment: Experiment, values: dict[str, int]) -> dict[str, int]:
    """Shares of requests under a limit, of one that ended."""
    found: dict[str, int] = {}
    for metric in experiment.specification.metrics:
        if metric.source in values:
            under = Fraction(str(metric.under)) * ROUTER_METRICS[metric.source].scale
            found[metric.name] = metric.scale if values[metric.source] <= under else 0
    return found


def _bucket_of(value: float) -> int:
    """64 buckets an octave: 65472 is the first one from 1 on, 65536 from 2 on; 0 is 0."""
    if value == 0:
        return 0
    fraction, exponent = math.frexp(abs(value))
    bucket = 64 * (exponent + 1022) + math.floor(128 * fraction) - 64
    return bucket if value > 0 else -bucket


def _report_values(experiment: Experiment, data: ReportObservationData, *, named: bool) -> dict[str, int]:
    declared = {metric.name: metric for metric in experiment.specification.metrics if metric.source is None}
    if named and set(data.metrics) - set(declared):
        raise Unusable("unknown-metric")
    return {name: _fixed(value, declared[name]) for name, value in data.metrics.items() if name in declared}


def _covariates(specification: ExperimentSpecification, data: AssignmentData) -> dict[str, int]:
    x: dict[str, int] = {}
    for metric in specification.metrics:
        if metric.covariate is not None:
            value = data.covariates.get(metric.covariate.attribute, metric.covariate.default)
            x[metric.name] = _fixed(value, Metric(name=metric.name, scale=metric.covariate.scale))
    return x
