"""`splitgauge init`: what a cluster needs before its roles start, made and compared with the contract."""

from typing import TYPE_CHECKING, Annotated

import typer

from splitgauge.cli.failures import guarded
from splitgauge.cli.interrupts import run
from splitgauge.cli.options import AsJson, Bootstrap, ConfigFile, TopicPrefix
from splitgauge.cli.output import print_json, print_line

if TYPE_CHECKING:
    from splitgauge.eventlog.kafka_topics import InitReport

__all__ = ["init_command"]


@guarded
def init_command(
    config: ConfigFile = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
    observation_partitions: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Of observations; fixed from then on.", show_default=False)
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Of each other topic that may have several.", show_default=False),
    ] = None,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition.", show_default=False)
    ] = None,
    min_isr: Annotated[
        int | None, typer.Option(min=1, help="Copies that must have an event.", show_default=False)
    ] = None,
) -> None:
    """Create the topics on Kafka, and refuse those that are there and do not fit; migrate the database of the setting
    `postgres`. May be run again at any time, also while older roles run."""
    from splitgauge.aggregator.changelog import changelog_topic, make_changelog
    from splitgauge.cli.settings import load
    from splitgauge.eventlog.kafka_topics import init_topics
    from splitgauge.eventlog.postgres_address import named
    from splitgauge.eventlog.postgres_migrations import migrate

    settings = load(
        config,
        kafka_bootstrap=bootstrap,
        kafka_topic_prefix=topic_prefix,
        kafka_partitions=partitions,
        kafka_replication=replication,
        kafka_min_isr=min_isr,
        observation_partitions=observation_partitions,
    )
    plan = settings.topic_plan(observation_partitions=settings.observation_partitions)
    kafka, postgres = settings.kafka(), settings.postgres
    database = None if postgres is None else named(postgres)  # refused before anything is made

    async def make() -> tuple["InitReport", int, list[str]]:
        report = await init_topics(kafka, plan)
        partitions = await make_changelog(kafka)
        return report, partitions, [] if postgres is None else await migrate(postgres)

    report, changelog_partitions, migrations = run(make())
    if as_json:
        print_json(
            {
                "created": list(report.created),
                "counted_up": {topic: {"from": was, "to": now} for topic, (was, now) in report.counted_up.items()},
                "unchanged": list(report.unchanged),
                "partitions": dict(report.partitions),
                "changelog": changelog_topic(kafka),
                "migrations": migrations,
            }
        )
    else:
        _tell_topics(report)
        print_line(f"changelog  {changelog_topic(kafka)}, partitions: {changelog_partitions}")
        _tell_database(database, migrations)


def _tell_topics(report: "InitReport") -> None:
    for topic in report.created:
        print_line(f"created    {topic}, partitions: {report.partitions[topic]}")
    for topic, (was, now) in report.counted_up.items():
        print_line(f"counted up {topic}, partitions: {was} -> {now}")
    for topic in report.unchanged:
        print_line(f"unchanged  {topic}, partitions: {report.partitions[topic]}")


def _tell_database(database: str | None, migrations: list[str]) -> None:
    for name in migrations:
        print_line(f"migrated   {database}: {name}")
    if database is None:
        print_line("no database: the setting `postgres` names none; aggregator and archiver need one")
    elif not migrations:
        print_line(f"unchanged  {database}")
