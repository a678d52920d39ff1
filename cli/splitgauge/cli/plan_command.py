"""`splitgauge plan`: how long an experiment will take, before it starts. Needs no server.

Owns the options; the numbers are `plan_numbers`'s, what is printed `plan_report`'s, the picture `plan_picture`'s. They
load the mathematics, which takes a second: only with the command.
"""

from pathlib import Path
from typing import Annotated

import typer

from splitgauge.cli.failures import guarded
from splitgauge.cli.options import AsJson
from splitgauge.cli.plan_options import KINDS, Options

__all__ = ["plan_command"]


@guarded
def plan_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="YAML with one `kind: experiment`, as `apply` takes it.", show_default=False),
    ] = None,
    metric_kind: Annotated[str | None, typer.Option(help=f"{', '.join(KINDS)}.", show_default=False)] = None,
    baseline: Annotated[
        float | None, typer.Option(help="Control's rate (0.9 for 90 %) or mean as it is today.", show_default=False)
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(help="The smallest one worth finding; below 0 for a decrease.", show_default=False),
    ] = None,
    relative: Annotated[bool, typer.Option("--relative", help="--effect is a fraction of the baseline.")] = False,
    variance: Annotated[
        float | None,
        typer.Option(help="Of one unit, for all kinds but proportions; of a ratio, linearised.", show_default=False),
    ] = None,
    units_per_day: Annotated[
        float | None, typer.Option(help="New units (users) a day; returning ones are not new.", show_default=False)
    ] = None,
    requests_per_day: Annotated[
        float | None, typer.Option(help="Instead of --units-per-day.", show_default=False)
    ] = None,
    requests_per_unit: Annotated[
        float | None, typer.Option(help="With --requests-per-day, on average; else 1.", show_default=False)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Weights, control first: 80/20, 60/20/20.", show_default=False)
    ] = None,
    challengers: Annotated[
        int | None, typer.Option(help="With control in equal shares; they share alpha.", show_default=False)
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Two-sided, over all challengers.", show_default="0.05")] = None,
    power: Annotated[float | None, typer.Option(help="Of finding that effect.", show_default="0.8")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture of the plan.", show_default=False)] = None,
    svg: Annotated[Path | None, typer.Option(help="The same, as SVG.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Say how many units and days an experiment needs, and what it can find, before it starts."""
    from splitgauge.cli.plan_assumptions import assume
    from splitgauge.cli.plan_numbers import make_plan
    from splitgauge.cli.plan_picture import draw, require_matplotlib, write_file
    from splitgauge.cli.plan_report import print_plan

    pictures = {form: path for form, path in (("png", png), ("svg", svg)) if path is not None}
    for form in pictures:
        require_matplotlib(f"--{form}")
    options = Options(
        metric_kind=metric_kind,
        baseline=baseline,
        effect=effect,
        relative=relative,
        variance=variance,
        alpha=alpha,
        power=power,
        split=split,
        challengers=challengers,
        units_per_day=units_per_day,
        requests_per_day=requests_per_day,
        requests_per_unit=requests_per_unit,
    )
    plan = make_plan(assume(options, file))
    for form, path in pictures.items():
        write_file(path, draw(plan, form))
    print_plan(plan, pictures, as_json=as_json)
