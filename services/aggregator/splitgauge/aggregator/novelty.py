"""The goal by age (statistics.md, Novelty): what came up to three days after its unit's first exposure, and later.

Owns what is late, the columns of a row that hold the early part, and the sums of both ages. An outcome is as old as the
`assigned_at` of its request, a report as its `received_at`: the log knows no other time of it. Until something late has
come the early part is all there is, and its columns are not kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from splitgauge.aggregator.clock import DAY_US
from splitgauge.aggregator.exact import Matrix, dots, totals
from splitgauge.aggregator.layout import RowLayout
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.instants import SECOND_US

__all__ = ["EARLY_US", "LATE_FIELDS", "RETURNED", "both_ages", "early_us", "late_sums", "late_terms"]

EARLY_US = 3 * DAY_US
"""What is older than this is late. Part of FOLD_VERSION."""

RETURNED = 4
"""Flag of a unit of which something late has come: its row holds the early part apart."""

LATE_FIELDS = ("m", "d", "mm", "dd", "md", "e_mm", "e_md", "e_dm", "e_dd")
"""Sums over returned units: of late m and d, and of their products with each other and with the early ones (e_md: early
m times late d). Units that have not returned add nothing to any of them."""

_NEVER_US = 2**62
_INT64_MAX = 2**63 - 1
_AGES = ("m_early", "d_early", "m_late", "d_late")


def early_us(specification: ExperimentSpecification) -> int:
    """The age up to which what comes is early."""
    window_s = specification.attribution_window_s
    reported = specification.all_metrics[specification.goal.metric].reported
    if reported and window_s is not None and window_s * SECOND_US <= EARLY_US:
        # No report counts that late, whereas requests go on: the late part would be all denominators.
        return _NEVER_US
    return EARLY_US


def late_sums(columns: Matrix, m: NDArray[np.int64], d: NDArray[np.int64], layout: RowLayout) -> list[int]:
    """`LATE_FIELDS` over columns of returned units, whose goal has m and d."""
    early_m = _capped(columns[layout.early_goal], layout.caps[layout.goal])
    late_m = m - early_m
    if layout.early_denominator is None:
        early_d = late_d = np.ones_like(m)
    else:
        early_d = _capped(columns[layout.early_denominator], layout.early_denominator_cap)
        late_d = d - early_d
    left = np.stack([late_m, late_d, late_m, early_m, early_m, early_d, early_d])
    right = np.stack([late_m, late_d, late_d, late_m, late_d, late_m, late_d])
    return [*totals(left[:2]), *dots(left, right)]


def late_terms(row: Sequence[int], m: int, d: int, layout: RowLayout) -> tuple[int, ...]:
    """The same of one unit, of any size."""
    early_m, cap = row[layout.early_goal], layout.caps[layout.goal]
    early_m = early_m if cap is None else min(early_m, cap)
    late_m = m - early_m
    early_d = late_d = 1
    if layout.early_denominator is not None:
        early_d, cap = row[layout.early_denominator], layout.early_denominator_cap
        early_d = early_d if cap is None else min(early_d, cap)
        late_d = d - early_d
    products = (late_m * late_m, late_d * late_d, late_m * late_d)
    return (late_m, late_d, *products, early_m * late_m, early_m * late_d, early_d * late_m, early_d * late_d)


def both_ages(goal: Mapping[str, int], late: Sequence[int], layout: RowLayout) -> Iterator[tuple[str, int]]:
    """The fields of `NoveltySums`, from the sums of the goal over all units and from `LATE_FIELDS`."""
    m, d, mm, dd, md, e_mm, e_md, e_dm, e_dd = late
    if layout.early_denominator is None:
        early_d, early_dd, early_md = goal["d"], goal["dd"], goal["md"] - m
    else:
        early_d, early_dd = goal["d"] - d, goal["dd"] - 2 * e_dd - dd
        early_md = goal["md"] - e_md - e_dm - md
    early_mm = goal["mm"] - 2 * e_mm - mm
    yield from zip(_AGES, (goal["m"] - m, early_d, m, d), strict=True)
    products = (early_mm, early_md, e_mm, e_md, early_dd, e_dm, e_dd, mm, md, dd)
    for (a, b), total in zip(combinations_with_replacement(_AGES, 2), products, strict=True):
        yield f"{a}_{b}", total


def _capped(values: NDArray[np.int64], cap: int | None) -> NDArray[np.int64]:
    return values if cap is None else np.minimum(values, min(cap, _INT64_MAX))
