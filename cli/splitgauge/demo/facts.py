"""What came of the run: as Splitgauge says over HTTP, as it stands in the log, and as the application saw it."""

from collections import Counter
from time import monotonic
from typing import Any

from splitgauge.demo.client import Client, Json
from splitgauge.demo.evidence import AppliedWatch, count_written, newest_observation_us
from splitgauge.demo.experiments import EXPERIMENTS, MINIMUM_DURATION_S, MINIMUM_UNITS, DemoExperiment
from splitgauge.demo.observer import automatic
from splitgauge.demo.stage import Stage
from splitgauge.demo.summary import Decided, ExperimentSummary, Quality, Replayed, Summary, Traffic
from splitgauge.demo.traffic import Answer, Tally
from splitgauge.eventlog.port import EventLog
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas import instants
from splitgauge.schemas.errors import UpstreamError

__all__ = ["gather"]


async def gather(running: Stage, tally: Tally, *, applied: AppliedWatch, seed: int, started: float) -> Summary:
    """Everything, once all traffic is over. `started`: of the demo, on the monotonic clock."""
    replayed = await _replay(running)
    log = SqliteEventLog.open_readonly(running.data_folder)
    try:
        experiments = [
            await _experiment(experiment, running.client, log, tally=tally, applied=applied)
            for experiment in EXPERIMENTS
        ]
        written = await count_written(log)
    finally:
        await log.close()
    traffic = Traffic(
        requests=tally.sent,
        by_event=tally.by_event,
        users=len(tally.users),
        failed=tally.failed,
        reports=tally.reports,
        late=tally.late,
        twice=tally.twice,
        out_of_order=tally.out_of_order,
    )
    return Summary(
        seed=seed,
        seconds=monotonic() - started,
        experiments=tuple(experiments),
        traffic=traffic,
        written=written,
        replayed=replayed,
    )


async def _experiment(
    experiment: DemoExperiment, client: Client, log: EventLog, *, tally: Tally, applied: AppliedWatch
) -> ExperimentSummary:
    decisions = await client.decisions(experiment.id)
    looks = await client.analyses(experiment.id)
    if not looks:
        raise UpstreamError("was never looked at", where=experiment.id)
    decision = automatic(decisions)
    look = looks[-1]
    decided: Decided | None = None
    applied_us = 0
    if decision is not None:
        look = next(item for item in looks if item["id"] == decision["evidence"]["id"])
        applied_us = _applied_us(experiment, decision, applied)
        decided = await _decided(
            experiment, decision, look, log=log, started_us=_activated_us(decisions), applied_us=applied_us
        )
    answers = [answer for answer in tally.answers if answer.workload == experiment.base]
    before = [answer for answer in answers if answer.sent_at * instants.SECOND_US <= applied_us]
    after = [answer for answer in answers if answer.sent_at * instants.SECOND_US > applied_us]
    verdict = look["verdict"]
    return ExperimentSummary(
        experiment=experiment,
        verdict=verdict["kind"],
        step=verdict["step"],
        winner=verdict["winner"],
        units={name: numbers["units"] for name, numbers in look["variants"].items()},
        requests={name: numbers["requests"] for name, numbers in look["variants"].items()},
        goal_decidable=_goal_decidable(look, started_us=_activated_us(decisions)),
        decided=decided,
        served_now=Counter(answer.model for answer in after),
        before=_quality(before),
        after=_quality(after),
    )


async def _decided(
    experiment: DemoExperiment, decision: Json, look: Json, *, log: EventLog, started_us: int, applied_us: int
) -> Decided:
    positions = {int(partition): upto for partition, upto in look["positions"].items()}
    newest_us = await newest_observation_us(log, experiment.id, positions)
    if newest_us is None:
        raise UpstreamError("was decided on a look that stands on no observation", where=experiment.id)
    return Decided(
        action=decision["action"],
        variant=decision.get("variant"),
        reason=decision["reason"],
        after_s=(instants.from_text(decision["time"]) - started_us) / instants.SECOND_US,
        seconds_to_applied=(applied_us - newest_us) / instants.SECOND_US,
    )


def _applied_us(experiment: DemoExperiment, decision: Json, applied: AppliedWatch) -> int:
    seen = applied.applied(decision["offset"])
    if seen is None:
        raise UpstreamError("its decision was never applied by the router", where=experiment.id)
    return seen.at_us


def _activated_us(decisions: list[Json]) -> int:
    return next(
        instants.from_text(item["time"]) for item in decisions if item["accepted"] and item["action"] == "activate"
    )


def _goal_decidable(look: dict[str, Any], *, started_us: int) -> bool:
    enough = all(numbers["units"] >= MINIMUM_UNITS for numbers in look["variants"].values())
    return enough and instants.from_text(look["looked_at"]) - started_us >= MINIMUM_DURATION_S * instants.SECOND_US


def _quality(answers: list[Answer]) -> Quality:
    judged = [answer.correct for answer in answers if answer.status < 400]
    return Quality(success=len(judged) / max(1, len(answers)), correct=sum(judged) / max(1, len(judged)))


async def _replay(running: Stage) -> Replayed:
    began = monotonic()
    report = await running.replay()
    return Replayed(
        events=sum(report["events"].values()),
        analyses=report["analyses"]["accepted"],
        analyses_reproduced=report["analyses"]["reproduced"] + report["analyses"]["within_1e-9"],
        decisions=report["decisions"]["accepted"],
        automatic=report["decisions"]["automatic"],
        automatic_reproduced=report["decisions"]["automatic_reproduced"],
        mismatches=report["mismatches"],
        sound=report["sound"],
        seconds=monotonic() - began,
        findings=tuple(f"{finding['where']}: {finding['message']}" for finding in report["findings"]),
    )
