"""A plan as it is printed: sentences and a table, or one document. The numbers are `plan_numbers`'s."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from splitgauge.cli.output import print_json, print_line, print_table
from splitgauge.cli.plan_numbers import Plan, PlannedTest, in_days

__all__ = ["print_plan"]

_COLUMNS = ("test", "control", "challenger", "in all", "time", "on average", "without effect")


def print_plan(plan: Plan, pictures: Mapping[str, Path], *, as_json: bool) -> None:
    """`pictures`: form -> the file that was written."""
    if as_json:
        print_json(_document(plan, pictures))
    else:
        _print(plan, pictures)


def _print(plan: Plan, pictures: Mapping[str, Path]) -> None:
    assumed = plan.assumptions
    print_line(_effect_in_words(plan))
    shares = "/".join(f"{100 * share:.4g}" for share in assumed.shares)
    correction = (
        f" ({assumed.level:.3g} for each of {assumed.challengers} challengers)" if assumed.challengers > 1 else ""
    )
    print_line(f"split {shares}, alpha {assumed.alpha:g}{correction}, power {assumed.power:g}")
    print_line(f"nothing is decided before {plan.earliest:,} units in control and one challenger")
    print_line("")
    columns = (*_COLUMNS, f"finds by {plan.size:,} units")
    print_table(columns, [_row(plan, row) for row in plan.tests], title="units at the end, and how long it takes:")
    print_line("")
    best = plan.recommended
    print_line(f"planned_units: {best.planned_units}")
    print_line(_advice(plan, best))
    for note in assumed.notes:
        print_line(f"note: {note}")
    for path in pictures.values():
        print_line(f"picture: {path}")


def _effect_in_words(plan: Plan) -> str:
    assumed = plan.assumptions
    shown = f"{assumed.effect / assumed.unit_of_effect:+.6g}"
    if assumed.relative:
        shown = f"{100 * assumed.effect / assumed.unit_of_effect:+.6g} %, {assumed.effect:+.6g}"
    what = f"a {assumed.kind}" if assumed.metric == assumed.kind else f"{assumed.metric}, a {assumed.kind}"
    if assumed.baseline is None:
        return f"{what} that moves by {shown}"
    return f"{what} that moves from {assumed.baseline:g} to {assumed.baseline + assumed.effect:g} ({shown})"


def _row(plan: Plan, row: PlannedTest) -> list[object]:
    control, challenger, total = plan.arms(row.units)
    return [
        row.test.label,
        f"{control:,}",
        f"{challenger:,}",
        f"{total:,}",
        _time(plan, row.units),
        _average(plan, row.expected_units),
        _average(plan, row.expected_units_null),
        _shown_effect(plan, row.detectable),
    ]


def _average(plan: Plan, units: float) -> str:
    total, time = plan.arms(units)[2], _time(plan, units)
    return f"{total:,}" + (f", {time}" if time is not None else "")


def _time(plan: Plan, units: float) -> str | None:
    days = plan.days(units)
    return None if days is None else in_days(days)


def _shown_effect(plan: Plan, effect: float) -> str:
    if math.isnan(effect):
        return "-"
    if plan.assumptions.relative:
        return f"{100 * effect / plan.assumptions.unit_of_effect:+.3g} %"
    return f"{effect:+.3g}"


def _advice(plan: Plan, best: PlannedTest) -> str:
    total, time = plan.arms(best.units)[2], _time(plan, best.units)
    end = f"{total:,} units in all" + (f", {time}" if time is not None else "")
    if best.test.engine == "fixed":
        return f"With goal.engine `fixed`: one look, at {end}."
    if best.test.engine == "group_sequential":
        return f"With goal.engine `group_sequential`: {best.test.label.partition(', ')[2]}, the last at {end}."
    if best.units <= plan.earliest:
        return f"The sequential test has the power as soon as anything is decided, at {end}."
    return (
        f"The sequential test is narrowest there; for power {plan.assumptions.power:g} it may have to go on to {end}."
    )


def _document(plan: Plan, pictures: Mapping[str, Path]) -> dict[str, Any]:
    assumed, best = plan.assumptions, plan.recommended
    return {
        "assumptions": {
            "metric": assumed.metric,
            "kind": assumed.kind,
            "baseline": assumed.baseline,
            "effect": _number(assumed.effect),
            "relative": assumed.relative,
            "variance": assumed.variance,
            "alpha": assumed.alpha,
            "alpha_per_challenger": _number(assumed.level),
            "power": assumed.power,
            "shares": [_number(share) for share in assumed.shares],
            "units_per_day": _number(assumed.units_per_day),
            "minimum_units": assumed.minimum_units,
            "minimum_days": assumed.minimum_days,
            "waiting_days": assumed.waiting_days,
        },
        "earliest_units": plan.earliest,
        "compared_at_units": plan.size,
        "tests": [_test(plan, row) for row in plan.tests],
        "recommended": {"engine": best.test.engine, "planned_units": best.planned_units},
        "power_curves": [
            {"engine": curve.engine, "effects": _numbers(curve.x), "power": _numbers(curve.y)}
            for curve in plan.power_curves()
        ],
        "detectable_curves": [
            {
                "engine": curve.engine,
                "units": _numbers(curve.x),
                "days": [_number(plan.days(float(units))) for units in curve.x],
                "effects": _numbers(curve.y),
            }
            for curve in plan.detectable_curves()
        ],
        "notes": list(assumed.notes),
        "pictures": {form: str(path) for form, path in pictures.items()},
    }


def _test(plan: Plan, row: PlannedTest) -> dict[str, Any]:
    control, challenger, total = plan.arms(row.units)
    return {
        "engine": row.test.engine,
        "label": row.test.label,
        "units": row.units,
        "units_control": control,
        "units_challenger": challenger,
        "units_total": total,
        "days": _number(plan.days(row.units)),
        "expected_units": _number(row.expected_units),
        "expected_days": _number(plan.days(row.expected_units)),
        "expected_units_without_effect": _number(row.expected_units_null),
        "expected_days_without_effect": _number(plan.days(row.expected_units_null)),
        "detectable_effect": _number(row.detectable),
        "planned_units": row.planned_units,
    }


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float | None) -> float | None:
    """Six digits: more would be those of the machine. No -0."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}") + 0.0
