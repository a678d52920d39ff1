"""A PostgreSQL database as the adapters use it: a pool of connections, transactions, and a time limit on everything.

Owns connections: one that broke while it was idle is replaced before anybody notices, and a transaction that fails
takes its connection along, so that nothing of it is left over. Knows neither tables nor events.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import asyncpg

from splitgauge.eventlog.postgres_address import named
from splitgauge.eventlog.postgres_errors import LOST, mapped

if TYPE_CHECKING:
    from asyncpg.pool import Pool, PoolConnectionProxy

__all__ = ["Database", "PostgresSettings"]

_GRACE_S = 2.0
"""How much later than the server we lose patience: its own time-outs say what was waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """How long a database may take, and how many connections one process has to it.

    Attributes:
        pool_size: connections at most; they are made when they are needed.
        connect_timeout_s: for a new connection.
        statement_timeout_s: for each statement, and for a free connection of the pool. A batch of the archive and a
            batch of checkpoint rows are one each.
        lock_timeout_s: for a row that another writer is changing.
        idle_in_transaction_s: after which the server ends a transaction whose client has fallen silent: a process that
            is paused between two statements would keep the partition's new owner waiting.
    """

    pool_size: int = 4
    connect_timeout_s: float = 5.0
    statement_timeout_s: float = 30.0
    lock_timeout_s: float = 10.0
    idle_in_transaction_s: float = 10.0

    @property
    def of_server(self) -> dict[str, str]:
        """As the server takes them when a connection begins."""
        return {
            "application_name": "splitgauge",
            "client_min_messages": "warning",
            "statement_timeout": f"{self.statement_timeout_s * 1000:.0f}",
            "lock_timeout": f"{self.lock_timeout_s * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction_s * 1000:.0f}",
        }


class Database:
    """One database, for one event loop."""

    def __init__(self, pool: "Pool[asyncpg.Record]", settings: PostgresSettings, *, where: str) -> None:
        """For `open`."""
        self.where = where
        self._pool = pool
        self._settings = settings

    @classmethod
    async def open(cls, address: str, settings: PostgresSettings | None = None) -> Self:
        """Connects only when something is asked of it, so that a role may start before its database.

        Raises: ContractError where the address is none.
        """
        settings = settings or PostgresSettings()
        where = named(address)
        with mapped(where):
            pool = await asyncpg.create_pool(
                address,
                min_size=0,
                max_size=settings.pool_size,
                timeout=settings.connect_timeout_s,
                command_timeout=settings.statement_timeout_s + _GRACE_S,
                server_settings=settings.of_server,
                # Nothing is left over on a connection: no session state is used, and a failed transaction ends it.
                reset=_keep,
            )
        return cls(pool, settings, where=where)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement that only reads: asked again where the connection broke meanwhile."""
        with mapped(self.where):
            try:
                return await self._fetch(query, arguments)
            except LOST as exc:
                await self._distrust(exc)
                return await self._fetch(query, arguments)

    @asynccontextmanager
    async def transaction(self) -> "AsyncGenerator[PoolConnectionProxy[asyncpg.Record]]":
        """All that is done on the connection, or nothing. Waits for the disk.

        LogUnavailableError at the very end leaves open which of the two: only reading again tells.
        """
        with mapped(self.where):
            connection = await self._begun()
            try:
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                # The server undoes what was not committed when the connection ends; a ROLLBACK could wait for a
                # server that hangs.
                _end(connection)
                raise
            finally:
                await self._pool.release(connection)

    async def close(self) -> None:
        """End all connections, also those that are in use."""
        self._pool.terminate()

    async def _fetch(self, query: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        connection = await self._acquired()
        try:
            return await connection.fetch(query, *arguments)
        except BaseException:
            _end(connection)
            raise
        finally:
            await self._pool.release(connection)

    async def _begun(self) -> "PoolConnectionProxy[asyncpg.Record]":
        """A connection in a transaction. BEGIN finds those out that broke while they were idle."""
        try:
            return await self._begin()
        except LOST as exc:
            await self._distrust(exc)
            return await self._begin()

    async def _begin(self) -> "PoolConnectionProxy[asyncpg.Record]":
        connection = await self._acquired()
        try:
            await connection.execute("BEGIN")
        except BaseException:
            _end(connection)
            await self._pool.release(connection)
            raise
        return connection

    async def _distrust(self, error: BaseException) -> None:
        """After one connection broke: the others are replaced before they are used. A time-out is not tried again."""
        if isinstance(error, TimeoutError):
            raise error
        await self._pool.expire_connections()

    async def _acquired(self) -> "PoolConnectionProxy[asyncpg.Record]":
        # Patient: those before may each be saving for a second. A new connection has a shorter limit of its own.
        return await self._pool.acquire(timeout=self._settings.statement_timeout_s)


def _end(connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
    # One that broke has gone back to its pool by itself, and then refuses every call.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Nothing to reset."""
