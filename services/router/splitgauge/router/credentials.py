"""Secrets of endpoints, looked up by reference when they are needed, and held for seconds only.

Owns the look-up. No secret is in any message or event; a file may be replaced while the router runs.
"""

import os
from collections.abc import Callable
from pathlib import Path

from splitgauge.schemas.errors import UpstreamError

__all__ = ["Credentials"]

_HELD_S = 5.0


class Credentials:
    """Secrets by reference: `env:NAME` or `file:PATH`."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._held: dict[str, tuple[float, str]] = {}

    def secret(self, reference: str | None) -> str | None:
        """The secret; None where none is referred to. Raises: UpstreamError (`credential-missing`)."""
        if reference is None:
            return None
        now_s = self._monotonic_s()
        until_s, secret = self._held.get(reference, (0.0, ""))
        if not secret or now_s >= until_s:
            secret = _read(reference)
            self._held[reference] = (now_s + _HELD_S, secret)
        return secret


def _read(reference: str) -> str:
    kind, _, place = reference.partition(":")
    if kind == "env":
        secret = os.environ.get(place, "").strip()
    else:
        try:
            secret = Path(place).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise _missing(reference) from exc
    if not secret or not secret.isprintable():
        raise _missing(reference)
    return secret


def _missing(reference: str) -> UpstreamError:
    return UpstreamError(
        f"the credential {reference!r} is not there",
        where="credential",
        remedy="Set it where the router runs, or name another one in the workload",
        code="credential-missing",
    )
