"""All that `splitgauge check` looks at. What is away or wrong is a finding, and the rest is looked at all the same."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from splitgauge.cluster.finding import Finding, Outcome
from splitgauge.cluster.kafka_checks import check_kafka
from splitgauge.cluster.log_checks import check_log
from splitgauge.cluster.postgres_checks import check_postgres
from splitgauge.cluster.version_checks import check_versions
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicPlan
from splitgauge.schemas.errors import SplitgaugeError

__all__ = ["Checked", "check_cluster"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What is looked at.

    Attributes:
        kafka: its settings and the plan of its topics, or the error that says why there are none.
        postgres: the address of the database; None: none is named.
        data_folder, unit_key: as a router with these settings would have them.
    """

    kafka: Callable[[], tuple[KafkaSettings, TopicPlan]]
    postgres: str | None = field(repr=False)
    data_folder: Path
    unit_key: str | None = field(repr=False)


async def check_cluster(checked: Checked, now_s: Callable[[], float]) -> list[Finding]:
    """In a stable order. `now_s`: our clock."""
    of_kafka, of_postgres = await asyncio.gather(_kafka(checked, now_s), _postgres(checked.postgres, now_s))
    return [*check_versions(), *of_kafka, *of_postgres]


async def _kafka(checked: Checked, now_s: Callable[[], float]) -> list[Finding]:
    try:
        settings, plan = checked.kafka()
        findings = await check_kafka(settings, plan, now_s)
    except SplitgaugeError as exc:
        return [Finding.of_error("settings", "Kafka", exc)]
    if any(finding.outcome is Outcome.FAILED for finding in findings):
        return findings  # no role opens this log, and why is said
    return findings + await check_log(settings, checked.data_folder, checked.unit_key)


async def _postgres(address: str | None, now_s: Callable[[], float]) -> list[Finding]:
    if address is None:
        remedy = "Set `postgres` to postgresql://user@host/name"
        message = "no database is named: aggregator and archiver need one"
        return [Finding.warning("settings", "PostgreSQL", message, remedy)]
    return await check_postgres(address, now_s)
