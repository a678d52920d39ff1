"""Experiments and windows for tests of looks: decisions through the real history, sums from units written out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from splitgauge.analyzer import Look, decisions_read, look
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import EventLog, Record
from splitgauge.experiments import DecisionHistory, ExperimentState, Registry
from splitgauge.experiments.commands import By, activate_experiment, define_experiment, define_workload
from splitgauge.experiments.looks import AcceptedLook, Looks
from splitgauge.schemas import instants
from splitgauge.schemas.codec import encode
from splitgauge.schemas.decision import Actor, DecisionData
from splitgauge.schemas.envelope import SOURCES, wrap
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.tables import SHARE_SCALE, Cell, MetricSums, WindowData
from splitgauge.schemas.topics import WINDOWS
from splitgauge.schemas.workload import Workload

START_US = instants.from_text("2026-11-22T10:00:00Z")
HOUR_S = 3600.0
EXPERIMENT = "e1"
PERSON = By(Actor(kind="user", name="ada"), "a test")

CORRECT = {"name": "correct", "kind": "proportion", "scale": 1}
"""A declared metric: one answer a unit in most stories."""

Units = Sequence[tuple[int, int]]
"""(m, d) of each unit, m in fixed point."""


def at(seconds: float) -> str:
    """A moment after the experiment's activation."""
    return instants.to_text(START_US + round(seconds * instants.SECOND_US))


def rate(units: int, failures: int, *, requests: int = 1) -> Units:
    """Units with `requests` each; the first `failures` of them fail once."""
    return [(requests - (unit < failures), requests) for unit in range(units)]


def mean(units: int, value: float, spread: float, *, scale: int = 1_000_000) -> Units:
    """One value each, half a spread above, half below."""
    return [(round((value + (spread if unit % 2 else -spread)) * scale), 1) for unit in range(units)]


