"""What a plan assumes: the effect looked for, how units vary, how many come, and what the specification asks for.

Owns the joining of options and specification, and the refusal of what cannot be planned for. Must not know sizes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splitgauge.cli.documents import read_documents
from splitgauge.cli.plan_options import KINDS, Options
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.experiment import DAY_S, ExperimentSpecification, Minimum
from splitgauge.schemas.goal import GroupSequential

__all__ = ["Assumptions", "assume", "read_split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What a plan stands on, checked.

    Attributes:
        effect: challenger minus control, metric units, never 0.
        relative: whether it was given, and is to be shown, as a fraction of the baseline.
        variance: of one unit, metric units squared; None for a proportion, whose rates say it.
        shares: of the experiment's traffic, control first; all above 0, together 1.
        units_per_day: new units that come into the experiment; None: unknown.
        minimum_units: in each arm before anything is decided. minimum_days: the same.
        waiting_days: after a unit's first exposure, until it is counted (attribution window).
        engine: that the specification decides by. looks: of the group-sequential test.
        notes: what a reader of the plan has to know of the specification.
    """

    metric: str
    kind: str
    baseline: float | None
    effect: float
    relative: bool = False
    variance: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    shares: tuple[float, ...] = (0.5, 0.5)
    units_per_day: float | None = None
    minimum_units: int = Minimum().units
    minimum_days: float = Minimum().duration_s / DAY_S
    waiting_days: float = 0.0
    engine: str = "asymptotic"
    looks: GroupSequential = field(default_factory=GroupSequential)
    notes: tuple[str, ...] = ()

    @property
    def challengers(self) -> int:
        """How many share the error rate."""
        return len(self.shares) - 1

    @property
    def level(self) -> float:
        """Error rate of one comparison."""
        return self.alpha / self.challengers

    @property
    def pair_share(self) -> float:
        """Part of the experiment's units that control and the smallest challenger get."""
        return self.shares[0] + min(self.shares[1:])

    @property
    def challenger_share(self) -> float:
        """The smallest challenger's part of that pair."""
        return min(self.shares[1:]) / self.pair_share

    @property
    def unit_of_effect(self) -> float:
        """What an effect of 1 is shown in, metric units."""
        return abs(self.baseline) if self.relative and self.baseline is not None else 1.0


def assume(options: Options, file: Path | None) -> Assumptions:
    """Options over the file over the defaults. Raises: ContractError for what is missing, out of range or at odds."""
    specification = _specification(file) if file is not None else None
    kind = _kind(options, specification)
    relative = options.relative
    effect = options.effect
    if specification is not None and effect is None:
        effect, relative = specification.goal.minimum_detectable_effect, specification.goal.effect == "relative"
    if effect is None:
        raise _missing("--effect", "the smallest effect worth finding", file, "goal.minimum_detectable_effect")
    baseline = _baseline(options, kind, relative=relative)
    if specification is not None:
        down = specification.all_metrics[specification.goal.metric].direction == "down"
        effect = -abs(effect) if down else abs(effect)
    made = Assumptions(
        metric=specification.goal.metric if specification is not None else kind,
        kind=kind,
        baseline=baseline,
        effect=_effect(effect * abs(baseline) if relative and baseline is not None else effect, kind, baseline),
        relative=relative,
        variance=_variance(options, kind),
        alpha=_between("--alpha", options.alpha, specification.alpha if specification is not None else 0.05),
        power=_between("--power", options.power, specification.power if specification is not None else 0.8),
        shares=_shares(options, specification),
        units_per_day=_rate(options, specification),
        **_asked_for(options, specification),
    )
    if made.power <= made.level / 2:
        raise ContractError(
            f"a power of {made.power:g} is what chance alone gives", where="--power", remedy="Ask for 0.8, say"
        )
    return made


