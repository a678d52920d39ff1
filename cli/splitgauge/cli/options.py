"""Options that many commands share, and the words that several read, said once."""

from pathlib import Path
from typing import Annotated

import typer

from splitgauge.schemas.errors import ContractError

__all__ = [
    "DEFAULT_URL",
    "LOG_SOURCES",
    "AsJson",
    "Bootstrap",
    "ConfigFile",
    "DataFolder",
    "Host",
    "LogSource",
    "Port",
    "Reason",
    "TopicPrefix",
    "Url",
    "read_numbers",
]

DEFAULT_URL = "http://127.0.0.1:8080"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="SPLITGAUGE_URL",
        help="Where `splitgauge up` or a cluster's console answers.",
        show_default=True,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Settings in TOML; ./splitgauge.toml where there is one.", show_default=False),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="The data folder; else as the settings say.", show_default=False),
]
LOG_SOURCES = "a data folder, an export, `kafka` of the settings, or postgresql://... of an archive; else as set"
LogSource = Annotated[str | None, typer.Option("--data", help=f"The log: {LOG_SOURCES}.", show_default=False)]
Host = Annotated[str | None, typer.Option(help="Where to listen.", show_default=False)]
Port = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Where to listen; 0: a free port, printed.", show_default=False)
]
Bootstrap = Annotated[str | None, typer.Option(help="Brokers, as host:port,...", show_default=False)]
TopicPrefix = Annotated[str | None, typer.Option(help="Before the name of every topic and group.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it stands in the log for ever.", show_default=False)]


def read_numbers(pairs: list[str], *, where: str) -> dict[str, float]:
    """NAME=NUMBER, each. Raises: ContractError naming the one that is not."""
    numbers: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            numbers[name] = float(text)
        except ValueError as exc:
            raise ContractError(f"{pair!r} is no NAME=NUMBER", where=where, remedy="Write it like control=80") from exc
    return numbers
