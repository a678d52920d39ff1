"""Which headers pass through the router, to the endpoint and back. Pure.

Owns the lists. Credentials of the caller go on only where the workload has none of its own; cookies never do.
"""

from collections.abc import Iterable, Mapping

__all__ = ["answer_headers", "request_headers"]

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110, section 7.6.1: they speak of one connection."""

# What is left of the request is forwarded in a body that was read whole and may be longer, to another host. Compressed
# answers could neither be spliced nor counted, so none are asked for.
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "content-length", "accept-encoding", "cookie", "expect"}
_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key"})
_OUR_PREFIX = "x-splitgauge-"

_NOT_RETURNED = frozenset(name.encode() for name in _HOP_BY_HOP | {"content-length"})
_OF_THE_BYTES = frozenset({b"content-digest", b"content-md5", b"digest", b"etag", b"repr-digest"})
"""Checksums and names of the very bytes: untrue once metadata is among them."""


def request_headers(caller: Mapping[str, str], configured: Mapping[str, str], *, secret: str | None) -> dict[str, str]:
    """The headers for the endpoint, names in lower case.

    Args:
        caller: the caller's, names in lower case.
        configured: the variant's, which win.
        secret: the workload's credential; where there is one, the caller's stay here.
    """
    headers = {
        name: value
        for name, value in caller.items()
        if name not in _NOT_FORWARDED and not name.startswith(_OUR_PREFIX) and not (secret and name in _CREDENTIALS)
    }
    for name in caller.get("connection", "").split(","):
        headers.pop(name.strip().lower(), None)
    for name, value in configured.items():
        headers[name.lower()] = value
    if secret is not None:
        headers["authorization"] = f"Bearer {secret}"
    headers["accept-encoding"] = "identity"
    return headers


def answer_headers(endpoint: Iterable[tuple[bytes, bytes]], *, spliced: bool, length: int) -> list[tuple[bytes, bytes]]:
    """The endpoint's headers for the caller, in their order, with the length of what is sent."""
    headers: list[tuple[bytes, bytes]] = []
    for name, value in endpoint:
        lower = name.lower()
        if lower in _NOT_RETURNED or (spliced and lower in _OF_THE_BYTES):
            continue
        headers.append((lower, value))
    headers.append((b"content-length", b"%d" % length))
    return headers