def read_split(text: str) -> tuple[float, ...]:
    """Weights of control and each challenger as shares, from 80/20. Raises: ContractError.

    >>> read_split("80/10/10")
    (0.8, 0.1, 0.1)
    """
    try:
        weights = [float(part) for part in text.split("/")]
    except ValueError as exc:
        raise ContractError(f"{text!r} is no split", where="--split", remedy="Write weights like 80/20") from exc
    if len(weights) < 2 or not all(0 < weight < float("inf") for weight in weights):
        raise ContractError(
            f"{text!r} is no split of control and challengers",
            where="--split",
            remedy="Write a weight above 0 for control and for each challenger, like 80/20 or 60/20/20",
        )
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def _specification(file: Path) -> ExperimentSpecification:
    found = [
        document.definition
        for document in read_documents(file)
        if isinstance(document.definition, ExperimentSpecification)
    ]
    if len(found) != 1:
        raise ContractError(
            f"the file defines {len(found)} experiments" if found else "the file defines no experiment",
            where=str(file),
            remedy="Name a file with one document `kind: experiment`",
        )
    return found[0]


def _kind(options: Options, specification: ExperimentSpecification | None) -> str:
    if options.metric_kind is None:
        if specification is None:
            raise _missing("--metric-kind", f"what is measured ({', '.join(KINDS)})", None, "")
        return specification.all_metrics[specification.goal.metric].kind
    if options.metric_kind not in KINDS:
        raise ContractError(
            f"{options.metric_kind!r} is no kind of metric",
            where="--metric-kind",
            remedy=f"Give one of {', '.join(KINDS)}",
        )
    return options.metric_kind


def _baseline(options: Options, kind: str, *, relative: bool) -> float | None:
    baseline = options.baseline
    if baseline is None:
        if kind == "proportion" or relative:
            raise _missing(
                "--baseline", f"control's {'rate' if kind == 'proportion' else 'mean'} as it is today", None, ""
            )
        return None
    if kind == "proportion" and not 0 < baseline < 1:
        raise ContractError(
            f"{baseline:g} is no rate that can move either way",
            where="--baseline",
            remedy="Give control's rate between 0 and 1, without these: 0.9 for 90 %",
        )
    if relative and not 0 < abs(baseline) < float("inf"):
        raise ContractError(
            f"an effect relative to {baseline:g} is undefined",
            where="--baseline",
            remedy="Give a baseline other than 0, or the effect in metric units without --relative",
        )
    return baseline


def _effect(effect: float, kind: str, baseline: float | None) -> float:
    if not 0 < abs(effect) < float("inf"):
        raise ContractError(
            f"no test finds an effect of {effect:g}",
            where="--effect",
            remedy="Give the smallest difference worth finding, other than 0",
        )
    if kind == "proportion" and baseline is not None and not -1e-12 <= baseline + effect <= 1 + 1e-12:
        raise ContractError(
            f"{baseline:g} and an effect of {effect:+g} make {baseline + effect:g}, which is no rate",
            where="--effect",
            remedy=f"Give an effect between {-baseline:g} and {1 - baseline:g}, or a relative one with --relative",
        )
    return effect


def _variance(options: Options, kind: str) -> float | None:
    if kind == "proportion":
        if options.variance is not None:
            raise ContractError(
                "the rates of a proportion say its variance",
                where="--variance",
                remedy="Leave it out; where a unit has several requests, give --metric-kind ratio and the variance of "
                "one unit",
            )
        return None
    if options.variance is None:
        raise _missing("--variance", f"the variance of one unit's {kind}", None, "")
    if not 0 < options.variance < float("inf"):
        raise ContractError(
            f"{options.variance:g} is no variance to plan with",
            where="--variance",
            remedy="Give the square of one unit's standard deviation, above 0",
        )
    return options.variance


def _between(where: str, given: float | None, default: float) -> float:
    value = default if given is None else given
    if not 0 < value < (0.5 if where == "--alpha" else 1):
        limit = "0.5" if where == "--alpha" else "1"
        raise ContractError(
            f"{value:g} is out of range", where=where, remedy=f"Give a number between 0 and {limit}, without these"
        )
    return value


