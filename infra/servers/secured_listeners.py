"""Listeners of a broker for clients that prove who they are, beside the plain one, as the brokers' own settings.

SECURED: TLS, and a user with a password, PLAIN or SCRAM. MUTUAL: TLS, and a certificate of the client's. Who comes in
by them may do nothing, unless it is one of `masters` or Kafka is told otherwise; who comes by the plain listener, all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SecuredListeners"]

_SASL = "org.apache.kafka.common.security"
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class SecuredListeners:
    """What they need.

    Attributes:
        keystore: key (PKCS #8) and certificate of the brokers, in one file (PEM).
        trusted: what clients' certificates are signed by (PEM).
        users: name -> password.
        masters: users who may do all.
    """

    keystore: Path
    trusted: Path
    users: Mapping[str, str] = field(repr=False)
    masters: tuple[str, ...]

    def properties(self) -> dict[str, str]:
        """Of a broker that has them."""
        plain = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
        scram = {
            f"listener.name.secured.{mechanism.lower()}.sasl.jaas.config": f"{_SASL}.scram.ScramLoginModule required;"
            for mechanism in _MECHANISMS
        }
        return {
            **scram,
            "listener.name.secured.plain.sasl.jaas.config": f"{_SASL}.plain.PlainLoginModule required {plain};",
            "listener.name.secured.sasl.enabled.mechanisms": ",".join(("PLAIN", *_MECHANISMS)),
            "listener.name.mutual.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.trusted),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": ";".join(f"User:{name}" for name in ("ANONYMOUS", *self.masters)),
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL,MUTUAL:SSL"),
        }

    def format_options(self) -> list[str]:
        """For the tool that formats a node: SCRAM keeps its users in the metadata."""
        return [
            option
            for name, password in self.users.items()
            for mechanism in _MECHANISMS
            for option in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
        ]
