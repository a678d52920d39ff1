"""Errors of PostgreSQL, and addresses that are none: what a person reads, and what a program branches on."""

import asyncpg
import pytest

from splitgauge.eventlog.postgres_address import is_address, named
from splitgauge.eventlog.postgres_errors import mapped, translate
from splitgauge.schemas.errors import ContractError, LogDamagedError, LogUnavailableError, SplitgaugeError

WHERE = "postgresql://db/splitgauge"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError(111, "refused"), LogUnavailableError, "refused"),
        (TimeoutError(), LogUnavailableError, "did not answer in time"),
        (asyncpg.AdminShutdownError("terminating connection"), LogUnavailableError, "terminating"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), LogUnavailableError, "starting up"),
        (asyncpg.DiskFullError("no space left"), LogUnavailableError, "Make room"),
        (asyncpg.TooManyConnectionsError("sorry, too many clients"), LogUnavailableError, "max_connections"),
        (asyncpg.LockNotAvailableError("canceling statement due to lock timeout"), LogUnavailableError, "lock timeout"),
        (asyncpg.QueryCanceledError("due to statement timeout"), LogUnavailableError, "statement timeout"),
        (asyncpg.DeadlockDetectedError("deadlock detected"), LogUnavailableError, "deadlock"),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute COPY"), LogUnavailableError, "primary"),
        (asyncpg.InsufficientPrivilegeError("permission denied"), LogUnavailableError, "Grant"),
        (asyncpg.InterfaceError("connection is closed"), LogUnavailableError, "closed"),
        (asyncpg.InterfaceError("connection has been released back to the pool"), LogUnavailableError, "released"),
        (asyncpg.UndefinedTableError("relation does not exist"), LogDamagedError, "from a backup"),
        (asyncpg.DataCorruptedError("invalid page"), LogDamagedError, "invalid page"),
        (asyncpg.UniqueViolationError("duplicate key"), LogDamagedError, "duplicate key"),
        (asyncpg.ProgramLimitExceededError("too large"), ContractError, "larger than PostgreSQL takes"),
        (asyncpg.CharacterNotInRepertoireError("invalid byte sequence"), ContractError, "invalid byte sequence"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_says_what_it_is_and_where(error: Exception, kind: type[SplitgaugeError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught, mapped(WHERE):
        raise error
    assert caught.value.where == WHERE
    assert caught.value.__cause__ is error


def test_what_only_a_bug_of_ours_can_cause_stays_what_it_is() -> None:
    assert translate(asyncpg.PostgresSyntaxError("syntax error"), where=WHERE) is None
    with pytest.raises(asyncpg.PostgresSyntaxError), mapped(WHERE):
        raise asyncpg.PostgresSyntaxError("syntax error")


@pytest.mark.parametrize("text", ["splitgauge-data", "C:/data", "file://x", "postgresql", "postgresql:/x", "mysql://x"])
def test_files_and_folders_are_no_addresses(text: str) -> None:
    assert not is_address(text)
    with pytest.raises(ContractError, match="no address of a PostgreSQL database"):
        named(text)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:secret/more@db/splitgauge",
        "postgresql://ada:12/secret@db/splitgauge",
        "postgresql://ada:secret#more@db/splitgauge",
        "postgresql://ada:secret?more@db/splitgauge",
        "postgresql://ada:secret@db:port/splitgauge",
        "postgresql://ada:secret@[::1/splitgauge",
        "postgresql://ada:secret@d b/splitgauge",
        "postgresql://ada:secret@d\0b/splitgauge",
    ],
)
def test_no_part_of_a_password_is_shown(address: str) -> None:
    with pytest.raises(ContractError, match="no address of a PostgreSQL database") as caught:
        named(address)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ada:secret@db:5432/splitgauge?password=secret", "postgresql://db:5432/splitgauge"),
        ("postgres://ada:p%40ss@one,two:5433/splitgauge", "postgres://one,two:5433/splitgauge"),
        ("postgresql://[::1]:5432/splitgauge", "postgresql://[::1]:5432/splitgauge"),
        ("postgresql:///splitgauge", "postgresql:///splitgauge"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(address: str, shown: str) -> None:
    assert named(address) == shown
