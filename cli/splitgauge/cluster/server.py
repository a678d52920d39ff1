"""`splitgauge run ROLE...`: connects to Kafka, starts the roles of this process, answers over HTTP, stops in order.

Every process answers `/healthz` and `/readyz`; with the router the data path as well, with the console the control
plane. Where Kafka is away, `arrival` answers until it comes. Stopping goes as in one process: the listener closes, what
is in flight is answered, what is queued is written, the other roles end, then the connections.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop

from splitgauge.cluster.arrival import serve_roles
from splitgauge.cluster.operators import operators_app
from splitgauge.cluster.role import Role
from splitgauge.cluster.roles import BACKGROUND, KeptRole, Work
from splitgauge.cluster.settings import ClusterSettings
from splitgauge.console.last_answer import ASGIApp
from splitgauge.console.operators import Part
from splitgauge.console.service import Console, ConsoleSettings
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.router.clock import SYSTEM_CLOCK
from splitgauge.router.settings import RouterSettings
from splitgauge.standalone.application import application
from splitgauge.standalone.collection import collect_seldom
from splitgauge.standalone.listening import bound, serve

if TYPE_CHECKING:
    from splitgauge.router.service import Router

__all__ = ["run"]

MakeRouter = Callable[[KafkaEventLog, RouterSettings], "Router"]


def run(settings: ClusterSettings) -> int:
    """Until SIGINT or SIGTERM; while Kafka is away it is waited for. Returns the exit status.

    Raises: LogUnavailableError where Kafka refuses us; UnknownSubjectError and ConflictError where its topics are not
        as they have to be, the unit key is not the log's, or the address is taken; ContractError where a
        role lacks its database; UnknownRulesError, LogDamagedError.
    """
    background = {role: BACKGROUND[role](settings) for role in sorted(settings.roles & BACKGROUND.keys())}
    make_router = _router() if Role.ROUTER in settings.roles else None
    if Role.AGGREGATOR in settings.roles:
        collect_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, background, make_router))
    return 0


def _router() -> MakeRouter:
    """Loaded with its role, as those in the background are."""
    from splitgauge.router import service

    return service.Router


async def _serve(settings: ClusterSettings, background: Mapping[Role, Work], make_router: MakeRouter | None) -> None:
    listener = bound(settings.host, settings.port)
    about = f"{', '.join(sorted(settings.roles))} on {settings.kafka.bootstrap}"
    try:
        await serve_roles(
            partial(_started, settings, background, make_router),
            settings.roles,
            lambda app: serve(app, listener, shutdown_s=settings.shutdown_s, about=about),
        )
    finally:
        listener.close()


@asynccontextmanager
async def _connected(settings: ClusterSettings) -> AsyncGenerator[KafkaEventLog]:
    log = await KafkaEventLog.connect(settings.kafka)
    try:
        yield log
    finally:
        await log.close()


async def _started(
    settings: ClusterSettings,
    background: Mapping[Role, Work],
    make_router: MakeRouter | None,
    stack: AsyncExitStack,
) -> ASGIApp:
    """All roles, each to be stopped by the stack before those that were started earlier."""
    log = await stack.enter_async_context(_connected(settings))
    parts: dict[str, Part] = {"log": lambda: {"ready": True, **log.status()}}
    for role, work in background.items():
        kept = KeptRole(role, work, log)
        parts[role.value] = kept.status
        await stack.enter_async_context(_beside(kept))
    router: Router | None = None
    if make_router is not None:
        router = await stack.enter_async_context(make_router(log, settings.router))
        parts[Role.ROUTER.value] = router.status
    rest = await _surface(settings, log, parts, stack)
    return rest if router is None else application(router.app, rest)


async def _surface(
    settings: ClusterSettings, log: KafkaEventLog, parts: Mapping[str, Part], stack: AsyncExitStack
) -> ASGIApp:
    if Role.CONSOLE not in settings.roles:
        return operators_app(parts)
    console = Console(
        log,
        ConsoleSettings(instance=settings.instance),
        clock=SYSTEM_CLOCK.now_us,
        ids=lambda: str(uuid4()),
        parts=parts,
    )
    await console.start()
    stack.push_async_callback(console.stop)
    return console.app


@asynccontextmanager
async def _beside(kept: KeptRole) -> AsyncGenerator[None]:
    task = asyncio.create_task(kept.run(), name=kept.role)
    task.add_done_callback(kept.ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