def sums(units: Units) -> MetricSums:
    """Exact sums, the slow and obvious way."""
    return MetricSums(
        m=sum(m for m, _ in units),
        d=sum(d for _, d in units),
        mm=sum(m * m for m, _ in units),
        dd=sum(d * d for _, d in units),
        md=sum(m * d for m, d in units),
        present=sum(d > 0 for _, d in units),
        hits=sum(m > 0 for m, _ in units),
        misses=sum(m < d for m, d in units),
        shares=sum((2 * m * SHARE_SCALE + d) // (2 * d) for m, d in units if d),
    )


def with_covariate(one: MetricSums, units: Sequence[tuple[int, int, int]]) -> MetricSums:
    """The same sums with those of a covariate: (m, d, x) of each unit, x in fixed point."""
    return one.model_copy(
        update={
            "x": sum(x for *_, x in units),
            "xx": sum(x * x for *_, x in units),
            "mx": sum(m * x for m, _, x in units),
            "dx": sum(d * x for _, d, x in units),
        }
    )


def cell(units: int, *, requests: int | None = None, crossovers: int = 0, **metrics: Units) -> Cell:
    """A cohort with the given metrics."""
    return cohort(units, metrics, requests=requests, crossovers=crossovers)


def cohort(
    units: int,
    metrics: Mapping[str, Units],
    *,
    requests: int | None = None,
    missing_units: int = 0,
    crossovers: int = 0,
) -> Cell:
    """The same, with the metrics in a mapping."""
    return Cell(
        exposed=units + crossovers,
        units=units,
        crossovers=crossovers,
        requests=units if requests is None else requests,
        missing=missing_units,
        missing_units=missing_units,
        metrics={name: sums(values) for name, values in metrics.items()},
    )


def window(
    *epochs: Mapping[str, Cell], as_of_s: float = 48 * HOUR_S, positions: Mapping[int, int] | None = None
) -> WindowData:
    """What stage 2 would publish; epochs count from 1."""
    upto = {0: 1000} if positions is None else dict(positions)
    return WindowData(
        experiment_id=EXPERIMENT,
        positions=upto,
        decisions_offset=0,
        as_of=at(as_of_s),
        digests=dict.fromkeys(upto, "00" * 32),
        epochs={str(number): dict(cells) for number, cells in enumerate(epochs, start=1)},
    )


def specification(**changes: Any) -> ExperimentSpecification:
    """Control and challenger, half and half, `correct` as the goal, `success` as the only guardrail."""
    names = changes.pop("challengers", ("challenger",))
    weights = changes.pop("weights", [1.0] * (1 + len(names)))
    fields: dict[str, Any] = {
        "name": "a story",
        "base_workload_id": 1,
        "variants": [
            {"name": name, "workload_id": 1 if name == "control" else 2, "weight": weight}
            for name, weight in zip(("control", *names), weights, strict=True)
        ],
        "control": "control",
        "metrics": [CORRECT],
        "goal": {"metric": "correct"},
        "guardrails": [{"metric": "success", "margin": 0.02}],
        "policy": {"promote": "act"},
    }
    return ExperimentSpecification.model_validate({**fields, **changes})


def workload(number: int) -> Workload:
    return Workload.model_validate({"id": number, "provider": "webhook", "url": f"http://endpoint-{number}.test/"})


class Story:
    """One active experiment, its decisions, and the looks taken at it."""

    def __init__(self, **changes: Any) -> None:
        self.history = DecisionHistory()
        self.looks = Looks()
        self.decide(lambda registry: define_workload(registry, workload(1), PERSON))
        self.decide(lambda registry: define_workload(registry, workload(2), PERSON))
        self.decide(lambda registry: define_experiment(registry, EXPERIMENT, specification(**changes), PERSON))
        self.decide(lambda registry: activate_experiment(registry, EXPERIMENT, PERSON))

    def decide(self, command: Callable[[Registry], DecisionData], *, at_s: float = 0.0) -> None:
        """Carry out a command; it has to be legal."""
        event = decision_event(command(self.history.newest), time=at(at_s))
        [judged] = self.history.extend([(self.history.end, event)])
        assert judged.accepted, judged.refusal

    @property
    def state(self) -> ExperimentState:
        return self.history.newest.experiments[EXPERIMENT]

    def look(self, seen: WindowData, *, at_s: float = 48 * HOUR_S, previous: AcceptedLook | None = None) -> Look:
        """Look, without logging it."""
        decisions = decisions_read(self.history, self.history.end)
        return look(self.state, seen, looked_at=at(at_s), previous=previous, decisions=decisions)

    def accepted(self, seen: WindowData, *, at_s: float = 48 * HOUR_S) -> AcceptedLook:
        """Look, log it, and read it back."""
        taken = self.look(seen, at_s=at_s, previous=self.looks.last(EXPERIMENT))
        found = self.looks.take(0, analysis_event(taken))
        assert found is not None
        return found


def decision_event(decision: DecisionData, *, time: str, id: str = "d") -> bytes:  # noqa: A002 - CloudEvents calls it so
    return wrap(
        encode(decision.model_dump(mode="json", exclude_none=True)),
        type="splitgauge.decision.v1",
        id=id,
        source=SOURCES["console"],
        time=time,
    )


def analysis_event(taken: Look) -> bytes:
    return wrap(
        taken.value,
        type="splitgauge.analysis.v1",
        id=taken.id,
        source=SOURCES["analyzer"],
        time=taken.data.looked_at,
    )


def better(upto: int = 1000) -> WindowData:
    """Of which the challenger is to be promoted."""
    return window(
        {
            "control": cell(3000, success=rate(3000, 30), correct=rate(3000, 900)),
            "challenger": cell(3000, success=rate(3000, 30), correct=rate(3000, 300)),
        },
        positions={0: upto},
    )


async def begin(log: EventLog, **changes: object) -> DecisionLog:
    """An active experiment in the log."""
    decisions = DecisionLog(log, source=SOURCES["console"], instance="c1")
    commands: list[Callable[[], DecisionData]] = [
        lambda: define_workload(decisions.registry, workload(1), PERSON),
        lambda: define_workload(decisions.registry, workload(2), PERSON),
        lambda: define_experiment(decisions.registry, EXPERIMENT, specification(**changes), PERSON),
        lambda: activate_experiment(decisions.registry, EXPERIMENT, PERSON),
    ]
    for number, command in enumerate(commands):
        assert (await decisions.propose(command(), event_id=f"p{number}", time_us=START_US)).accepted
    return decisions


async def publish(log: EventLog, data: WindowData) -> None:
    """As stage 2 does."""
    event = wrap(
        encode(data.model_dump(mode="json")),
        type="splitgauge.window.v1",
        id=f"w{data.positions}",
        source=SOURCES["aggregator"],
        time=at(0),
    )
    await log.append(WINDOWS.name, [Record(event, EXPERIMENT.encode())])
