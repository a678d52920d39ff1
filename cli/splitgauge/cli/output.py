"""What commands print: one JSON document, or tables and sentences; progress beside it.

Owns the choice by `--json` and by whether there is a terminal: elsewhere plain lines, no control characters. Results go
to the standard output, progress to the standard error.
"""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = ["Advance", "print_json", "print_line", "print_table", "progress"]

Advance = Callable[[int, int], None]
"""(done, of)."""

PLAIN_EVERY_S = 5.0
"""Between two lines of progress where there is no terminal to draw a bar on."""


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """One document on one line."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """A sentence. What came from elsewhere may hold control characters: they do not reach a terminal."""
    sys.stdout.write(_printable(text) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A table; plain text with two spaces between columns where there is no terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    if title is not None:
        print_line(title)
    if sys.stdout.isatty():
        table = Table(*columns, box=None, pad_edge=False)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[index]) for row in [list(columns), *cells]) for index in range(len(columns))]
    for row in [list(columns), *cells]:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def progress(what: str) -> Generator[Advance]:
    """A bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _PlainProgress(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


class _PlainProgress:
    def __init__(self, what: str) -> None:
        self._what = what
        self._next_s = monotonic() + PLAIN_EVERY_S

    def __call__(self, done: int, of: int) -> None:
        if monotonic() >= self._next_s:
            self._next_s = monotonic() + PLAIN_EVERY_S
            sys.stderr.write(f"{self._what}: {done} of {of}\n")
            sys.stderr.flush()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _printable(str(value))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in text)
