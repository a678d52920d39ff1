"""A request as the router sees it, whichever way it came in: over HTTP or as an event of the log.

Owns the shape and what the endpoints of a provider are called; knows neither ASGI nor the log. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["CHAT", "COMPLETIONS", "EMBEDDINGS", "OPERATIONS", "RESPONSES", "WEBHOOK", "Inquiry", "Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a provider's endpoint is asked to do.

    Attributes:
        provider: whose workloads can do it.
        suffix: what it adds to the workload's URL.
    """

    provider: Literal["openai", "webhook"]
    suffix: str


CHAT = Operation("openai", "/chat/completions")
COMPLETIONS = Operation("openai", "/completions")
EMBEDDINGS = Operation("openai", "/embeddings")
RESPONSES = Operation("openai", "/responses")
WEBHOOK = Operation("webhook", "")

OPERATIONS = {f"/v1{operation.suffix}": operation for operation in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)}
"""OpenAI's operations by the path that callers use."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One request.

    Attributes:
        workload: id or name, as the caller wrote it.
        headers: names in lower case.
        body, document: the bytes, and the JSON value they hold.
        query: of the URL, without the question mark.
        unit: named outright, before anything else is looked at (request events have a field for it).
        attributes: for covariates.
    """

    workload: str
    operation: Operation
    headers: Mapping[str, str]
    body: bytes
    document: Any
    query: str = ""
    unit: str | None = None
    attributes: Mapping[str, str | float | bool] = field(default_factory=dict[str, str | float | bool])
