from collections.abc import Coroutine
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from aiokafka.structs import TopicPartition

_Answer: TypeAlias = Coroutine[object, object, None] | None

class ConsumerRebalanceListener:
    def on_partitions_revoked(self, revoked: AbstractSet[TopicPartition]) -> _Answer: ...
    def on_partitions_assigned(self, assigned: AbstractSet[TopicPartition]) -> _Answer: ...
