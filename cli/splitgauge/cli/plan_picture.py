"""The picture of a plan: power against the true effect, and the smallest effect found against time.

Owns the drawing and the file. matplotlib is an extra and imported on use. The same plan gives the same bytes with the
same matplotlib: no date, no random ids, no window system.
"""

import importlib
import importlib.util
import os
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from splitgauge.cli.plan_numbers import Curve, Plan, in_days
from splitgauge.schemas.errors import ContractError

__all__ = ["draw", "require_matplotlib", "write_file"]

_Axes: TypeAlias = Any
"""matplotlib's: its keywords have no types, and a strict checker takes nothing of unknown type."""

_COLOURS = {"fixed": "#767676", "asymptotic": "#1f5fbf", "group_sequential": "#c2571a"}
_DASHES: dict[str, Any] = {"fixed": (0, (5, 2)), "asymptotic": "-", "group_sequential": (0, (1, 1.2))}
_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 2.0,
    "savefig.dpi": 150,
    "svg.hashsalt": "splitgauge",
}
_METADATA: dict[str, dict[str, str | None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def require_matplotlib(option: str) -> None:
    """Say so before anything is computed. Raises: ContractError."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ContractError(
            "pictures need matplotlib, which is not installed",
            where=option,
            remedy="Install the extra: pip install 'splitgauge[plot]'",
        )


def draw(plan: Plan, form: str) -> bytes:
    """The picture as `png` or `svg`."""
    matplotlib = _matplotlib("")
    # Not as the machine is set up; to read or set a backend would load a window system.
    usual = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    with matplotlib.rc_context({**usual, **_STYLE}):
        figure = _matplotlib(".figure").Figure(figsize=(11, 5.2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.04)
        left, right = figure.subplots(1, 2)
        _draw_power(left, plan)
        _draw_detectable(right, plan)
        figure.suptitle(_title(plan), x=0.012, ha="left", fontsize=12)
        drawn = BytesIO()
        figure.savefig(drawn, format=form, metadata=_METADATA[form])
    return drawn.getvalue()


def write_file(path: Path, content: bytes) -> None:
    """The file whole or not at all; one that is there is replaced. Raises: ContractError where it cannot be written."""
    final = Path(os.path.realpath(path))
    if os.path.lexists(final) and not final.is_file():
        raise ContractError(
            "a picture would replace what is there, and that is no regular file",
            where=str(path),
            remedy="Name a new file, or one that may be overwritten",
        )
    unfinished = final.with_name(f".{final.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(final)
    except OSError as exc:
        raise ContractError(
            f"the picture cannot be written: {exc.strerror}", where=str(path), remedy="Name a file in a writable folder"
        ) from exc
    finally:
        unfinished.unlink(missing_ok=True)


def _draw_power(axes: _Axes, plan: Plan) -> None:
    unit, words = _effect_unit(plan)
    assumed, farthest = plan.assumptions, 0.0
    for curve in plan.power_curves():
        _line(axes, curve, curve.x / unit, 100 * curve.y)
        farthest = float(curve.x[-1]) / unit
    axes.axhline(100 * assumed.power, color="#999999", linewidth=0.8)
    axes.axvline(assumed.effect / unit, color="#999999", linewidth=0.8)
    late = abs(assumed.effect / unit) > 0.6 * abs(farthest)
    where: dict[str, Any] = {"xytext": (-4 if late else 4, 0), "ha": "right" if late else "left"}
    axes.annotate(
        f"planned: {assumed.effect / unit:+.4g}",
        (assumed.effect / unit, 2),
        textcoords="offset points",
        color="#555555",
        **where,
    )
    days = plan.days(plan.size)
    when = "" if days is None else f", {in_days(days)}"
    axes.set_title(f"Power by {plan.size:,} units{when}")
    axes.set_xlabel(f"true effect, challenger minus control ({words})")
    axes.set_ylabel("probability of finding it (%)")
    axes.set_ylim(0, 102)
    axes.set_xlim(*sorted((0.0, farthest)))
    axes.legend(loc="center right" if assumed.effect > 0 else "center left", frameon=False)


def _draw_detectable(axes: _Axes, plan: Plan) -> None:
    unit, words = _effect_unit(plan)
    planned = abs(plan.assumptions.effect / unit)
    axes.axhline(planned, color="#999999", linewidth=0.8)
    # Apart, so that tests that need about as many do not write over each other.
    places = ((0.42, -4, "right"), (0.1, -4, "right"), (0.26, 4, "left"))
    for row, curve, (height, beside, side) in zip(plan.tests, plan.detectable_curves(), places, strict=True):
        _line(axes, curve, np.array([plan.coming(units) for units in curve.x]), np.abs(curve.y / unit))
        at, colour = plan.coming(row.units), _COLOURS[curve.engine]
        axes.plot([at, at], [0, planned], color=colour, linewidth=0.8)
        axes.plot([at], [planned], "o", color=colour, markersize=6)
        where: dict[str, Any] = {"xytext": (beside, 0), "textcoords": "offset points", "ha": side}
        axes.annotate(_size(plan, row.units), (at, height * planned), color=colour, **where)
    axes.set_title(f"Smallest effect found with {100 * plan.assumptions.power:.4g} % power")
    axes.set_xlabel("days of full traffic" if plan.assumptions.units_per_day else "units in control and one challenger")
    axes.set_ylabel(f"{'increase' if plan.assumptions.effect > 0 else 'decrease'} ({words})")
    axes.set_xlim(0, plan.coming(plan.horizon))
    axes.set_ylim(0, 3 * planned)
    axes.legend(loc="upper right", frameon=False)


def _line(axes: _Axes, curve: Curve, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> None:
    axes.plot(x, y, label=curve.label, color=_COLOURS[curve.engine], linestyle=_DASHES[curve.engine])


def _title(plan: Plan) -> str:
    assumed = plan.assumptions
    shares = "/".join(f"{100 * share:.4g}" for share in assumed.shares)
    base = "" if assumed.baseline is None else f" from {assumed.baseline:.4g}"
    rate = "" if assumed.units_per_day is None else f", {assumed.units_per_day:,.6g} new units a day"
    return f"{assumed.metric}{base}: split {shares}, alpha {assumed.alpha:.4g}{rate}"


def _effect_unit(plan: Plan) -> tuple[float, str]:
    """Metric units in one unit of the axis, and its name."""
    if plan.assumptions.relative:
        return plan.assumptions.unit_of_effect / 100, "% of control"
    if plan.assumptions.kind == "proportion":
        return 0.01, "percentage points"
    return 1.0, "metric units"


def _size(plan: Plan, units: int) -> str:
    days = plan.days(units)
    return f"{units:,}" if days is None else in_days(days)


def _matplotlib(part: str) -> ModuleType:
    return importlib.import_module(f"matplotlib{part}")
