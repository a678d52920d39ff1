"""`splitgauge run` on a real Kafka and a real PostgreSQL, from requests to decisions that every part has applied."""

from collections import Counter
from pathlib import Path

import pytest

from cluster_harness import Cluster
from kafka_broker import fresh_settings
from pipeline_harness import EXPERIMENTS, Application, Endpoints, experiment
from postgres_server import PostgresServer
from splitgauge.schemas.topics import OBSERVATIONS
from waiting import until

ROLES = ("router", "console", "aggregator", "tables", "analyzer")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("together", [True, False], ids=["one process", "a process each"])
async def test_a_cluster_decides_as_the_plain_fold_says(
    tmp_path: Path, postgres: PostgresServer, *, together: bool
) -> None:
    processes = {"all": ROLES} if together else {role: (role,) for role in ROLES}
    router, console, fold = ("all",) * 3 if together else ("router", "console", "aggregator")
    kafka, database = fresh_settings(), await postgres.make_database()
    application = Application(1)
    async with Endpoints.running(1) as endpoints, Cluster.running(tmp_path, kafka, database, processes) as cluster:
        experiments = {name: experiment(name) for name in EXPERIMENTS}
        await application.define(cluster.up[console], endpoints, experiments=experiments)
        async with application.sending(cluster.up[router], console=cluster.up[console], senders=4):
            await until(cluster.decided, what="both experiments are decided", every_s=0.3)
        await until(lambda: cluster.applied(router), what="the router has applied all decisions")
        afterwards = await application.send(cluster.up[router], 60)
        await until(cluster.folded, what="everything is folded", every_s=0.3)
        await cluster.expect_sound()
        reading = (await cluster.up[fold].get("/readyz"))["parts"]["log"]
    answered = Counter((answer.workload, answer.model) for answer in afterwards)
    assert answered.keys() == {("main", "good"), ("side", "poor")}
    assert OBSERVATIONS.name in {member["topic"] for member in reading["members"]}
