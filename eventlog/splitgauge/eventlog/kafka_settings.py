"""What an operator says about Kafka: where it is, how to get in, how long to wait, how much to hold.

Owns the values and what aiokafka's clients are given of them; opens no connection.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.topics import DEAD_LETTERS

__all__ = ["KafkaSecurity", "KafkaSettings"]

_LETTER_BYTES = 8 * 1024

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to get in, as Kafka's own clients name it.

    Attributes:
        protocol: with TLS or without, with a user name or without.
        ca_file: certificates that the brokers' are signed by (PEM); None: those of the system.
        certificate_file, key_file, key_password: our own certificate, where brokers ask for one.
        mechanism, username, password: of SASL.
    """

    protocol: SecurityProtocol = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    mechanism: SaslMechanism = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context; None where there is no TLS. Raises: ContractError naming a file that cannot be used."""
        if self.protocol not in ("SSL", "SASL_SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file, self.key_password)
        except (OSError, ssl.SSLError) as exc:
            files = [str(file) for file in (self.ca_file, self.certificate_file, self.key_file) if file is not None]
            raise ContractError(
                f"the certificates for Kafka cannot be used: {exc}",
                where=", ".join(files) or "security protocol",
                remedy="Name PEM files that this user may read, and a key that belongs to the certificate",
            ) from exc
        return context


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """One Kafka, as this process uses it.

    Attributes:
        bootstrap: `host:port`, several with commas; enough of them that one is up when the process starts.
        topic_prefix: before the name of every topic and group, so that several Splitgauges can share one Kafka.
        client_id: what brokers call this process in their logs and quotas.
        connect_timeout_s: until the first answer of a broker.
        request_timeout_s: until an answer of a broker that is known; then another is asked, or the same again.
        metadata_age_s: how soon partitions that were added are noticed.
        append_timeout_s: how long an append may wait for room, and then again for its acknowledgement.
        linger_s: how long the first event of a batch waits for company, where nothing is under way already.
        batch_bytes: the most that is sent to a partition at once; a single larger event goes alone.
        buffer_bytes, buffer_records: what may wait to be acknowledged; an append beyond it waits for room.
        event_bytes: the largest event, but for dead letters; topics are created with it.
        fetch_wait_s: how long a broker holds a request for events when there are none.
        session_timeout_s: after this long without a heartbeat a group gives a member's partitions to others.
        heartbeat_s: how often a member says that it lives, and how soon it hears that partitions move.
        stall_s: how long a consumer may wait for events without any answer of a broker; then it is started again.
    """

    bootstrap: str
    topic_prefix: str = ""
    client_id: str = "splitgauge"
    security: KafkaSecurity = KafkaSecurity()
    connect_timeout_s: float = 10.0
    request_timeout_s: float = 5.0
    metadata_age_s: float = 30.0
    append_timeout_s: float = 10.0
    linger_s: float = 0.002
    batch_bytes: int = 1_000_000
    buffer_bytes: int = 64 * 2**20
    buffer_records: int = 200_000
    event_bytes: int = 16 * 2**20
    fetch_wait_s: float = 0.5
    session_timeout_s: float = 10.0
    heartbeat_s: float = 2.0
    stall_s: float = 15.0

    def topic(self, name: str) -> str:
        """The topic's name on this Kafka."""
        return self.topic_prefix + name

    def connection(self) -> dict[str, object]:
        """What a connection to one broker is given. Raises: ContractError for files that cannot be used."""
        security = self.security
        return {
            "client_id": self.client_id,
            "request_timeout_ms": _ms(self.request_timeout_s),
            "security_protocol": security.protocol,
            "ssl_context": security.tls(),
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }

    def largest(self, topic: str) -> int:
        """The most bytes of an event of the topic. A dead letter has any other in it, in base64, and a reason."""
        return 2 * self.event_bytes + _LETTER_BYTES if topic == DEAD_LETTERS.name else self.event_bytes

    def client(self) -> dict[str, object]:
        """What every client of aiokafka is given. Raises: as `connection`."""
        return self.connection() | {
            "bootstrap_servers": self.bootstrap,
            "metadata_max_age_ms": _ms(self.metadata_age_s),
        }

    def producer(self) -> dict[str, object]:
        """Nothing that was acknowledged is lost, nothing is written twice or in another order by a retry."""
        return self.client() | {"acks": "all", "enable_idempotence": True, "max_batch_size": self.batch_bytes}

    def consumer(self) -> dict[str, object]:
        """Positions are ours to say. Applications may write their topics in transactions; what they take back does
        not count."""
        return self.client() | {
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": _ms(self.fetch_wait_s),
        }

    def member(self, group: str) -> dict[str, object]:
        """A consumer that shares a topic with others; a group that never committed begins at the start."""
        # A broker answers a member that joins when the slowest of the others has: no later than their session ends.
        patience_s = max(self.request_timeout_s, self.session_timeout_s + 5.0)
        return self.consumer() | {
            "group_id": self.topic_prefix + group,
            "auto_offset_reset": "earliest",
            "session_timeout_ms": _ms(self.session_timeout_s),
            "heartbeat_interval_ms": _ms(self.heartbeat_s),
            "request_timeout_ms": _ms(patience_s),
        }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
