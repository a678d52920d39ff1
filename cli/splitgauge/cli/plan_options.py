"""What can be said to `splitgauge plan` on the command line."""

from dataclasses import dataclass

__all__ = ["KINDS", "Options"]

KINDS = ("proportion", "mean", "ratio", "count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line, as it is; None is what was left out."""

    metric_kind: str | None = None
    baseline: float | None = None
    effect: float | None = None
    relative: bool = False
    variance: float | None = None
    alpha: float | None = None
    power: float | None = None
    split: str | None = None
    challengers: int | None = None
    units_per_day: float | None = None
    requests_per_day: float | None = None
    requests_per_unit: float | None = None
