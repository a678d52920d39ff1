"""Addresses of databases: what is one, and how it is shown. Pure, and quick to import for the command line."""

from urllib.parse import parse_qs, urlsplit

from splitgauge.schemas.errors import ContractError

__all__ = ["is_address", "named"]

_SCHEMES = ("postgresql", "postgres")


def is_address(text: str) -> bool:
    """Whether this names a database, rather than a file or folder.

    >>> is_address("postgresql://archive.example/splitgauge"), is_address("splitgauge-data")
    (True, False)
    """
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme in _SCHEMES


def named(address: str) -> str:
    """The address as messages show it: without user and password. Raises: ContractError where it is none.

    >>> named("postgresql://ada:secret@db:5432/splitgauge?sslmode=require")
    'postgresql://db:5432/splitgauge'
    >>> named("postgresql://postgres@/splitgauge?host=/run/postgresql")
    'postgresql:///run/postgresql/splitgauge'
    """
    if not is_address(address):
        raise ContractError(
            "this is no address of a PostgreSQL database",
            where="address",
            remedy="Write it like postgresql://user@host:5432/database",
        )
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", []))
    return f"{parts.scheme}://{host}{parts.path}"
