"""Caps, from the sums to the analysis: at level request a value is capped, at level unit the total of a unit."""

from typing import Any

from fold_stories import START, Decisions, assignment, report, stored
from splitgauge.aggregator.partition_fold import PartitionFold
from splitgauge.aggregator.tables import window_of
from splitgauge.analyzer import analyse, decisions_read
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.tables import MetricSums, PartialData

METRICS = [
    {"name": "rating", "cap": 5, "scale": 10},
    {"name": "spend", "level": "unit", "cap": 20.05, "scale": 100},
    {"name": "per-spend", "kind": "ratio", "level": "unit", "denominator": "metric:spend"},
]


class Told:
    """What two units of the control reported, one after the other."""

    def __init__(self, *values: dict[str, Any]) -> None:
        self.decisions = Decisions()
        self.decisions.start("exp", metrics=METRICS)
        self.fold = PartitionFold(0)
        self.tell(*(assignment(f"r{unit}", f"u{unit}") for unit in (0, 1)))
        for number, reported in enumerate(values):
            self.tell(report(f"u{number % 2}", reported, event=str(number)))

    def tell(self, *events: bytes) -> None:
        assert not self.fold.fold(stored([*events], self.fold.position), self.decisions.history).dead_letters

    @property
    def partial(self) -> PartialData:
        return PartialData.model_validate_json(self.fold.partial("exp"))

    def sums(self, metric: str) -> MetricSums:
        return self.partial.epochs["1"]["control"].metrics[metric]

    def shown(self, metric: str) -> float | None:
        history = self.decisions.history
        data = analyse(
            history.newest.experiments["exp"],
            window_of({0: self.partial}),
            looked_at=to_text(START),
            previous=None,
            decisions=decisions_read(history, history.end),
        )
        return data.variants["control"].metrics[metric].value


def test_a_value_above_the_cap_enters_as_the_cap() -> None:
    told = Told({"rating": 9}, {"rating": 1e300}, {"rating": 2.5}, {"rating": -7})

    assert told.sums("rating") == MetricSums(
        m=50 + 50 + 25 - 70,
        d=4,
        mm=(50 + 25) ** 2 + (50 - 70) ** 2,
        dd=8,
        md=2 * (50 + 25) + 2 * (50 - 70),
        present=2,
        hits=1,
        misses=1,
    )
    assert told.shown("rating") == (5 + 5 + 2.5 - 7) / 4


def test_the_total_of_a_unit_is_capped_however_it_came_about() -> None:
    told = Told({"spend": 15}, {"spend": 3})
    assert (told.sums("spend").m, told.sums("spend").mm) == (1_500 + 300, 1_500**2 + 300**2)

    told.tell(report("u0", {"spend": 15}, event="more"))

    assert told.sums("spend") == MetricSums(
        m=2_005 + 300, d=2, mm=2_005**2 + 300**2, dd=2, md=2_305, present=2, hits=2, misses=0
    )
    assert told.shown("spend") == (20.05 + 3) / 2


def test_a_capped_total_that_sinks_below_the_cap_again_counts_in_full() -> None:
    told = Told({"spend": 30}, {"spend": 1}, {"spend": -12})

    assert told.sums("spend").m == 1_800 + 100


def test_a_ratio_is_over_the_capped_total() -> None:
    told = Told({"spend": 50, "per-spend": 1}, {"spend": 1, "per-spend": 2})

    assert (told.sums("per-spend").d, told.sums("per-spend").dd) == (2_005 + 100, 2_005**2 + 100**2)
    assert told.shown("per-spend") == float(f"{3 / 21.05:.12g}")
