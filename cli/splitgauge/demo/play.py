"""`splitgauge demo`: the whole of it in order, from real models to a replayed log, and its exit status."""

import asyncio
import shutil
import signal
import sys
import textwrap
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any, cast

import orjson

from splitgauge.demo.digits import require_sklearn
from splitgauge.demo.embedded_stage import embedded_stage
from splitgauge.demo.evidence import AppliedWatch
from splitgauge.demo.experiments import EXPERIMENTS, workload_documents
from splitgauge.demo.facts import gather
from splitgauge.demo.observer import Observer
from splitgauge.demo.schedule import probes, schedule
from splitgauge.demo.screen import Screen, screen_for
from splitgauge.demo.stage import Say, Stage, StageOf
from splitgauge.demo.summary import Summary, to_json
from splitgauge.demo.summary_words import plain_words
from splitgauge.demo.traffic import UpstreamApp

__all__ = ["EXIT_BROKEN", "EXIT_HELD", "EXIT_INTERRUPTED", "Options", "play"]

EXIT_HELD = 0
EXIT_BROKEN = 1
"""The demo ran to its end, and something that it promises did not come true."""
EXIT_INTERRUPTED = 130

_EXTRA_REQUESTS = 1_000
_EXTRA_S = 180.0
"""A slow machine gets more traffic, round by round, for so long before the demo says that nothing was decided."""
_PROBES = 40
"""Requests to one workload before the experiments begin, and after they have ended."""
_SETTLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a user chooses; see `splitgauge.demo.run`."""

    json_output: bool
    keep: bool
    seed: int
    requests: int
    cluster: bool


def play(options: Options) -> int:
    """From beginning to end; the exit status. Raises: ContractError, UpstreamError."""
    try:
        return asyncio.run(_interruptible(options))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # before or after everything that would have to be cleaned up


async def _interruptible(options: Options) -> int:
    """The demo, ended by the first signal; later ones do not disturb it while it cleans up."""
    loop = asyncio.get_running_loop()
    demo = asyncio.ensure_future(_demo(options))
    interrupted = asyncio.Event()

    def interrupt() -> None:
        if not interrupted.is_set():
            interrupted.set()
            demo.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    try:
        return await demo
    except asyncio.CancelledError:
        if not interrupted.is_set():
            raise
        return EXIT_INTERRUPTED
    except BaseExceptionGroup as group:
        if interrupted.is_set():
            return EXIT_INTERRUPTED
        raise _first(group) from group


async def _demo(options: Options) -> int:
    started = monotonic()
    screen = screen_for(sys.stderr if options.json_output else sys.stdout)

    def say(line: str) -> None:
        screen.say(f"{monotonic() - started:3.0f} s   {line}")

    screen.say("Splitgauge demo: three experiments with real models on scanned digits. Ctrl-C ends it.")
    require_sklearn()
    async with _stage(options)(options.seed, say) as running:
        with screen:
            summary = await _play(running, options=options, screen=screen, say=say, started=started)
        _write(summary, json_output=options.json_output)
        if options.keep:
            await _keep_serving(running, screen)
    return EXIT_HELD if summary.held else EXIT_BROKEN


def _stage(options: Options) -> StageOf:
    if not options.cluster:
        return embedded_stage
    from splitgauge.demo.cluster_stage import cluster_stage

    return cluster_stage


async def _play(running: Stage, *, options: Options, screen: Screen, say: Say, started: float) -> Summary:
    app = UpstreamApp(running.routers, running.console, images=running.models.images, log=running.log)
    applied = AppliedWatch(running.routers)
    await _define(running, app, applied)
    say("Three experiments run")
    observer = Observer(
        running.console, app.tally, screen=screen, planned=app.tally.sent + options.requests, started=started
    )
    async with _beside(running.watch(), app.serve(), applied.run(), observer.run()):
        await _send_all(running, app, observer, applied, options=options)
        observer.step = "replaying the log"
        return await gather(running, app.tally, applied=applied, seed=options.seed, started=started)


async def _define(running: Stage, app: UpstreamApp, applied: AppliedWatch) -> None:
    """As a user would: workloads that serve already, then experiments, then go."""
    workloads = workload_documents(running.models.endpoints)
    for workload in workloads:
        await running.console.define_workload(workload)
    await applied.until_applied(running.log, timeout_s=_SETTLE_S)
    # A cold start, of connections and of everything behind them, would count against the variant that it falls on.
    await _ask_all(running, app, [workload["id"] for workload in workloads])
    for experiment in EXPERIMENTS:
        await running.console.define_experiment(experiment.document())
    for experiment in EXPERIMENTS:
        await running.console.activate(experiment.id)
    await applied.until_applied(running.log, timeout_s=_SETTLE_S)


async def _send_all(
    running: Stage, app: UpstreamApp, observer: Observer, applied: AppliedWatch, *, options: Options
) -> None:
    """The traffic that was asked for, more of it until all is decided, and some when the decisions are in force."""
    images = len(running.models.images.labels)
    observer.step = "sending requests"
    await app.send(schedule(seed=options.seed, requests=options.requests, images=images, first=app.tally.sent))
    seeds = count(options.seed + 1)
    give_up = monotonic() + _EXTRA_S
    while not observer.complete and monotonic() < give_up:
        observer.step = "sending more requests until all is decided"
        await app.send(schedule(seed=next(seeds), requests=_EXTRA_REQUESTS, images=images, first=app.tally.sent))
    observer.step = "waiting for the last reports"
    await app.settle(timeout_s=_SETTLE_S)
    await applied.until_applied(running.log, timeout_s=_SETTLE_S)
    observer.step = "asking once more: who serves now?"
    await _ask_all(running, app, [experiment.base for experiment in EXPERIMENTS])


async def _ask_all(running: Stage, app: UpstreamApp, workloads: list[str]) -> None:
    images = len(running.models.images.labels)
    for workload in workloads:
        await app.send(probes(workload, requests=_PROBES, images=images, first=app.tally.sent))


async def _keep_serving(running: Stage, screen: Screen) -> None:
    """Until a signal comes, or a child ends. Ctrl-C is the regular end here, and leaves the exit status as it is."""
    bases = ", ".join(experiment.base for experiment in EXPERIMENTS)
    screen.say(f"Goes on serving at {running.console.url} until Ctrl-C, which removes all of it:")
    screen.say(f"  experiments: GET {running.console.url}/api/v1/ab-tests, and what else /api/v1/openapi.json says")
    screen.say(f"  requests: POST /w/WORKLOAD with {bases}, at {', '.join(router.url for router in running.routers)}")
    for what, command in running.looking.items():
        screen.say(f"  {what}: {command}")
    with suppress(asyncio.CancelledError):
        await running.watch()


def _write(summary: Summary, *, json_output: bool) -> None:
    if json_output:
        sys.stdout.write(orjson.dumps(to_json(summary), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write("\n".join(_fitted(plain_words(summary))) + "\n")
    sys.stdout.flush()


def _fitted(lines: list[str]) -> list[str]:
    """Broken between words where there is a terminal with an edge; whole lines for everything else."""
    if not sys.stdout.isatty():
        return lines
    width = shutil.get_terminal_size().columns
    return [part for line in lines for part in _broken(line, width) or [line]]


def _broken(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent + "  ", break_on_hyphens=False)


@asynccontextmanager
async def _beside(*endless: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """What goes on beside the block, and ends with it. Where one of them fails, the block ends, too."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in endless]
        yield
        for task in running:
            task.cancel()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deep: the others follow from it."""
    error = group.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", error)) if isinstance(error, BaseExceptionGroup) else error
