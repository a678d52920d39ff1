"""The command line put together: every command under its name."""

import typer

from splitgauge.cli.check_command import check_command
from splitgauge.cli.failures import EXIT_STATUSES, guarded
from splitgauge.cli.init_command import init_command
from splitgauge.cli.log_commands import export_command, import_command, replay_command, tail_command
from splitgauge.cli.plan_command import plan_command
from splitgauge.cli.process_commands import (
    demo_command,
    run_command,
    settings_command,
    up_command,
    version_command,
)
from splitgauge.cli.report_commands import reports
from splitgauge.cli.resource_commands import apply_command, experiments, workloads

__all__ = ["application"]


def application() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="splitgauge",
        help="Splits live model traffic between variants, measures, promotes or rolls back, and can replay it all.",
        epilog=EXIT_STATUSES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("up")(up_command)
    app.command("run")(run_command)
    app.command("demo")(demo_command)
    app.command("init")(init_command)
    app.command("check")(check_command)
    app.command("apply")(guarded(apply_command))
    app.add_typer(workloads, name="workloads")
    app.add_typer(experiments, name="experiments")
    app.add_typer(reports, name="reports")
    app.command("plan")(plan_command)
    app.command("tail")(tail_command)
    app.command("export")(export_command)
    app.command("import")(import_command)
    app.command("replay")(replay_command)
    app.command("settings")(settings_command)
    app.command("version")(version_command)
    return app
