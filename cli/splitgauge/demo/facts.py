"""What came of the run: as Splitgauge says over HTTP, as it stands in the log, and as the application saw it."""

import asyncio
from collections import Counter
from time import monotonic
from typing import Any

from splitgauge.demo.client import Json
from splitgauge.demo.evidence import AppliedWatch, Written, newest_observation_us, until_written
from splitgauge.demo.experiments import EXPERIMENTS, MINIMUM_DURATION_S, MINIMUM_UNITS, DemoExperiment
from splitgauge.demo.observer import automatic
from splitgauge.demo.stage import Stage
from splitgauge.demo.summary import Decided, ExperimentSummary, Quality, Replayed, Summary, Traffic
from splitgauge.demo.traffic import Answer, Tally
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas import instants
from splitgauge.schemas.errors import UpstreamError

__all__ = ["gather"]

_PATIENCE_S = 60.0
"""For what is on its way still: the last outcomes into the log, the log into the archive."""
_ARCHIVE_POLL_S = 0.2


async def gather(running: Stage, tally: Tally, *, applied: AppliedWatch, seed: int, started: float) -> Summary:
    """Everything, once all traffic is over. `started`: of the demo, on the monotonic clock."""
    written = await until_written(running.log, requests=tally.sent, reports=tally.reports, timeout_s=_PATIENCE_S)
    replayed = await _replay(running, running.log_source)
    archived: Replayed | None = None
    if running.archive_source is not None:
        await _until_archived(running.log, running.archive_source)
        archived = await _replay(running, running.archive_source)
    experiments = [
        await _experiment(experiment, running, tally=tally, written=written, applied=applied)
        for experiment in EXPERIMENTS
    ]
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
        stage=running.name,
        routers=len(running.routers),
        seed=seed,
        seconds=monotonic() - started,
        experiments=tuple(experiments),
        traffic=traffic,
        written=written,
        replayed=replayed,
        archived=archived,
    )


async def _until_archived(log: EventLog, address: str) -> None:
    """Wait until the archive has what stands in the log now. Raises: UpstreamError where it does not come."""
    from splitgauge.eventlog.postgres_archive import PostgresArchive
    from splitgauge.eventlog.postgres_archive_writer import ARCHIVED

    ends = {(topic, at): bounds.end for topic in ARCHIVED for at, bounds in (await log.bounds(topic)).items()}
    archive = await PostgresArchive.open(address)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            for (topic, at), end in ends.items():
                while (await archive.bounds(topic))[at].end < end:  # noqa: ASYNC110 - only asking shows it: no event
                    await asyncio.sleep(_ARCHIVE_POLL_S)
    except TimeoutError as exc:
        raise UpstreamError(f"has not what the log has {_PATIENCE_S:g} s later", where="archive") from exc
    finally:
        await archive.close()


async def _experiment(
    experiment: DemoExperiment, running: Stage, *, tally: Tally, written: Written, applied: AppliedWatch
) -> ExperimentSummary:
    decisions = await running.console.decisions(experiment.id)
    looks = await running.console.analyses(experiment.id)
    activation = _activation(decisions)
    started_us = instants.from_text(activation["time"])
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
            experiment, decision, look, log=running.log, started_us=started_us, applied_us=applied_us
        )
    answers = [answer for answer in tally.answers if answer.workload == experiment.base]
    before = [answer for answer in answers if answer.sent_us <= applied_us]
    after = [answer for answer in answers if answer.sent_us > applied_us]
    verdict = look["verdict"]
    return ExperimentSummary(
        experiment=experiment,
        verdict=verdict["kind"],
        step=verdict["step"],
        winner=verdict["winner"],
        units={name: numbers["units"] for name, numbers in look["variants"].items()},
        requests={name: numbers["requests"] for name, numbers in look["variants"].items()},
        goal_decidable=_goal_decidable(look, started_us=started_us),
        decided=decided,
        outside=written.outside(
            experiment.base, after=activation["offset"], upto=None if decision is None else decision["offset"]
        ),
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
    applied_us = applied.applied_us(decision["offset"])
    if applied_us is None:
        raise UpstreamError("its decision was not applied by every router", where=experiment.id)
    return applied_us


def _activation(decisions: list[Json]) -> Json:
    return next(item for item in decisions if item["accepted"] and item["action"] == "activate")


def _goal_decidable(look: dict[str, Any], *, started_us: int) -> bool:
    enough = all(numbers["units"] >= MINIMUM_UNITS for numbers in look["variants"].values())
    return enough and instants.from_text(look["looked_at"]) - started_us >= MINIMUM_DURATION_S * instants.SECOND_US


def _quality(answers: list[Answer]) -> Quality:
    judged = [answer.correct for answer in answers if answer.status < 400]
    return Quality(success=len(judged) / max(1, len(answers)), correct=sum(judged) / max(1, len(judged)))


async def _replay(running: Stage, source: str) -> Replayed:
    began = monotonic()
    report = await running.replay(source)
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
