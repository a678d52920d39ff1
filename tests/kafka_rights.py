"""Rights of Kafka's users, given by tests: aiokafka does not know the request (CreateAcls)."""

from collections.abc import Sequence
from enum import IntEnum

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from splitgauge.eventlog.kafka_clients import hung_up
from splitgauge.eventlog.kafka_settings import KafkaSettings

__all__ = ["Kind", "Right", "allow"]

_API_KEY = 30
_API_VERSION = 1
_PREFIXED = 4
_ALLOW = 3
_UTF_8 = String("utf-8")


class Kind(IntEnum):
    """What there can be rights on."""

    TOPIC = 2
    GROUP = 3


class Right(IntEnum):
    """By their numbers in Kafka's protocol."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


class _Answer(Response):
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    SCHEMA = Schema(("throttle_time_ms", Int32), ("results", Array(("error_code", Int16), ("message", _UTF_8))))


class _Question(RequestStruct):
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("kind", Int8),
                ("name", _UTF_8),
                ("pattern", Int8),
                ("principal", _UTF_8),
                ("host", _UTF_8),
                ("right", Int8),
                ("permission", Int8),
            ),
        )
    )


class _CreateAcls(Request[_Question]):
    API_KEY = _API_KEY

    def __init__(self, creations: Sequence[tuple[object, ...]]) -> None:
        self._creations = creations

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class(self._creations)


async def allow(settings: KafkaSettings, user: str, prefix: str, rights: Sequence[tuple[Kind, Right]]) -> None:
    """Of `user`, on all whose names begin so. `settings`: of somebody who may give rights."""
    (host, port, _), *_ = collect_hosts(settings.bootstrap)
    connection = AIOKafkaConnection(host, port, **settings.connection())
    try:
        await connection.connect()
        given = [(kind, prefix, _PREFIXED, f"User:{user}", "*", right, _ALLOW) for kind, right in rights]
        answer = await connection.send(_CreateAcls(given))
    finally:
        await hung_up(connection)
    assert [code for code, _ in answer.results] == [0] * len(rights), answer
