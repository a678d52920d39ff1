"""Options that many commands share, said once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "ConfigFile", "DataFolder", "Reason", "Url"]

DEFAULT_URL = "http://127.0.0.1:8080"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Url = Annotated[
    str, typer.Option("--url", envvar="SPLITGAUGE_URL", help="Where `splitgauge up` answers.", show_default=True)
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Settings in TOML; ./splitgauge.toml where there is one.", show_default=False),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="The data folder; else as the settings say.", show_default=False),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it stands in the log for ever.", show_default=False)]
