"""Lists in pages: `limit` and `after` in the query, `items`, `total` and `next` in the answer."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import Request

from splitgauge.schemas.errors import ContractError

__all__ = ["PAGE_PARAMETERS", "page_json", "query_integer"]

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000
_DIGITS = 16
"""Of the largest number that is taken anywhere; of thousands of them Python makes no number."""

_Item = TypeVar("_Item")

PAGE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "limit",
        "in": "query",
        "description": "items in a page",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
    {
        "name": "after",
        "in": "query",
        "description": "how many to pass over: `next` of the page before",
        "schema": {"type": "integer", "minimum": 0, "default": 0},
    },
]
"""As OpenAPI describes them."""


def query_integer(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """A number of the query string. Raises: ContractError where it is none, or out of range."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > _DIGITS or not least <= int(text) <= most:
        raise ContractError(
            f"{text!r} is no number from {least} to {most}", where=f"query {name}", remedy="Correct it or leave it out"
        )
    return int(text)


def page_json(request: Request, items: Sequence[_Item], show: Callable[[_Item], Any]) -> dict[str, Any]:
    """The page that the request asks for. Raises: ContractError for a bad query."""
    limit = query_integer(request, "limit", default=DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    after = query_integer(request, "after", default=0, least=0, most=2**53)
    shown = [show(item) for item in items[after : after + limit]]
    end = after + len(shown)
    return {"items": shown, "total": len(items), "next": end if end < len(items) else None}
