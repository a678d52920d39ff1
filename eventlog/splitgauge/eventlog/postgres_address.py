"""Addresses of databases: what is one, and how it is shown. Pure, and quick to import for the command line."""

import re
from urllib.parse import parse_qs, urlsplit

from splitgauge.schemas.errors import ContractError

__all__ = ["is_address", "named"]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@\s]*)(:\d{1,5})?")
_SCHEMES = ("postgresql", "postgres")


def is_address(text: str) -> bool:
    """Whether this names a database, rather than a file or folder.

    >>> is_address("postgresql://archive.example/splitgauge"), is_address("splitgauge-data")
    (True, False)
    """
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme in _SCHEMES


def named(address: str) -> str:
    """The address as messages show it: without user, password and parameters.

    Raises: ContractError where it is none, or where a password is not escaped, so that parts of it would be shown.

    >>> named("postgresql://ada:secret@db:5432/splitgauge?sslmode=require")
    'postgresql://db:5432/splitgauge'
    >>> named("postgresql://postgres@/splitgauge?host=/run/postgresql")
    'postgresql:///run/postgresql/splitgauge'
    >>> named("postgresql://one:5432,two:5433/splitgauge?target_session_attrs=primary")
    'postgresql://one:5432,two:5433/splitgauge'
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # its words would quote the password
        raise _refused() from None
    hosts = parts.netloc.rpartition("@")[2]
    rest = parts.path + parts.query + parts.fragment
    if not is_address(address) or "@" in rest or not all(map(_HOST.fullmatch, hosts.split(","))) or "\0" in address:
        raise _refused()
    return f"{parts.scheme}://{hosts or ','.join(parse_qs(parts.query).get('host', []))}{parts.path}"


def _refused() -> ContractError:
    return ContractError(
        "this is no address of a PostgreSQL database",
        where="address",
        remedy="Write it like postgresql://user@host:5432/database, with %40 for @ and %2F for / in a password",
    )
