"""The book of one experiment in one partition: what assignments, outcomes and reports do to its numbers.

Owns cohorts, totals, buckets and counts, and when they go. It is told what happened in the order of the log; whether an
event is new, and whom it waits for, is known outside (`attribution`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from splitgauge.aggregator.activity import Activity
from splitgauge.aggregator.buckets import bucket_start
from splitgauge.aggregator.clock import TICK_US, PartitionClock, expiry_tick
from splitgauge.aggregator.cohort import OWN_UNIT, Cohorts, UnitRow
from splitgauge.aggregator.layout import CELL, FIRST_AT, FLAGS, MISSING, REQUESTS, RowLayout
from splitgauge.aggregator.ledger import OpenRequest
from splitgauge.aggregator.novelty import RETURNED, early_us, set_early_apart
from splitgauge.aggregator.observation import Assignment, Report
from splitgauge.aggregator.sums import CROSSOVER
from splitgauge.aggregator.values import RouterValues, fixed_point
from splitgauge.experiments.state import Epoch, ExperimentState
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.instants import SECOND_US

__all__ = ["Book", "Tally"]

Values = list[tuple[int, int]]
"""(place of the metric, fixed point)."""


@dataclass(slots=True)
class Tally:
    """What did not go into the sums, by why (`Counts`)."""

    conflicts: int = 0
    duplicates: int = 0
    too_late: int = 0
    unattributable: int = 0
    foreign: int = 0


class Book:
    """One experiment. `changed`: since somebody last asked for its partial; `unsaved`: since the last checkpoint."""

    def __init__(self, state: ExperimentState) -> None:
        specification = state.specification
        self.id = state.id
        self.layout = RowLayout.of(specification)
        self.keep_us = round(specification.keep_s * SECOND_US)
        window_s = specification.attribution_window_s
        self._window_us = None if window_s is None else round(window_s * SECOND_US)
        self._early_us = early_us(specification)
        self.variants = frozenset(variant.name for variant in specification.variants)
        self.epochs: dict[int, Epoch] = {}
        self.arms: frozenset[tuple[int | None, str | None]] = frozenset()
        self._completed_offset: int | None = None
        self.learn(state)
        self.cohorts = Cohorts(self.layout, by_day=window_s is not None)
        self.activity = Activity(self.layout)
        self.tally = Tally()
        self._own_units: dict[int, list[str]] = {}
        self.ended_at_us: int | None = None
        self.gone = False
        self.changed = False
        self.unsaved = True

    def learn(self, state: ExperimentState) -> None:
        """Decisions were read further."""
        self.epochs = {epoch.number: epoch for epoch in state.epochs}
        self.arms = frozenset((epoch, variant) for epoch in self.epochs for variant in self.variants)
        self._completed_offset = state.completed_offset

    # What happens, in the order of the log.

    def assigned(
        self, data: Assignment, at_us: int, clock: PartitionClock, covariates: Iterable[tuple[int, int]]
    ) -> bool:
        """A live request was given to a variant. True if its unit is new."""
        self.changed = self.unsaved = True
        if data.variant is None:
            return False
        new, start_us = False, None
        if data.reason == "split":
            cohorts = self.cohorts
            row = cohorts.touch(data.unit_id)
            if row is None:
                row = self._expose(data, at_us, clock, covariates)
                new = row is not None
            if row is not None:
                epoch, variant, _ = cohorts.keys[row[CELL]]
                if epoch != data.epoch:
                    self.tally.foreign += 1
                else:
                    late = at_us - row[FIRST_AT] > self._early_us
                    if late:
                        set_early_apart(row, self.layout)
                    flags = row[FLAGS]
                    if flags & RETURNED and not late and self.layout.early_requests is not None:
                        row[self.layout.early_requests] += 1
                    row[REQUESTS] += 1
                    if variant != data.variant:
                        flags = row[FLAGS] = flags | CROSSOVER
                    if not flags & CROSSOVER:
                        start_us = bucket_start(at_us, clock.now_us or 0)
        self.activity.given[data.caller, data.variant, data.reason, start_us].append(at_us)
        return new

    def answered(
        self, request: OpenRequest, *, was_missing: bool, status: str, values: RouterValues, clock: PartitionClock
    ) -> None:
        """The outcome of an open request came, and agrees with it."""
        self.changed = self.unsaved = True
        data = request.data
        if was_missing:
            self._count_missing(data, -1)
        if data.variant is None:
            return
        start_us = epoch = None
        if data.reason == "split":
            cohorts = self.cohorts
            row = cohorts.touch(data.unit_id)
            if row is None:
                self.tally.too_late += 1
            elif cohorts.keys[row[CELL]].epoch != data.epoch:
                self.tally.foreign += 1
            else:
                flags = row[FLAGS]
                if not flags & CROSSOVER:
                    start_us, epoch = bucket_start(request.at_us, clock.now_us or 0), data.epoch
                cohorts.add_outcome(data.unit_id, row, values)
                limits = self.layout.limit_values(values) if self.layout.limits else ()
                if limits:
                    cohorts.add(data.unit_id, cohorts.units[data.unit_id], limits)
                # Where the request is late, its assignment has set the early part apart.
                if flags & RETURNED and request.at_us - row[FIRST_AT] <= self._early_us:
                    cohorts.add_early(data.unit_id, (*enumerate(values), *limits))
        self.activity.ended[data.caller, data.variant, status, start_us, epoch].append(values)

    def conflicting(self, request: OpenRequest, *, was_missing: bool) -> None:
        """The outcome of an open request says something else than its assignment."""
        self.count("conflicts")
        if was_missing:
            self._count_missing(request.data, -1)

    def missing(self, request: OpenRequest) -> None:
        """The horizon of an open request has passed."""
        self.changed = self.unsaved = True
        self._count_missing(request.data, 1)

    def reported(self, event_id: str, data: Report, values: Values, received_at_us: int, clock: PartitionClock) -> None:
        """A report for a unit that is here, with what of it this experiment declares."""
        self.changed = self.unsaved = True
        unit_id, request_id, cohorts = data.unit_id, data.request_id, self.cohorts
        row = cohorts.units[unit_id]
        if request_id is None:
            values = values if cohorts.first_report(unit_id, event_id) else []
        else:
            metrics = self.layout.metrics
            values = [
                (place, value)
                for place, value in values
                if cohorts.first_report(unit_id, f"{request_id}\n{metrics[place].name}")
            ]
        if not values:
            self.tally.duplicates += 1
        elif self._window_us is not None and received_at_us > row[FIRST_AT] + self._window_us:
            self.tally.too_late += 1
        else:
            cohorts.touch(unit_id)
            early = received_at_us - row[FIRST_AT] <= self._early_us
            if not early:
                set_early_apart(row, self.layout)
            cohorts.add(unit_id, row, values)
            if early and row[FLAGS] & RETURNED:
                cohorts.add_early(unit_id, values)
            if not row[FLAGS] & CROSSOVER:
                start_us = bucket_start(received_at_us, clock.now_us or 0)
                self.activity.reported(start_us, cohorts.keys[row[CELL]], values)

    def count(self, why: str, times: int = 1) -> None:
        """Something that does not go into the sums."""
        self.changed = self.unsaved = True
        setattr(self.tally, why, getattr(self.tally, why) + times)

    def read_decisions(self, assigned_seen: int, clock: PartitionClock) -> None:
        """An assignment showed how far routers have read: the experiment may have ended here."""
        offset = self._completed_offset
        if self.ended_at_us is None and offset is not None and assigned_seen > offset:
            self.ended_at_us = clock.now_us
            self.unsaved = True

    def tick(self, tick: int) -> None:
        """Let go of units whose time is over. What they added stays in the sums."""
        self.activity.settle()
        due = [number for number in self._own_units if number <= tick]
        if due:
            self.cohorts.evict(unit_id for number in due for unit_id in self._own_units.pop(number))
        if not self.gone and self.ended_at_us is not None and expiry_tick(self.ended_at_us, self.keep_us) <= tick:
            self.cohorts.evict(list(self.cohorts.units))
            self._own_units.clear()
            self.gone = self.unsaved = True
        self.activity.buckets.forget(tick * TICK_US)

    # Questions.

    def known_values(self, metrics: Mapping[str, float]) -> Values:
        """Of a report, what this experiment declares. Raises: ContractError where a value does not fit."""
        places, declared = self.layout.places, self.layout.metrics
        return [
            (places[name], fixed_point(value, declared[places[name]]))
            for name, value in metrics.items()
            if name in places
        ]

    def named_values(self, metrics: Mapping[str, float]) -> Values:
        """Of a report that names this experiment. Raises: ContractError, code `unknown-metric` among others."""
        if not metrics.keys() <= self.layout.places.keys():
            unknown = next(name for name in metrics if name not in self.layout.places)
            raise ContractError(
                f"experiment {self.id!r} declares no metric {unknown!r}",
                where=f"/data/metrics/{unknown}",
                remedy=f"It declares {', '.join(self.layout.places) or 'none'}; the router's own are not reported",
                code="unknown-metric",
            )
        return self.known_values(metrics)

    def epoch_of(self, row: UnitRow) -> int:
        """The epoch of a unit's cohort."""
        return self.cohorts.keys[row[CELL]].epoch

    def published(self) -> dict[str, Any]:
        """What `PartialData` says of an experiment beside its place."""
        self.cohorts.settle()
        totals, callers = self.activity.published()
        epochs = self.cohorts.published()
        for epoch, variant, histograms in self.activity.histograms.published():
            epochs[str(epoch)][variant]["histograms"] = histograms
        return {
            "epochs": epochs,
            "totals": totals,
            "callers": callers,
            "counts": asdict(self.tally),
        }

    # Checkpoint.

    def changed_rows(self) -> dict[bytes, bytes | None]:
        """Rows changed since the last call; keys without the experiment."""
        self.cohorts.settle()
        self.activity.settle()
        rows = {**self.cohorts.changed_units(), **self.activity.changed_rows()}
        if self.unsaved:
            rows[b""] = json.dumps(self._numbers()).encode()
            self.unsaved = False
        return rows

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """From the rows of a checkpoint. What was not published since is: the same bytes, so it does no harm."""
        numbers = json.loads(rows[b""])
        self.cohorts.restore_cells(numbers["cells"])
        self.tally = Tally(**numbers["tally"])
        self.activity.restore(numbers["totals"])
        self.ended_at_us, self.gone = numbers["ended_at_us"], numbers["gone"]
        for key, value in rows.items():
            if key.startswith((b"b/", b"h/")):
                self.activity.restore_row(key, value)
            elif key:
                self.cohorts.restore_unit(key, value)
        for unit_id, row in self.cohorts.units.items():
            if row[FLAGS] & OWN_UNIT:
                self._will_go(unit_id, row[FIRST_AT])
        self.changed, self.unsaved = True, False

    def _numbers(self) -> dict[str, Any]:
        return {
            "cells": self.cohorts.numbers(),
            "tally": asdict(self.tally),
            "totals": self.activity.numbers(),
            "ended_at_us": self.ended_at_us,
            "gone": self.gone,
        }

    def _expose(
        self, data: Assignment, at_us: int, clock: PartitionClock, covariates: Iterable[tuple[int, int]]
    ) -> UnitRow | None:
        if self.gone or (data.own_unit and clock.passed(expiry_tick(at_us, self.keep_us))):
            self.tally.too_late += 1
            return None
        if data.own_unit:
            self._will_go(data.unit_id, at_us)
        return self.cohorts.expose(
            data.unit_id,
            (data.epoch or 0, data.variant or ""),
            at_us=at_us,
            own_unit=data.own_unit,
            covariates=covariates,
        )

    def _will_go(self, unit_id: str, first_at_us: int) -> None:
        self._own_units.setdefault(expiry_tick(first_at_us, self.keep_us), []).append(unit_id)

    def _count_missing(self, data: Assignment, sign: int) -> None:
        if data.variant is None:
            return
        self.activity.missing(data.caller, data.variant, sign)
        row = self.cohorts.units.get(data.unit_id) if data.reason == "split" else None
        if row is not None and self.epoch_of(row) == data.epoch:
            self.cohorts.touch(data.unit_id)
            row[MISSING] += sign
