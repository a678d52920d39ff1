"""What time a Kafka has: the one request that aiokafka does not know, DescribeQuorum (KIP-595, KIP-836).

The leader of the controllers answers it with the time at which it last heard of each replica, and for itself that is
now: the clock of a Kafka without a single event written. Owns the request and the reading of its answer.
"""

from typing import Any

from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

__all__ = ["DescribeQuorum", "controller_clock_ms"]

_API_KEY = 55
_API_VERSION = 1
"""The first with times; brokers since 3.3 know it."""
_LOG = "__cluster_metadata"

_REPLICAS = CompactArray(
    ("replica_id", Int32),
    ("log_end_offset", Int64),
    ("last_fetch_ms", Int64),
    ("last_caught_up_ms", Int64),
    ("tags", TaggedFields),
)


class _Answer(Response):
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeQuorum(Request[_Question]):
    """Any broker passes it on to the leader of the controllers."""

    API_KEY = _API_KEY

    def build(self, request_struct_class: type[_Question]) -> _Question:
        no_tags: dict[int, bytes] = {}
        return request_struct_class([(_LOG, [(0, no_tags)], no_tags)], no_tags)


def controller_clock_ms(answer: Any) -> int:  # noqa: ANN401 - aiokafka makes the fields of an answer from its schema
    """Milliseconds since 1970 as the leader counts them. Raises: KafkaError as the answer says, rights among them."""
    if answer.error_code:
        raise for_code(answer.error_code)(f"DescribeQuorum was refused with {answer.error_code}")
    ((_, partitions, _),) = answer.topics
    ((_, code, leader, _, _, voters, _, _),) = partitions
    if code:
        raise for_code(code)(f"DescribeQuorum was refused with {code}")
    return int(next(last_fetch_ms for voter, _, last_fetch_ms, _, _ in voters if voter == leader))
