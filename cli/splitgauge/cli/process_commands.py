"""`splitgauge up`, `run`, `demo`, `settings` and `version`: thin, over the parts that do it."""

import platform
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from splitgauge.cli.failures import guarded
from splitgauge.cli.options import AsJson, ConfigFile, DataFolder, Host, Port
from splitgauge.cli.output import print_json, print_line
from splitgauge.cluster.role import Role

if TYPE_CHECKING:
    from splitgauge.cli.settings import Settings
    from splitgauge.router.settings import RouterSettings

__all__ = ["demo_command", "run_command", "settings_command", "up_command", "version_command"]


@guarded
def up_command(
    config: ConfigFile = None,
    data: DataFolder = None,
    host: Host = None,
    port: Port = None,
) -> int:
    """Run everything in this process, on the embedded log, until Ctrl-C."""
    from splitgauge.cli.settings import load

    settings = load(config, data_folder=data, host=host, port=port)
    return _up(settings)


@guarded
def run_command(
    roles: Annotated[list[Role], typer.Argument(metavar="ROLE...", help="What this process does.")],
    config: ConfigFile = None,
    data: DataFolder = None,
    host: Host = None,
    port: Port = None,
) -> int:
    """Run some roles in this process, on Kafka and PostgreSQL, until Ctrl-C; where Kafka is away, it is waited for.
    Everything else stands in the settings: `splitgauge settings` lists them."""
    from splitgauge.cli.settings import load
    from splitgauge.cluster.server import run
    from splitgauge.cluster.settings import ClusterSettings

    settings = load(config, data_folder=data, host=host, port=port)
    return run(
        ClusterSettings(
            roles=frozenset(roles),
            kafka=settings.kafka(),
            router=_router(settings),
            instance=settings.instance,
            postgres=settings.postgres,
            host=settings.host,
            port=settings.port,
            shutdown_s=settings.shutdown_s,
            publish_interval_s=settings.publish_interval_s,
            checkpoint_interval_s=settings.checkpoint_interval_s,
            look_debounce_s=settings.look_debounce_s,
            archive_rest_s=settings.archive_rest_s,
        )
    )


def _up(settings: "Settings") -> int:
    from splitgauge.analyzer.service import AnalyzerSettings
    from splitgauge.standalone.server import run
    from splitgauge.standalone.settings import StandaloneSettings

    return run(
        StandaloneSettings(
            router=_router(settings),
            analyzer=AnalyzerSettings(instance=settings.instance, debounce_s=settings.look_debounce_s),
            host=settings.host,
            port=settings.port,
            observation_partitions=settings.observation_partitions,
            shutdown_s=settings.shutdown_s,
        )
    )


def _router(settings: "Settings") -> "RouterSettings":
    from splitgauge.router.settings import RouterSettings

    return RouterSettings(
        data_folder=settings.data_folder,
        unit_key=settings.unit_key,
        durability=settings.durability,
        fail_closed=settings.fail_closed,
        log_patience_s=settings.log_patience_s,
        spool_bytes=settings.spool_bytes,
        request_bytes=settings.request_bytes,
        answer_bytes=settings.answer_bytes,
        intake_concurrency=settings.intake_concurrency,
        stop_grace_s=settings.shutdown_s,
        instance=settings.instance,
    )


@guarded
def demo_command(
    as_json: AsJson = False,
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving after the summary, until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option(help="Of images, models and traffic.")] = 1,
    requests: Annotated[int, typer.Option(min=1, help="How many the upstream application sends.")] = 10_500,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="On Kafka and PostgreSQL, which a checkout starts here.")
    ] = False,
) -> int:
    """Play a whole experiment with real models on this machine, from requests to a replayed decision."""
    from splitgauge.demo import run

    return run(json_output=as_json, keep=keep, seed=seed, requests=requests, cluster=cluster)


@guarded
def settings_command() -> None:
    """List all that can be set in the settings file and the environment, as a page of Markdown."""
    from splitgauge.cli.settings_reference import reference

    sys.stdout.write(reference())


@guarded
def version_command(as_json: AsJson = False) -> None:
    """Say which version this is."""
    what = {"splitgauge": version("splitgauge"), "python": platform.python_version(), "platform": platform.platform()}
    if as_json:
        print_json(what)
    else:
        print_line(f"splitgauge {what['splitgauge']} (Python {what['python']}, {what['platform']})")
