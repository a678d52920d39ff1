"""What an operator can set about Kafka, under the keys that file and environment share: `kafka_bootstrap` and so on.

Owns names, limits and defaults; what they mean says `splitgauge.eventlog.kafka_settings`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from splitgauge.eventlog.kafka_settings import KafkaSecurity, KafkaSettings
from splitgauge.schemas.errors import ContractError

if TYPE_CHECKING:
    from splitgauge.eventlog.kafka_topic_fit import TopicPlan

__all__ = ["KafkaFields"]

_HOUR_MS = 60 * 60 * 1000
_DEFAULT = KafkaSettings(bootstrap="")


class KafkaFields(BaseSettings):
    """The part of the settings that is about Kafka."""

    kafka_bootstrap: str | None = Field(default=None, description="`host:port`, several with commas; unset: no Kafka")
    kafka_topic_prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", description="before the name of every topic and group"
    )
    kafka_client_id: str = Field(default=_DEFAULT.client_id, description="what brokers call this process")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="of the brokers' listener: with TLS or without, with a user or without"
    )
    kafka_ca_file: Path | None = Field(
        default=None, description="what signs the brokers' certificates (PEM); unset: as the system trusts"
    )
    kafka_certificate_file: Path | None = Field(default=None, description="our own certificate (PEM)")
    kafka_key_file: Path | None = Field(
        default=None, description="the key of our own certificate (PEM); unset: in the same file"
    )
    kafka_key_password: str | None = Field(default=None, repr=False, description="what that key is encrypted with")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="how the password is proven"
    )
    kafka_username: str | None = Field(default=None, description="of SASL")
    kafka_password: str | None = Field(default=None, repr=False, description="of SASL")
    kafka_connect_timeout_s: float = Field(
        default=_DEFAULT.connect_timeout_s, gt=0, description="until the first answer of a broker"
    )
    kafka_request_timeout_s: float = Field(
        default=_DEFAULT.request_timeout_s, gt=0, description="until any other answer; then it is asked again"
    )
    kafka_append_timeout_s: float = Field(
        default=_DEFAULT.append_timeout_s, gt=0, description="for events to be acknowledged; then the log is away"
    )
    kafka_linger_s: float = Field(
        default=_DEFAULT.linger_s, ge=0, description="how long the first event of a batch waits for company"
    )
    kafka_buffer_bytes: int = Field(default=_DEFAULT.buffer_bytes, ge=1, description="what may wait to be written")
    kafka_buffer_records: int = Field(
        default=_DEFAULT.buffer_records, ge=1, description="the same, as a number of events"
    )
    kafka_event_bytes: int = Field(
        default=_DEFAULT.event_bytes, ge=1024, description="the largest event; `init` makes topics with it"
    )
    kafka_session_timeout_s: float = Field(
        default=_DEFAULT.session_timeout_s, gt=0, description="without heartbeats, until others take the partitions"
    )
    kafka_heartbeat_s: float = Field(default=_DEFAULT.heartbeat_s, gt=0, description="between two heartbeats")
    kafka_stall_s: float = Field(
        default=_DEFAULT.stall_s, gt=0, description="without any answer of a broker, until a consumer starts again"
    )
    kafka_replication: int = Field(default=3, ge=1, description="copies of each partition, for `init`")
    kafka_min_isr: int = Field(default=2, ge=1, description="copies that must have an event, for `init`")
    kafka_partitions: int = Field(default=4, ge=1, le=1024, description="of topics that may have several, for `init`")
    kafka_short_hours: int = Field(
        default=72, ge=1, description="how long requests, responses, reports are kept, for `init`"
    )
    kafka_long_hours: int = Field(default=720, ge=1, description="how long dead letters are kept, for `init`")

    def kafka(self) -> KafkaSettings:
        """As the event log takes them. Raises: ContractError where something is missing or does not go together."""
        if not self.kafka_bootstrap:
            raise ContractError(
                "setting 'kafka_bootstrap' is missing",
                where="settings",
                remedy="Name brokers as host:port in the file, as SPLITGAUGE_KAFKA_BOOTSTRAP, or with --bootstrap",
            )
        if self.kafka_security_protocol.startswith("SASL") and not (self.kafka_username and self.kafka_password):
            raise ContractError(
                f"{self.kafka_security_protocol} needs 'kafka_username' and 'kafka_password'",
                where="settings",
                remedy="Set both; SPLITGAUGE_KAFKA_PASSWORD keeps it out of the file",
            )
        if self.kafka_heartbeat_s >= self.kafka_session_timeout_s:
            raise ContractError(
                f"a heartbeat each {self.kafka_heartbeat_s:g} s keeps no session of {self.kafka_session_timeout_s:g} s",
                where="settings 'kafka_heartbeat_s' and 'kafka_session_timeout_s'",
                remedy="Let several heartbeats fit into a session",
            )
        return KafkaSettings(
            bootstrap=self.kafka_bootstrap,
            topic_prefix=self.kafka_topic_prefix,
            client_id=self.kafka_client_id,
            security=self._security(),
            connect_timeout_s=self.kafka_connect_timeout_s,
            request_timeout_s=self.kafka_request_timeout_s,
            append_timeout_s=self.kafka_append_timeout_s,
            linger_s=self.kafka_linger_s,
            buffer_bytes=self.kafka_buffer_bytes,
            buffer_records=self.kafka_buffer_records,
            event_bytes=self.kafka_event_bytes,
            session_timeout_s=self.kafka_session_timeout_s,
            heartbeat_s=self.kafka_heartbeat_s,
            stall_s=self.kafka_stall_s,
        )

    def topic_plan(self, *, observation_partitions: int | None) -> "TopicPlan":
        """What `init` makes of it. Raises: ContractError where more copies must have an event than there are."""
        from splitgauge.eventlog.kafka_topic_fit import TopicPlan
        from splitgauge.eventlog.kafka_topics import cluster_layout

        if self.kafka_min_isr > self.kafka_replication:
            raise ContractError(
                f"{self.kafka_min_isr} copies must have an event, and there are {self.kafka_replication}",
                where="settings 'kafka_min_isr' and 'kafka_replication'",
                remedy="Raise the replication or lower the other",
            )
        return TopicPlan(
            cluster_layout(observations=observation_partitions, others=self.kafka_partitions),
            replication=self.kafka_replication,
            min_isr=self.kafka_min_isr,
            short_ms=self.kafka_short_hours * _HOUR_MS,
            long_ms=self.kafka_long_hours * _HOUR_MS,
        )

    def _security(self) -> KafkaSecurity:
        return KafkaSecurity(
            protocol=self.kafka_security_protocol,
            ca_file=self.kafka_ca_file,
            certificate_file=self.kafka_certificate_file,
            key_file=self.kafka_key_file,
            key_password=self.kafka_key_password,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password,
        )
