"""The one seam where errors of PostgreSQL, and of the way to it, become errors of Splitgauge.

Knows asyncpg's error classes and nothing of tables or events.
"""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from splitgauge.schemas.errors import ContractError, LogDamagedError, LogUnavailableError, SplitgaugeError

__all__ = ["LOST", "mapped", "translate"]

LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InternalClientError,
)
"""The connection has gone: another one may do. Time-outs among them (TimeoutError is an OSError).

InternalClientError: what asyncpg raises between the server's last words on an idle connection and its end.
"""

_UNAVAILABLE = (
    *LOST,
    asyncpg.ClientConfigurationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidParameterValueError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.UndefinedObjectError,
)
_DAMAGED = (
    asyncpg.CheckViolationError,
    asyncpg.DataCorruptedError,
    asyncpg.IndexCorruptedError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedTableError,
    asyncpg.UniqueViolationError,
)
"""Tables that are not as the migrations made them, among them: somebody changed them by hand."""

_REMEDIES: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.DiskFullError, "Make room on the database's disk: the work goes on by itself"),
    (
        asyncpg.InsufficientPrivilegeError,
        "Grant this user what `splitgauge check` names; `splitgauge init` has to run as the owner of the database",
    ),
    (asyncpg.InvalidAuthorizationSpecificationError, "Check user and password of the address"),
    (asyncpg.InvalidCatalogNameError, "Check the name in the address, or create the database"),
    (asyncpg.ReadOnlySQLTransactionError, "Name the primary server: this one only repeats another"),
    (asyncpg.TooManyConnectionsError, "Raise max_connections, or lower the pool sizes of the roles"),
    (asyncpg.InvalidParameterValueError, "Correct the parameters in the address"),
    (asyncpg.UndefinedObjectError, "Correct the parameters in the address"),
    (OSError, "Check host and port of the address, and that PostgreSQL runs there"),
    (asyncpg.ClientConfigurationError, "Write it like postgresql://user@host:5432/database"),
)


def translate(error: BaseException, *, where: str) -> SplitgaugeError | None:
    """The error of Splitgauge that says the same; None for an error that only a bug of ours can cause."""
    remedy = next((text for kind, text in _REMEDIES if isinstance(error, kind)), "")
    if isinstance(error, TimeoutError):
        return LogUnavailableError("the database did not answer in time", where=where, remedy=remedy)
    if isinstance(error, _UNAVAILABLE) or _is_closed(error):
        return LogUnavailableError(_words(error), where=where, remedy=remedy)
    if isinstance(error, _DAMAGED):
        remedy = "Restore the tables of the schema `splitgauge` from a backup"
        return LogDamagedError(_words(error), where=where, remedy=remedy)
    if isinstance(error, asyncpg.ProgramLimitExceededError):
        return ContractError(f"this is larger than PostgreSQL takes: {error}", where=where, code="too-large")
    if isinstance(error, asyncpg.DataError):
        return ContractError(f"PostgreSQL cannot hold this: {error}", where=where)
    return None


@contextmanager
def mapped(where: str) -> Generator[None]:
    """Raise what PostgreSQL raises inside as errors of Splitgauge, naming the place."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
        error = translate(exc, where=where)
        if error is None:
            raise
        raise error from exc


def _is_closed(error: BaseException) -> bool:
    """A connection or pool that is closed, for which asyncpg has no class of its own.

    A connection that is lost between two statements goes back to its pool: the next one finds it "released".
    """
    return isinstance(error, asyncpg.InterfaceError) and ("clos" in str(error) or "released" in str(error))


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
