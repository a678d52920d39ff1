"""Questions to brokers that are not about events: whether they answer, what they have, what time it is there.

Owns the connections for that. How the answers should be is said by those who ask. aiokafka's clients try one address
after the other and keep to themselves why none of them would do; so each is tried here first.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import KafkaConnectionError, for_code
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.metadata import MetadataRequest

from splitgauge.eventlog.clock_difference import ahead_s
from splitgauge.eventlog.kafka_clients import hung_up, started
from splitgauge.eventlog.kafka_errors import mapped
from splitgauge.eventlog.kafka_quorum import DescribeQuorum, controller_clock_ms
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.schemas.errors import LogUnavailableError, SplitgaugeError

__all__ = ["Broker", "administration", "brokers", "clock_ahead_s", "configured", "reach"]

_FETCH = 1
"""The API key of the request that every reader lives on; its versions tell releases apart."""

_UNKNOWN_TOPIC = 3


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker as the others name it.

    Attributes:
        fetch_version: the newest form of a fetch that it knows; None: it was not asked, or did not answer.
        error: why it cannot be used from here; None: it answers.
    """

    number: int
    address: str
    fetch_version: int | None = None
    error: SplitgaugeError | None = None


@asynccontextmanager
async def administration(settings: KafkaSettings) -> AsyncGenerator[AIOKafkaAdminClient]:
    """aiokafka's client for topics and groups. Raises: as `reach`."""
    await reach(settings)
    admin = AIOKafkaAdminClient(**settings.client())
    try:
        with mapped(settings.bootstrap):
            await started(admin.start(), timeout_s=settings.connect_timeout_s)
        yield admin
    finally:
        await admin.close()


async def reach(settings: KafkaSettings) -> list[Broker]:
    """The brokers that the first address that answers knows, not asked themselves.

    Raises: LogUnavailableError saying of each address why it will not do; ContractError for certificates that cannot be
        used.
    """
    refusals: list[SplitgaugeError] = []
    for host, port, _ in collect_hosts(settings.bootstrap, randomize=False):
        try:
            async with _connection(settings, host, port) as connection:
                answer = await connection.send(MetadataRequest([]))
        except LogUnavailableError as exc:
            refusals.append(exc)
        else:
            if answer.brokers:
                return [Broker(broker[0], f"{broker[1]}:{broker[2]}") for broker in answer.brokers]
            refusals.append(_knows_nobody(f"{host}:{port}"))
    said = "; ".join(
        f"{refusal.where}: {refusal.message}" if len(refusals) > 1 else refusal.message for refusal in refusals
    )
    raise LogUnavailableError(said, where=settings.bootstrap, remedy=refusals[-1].remedy) from refusals[-1]


def _knows_nobody(where: str) -> LogUnavailableError:
    return LogUnavailableError(
        "the broker counts none in, not even itself", where=where, remedy="Wait until its controller has heard of it"
    )


async def brokers(settings: KafkaSettings) -> list[Broker]:
    """All brokers, each asked at the address under which clients are sent to it. Raises: as `reach`."""
    return list(await asyncio.gather(*(_asked(settings, broker) for broker in await reach(settings))))


async def clock_ahead_s(settings: KafkaSettings, now_s: Callable[[], float]) -> float:
    """How far the clock of Kafka's controller is ahead of ours, as `ahead_s` says it.

    Raises: LogUnavailableError, also where brokers are too old for the question or this user may not ask it.
    """
    (host, port, _), *_ = collect_hosts((await reach(settings))[0].address)
    async with _connection(settings, host, port) as connection:

        async def ask() -> float:
            return controller_clock_ms(await connection.send(DescribeQuorum())) / 1000

        return await ahead_s(ask, now_s)


async def configured(
    admin: AIOKafkaAdminClient, names: Sequence[str], *, kind: ConfigResourceType = ConfigResourceType.TOPIC
) -> Mapping[str, Mapping[str, str]]:
    """The settings in force, by topic or broker; without topics that the broker that was asked does not know, as it may
    not know one for a moment that another broker has. Raises: KafkaError.
    """
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(kind, name) for name in names])
    found: dict[str, dict[str, str]] = {}
    for code, message, _, name, entries in (resource for answer in answers for resource in answer.resources):
        if code == _UNKNOWN_TOPIC:
            continue
        if code:
            raise for_code(code)(message)
        found[name] = {str(entry[0]): str(entry[1]) for entry in entries}
    return found


async def _asked(settings: KafkaSettings, broker: Broker) -> Broker:
    (host, port, _), *_ = collect_hosts(broker.address)
    try:
        async with _connection(settings, host, port) as connection:
            answer = await connection.send(ApiVersionRequest())
    except LogUnavailableError as exc:
        return Broker(broker.number, broker.address, error=exc)
    newest: dict[int, int] = {key: most for key, _, most in answer.api_versions}
    return Broker(broker.number, broker.address, fetch_version=newest.get(_FETCH))


@asynccontextmanager
async def _connection(settings: KafkaSettings, host: str, port: int) -> AsyncGenerator[AIOKafkaConnection]:
    where = f"{host}:{port}"
    with mapped(where):
        connection = AIOKafkaConnection(host, port, **settings.connection())
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await connection.connect()
            yield connection
        except KafkaConnectionError as exc:
            raise LogUnavailableError(
                "Kafka has taken the connection, and closed it without an answer",
                where=where,
                remedy="Check `kafka_security_protocol`: this listener may want TLS, a user or a certificate of ours",
            ) from exc
        finally:
            await hung_up(connection)
