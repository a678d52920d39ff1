"""The book of one experiment in one partition: what assignments, outcomes and reports do to its numbers.

Owns cohorts, totals, buckets and counts, and when they go. It is told what happened in the order of the log; whether an
event is new, and whom it waits for, is known outside (`attribution`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from splitgauge.aggregator.activity import NOWHERE, Activity, pack_ended, pack_given
from splitgauge.aggregator.buckets import BUCKET_US
from splitgauge.aggregator.clock import DAY_US, TICK_US, PartitionClock, expiry_tick
from splitgauge.aggregator.cohort import OWN_UNIT, Cohorts
from splitgauge.aggregator.layout import CELL, FIRST_AT, FLAGS, RowLayout
from splitgauge.aggregator.ledger import OpenRequest
from splitgauge.aggregator.novelty import RETURNED, early_us
from splitgauge.aggregator.observation import Assignment, Outcome, Report
from splitgauge.aggregator.sums import CROSSOVER
from splitgauge.aggregator.values import fixed_point, raw_values
from splitgauge.experiments.state import Epoch, ExperimentState
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.instants import SECOND_US

__all__ = ["Book", "Tally"]

_MUCH = 500_000
"""Bytes put aside, of some 4,000 requests: as many take a millisecond or two to settle."""

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
        self.early_us = early_us(specification)
        self.variants = frozenset(variant.name for variant in specification.variants)
        self.epochs: dict[int, Epoch] = {}
        self.arms: frozenset[tuple[int | None, str | None]] = frozenset()
        self._completed_offset: int | None = None
        self.learn(state)
        self.cohorts = Cohorts(self.layout, by_day=window_s is not None)
        self.activity = Activity(self.layout)
        self._width = self.layout.width
        self._given_groups, self._ended_groups = self.activity.given_groups, self.activity.ended_groups
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
        self, request: OpenRequest, data: Assignment, clock: PartitionClock, covariates: Iterable[tuple[int, int]]
    ) -> bool:
        """A live request was given to a variant. True if its unit is new."""
        self.changed = self.unsaved = True
        arm, at_us = request.arm, request.at_us
        variant = arm.variant
        if variant is None:
            return False
        new, row, late, start_us = False, NOWHERE, False, NOWHERE
        if arm.reason == "split":
            cohorts = self.cohorts
            found = cohorts.units.rows.get(request.unit_id)
            if found is None:
                found = self._expose(data, at_us, clock, covariates)
                new = found is not None
            if found is not None:
                numbers, head = cohorts.units.numbers, found * self._width
                cell = cohorts.keys[numbers[head + CELL]]
                if cell.epoch != arm.epoch:
                    self.tally.foreign += 1
                else:
                    row, late = found, at_us - numbers[head + FIRST_AT] > self.early_us
                    if late:
                        cohorts.flag(row, RETURNED)
                    if cell.variant != variant:
                        cohorts.flag(row, CROSSOVER)
                    if not numbers[head + FLAGS] & CROSSOVER:
                        start_us = _bucket_start(at_us, clock)
        group = arm.caller, variant, arm.reason
        number = self._given_groups.setdefault(group, len(self._given_groups))
        self.activity.given += pack_given(row, late, number, at_us, start_us)
        return new

    def answered(self, request: OpenRequest, data: Outcome, clock: PartitionClock, *, was_missing: bool) -> None:
        """The outcome of an open request came, and agrees with it."""
        self.changed = self.unsaved = True
        if was_missing:
            self._count_missing(request, -1)
        arm = request.arm
        variant = arm.variant
        if variant is None:
            return
        row, late, start_us, analysed = NOWHERE, False, NOWHERE, None
        if arm.reason == "split":
            cohorts = self.cohorts
            found = cohorts.units.rows.get(request.unit_id)
            if found is None:
                self.tally.too_late += 1
            else:
                numbers, head = cohorts.units.numbers, found * self._width
                epoch = cohorts.keys[numbers[head + CELL]].epoch
                if epoch != arm.epoch:
                    self.tally.foreign += 1
                else:
                    row, late = found, request.at_us - numbers[head + FIRST_AT] > self.early_us
                    if not numbers[head + FLAGS] & CROSSOVER:
                        start_us, analysed = _bucket_start(request.at_us, clock), epoch
        group = arm.caller, variant, data.status, analysed
        number = self._ended_groups.setdefault(group, len(self._ended_groups))
        self.activity.ended += pack_ended(row, late, number, start_us, *raw_values(data.metrics))

    def conflicting(self, request: OpenRequest, *, was_missing: bool) -> None:
        """The outcome of an open request says something else than its assignment."""
        self.count("conflicts")
        if was_missing:
            self._count_missing(request, -1)

    def missing(self, request: OpenRequest) -> None:
        """The horizon of an open request has passed."""
        self.changed = self.unsaved = True
        self._count_missing(request, 1)

    def reported(self, event_id: str, data: Report, values: Values, received_at_us: int, clock: PartitionClock) -> None:
        """A report for a unit that is here, with what of it this experiment declares."""
        self.changed = self.unsaved = True
        request_id, cohorts = data.request_id, self.cohorts
        row = cohorts.units.rows[data.unit_id]
        if request_id is None:
            values = values if cohorts.first_report(row, event_id) else []
        else:
            metrics = self.layout.metrics
            values = [
                (place, value)
                for place, value in values
                if cohorts.first_report(row, f"{request_id}\n{metrics[place].name}")
            ]
        if not values:
            self.tally.duplicates += 1
            return
        age_us = received_at_us - cohorts.first_at_us(row)
        if self._window_us is not None and age_us > self._window_us:
            self.tally.too_late += 1
            return
        late = age_us > self.early_us
        if late:
            cohorts.flag(row, RETURNED)
        cohorts.add(row, values, late=late)
        if not cohorts.flags(row) & CROSSOVER:
            self.activity.reported(_bucket_start(received_at_us, clock), cohorts.key_of(row), values)

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
        self.settle()
        self._let_go(tick)
        if not self.gone and self.ended_at_us is not None and expiry_tick(self.ended_at_us, self.keep_us) <= tick:
            self.cohorts.evict(list(self.cohorts.units.rows))
            self._own_units.clear()
            self.gone = self.unsaved = True
        self.activity.buckets.forget(tick * TICK_US)

    def settle(self) -> None:
        """Bring rows and sums up to date with what was put aside. When it happens changes nothing."""
        self.cohorts.settle(self.activity.settle())

    def settle_if_much(self) -> None:
        """The same once it is worth it: numpy needs many at a time, memory not too many."""
        if len(self.activity.given) + len(self.activity.ended) > _MUCH:
            self.settle()

    # Questions.

    def has(self, unit_id: str) -> bool:
        """Whether a unit is here."""
        return unit_id in self.cohorts.units.rows

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

    def published(self) -> dict[str, Any]:
        """What `PartialData` says of an experiment beside its place."""
        self.settle()
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
        self.settle()
        rows = {**self.cohorts.changed_units(), **self.activity.changed_rows()}
        if self.unsaved:
            rows[b""] = json.dumps(self._numbers()).encode()
            self.unsaved = False
        return rows

    def restore(self, rows: Mapping[bytes, bytes], clock: PartitionClock) -> None:
        """From the rows of a checkpoint. What was not published since is: the same bytes, so it does no harm."""
        numbers = json.loads(rows[b""])
        self.cohorts.restore_cells(numbers["cells"])
        self.tally = Tally(**numbers["tally"])
        self.activity.restore(numbers["totals"])
        self.ended_at_us, self.gone = numbers["ended_at_us"], numbers["gone"]
        for key, value in rows.items():
            if key.startswith((b"b/", b"h/")):
                self.activity.restore_row(key, value)
        self._restore_units(rows, (clock.now_us or 0) // TICK_US)
        self.changed, self.unsaved = True, False

    def _restore_units(self, rows: Mapping[bytes, bytes], tick: int) -> None:
        units = self.cohorts.units
        self.cohorts.restore_units(rows)
        # Rows of units that have gone may still be there.
        if self.gone:
            self.cohorts.evict(list(units.rows))
        for row in (units.matrix[: len(units.unit_ids), FLAGS] & OWN_UNIT).nonzero()[0].tolist():
            self._will_go(units.unit_ids[row], self.cohorts.first_at_us(row))
        self._let_go(tick)

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
    ) -> int | None:
        if self.gone or (data.own_unit and clock.passed(expiry_tick(at_us, self.keep_us))):
            self.tally.too_late += 1
            return None
        if data.own_unit:
            self._will_go(data.unit_id, at_us)
        return self.cohorts.expose(
            data.unit_id,
            data.epoch or 0,
            data.variant or "",
            at_us=at_us,
            own_unit=data.own_unit,
            covariates=covariates,
        )

    def _let_go(self, tick: int) -> None:
        due = [number for number in self._own_units if number <= tick]
        self.cohorts.evict(unit_id for number in due for unit_id in self._own_units.pop(number))

    def _will_go(self, unit_id: str, first_at_us: int) -> None:
        self._own_units.setdefault(expiry_tick(first_at_us, self.keep_us), []).append(unit_id)

    def _count_missing(self, request: OpenRequest, sign: int) -> None:
        arm = request.arm
        if arm.variant is None:
            return
        self.activity.missing(arm.caller, arm.variant, sign)
        row = self.cohorts.units.rows.get(request.unit_id) if arm.reason == "split" else None
        if row is not None and self.cohorts.key_of(row).epoch == arm.epoch:
            self.cohorts.miss(row, sign)


def _bucket_start(at_us: int, clock: PartitionClock) -> int:
    """Start of the time bucket that holds a time; `NOWHERE` where it is finished: over a day before the clock."""
    start_us = at_us - at_us % BUCKET_US
    return start_us if start_us + DAY_US >= (clock.now_us or 0) else NOWHERE
