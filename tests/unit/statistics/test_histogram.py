"""Logarithmic buckets: order, width, merging, and the values read back."""

import math
import sys
from random import Random
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics import (
    NAN_BUCKET,
    Histogram,
    bucket_edges,
    bucket_of,
    histogram_of,
    merged,
    representative,
    value_at_rank,
)

Values: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]

FLOATS = st.floats(width=64)
VALUES = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e12, 1e12))


@given(FLOATS)
def test_a_value_lies_in_its_bucket(value: float) -> None:
    bucket = bucket_of(value)
    lower, upper = (float(edge) for edge in bucket_edges(bucket))
    if math.isnan(value):
        assert int(bucket) == NAN_BUCKET
        assert math.isnan(lower)
    elif math.isinf(value) or value == 0:
        assert lower == upper == value
    else:
        assert min(abs(lower), abs(upper)) <= abs(value) < max(abs(lower), abs(upper))
        assert math.copysign(1, lower + upper) == math.copysign(1, value)


@given(st.floats(1e-300, sys.float_info.max))
def test_a_bucket_is_at_most_a_64th_wide_and_its_middle_a_128th_off(value: float) -> None:
    lower, upper = bucket_edges(bucket_of(value))
    if np.isfinite(upper):
        assert upper - lower <= value / 64 * (1 + 1e-12)
        assert abs(representative(bucket_of(value)) - value) <= value / 128 * (1 + 1e-12)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_buckets_rise_with_values(one: float, other: float) -> None:
    below, above = bucket_of([min(one, other), max(one, other)])
    assert below <= above


def test_64_buckets_an_octave() -> None:
    buckets = bucket_of(np.linspace(4.0, 8.0, 10_000, endpoint=False))
    assert len(np.unique(buckets)) == 64
    assert int(bucket_of(8.0)) - int(bucket_of(4.0)) == 64


def test_zero_and_what_is_no_number_have_buckets_of_their_own() -> None:
    assert bucket_of([0.0, -0.0, 5e-324, -5e-324, np.inf, -np.inf, np.nan]).tolist() == [
        0,
        0,
        1,
        -1,
        131_008,
        -131_008,
        131_072,
    ]


@given(st.lists(VALUES, min_size=1, max_size=4), st.randoms())
def test_merging_gives_the_same_in_any_order(parts: list[Values], random: Random) -> None:
    whole = histogram_of(np.concatenate(parts))
    histograms = [histogram_of(part) for part in parts]
    random.shuffle(histograms)
    together = merged(*histograms)
    assert together.buckets.tolist() == whole.buckets.tolist()
    assert together.counts.tolist() == whole.counts.tolist()
    assert together.n == sum(len(part) for part in parts)


@given(VALUES)
def test_a_rank_is_found_in_the_bucket_of_its_value(values: Values) -> None:
    histogram, ranks = histogram_of(values), np.arange(1, len(values) + 1)
    in_order = np.sort(values)
    lower, upper = (value_at_rank(histogram, ranks, side=side) for side in ("lower", "upper"))
    within = value_at_rank(histogram, ranks)
    assert (lower <= in_order).all()
    assert (in_order <= upper).all()
    assert ((lower <= within) & (within <= upper)).all()
    assert (np.diff(within) >= 0).all()


def test_nan_among_the_values_has_no_rank() -> None:
    histogram = histogram_of([1.0, np.nan, 2.0])
    assert histogram.n == 2
    assert value_at_rank(histogram, [2, 3], side="lower").tolist()[0] == 2.0
    assert np.isnan(value_at_rank(histogram, 3))


def test_beyond_the_ranks_there_is_no_value() -> None:
    assert np.isnan(value_at_rank(histogram_of([1.0, 2.0]), [0, 0.99, 2.01, 3, np.nan])).all()
    none: list[float] = []
    assert np.isnan(value_at_rank(histogram_of(none), [0, 1])).all()
    assert merged().n == 0


@pytest.mark.parametrize("bucket", [0.5, 131_009, -131_009, 131_073, np.nan])
def test_what_is_no_bucket_is_refused(bucket: float) -> None:
    with pytest.raises(ContractError) as caught:
        bucket_edges(bucket)
    assert caught.value.where == "buckets"


@pytest.mark.parametrize("count", [-1, 0.5])
def test_what_is_no_count_is_refused(count: float) -> None:
    with pytest.raises(ContractError):
        merged(Histogram(np.array([5]), np.array([count])))
