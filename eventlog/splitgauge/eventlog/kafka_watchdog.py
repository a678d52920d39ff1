"""Whether a consumer still has answers: aiokafka's can hang after a broker's restart, without a sign (aiokafka#1154).

Owns since when nobody has answered, and how often that was too long. Ending the consumer and starting another is its
owner's.
"""

import logging
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

__all__ = ["POLL_MS", "Watchdog"]

POLL_MS = 1_000
"""A poll comes back with the first events; this is how often an idle one looks whether the consumer hangs."""
_logger = logging.getLogger(__name__)


class Watchdog:
    """Of one reader, through all its consumers."""

    def __init__(self, topic: str, *, stall_s: float) -> None:
        self._topic = topic
        self._stall_s = stall_s
        self._asking_since = time.time()
        self._polled = time.monotonic()
        self.restarts = 0

    @property
    def last_poll_s(self) -> float:
        """Since the last poll came back; an idle one does so every second."""
        return round(time.monotonic() - self._polled, 3)

    def asks(self) -> None:
        """From now on: the silence before was nobody's fault, as nobody asked."""
        self._asking_since = time.time()

    def polled(self) -> None:
        """A poll has come back, whatever it brought."""
        self._polled = time.monotonic()

    def hangs(self, consumer: AIOKafkaConsumer, places: Iterable[TopicPartition]) -> bool:
        """Whether some partition has had no answer of a broker for too long, not even that nothing is there."""
        heard = [consumer.last_poll_timestamp(place) or 0 for place in places]
        if not heard:
            return False  # nothing is asked for, so nobody answers
        silent_s = time.time() - max(self._asking_since, min(heard) / 1000)
        if silent_s < self._stall_s:
            return False
        _logger.warning("no answer about %s for %.0f s: the consumer is started again", self._topic, silent_s)
        self.restarts += 1
        return True