def _shares(options: Options, specification: ExperimentSpecification | None) -> tuple[float, ...]:
    count = options.challengers
    if count is not None and not 1 <= count <= 19:
        raise ContractError(f"{count} challengers", where="--challengers", remedy="Give 1 to 19")
    if options.split is not None:
        shares = read_split(options.split)
        if count is not None and count != len(shares) - 1:
            raise ContractError(
                f"{options.split} has {len(shares) - 1} challenger(s), and --challengers says {count}",
                where="--split",
                remedy="Write a weight for each challenger, like 60/20/20, or leave --challengers out",
            )
        return shares
    if specification is None or count is not None:
        return tuple([1 / ((count or 1) + 1)] * ((count or 1) + 1))
    weights = specification.weights
    served = [weights[specification.control_name], *(weights[name] for name in specification.challenger_names)]
    running = [served[0], *(weight for weight in served[1:] if weight > 0)]
    if not served[0] > 0 or len(running) < 2:
        raise ContractError(
            "control or every challenger has weight 0: nothing is compared",
            where="variants",
            remedy="Give --split with the weights that it will run with, like 80/20",
        )
    return tuple(weight / sum(running) for weight in running)


def _rate(options: Options, specification: ExperimentSpecification | None) -> float | None:
    if options.units_per_day is not None and options.requests_per_day is not None:
        raise ContractError(
            "--units-per-day and --requests-per-day say the same",
            where="--requests-per-day",
            remedy="Give one of them",
        )
    if options.requests_per_unit is not None and options.requests_per_day is None:
        raise ContractError(
            "there are no requests to divide", where="--requests-per-unit", remedy="Give --requests-per-day, too"
        )
    if options.units_per_day is not None:
        rate, where = options.units_per_day, "--units-per-day"
    elif options.requests_per_day is not None:
        rate, where = options.requests_per_day, "--requests-per-day"
        per_unit = 1.0 if options.requests_per_unit is None else options.requests_per_unit
        if not 0 < per_unit < float("inf"):
            raise ContractError(
                f"{per_unit:g} requests a unit", where="--requests-per-unit", remedy="Give a number above 0"
            )
        rate /= per_unit
    else:
        return None
    if not 0 < rate < float("inf"):
        raise ContractError(f"with {rate:g} a day nothing ends", where=where, remedy="Give a number above 0")
    return rate * _let_in(specification)


def _let_in(specification: ExperimentSpecification | None) -> float:
    """The part of the base workload's units that the experiment gets, at full coverage."""
    if specification is None:
        return 1.0
    return (specification.traffic.end - specification.traffic.start) * (1 - specification.holdout)


def _asked_for(options: Options, specification: ExperimentSpecification | None) -> dict[str, Any]:
    if specification is None:
        return {}
    return {
        "minimum_units": specification.minimum.units,
        "minimum_days": specification.minimum.duration_s / DAY_S,
        "waiting_days": (specification.attribution_window_s or 0.0) / DAY_S,
        "engine": specification.engine_of(specification.goal.metric),
        "looks": specification.planned_looks,
        "notes": tuple(_notes(options, specification)),
    }


def _notes(options: Options, specification: ExperimentSpecification) -> Iterator[str]:
    goal = specification.all_metrics[specification.goal.metric]
    engine = specification.engine_of(goal.name)
    if options.metric_kind is None and goal.kind == "proportion" and goal.level == "request":
        yield (
            f"{goal.name} is of requests and planned with one of each unit; where units come back, give --metric-kind "
            "ratio and the --variance of one unit"
        )
    if engine in {"rare", "bayes"}:
        yield f"engine {engine} is planned like the sequential test: both look at every unit"
    if specification.guardrails:
        names = ", ".join(guardrail.metric for guardrail in specification.guardrails)
        yield f"a promotion waits until the guardrails ({names}) pass, too; they are not planned here"
    if specification.ramp is not None:
        yield "days are of full coverage; the steps of the ramp come on top"


def _missing(option: str, what: str, file: Path | None, field: str) -> ContractError:
    if file is not None:
        return ContractError(
            f"{what} is said neither by the file nor by {option}",
            where=str(file),
            remedy=f"Give {option}, or write {field}",
        )
    return ContractError(f"{what} is needed", where=option, remedy=f"Give {option}")
