"""The demo on one machine without servers: `splitgauge up`, all of it in one process on the embedded log."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from splitgauge.demo.stage import CLI, Say, Stage, answering, empty_house, models_of, start_models
from splitgauge.eventlog.sqlite import SqliteEventLog

__all__ = ["embedded_stage"]


@asynccontextmanager
async def embedded_stage(seed: int, say: Say) -> AsyncGenerator[Stage]:
    """Up, ready, and down again."""
    async with empty_house() as children:
        data = children.folder / "data"
        endpoints = await start_models(children, seed)
        up = await children.start("splitgauge", CLI, "up", "--data", str(data), "--port", "0")
        models = await models_of(endpoints)
        async with answering(up, children) as client:
            say(f"Splitgauge is up at {client.url}")
            log = SqliteEventLog.open_readonly(data)
            try:
                yield Stage(
                    name="embedded",
                    looking={"log": f"splitgauge tail decisions --data {data}"},
                    processes={up.name: client},
                    console=client,
                    routers=(client,),
                    models=models,
                    log=log,
                    children=children,
                    log_source=str(data),
                )
            finally:
                await log.close()
