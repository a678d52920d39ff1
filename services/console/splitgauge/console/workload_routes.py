"""`/api/v1/workloads`: define, read, redefine, retire."""

from fastapi import APIRouter, Request, Response

from splitgauge.console.answers import answer, json_response
from splitgauge.console.changes import Changes
from splitgauge.console.documentation import documented
from splitgauge.console.paging import PAGE_PARAMETERS, page_json
from splitgauge.console.representation import workload_json
from splitgauge.console.request_body import conditions_of, read_json
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.experiments.commands import define_workload, find_workload, redefine_workload, retire_workload
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.validation import validated
from splitgauge.schemas.workload import Workload, WorkloadId

__all__ = ["workload_routes"]

PATH = "/api/v1/workloads"


def workload_routes(decisions: DecisionLog, changes: Changes) -> APIRouter:
    """The routes over one registry."""
    router = APIRouter(tags=["workloads"])

    @router.get(PATH, openapi_extra=documented("List the workloads", parameters=PAGE_PARAMETERS))
    async def list_workloads(request: Request) -> Response:
        states = [state for state in decisions.registry.workloads.values() if not state.retired]
        return json_response(page_json(request, states, workload_json))

    @router.post(PATH, openapi_extra=documented("Define a workload", body=Workload, status=201))
    async def define(request: Request) -> Response:
        conditions = await conditions_of(request)
        workload = validated(Workload, await read_json(request))
        subject = await changes.carry_out(
            lambda registry, by: define_workload(registry, workload, by), conditions, reason="defined"
        )
        return answer(subject, created_at=PATH)

    @router.get(PATH + "/{workload_id}", openapi_extra=documented("Read a workload"))
    async def read(workload_id: str) -> Response:
        return answer(find_workload(decisions.registry, workload_id)[1])

    @router.put(
        PATH + "/{workload_id}",
        openapi_extra=documented("Define a workload anew; it serves the new definition", body=Workload),
    )
    async def redefine(request: Request, workload_id: str) -> Response:
        conditions = await conditions_of(request)
        key, state = find_workload(decisions.registry, workload_id)
        workload = _with_id(await read_json(request), key, state.workload.id)
        subject = await changes.carry_out(
            lambda registry, by: redefine_workload(registry, workload, by), conditions, reason="redefined"
        )
        return answer(subject)

    @router.delete(PATH + "/{workload_id}", openapi_extra=documented("Retire a workload: no traffic any more"))
    async def retire(request: Request, workload_id: str) -> Response:
        conditions = await conditions_of(request)
        subject = await changes.carry_out(
            lambda registry, by: retire_workload(registry, workload_id, by), conditions, reason="retired"
        )
        return answer(subject)

    return router


def _with_id(body: object, key: str, workload_id: WorkloadId) -> Workload:
    """The definition in the body; its id may be left out, and is the path's."""
    if not isinstance(body, dict):
        return validated(Workload, body)
    workload = validated(Workload, {"id": workload_id, **body})
    if workload.key != key:
        raise ContractError(
            f"the body defines workload {workload.key!r}, the path names {key!r}",
            where="/id",
            remedy="Leave the id out of the body: it cannot be changed",
        )
    return workload
