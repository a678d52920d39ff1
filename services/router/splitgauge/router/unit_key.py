"""The key that units are hashed with: what stands in the log instead of users' names.

Owns every use of the key. Pure; where the key is kept says `key_file`. Whoever has the key and a unit's name can
compute its id with any HMAC tool; without the key nobody can.
"""

import hashlib
import hmac

from splitgauge.schemas.errors import ContractError

__all__ = ["KEY_BYTES", "UnitKey"]

KEY_BYTES = 32
_ID_DIGITS = 32
"""128 bits in hexadecimal (events.md, rule 14)."""


class UnitKey:
    """The secret, and what is derived from it. Its representation does not show it."""

    def __init__(self, secret: bytes) -> None:
        """Raises: ContractError where the secret is too short to be one."""
        if len(secret) < KEY_BYTES:
            raise ContractError(
                f"a unit key has {KEY_BYTES} bytes or more, this one {len(secret)}",
                where="unit key",
                remedy="Make one with: openssl rand -hex 32",
            )
        self._secret = secret

    @property
    def fingerprint(self) -> str:
        """Says in the log which key its unit ids were made with, and nothing about the key."""
        return self.derive("fingerprint").hex()[:_ID_DIGITS]

    def derive(self, purpose: str) -> bytes:
        """A key for something else, from which this one cannot be computed."""
        return hmac.digest(self._secret, b"splitgauge derived key\n" + purpose.encode(), hashlib.sha256)

    def unit_id(self, unit: str) -> str:
        """Of a unit as the caller named it."""
        return hmac.digest(self._secret, unit.encode("utf-8", "surrogatepass"), "sha256").hex()[:_ID_DIGITS]

    def own_unit_id(self, request_id: str) -> str:
        """Of a request that is its own unit. Prefixed, so that naming a request id as unit is another unit."""
        return hmac.digest(self._secret, b"splitgauge request\n" + request_id.encode(), "sha256").hex()[:_ID_DIGITS]
