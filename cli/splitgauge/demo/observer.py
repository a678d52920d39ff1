"""Looks at the experiments while they run, tells the screen, and remembers what was decided."""

import asyncio
from collections.abc import Sequence
from time import monotonic

from splitgauge.demo.client import Client, Json
from splitgauge.demo.experiments import EXPERIMENTS, DemoExperiment
from splitgauge.demo.progress import ExperimentView, RunView, decision_text, experiment_view
from splitgauge.demo.screen import Screen
from splitgauge.demo.traffic import Tally

__all__ = ["Observer", "automatic"]

_EVERY_S = 0.5
_NEWEST = 100
"""Answers that show who serves at the moment: those of the last second or two."""


def automatic(decisions: Sequence[Json]) -> Json | None:
    """The first decision that Splitgauge made by itself; None where it made none."""
    return next(
        (item for item in decisions if item["accepted"] and item["actor"]["kind"] == "analyzer"),
        None,
    )


class Observer:
    """One of the run."""

    def __init__(self, console: Client, tally: Tally, *, screen: Screen, planned: int, started: float) -> None:
        self.step = ""
        self._console = console
        self._tally = tally
        self._screen = screen
        self._planned = planned
        self._started = started
        self._decided: dict[str, Json] = {}
        self._views: dict[str, ExperimentView] = {}

    @property
    def complete(self) -> bool:
        """Whether every experiment that has to be decided is."""
        return all(experiment.promise == "keep" or experiment.id in self._decided for experiment in EXPERIMENTS)

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            for experiment in EXPERIMENTS:
                await self._look(experiment, elapsed_s=monotonic() - self._started)
            self._screen.show(self._view(monotonic() - self._started))
            await asyncio.sleep(_EVERY_S)

    async def _look(self, experiment: DemoExperiment, *, elapsed_s: float) -> None:
        results = await self._console.results(experiment.id)
        decisions = await self._console.decisions(experiment.id)
        self._views[experiment.id] = experiment_view(
            experiment, results, decisions, models=self._tally.newest_models(experiment.base, limit=_NEWEST)
        )
        decision = automatic(decisions)
        if decision is not None and experiment.id not in self._decided:
            self._decided[experiment.id] = decision
            self._screen.say(f"{elapsed_s:3.0f} s   {experiment.title}: {decision_text(decision)}")

    def _view(self, elapsed_s: float) -> RunView:
        return RunView(
            elapsed_s=elapsed_s,
            requests=self._tally.sent,
            planned=self._planned,
            users=len(self._tally.users),
            reports=self._tally.reports,
            experiments=tuple(self._views.values()),
            step=self.step,
        )
