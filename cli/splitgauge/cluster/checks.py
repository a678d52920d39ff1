"""All that `splitgauge check` looks at. What is away or wrong is a finding, and the rest is looked at all the same."""

import asyncio
from collections.abc import Callable

from splitgauge.cluster.finding import Finding
from splitgauge.cluster.kafka_checks import check_kafka
from splitgauge.cluster.postgres_checks import check_postgres
from splitgauge.cluster.version_checks import check_versions
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicPlan
from splitgauge.schemas.errors import SplitgaugeError

__all__ = ["check_cluster"]


async def check_cluster(
    kafka: Callable[[], tuple[KafkaSettings, TopicPlan]], postgres: str | None, now_s: Callable[[], float]
) -> list[Finding]:
    """In a stable order. `kafka`: the settings, or the error that says why there are none. `now_s`: our clock."""
    of_kafka, of_postgres = await asyncio.gather(_kafka(kafka, now_s), _postgres(postgres, now_s))
    return [*check_versions(), *of_kafka, *of_postgres]


async def _kafka(kafka: Callable[[], tuple[KafkaSettings, TopicPlan]], now_s: Callable[[], float]) -> list[Finding]:
    try:
        settings, plan = kafka()
        return await check_kafka(settings, plan, now_s)
    except SplitgaugeError as exc:
        return [Finding.of_error("settings", "Kafka", exc)]


async def _postgres(address: str | None, now_s: Callable[[], float]) -> list[Finding]:
    if address is None:
        remedy = "Set `postgres` to postgresql://user@host/name"
        message = "no database is named: aggregator and archiver need one"
        return [Finding.warning("settings", "PostgreSQL", message, remedy)]
    return await check_postgres(address, now_s)
