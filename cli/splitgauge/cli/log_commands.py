"""`splitgauge tail`, `export`, `import`, `replay`: the log itself: a data folder, Kafka, an export or an archive.

Reading needs no server and disturbs none: the folder of a running `splitgauge up` is opened read-only.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splitgauge.cli.failures import guarded
from splitgauge.cli.interrupts import run
from splitgauge.cli.options import LOG_SOURCES, AsJson, ConfigFile, DataFolder, LogSource
from splitgauge.schemas.errors import UnknownSubjectError
from splitgauge.schemas.topics import TOPICS

if TYPE_CHECKING:
    from splitgauge.eventlog.kafka_settings import KafkaSettings

__all__ = ["export_command", "import_command", "replay_command", "tail_command"]

_PREFIX = "splitgauge."
_KAFKA = "kafka"
ExportFile = Annotated[Path, typer.Argument(help="A file of JSON lines.", metavar="FILE")]


@guarded
def tail_command(
    topic: Annotated[str, typer.Argument(help="decisions, observations, analyses, ...", metavar="TOPIC")],
    count: Annotated[int, typer.Option("-n", "--count", min=0, help="How many of the newest to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with every new event, until Ctrl-C.")] = False,
    data: LogSource = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest events of a topic."""
    from splitgauge.cli.log_work import tail

    run(tail(_source(data, config), _topic(topic), count=count, follow=follow, as_json=as_json))


@guarded
def export_command(
    file: ExportFile,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", help="Only this one; may be repeated. Else all that is kept for ever.", show_default=False
        ),
    ] = None,
    data: LogSource = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the log to a file, as a backup or for an auditor; also while it is in use."""
    from splitgauge.cli.log_work import export

    topics = [_topic(name) for name in topic] if topic else None
    run(export(_source(data, config), file, topics, as_json=as_json))


@guarded
def import_command(
    file: ExportFile, data: DataFolder = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Make the log of a data folder from an export: same events, same offsets. Only into an empty one."""
    from splitgauge.cli.log_work import import_into

    import_into(_folder(data, config), file, as_json=as_json)


@guarded
def replay_command(
    source: Annotated[
        str | None,
        typer.Argument(help=f"The log: {LOG_SOURCES}.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> int:
    """Make every analysis and every automatic decision again, and compare. Status 1 where something differs."""
    from splitgauge.cli.log_work import replay

    return run(replay(_source(source, config), as_json=as_json))


def _source(named: str | None, config: Path | None) -> "str | KafkaSettings":
    """What was named, else as the settings say: Kafka where they have one, the data folder where not."""
    from splitgauge.cli.settings import load

    if named not in (None, _KAFKA):
        return named
    settings = load(config)
    return settings.kafka() if named or settings.kafka_bootstrap else str(settings.data_folder)


def _folder(data: Path | None, config: Path | None) -> Path:
    from splitgauge.cli.settings import load

    return load(config, data_folder=data).data_folder


def _topic(name: str) -> str:
    full = name if name.startswith(_PREFIX) else _PREFIX + name
    if full not in TOPICS:
        known = ", ".join(topic.removeprefix(_PREFIX) for topic in TOPICS)
        raise UnknownSubjectError(f"there is no topic {name!r}", where="TOPIC", remedy=f"One of {known}")
    return full
