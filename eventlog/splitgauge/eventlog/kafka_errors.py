"""The one seam where errors of aiokafka become errors of Splitgauge.

Knows aiokafka's error classes and nothing of topics or events.
"""

import ssl
from collections.abc import Generator
from contextlib import contextmanager

from aiokafka import errors as kafka

from splitgauge.schemas.errors import (
    ContractError,
    LogDamagedError,
    LogUnavailableError,
    SplitgaugeError,
    UnknownSubjectError,
)

__all__ = ["FOREIGN", "closed_error", "mapped", "refuses_us", "translate"]

FOREIGN = (kafka.KafkaError, kafka.ConsumerStoppedError, kafka.IllegalOperation, OSError)
"""What aiokafka raises on purpose; OSError has time-outs and broken connections in it."""

_DAMAGED = (kafka.CorruptRecordException, kafka.OffsetOutOfRangeError)
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_NOT_THERE = (kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError)
_FORBIDDEN = (kafka.TopicAuthorizationFailedError, kafka.GroupAuthorizationFailedError)
_STRANGERS = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.SaslAuthenticationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
)
_TOO_FEW = (kafka.NotEnoughReplicasError, kafka.NotEnoughReplicasAfterAppendError)
_TOO_OLD = (kafka.IncompatibleBrokerVersion, kafka.UnrecognizedBrokerVersion, kafka.UnsupportedVersionError)

_UNTRUSTED = (ssl.SSLCertVerificationError,)
_NO_TLS = (ssl.SSLError, ConnectionResetError)

_REFUSALS = (*_FORBIDDEN, kafka.ClusterAuthorizationFailedError, *_STRANGERS, *_TOO_OLD, ssl.SSLError)

_REMEDIES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        _FORBIDDEN,
        "Let this user READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS topics, READ groups; for `init`, CREATE and ALTER too",
    ),
    (
        (kafka.ClusterAuthorizationFailedError,),
        "Give this user DESCRIBE and DESCRIBE_CONFIGS on the cluster, or let another user ask; roles do without",
    ),
    (_STRANGERS, "Check `kafka_security_protocol`, `kafka_sasl_mechanism`, `kafka_username` and `kafka_password`"),
    (_TOO_FEW, "Start the brokers that are down: too few have the newest events"),
    ((kafka.InvalidReplicationFactorError,), "Start more brokers, or ask for fewer copies: `kafka_replication`"),
    (_TOO_OLD, "Use Apache Kafka 3.1 or later"),
    (_UNTRUSTED, "Name in `kafka_ca_file` what signs the brokers' certificates, and brokers as their certificates do"),
    (_NO_TLS, "Check `kafka_security_protocol`: this listener seems to speak another one"),
    (
        (kafka.KafkaConnectionError, OSError),
        "Check the address, `kafka_security_protocol`, and that brokers run; the logger `aiokafka` may say more",
    ),
)


def translate(error: Exception, *, where: str) -> SplitgaugeError:
    """The error of Splitgauge that says the same."""
    if isinstance(error, _DAMAGED):
        return LogDamagedError(
            f"Kafka cannot read it: {error}", where=where, remedy="Restore the topic from the archive or an export"
        )
    if isinstance(error, _TOO_LARGE):
        return ContractError(
            "the event is larger than the topic takes",
            where=where,
            remedy="Send less, or raise `max.message.bytes` of the topic",
            code="too-large",
        )
    if isinstance(error, _NOT_THERE):
        return UnknownSubjectError(
            f"the topic is not there: {error}", where=where, remedy="Create it with `splitgauge init`"
        )
    if isinstance(error, kafka.ConsumerStoppedError | kafka.IllegalOperation):
        return closed_error(where)
    said = "no answer in time" if isinstance(error, TimeoutError) and not str(error) else _words(error)
    passes = "Try again: it may pass by itself" if getattr(error, "retriable", False) else ""
    remedy = next((remedy for kinds, remedy in _REMEDIES if isinstance(error, kinds)), passes)
    return LogUnavailableError(f"Kafka: {said}", where=where, remedy=remedy)


def refuses_us(error: BaseException) -> bool:
    """Whether Kafka is there and does not want us: that passes only when somebody changes settings or rights."""
    cause = error.__cause__
    return isinstance(error, _REFUSALS) or (cause is not None and refuses_us(cause))


def _words(error: Exception) -> str:
    if isinstance(error, kafka.IllegalSaslStateError):
        return "this listener takes no user name and password"
    return str(error) or type(error).__name__


def closed_error(where: str) -> LogUnavailableError:
    """What those are told who use a log that was closed."""
    return LogUnavailableError("it has been closed", where=where)


@contextmanager
def mapped(where: str) -> Generator[None]:
    """Raise what aiokafka raises inside as errors of Splitgauge, naming the place."""
    try:
        yield
    except FOREIGN as exc:
        raise translate(exc, where=where) from exc
