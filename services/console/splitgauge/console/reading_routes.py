"""`/api/v1/ab-tests`, reading: the list, one experiment, its results, its decisions, its looks."""

from typing import Any, get_args

from fastapi import APIRouter, Request, Response

from splitgauge.console.answers import answer, json_response
from splitgauge.console.documentation import documented
from splitgauge.console.paging import PAGE_PARAMETERS, page_json
from splitgauge.console.readings import Readings
from splitgauge.console.representation import decision_json, experiment_json
from splitgauge.console.results import results_json
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.port import EventLog
from splitgauge.experiments.commands import find_experiment
from splitgauge.experiments.state import ExperimentState, Registry, Status
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import ContractError, LogDamagedError
from splitgauge.schemas.topics import ANALYSES

__all__ = ["reading_routes"]

PATH = "/api/v1/ab-tests"
_STATUSES: tuple[str, ...] = get_args(Status)
_STATUS: dict[str, Any] = {
    "name": "status",
    "in": "query",
    "description": "only those in this state; discarded drafts are listed only when asked for",
    "schema": {"type": "string", "enum": list(_STATUSES)},
}


def reading_routes(decisions: DecisionLog, readings: Readings, log: EventLog) -> APIRouter:
    """The routes over one registry, its numbers, and the log for what is too much to keep."""
    router = APIRouter(tags=["ab-tests"])

    @router.get(PATH, openapi_extra=documented("List the experiments", parameters=[*PAGE_PARAMETERS, _STATUS]))
    async def list_experiments(request: Request) -> Response:
        return json_response(page_json(request, _listed(decisions.registry, request), experiment_json))

    @router.get(PATH + "/{experiment_id}", openapi_extra=documented("Read an experiment"))
    async def read(experiment_id: str) -> Response:
        return answer(find_experiment(decisions.registry, experiment_id))

    @router.get(PATH + "/{experiment_id}/results", openapi_extra=documented("Results per variant, and what follows"))
    async def results(experiment_id: str) -> Response:
        state = find_experiment(decisions.registry, experiment_id)
        shown = results_json(state, readings.window(experiment_id), readings.last_look(experiment_id))
        return json_response(shown, headers={"ETag": f'"{state.revision}"'})

    @router.get(
        PATH + "/{experiment_id}/decisions",
        openapi_extra=documented("Every decision about it, those that lost included", parameters=PAGE_PARAMETERS),
    )
    async def timeline(request: Request, experiment_id: str) -> Response:
        find_experiment(decisions.registry, experiment_id)
        mine = [
            judged
            for judged in decisions.history.judged
            if judged.decision is not None
            and (judged.decision.subject.kind, judged.decision.subject.id) == ("experiment", experiment_id)
        ]
        return json_response(page_json(request, mine, decision_json))

    @router.get(
        PATH + "/{experiment_id}/analyses",
        openapi_extra=documented("Every accepted look, oldest first", parameters=PAGE_PARAMETERS),
    )
    async def looks(request: Request, experiment_id: str) -> Response:
        find_experiment(decisions.registry, experiment_id)
        places = readings.places_of_looks(experiment_id)
        page = page_json(request, places.offsets, int)
        page["items"] = [await _look(log, places.partition, offset) for offset in page["items"]]
        return json_response(page)

    return router


def _listed(registry: Registry, request: Request) -> list[ExperimentState]:
    wanted = request.query_params.get("status")
    if wanted is None:
        return [state for state in registry.experiments.values() if state.status != "discarded"]
    if wanted not in _STATUSES:
        raise ContractError(
            f"{wanted!r} is no state of an experiment", where="query status", remedy=f"One of {', '.join(_STATUSES)}"
        )
    return [state for state in registry.experiments.values() if state.status == wanted]


async def _look(log: EventLog, partition: int, offset: int) -> dict[str, Any]:
    records = await log.read(ANALYSES.name, partition, offset, limit=1)
    if not records:
        raise LogDamagedError(
            "an analysis that was read is not there any more",
            where=f"{ANALYSES.name}/{partition}/{offset}",
            remedy="Restore the topic from the archive, and start the console again",
        )
    event = parse(records[0].value)
    return {"offset": offset, "id": event.id, "time": event.time, **event.data}
