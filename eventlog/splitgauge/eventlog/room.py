"""Room for what waits, in bytes and in number: who finds none waits, and is let in in the order in which all came.

Owns the count. What is larger than the whole room is let in alone.
"""

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Release", "Room"]

Release = Callable[[], None]


class Room:
    """In one event loop."""

    def __init__(self, most_bytes: int, most_records: int) -> None:
        self._most_bytes = most_bytes
        self._most_records = most_records
        self._bytes = 0
        self._records = 0
        self._outside: deque[tuple[asyncio.Future[None], int, int]] = deque()
        self._error: Exception | None = None

    @property
    def taken(self) -> tuple[int, int]:
        """Bytes and records inside."""
        return self._bytes, self._records

    async def take(self, n_bytes: int, n_records: int) -> None:
        """Come in, once there is room. Raises: what it was closed with."""
        if self._error is not None:
            raise self._error
        if not self._outside and self._fits(n_bytes, n_records):
            self._enter(n_bytes, n_records)
            return
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outside.append((let_in, n_bytes, n_records))
        try:
            await let_in
        except asyncio.CancelledError:
            if let_in.done() and not let_in.cancelled() and let_in.exception() is None:
                self.give(n_bytes, n_records)  # let in at the moment in which it gave up
            else:
                let_in.cancel()
                self._admit()  # it may have stood in the way of smaller ones
            raise

    def give(self, n_bytes: int, n_records: int) -> None:
        """Go out."""
        self._bytes -= n_bytes
        self._records -= n_records
        self._admit()

    def close(self, error: Exception) -> None:
        """Refuse who waits, and who comes; who is in goes out as before."""
        self._error = error
        while self._outside:
            let_in, _, _ = self._outside.popleft()
            if not let_in.done():
                let_in.set_exception(error)

    def _admit(self) -> None:
        while self._outside:
            let_in, n_bytes, n_records = self._outside[0]
            if not let_in.done():
                if not self._fits(n_bytes, n_records):
                    return
                self._enter(n_bytes, n_records)
                let_in.set_result(None)
            self._outside.popleft()

    def _enter(self, n_bytes: int, n_records: int) -> None:
        self._bytes += n_bytes
        self._records += n_records

    def _fits(self, n_bytes: int, n_records: int) -> bool:
        if not self._records:
            return True
        return self._bytes + n_bytes <= self._most_bytes and self._records + n_records <= self._most_records
