"""Where progress goes: a live screen on a terminal, plain lines everywhere else. Owns the writing, not the words."""

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from splitgauge.demo.progress import COLUMNS, ExperimentView, RunView, plain_lines

__all__ = ["LiveScreen", "PlainLines", "Screen", "screen_for"]

_LINES_EVERY_S = 5.0
_ROOMY_LINES = 40
"""Terminals with fewer lines get one line for each fact, so that all three experiments stay in sight."""
_ROOMY_COLUMNS = 96
"""Narrower terminals do without the columns that are not needed to follow."""
_SPARED = ("traffic", "latency")
_NUMBERS = ("traffic", "users", "requests", "success", "latency")


class Screen(Protocol):
    """Somebody is told what goes on."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, line: str) -> None:
        """Something that stays: a step done, a decision."""
        ...

    def show(self, view: RunView) -> None:
        """How it stands now."""
        ...


class PlainLines:
    """No terminal: lines now and then, and no control characters."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown_at_s = -_LINES_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.flush()

    def say(self, line: str) -> None:
        """Written at once."""
        self._out.write(line + "\n")
        self._out.flush()

    def show(self, view: RunView) -> None:
        """Written every few seconds."""
        if view.elapsed_s - self._shown_at_s >= _LINES_EVERY_S:
            self._shown_at_s = view.elapsed_s
            self.say("\n".join(plain_lines(view)))


class LiveScreen:
    """A terminal: what was said scrolls by above a picture of how it stands."""

    def __init__(self, out: TextIO) -> None:
        self._live = Live(console=Console(file=out), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Stays above the picture."""
        self._live.console.print(Text(line))

    def show(self, view: RunView) -> None:
        """The picture, new."""
        size = self._live.console.size
        self._live.update(_picture(view, lines=size.height, columns=size.width), refresh=True)


def screen_for(out: TextIO = sys.stdout) -> Screen:
    """What fits where `out` goes to."""
    return LiveScreen(out) if out.isatty() else PlainLines(out)


def _picture(view: RunView, *, lines: int, columns: int) -> RenderableType:
    roomy = lines >= _ROOMY_LINES
    shown = [column for column in COLUMNS if columns >= _ROOMY_COLUMNS or column not in _SPARED]
    headline = Text(view.headline, style="bold", no_wrap=True, overflow="ellipsis")
    return Group(
        headline, *(part for experiment in view.experiments for part in _parts(experiment, shown, roomy=roomy))
    )


def _parts(experiment: ExperimentView, shown: list[str], *, roomy: bool) -> list[RenderableType]:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in shown:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
    for variant in experiment.variants:
        cells = zip(COLUMNS, variant.cells, strict=True)
        table.add_row(*(cell for column, cell in cells if column in shown))
    facts = Table.grid(padding=(0, 1))
    facts.add_column(style="dim", no_wrap=True, min_width=len("last decision"))
    facts.add_column(no_wrap=not roomy, overflow="fold" if roomy else "ellipsis")
    facts.add_row("health", Text(experiment.health, style="green" if experiment.health == "healthy" else "yellow"))
    if experiment.status != "completed":
        facts.add_row("verdict", Text(experiment.verdict))
    decision = ": ".join(part for part in (experiment.last_decision, experiment.reason) if part)
    facts.add_row("last decision", Text(decision, style="bold"))
    facts.add_row("now", Text(experiment.answering))
    title = Rule(Text(f"{experiment.title} ({experiment.status})"), align="left", style="dim")
    return [*([Text()] if roomy else []), title, table, facts]
