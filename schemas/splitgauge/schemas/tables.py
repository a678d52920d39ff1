"""Partials and windows: what one partition, and all of them together, know of an experiment.

All numbers are exact integers. m, d and x are fixed point with their metric's scale. Everything of an experiment is in
one event, so that no reader ever sees one arm newer than another; time buckets, which no verdict reads, go apart.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from splitgauge.schemas.model import BigInteger, EventData, Instant, Integer

__all__ = [
    "FOLD_VERSION",
    "SHARE_SCALE",
    "BucketCell",
    "BucketCounts",
    "BucketsData",
    "Cell",
    "Counts",
    "MetricSums",
    "NoveltySums",
    "PartialData",
    "VariantTotals",
    "WindowData",
    "is_removal",
    "runs_of",
]

FOLD_VERSION = 2
"""Version of the fold. Readers never mix versions; a new fold starts again from the log."""

SHARE_SCALE = 1_000_000_000
"""Fixed point of a unit's share m / d of a proportion."""


class MetricSums(EventData):
    """Sums over the analysed units of a cell (statistics.md, Aggregates)."""

    m: BigInteger = 0
    d: BigInteger = 0
    mm: BigInteger = 0
    dd: BigInteger = 0
    md: BigInteger = 0
    x: BigInteger = 0
    xx: BigInteger = 0
    mx: BigInteger = 0
    dx: BigInteger = 0
    present: Integer = Field(default=0, description="units with d > 0")
    hits: Integer = Field(default=0, description="units with m > 0")
    misses: Integer = Field(default=0, description="units with m < d; of proportions: with at least one failure")
    shares: BigInteger = Field(
        default=0, description="sum of rint(m / d * SHARE_SCALE) over units with d > 0; proportions"
    )


class NoveltySums(EventData):
    """The goal by age (statistics.md, Novelty): sums over the analysed units of a cell, as `statistics.novelty` takes.

    Early: up to 3 days after the unit's first exposure; late: the total less that. An outcome is as old as the
    assigned_at of its request, a report as its received_at. Counted over units, every unit has an early d of one, and
    a late one where anything of it has come late. With an attribution window of at most 3 days nothing of a reported
    goal is late.
    """

    m_early: BigInteger = 0
    d_early: BigInteger = 0
    m_late: BigInteger = 0
    d_late: BigInteger = 0
    m_early_m_early: BigInteger = 0
    m_early_d_early: BigInteger = 0
    m_early_m_late: BigInteger = 0
    m_early_d_late: BigInteger = 0
    d_early_d_early: BigInteger = 0
    d_early_m_late: BigInteger = 0
    d_early_d_late: BigInteger = 0
    m_late_m_late: BigInteger = 0
    m_late_d_late: BigInteger = 0
    d_late_d_late: BigInteger = 0


_LONGEST_GAP = 3
"""Empty buckets that a run goes on over: each costs two bytes, a new run nine."""


def runs_of(counts: Mapping[int, int]) -> list[list[int]]:
    """Counts by bucket as they stand in JSON: runs of neighbours, each the first bucket and then its counts.

    >>> runs_of({65473: 2, 65472: 1, 65476: 5, 0: 7})
    [[0, 7], [65472, 1, 2, 0, 0, 5]]
    """
    runs: list[list[int]] = []
    end: int | None = None
    for bucket in sorted(counts):
        if end is None or bucket - end > _LONGEST_GAP:
            runs.append([bucket])
        else:
            runs[-1] += [0] * (bucket - end)
        runs[-1].append(counts[bucket])
        end = bucket + 1
    return runs


def _from_runs(value: object) -> object:
    if not isinstance(value, list):
        return value
    counts: dict[Any, Any] = {}
    for run in cast("Sequence[Any]", value):
        if not isinstance(run, list) or not run or not isinstance(run[0], int):
            message = "a histogram is runs of [first bucket, count, count, ...]"
            raise ValueError(message)
        first, *held = cast("Sequence[Any]", run)
        counts.update({first + place: count for place, count in enumerate(held) if count != 0})
    return counts


BucketCounts = Annotated[
    dict[Integer, Integer],
    BeforeValidator(_from_runs),
    PlainSerializer(runs_of, return_type=list[list[int]], when_used="json"),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
            "description": "runs of neighbouring buckets: the first bucket, then how many values are in each",
        }
    ),
]
"""How many values by bucket (`splitgauge.statistics.bucket_of`); in JSON `runs_of` them, a fifth of the bytes."""


