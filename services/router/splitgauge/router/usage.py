"""Tokens and cost, read from what an endpoint answered. Pure.

Owns the names under which providers count: OpenAI's `prompt_tokens` and `completion_tokens`, and the
`input_tokens` and `output_tokens` of its Responses API, which webhooks may use as well.
"""

from dataclasses import dataclass
from typing import Any

from splitgauge.router.json_value import is_object
from splitgauge.schemas.workload import Price

__all__ = ["NO_USAGE", "Usage", "cost_of", "usage_of"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer; None where the endpoint did not say.

    Attributes:
        input_tokens: cached ones included.
    """

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def total(self) -> int | None:
        """Input and output together, None where neither is known."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


NO_USAGE = Usage()


def usage_of(document: object) -> Usage:
    """The tokens in an answer's top-level `usage`.

    >>> usage_of({"usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    Usage(input_tokens=7, cached_input_tokens=None, output_tokens=2)
    """
    counts = _object(document).get("usage")
    if not is_object(counts):
        return NO_USAGE
    details = _object(counts.get("prompt_tokens_details") or counts.get("input_tokens_details"))
    return Usage(
        _count(counts.get("prompt_tokens", counts.get("input_tokens"))),
        _count(details.get("cached_tokens", counts.get("cached_input_tokens"))),
        _count(counts.get("completion_tokens", counts.get("output_tokens"))),
    )


def cost_of(usage: Usage, price: Price) -> float | None:
    """US dollars of one answered request; None where a token price cannot be applied for want of a count."""
    cached = min(usage.cached_input_tokens or 0, usage.input_tokens or 0)
    cached_price = price.cached_input_per_million
    parts = (
        (usage.input_tokens, cached, price.input_per_million),
        (cached, 0, price.input_per_million if cached_price is None else cached_price),
        (usage.output_tokens, 0, price.output_per_million),
    )
    cost = price.per_request
    for tokens, elsewhere, per_million in parts:
        if per_million and tokens is None:
            return None
        cost += ((tokens or 0) - elsewhere) * per_million / _MILLION
    return cost


def _object(value: object) -> dict[str, Any]:
    return value if is_object(value) else {}


def _count(value: object) -> int | None:
    """A number of tokens; an endpoint that sends anything else does not count."""
    return value if type(value) is int and 0 <= value < 2**53 else None
