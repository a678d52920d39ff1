"""Tokens and cost."""

from typing import Any

import pytest

from splitgauge.router.usage import NO_USAGE, Usage, cost_of, usage_of
from splitgauge.schemas.workload import Price

CASES: list[tuple[Any, Usage]] = [
    (
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
            }
        },
        Usage(10, 4, 5),
    ),
    (
        {"usage": {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}},
        Usage(10, 4, 5),
    ),
    ({"usage": {"prompt_tokens": 3}}, Usage(3, None, None)),
    ({"usage": {"prompt_tokens": -1, "completion_tokens": True}}, NO_USAGE),
    ({"usage": {"prompt_tokens": 1.5, "completion_tokens": "9"}}, NO_USAGE),
    ({"usage": {"prompt_tokens": 2**70}}, NO_USAGE),
    ({"usage": [1]}, NO_USAGE),
    ([{"usage": {}}], NO_USAGE),
    (None, NO_USAGE),
]


@pytest.mark.parametrize(("document", "expected"), CASES)
def test_usage_is_read_where_it_is_a_count(document: Any, expected: Usage) -> None:
    assert usage_of(document) == expected


def test_cost_counts_cached_tokens_at_their_own_rate() -> None:
    price = Price(input_per_million=2, cached_input_per_million=1, output_per_million=10, per_request=0.5)
    assert cost_of(Usage(1_000_000, 400_000, 100_000), price) == pytest.approx(0.6 * 2 + 0.4 * 1 + 0.1 * 10 + 0.5)


def test_cached_tokens_cost_as_input_where_no_rate_is_said() -> None:
    assert cost_of(Usage(1_000_000, 400_000, 0), Price(input_per_million=2)) == pytest.approx(2.0)


def test_a_cost_that_cannot_be_known_is_none() -> None:
    assert cost_of(NO_USAGE, Price(input_per_million=2)) is None
    assert cost_of(Usage(5, None, None), Price(output_per_million=2)) is None
    assert cost_of(NO_USAGE, Price(per_request=0.25)) == 0.25
