"""`splitgauge reports send`: what came of a request, as the application saw it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from splitgauge.cli.client import Client, path_of
from splitgauge.cli.failures import guarded
from splitgauge.cli.options import DEFAULT_URL, AsJson, Url, read_numbers
from splitgauge.cli.output import print_json, print_line
from splitgauge.schemas.codec import decode
from splitgauge.schemas.errors import ContractError, MalformedError

__all__ = ["reports"]

AT_ONCE = 500
"""Reports in one request."""

reports = typer.Typer(no_args_is_help=True, help="What came of requests, as the application saw it.")


@reports.callback()
def _group() -> None:
    """What came of requests, as the application saw it."""


@reports.command("send")
@guarded
def send(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON: a list of reports, or one a line; - is standard input.", show_default=False),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="The x-splitgauge-request-id of the answer.", show_default=False)
    ] = None,
    unit: Annotated[str | None, typer.Option(help="The unit, where there is no token.", show_default=False)] = None,
    metric: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.", show_default=False)] = None,
    experiment: Annotated[str | None, typer.Option(help="Only this experiment.", show_default=False)] = None,
    report_id: Annotated[
        str | None, typer.Option("--id", help="Of the report; by unit it is needed.", show_default=False)
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Send one report (--token or --unit, --metric), or a file of them; done when they are durable."""
    if file is not None:
        items = _read(file)
    else:
        said = {"token": token, "unit": unit, "experiment": experiment, "id": report_id}
        items = [
            {**{key: value for key, value in said.items() if value is not None}, "metrics": _metrics(metric or [])}
        ]
    client = Client(url)
    answers = [
        client.call("POST", path_of("reports"), items[at : at + AT_ONCE]).body for at in range(0, len(items), AT_ONCE)
    ]
    if as_json:
        print_json({"sent": len(items), "answers": answers})
    else:
        print_line(f"{len(items)} reports taken")


def _metrics(pairs: list[str]) -> dict[str, float | bool]:
    truths = {"true": True, "false": False}
    words = {pair: pair.partition("=") for pair in pairs}
    numbers = read_numbers([pair for pair in pairs if words[pair][2] not in truths], where="--metric")
    metrics = {**numbers, **{name: truths[text] for name, _, text in words.values() if text in truths}}
    if not metrics:
        raise ContractError("nothing to report", where="--metric", remedy="Name a file, or --metric NAME=VALUE")
    return metrics


def _read(file: Path) -> list[Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ContractError(f"the file cannot be read: {exc}", where=str(file), remedy="Name a file of JSON") from exc
    if text.lstrip().startswith("["):
        try:
            return list(decode(text))
        except MalformedError as exc:
            raise MalformedError(exc.message, where=f"{file}, {exc.where}", remedy="Write a JSON list") from exc
    items: list[Any] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                items.append(decode(line))
            except MalformedError as exc:
                raise MalformedError(
                    exc.message, where=f"{file}:{number}", remedy="Write one JSON object a line"
                ) from exc
    return items