class Cell(EventData):
    """One variant in one epoch: its cohort of units."""

    exposed: Integer = Field(default=0, description="units whose first live split exposure it was, crossovers included")
    units: Integer = Field(default=0, description="of those, the analysed ones: without crossovers")
    crossovers: Integer = Field(
        default=0, description="of those, the ones that also got another variant under the same table"
    )
    requests: Integer = Field(default=0, description="live split assignments of analysed units in their own epoch")
    missing: Integer = Field(default=0, description="of those, without an outcome past the horizon")
    missing_units: Integer = Field(default=0, description="analysed units with at least one missing")
    metrics: dict[str, MetricSums] = {}
    novelty: NoveltySums = Field(default=NoveltySums(), description="of the goal, by age of the unit")
    histograms: dict[str, BucketCounts] = Field(
        default={},
        description="of latency_ms, ttft_ms and declared quantiles: values by bucket (statistics.histogram), of "
        "requests that are in the sums; a value stays when its unit becomes a crossover later",
    )
    days: dict[str, "Cell"] = Field(
        default={},
        description="with an attribution window: the same by UTC day of first exposure (YYYY-MM-DD), no histograms",
    )


class VariantTotals(EventData):
    """Everything live that was given to a variant, analysed or not: what results and bills show."""

    jobs: Integer = Field(default=0, description="live assignments, whatever their reason")
    reasons: dict[str, Integer] = {}
    statuses: dict[str, Integer] = {}
    missing: Integer = 0
    answered: Integer = Field(default=0, description="complete answers")
    latency_ms: BigInteger = Field(default=0, description="sum over complete answers, micro")
    ttft_ms: BigInteger = Field(default=0, description="sum, micro")
    ttft_count: Integer = 0
    input_tokens: BigInteger = 0
    cached_input_tokens: BigInteger = 0
    output_tokens: BigInteger = 0
    cost: BigInteger = Field(default=0, description="sum, 1e-12 USD")
    first_at: Instant | None = None
    last_at: Instant | None = None


class Counts(EventData):
    """What did not go into the sums, by why. Duplicates counted once, dropped after."""

    conflicts: Integer = 0
    duplicates: Integer = 0
    too_late: Integer = 0
    unattributable: Integer = 0
    foreign: Integer = Field(
        default=0, description="events of units whose cohort is another epoch's: shown, not analysed"
    )


class PartialData(EventData):
    """`partial.v1`: a function of (partition, upto), whoever makes it."""

    experiment_id: str
    partition: Integer
    upto: Integer
    decisions_offset: Integer
    fold_version: Integer = FOLD_VERSION
    as_of: Instant | None = None
    digest: str
    epochs: dict[str, dict[str, Cell]] = {}
    totals: dict[str, VariantTotals] = {}
    callers: dict[str, dict[str, VariantTotals]] = {}
    counts: Counts = Counts()


class WindowData(EventData):
    """`window.v1`: the partials summed. `as_of` is the latest of their clocks."""

    experiment_id: str
    positions: dict[Integer, Integer]
    decisions_offset: Integer
    fold_version: Integer = FOLD_VERSION
    as_of: Instant | None = None
    digests: dict[Integer, str]
    epochs: dict[str, dict[str, Cell]] = {}
    totals: dict[str, VariantTotals] = {}
    callers: dict[str, dict[str, VariantTotals]] = {}
    counts: Counts = Counts()


class BucketCell(EventData):
    """What fell into one time bucket of one variant: live split events of analysed units, by `assigned_at`."""

    requests: Integer = 0
    metrics: dict[str, tuple[BigInteger, BigInteger]] = Field(default={}, description="metric: [m, d]")


class BucketsData(EventData):
    """`partial-buckets.v1` and `window-buckets.v1`: one time bucket of an experiment."""

    experiment_id: str
    start: Instant
    seconds: Integer
    positions: dict[Integer, Integer]
    fold_version: Integer = FOLD_VERSION
    variants: dict[str, BucketCell] = {}


def is_removal(key: bytes | None, value: bytes) -> bool:
    """Whether an event of partials or windows says that nobody needs a time bucket any more: its key (experiment,
    partition, start), and no value. Under any other key nothing is no table."""
    return not value and key is not None and key.count(b"/") == 2
