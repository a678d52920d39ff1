"""How far a partition is finished, where its events finish out of order. Pure."""

from collections import deque

__all__ = ["FinishedPrefix"]


class FinishedPrefix:
    """Events under way in one partition, in the order in which they were begun."""

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._finished: set[int] = set()
        self._position = 0
        self.newest = -1
        """The highest offset begun."""

    def begin(self, offset: int) -> None:
        """Take an event in hand; offsets rise."""
        if not self._begun:
            self._position = offset
        self._begun.append(offset)
        self.newest = offset

    def finish(self, offset: int) -> None:
        """An event is done, and all that follows from it durable."""
        self._finished.add(offset)
        while self._begun and self._begun[0] in self._finished:
            done = self._begun.popleft()
            self._finished.remove(done)
            self._position = done + 1

    @property
    def position(self) -> int:
        """Every event begun below this offset is finished; the first one that is not has it, or a higher one."""
        return self._position
