"""The token that an answer carries: by it a report finds its request, on any router, without a look-up.

Owns the coding: opaque to callers, signed, so that nobody can report for a request that was never theirs. Pure.

    version (1) | request (16) | unit (16) | epoch (4), experiment (utf-8) or nothing | signature (16)   as base64url
"""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from uuid import UUID

from splitgauge.schemas.errors import UnknownSubjectError

__all__ = ["Token", "TokenSigner"]

_VERSION = b"\x01"
_SIGNATURE_BYTES = 16
_FIXED_BYTES = 1 + 16 + 16
_EPOCH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says.

    Attributes:
        experiment_id, epoch: of a request that the split gave a variant to; None of all others.
    """

    request_id: str
    unit_id: str
    experiment_id: str | None = None
    epoch: int | None = None


class TokenSigner:
    """Writes and reads tokens; `key` is derived from the unit key for this purpose alone."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, token: Token) -> str:
        """The token as text, safe in headers and URLs."""
        body = _VERSION + bytes.fromhex(token.request_id.replace("-", "") + token.unit_id)
        if token.experiment_id is not None and token.epoch is not None:
            body += token.epoch.to_bytes(_EPOCH_BYTES, "big") + token.experiment_id.encode()
        return urlsafe_b64encode(body + self._signature(body)).rstrip(b"=").decode()

    def verify(self, text: str) -> Token:
        """What the token says. Raises: UnknownSubjectError (`unknown-token`) where this key did not sign it."""
        try:
            data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (ValueError, binascii.Error) as exc:
            raise _unknown() from exc
        body, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
        genuine = hmac.compare_digest(signature, self._signature(body))
        if not genuine or body[:1] != _VERSION or len(body) < _FIXED_BYTES:
            raise _unknown()
        request_id, unit_id = str(UUID(bytes=body[1:17])), body[17:_FIXED_BYTES].hex()
        rest = body[_FIXED_BYTES:]
        if not rest:
            return Token(request_id, unit_id)
        epoch = int.from_bytes(rest[:_EPOCH_BYTES], "big")
        return Token(request_id, unit_id, rest[_EPOCH_BYTES:].decode(), epoch)

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_SIGNATURE_BYTES]


def _unknown() -> UnknownSubjectError:
    return UnknownSubjectError(
        "no router of this log gave this token",
        where="/token",
        remedy="Send the header x-splitgauge-request-id of the answer, unchanged",
        code="unknown-token",
    )
