"""The upstream port: how the router calls a variant's endpoint. `tests/contract/upstream` holds adapters to it.

Owns the words and the promises; knows no HTTP library. An adapter calls once and says how it went; what that means for
a variant is said in `exchange`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from splitgauge.schemas.errors import UpstreamError

__all__ = ["Answer", "AnswerTooLargeError", "Call", "Upstream"]


class AnswerTooLargeError(UpstreamError):
    """The endpoint answered more than is taken; the rest was not read."""

    code = "upstream-too-large"


@dataclass(frozen=True, slots=True)
class Call:
    """A POST to an endpoint.

    Attributes:
        timeout_s: until the whole answer is there.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint answered, whatever its status: bytes and headers as they came.

    Attributes:
        first_byte_s: when its head was there, by the monotonic clock.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    first_byte_s: float


class Upstream(Protocol):
    """Calls endpoints. Follows no redirect, keeps no cookie, decodes nothing."""

    async def call(self, call: Call) -> Answer:
        """The whole answer. When cancelled, the connection is closed, so that the endpoint can stop working.

        A request whose reused connection turned out to be closed, before any byte of the answer, is sent once more
        over a new one; nothing else is repeated.
        Raises: UpstreamTimeoutError; AnswerTooLargeError; UpstreamError where it could not be reached, broke off, or
            did not speak HTTP. No message repeats what was sent.
        """
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...
