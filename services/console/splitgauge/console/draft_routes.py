"""`/api/v1/ab-tests`, before an experiment starts: define it, change it, drop it."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from splitgauge.console.answers import answer
from splitgauge.console.changes import Changes
from splitgauge.console.documentation import documented
from splitgauge.console.drafts import expect_new, id_of_new, patched
from splitgauge.console.request_body import conditions_of, read_json
from splitgauge.experiments.commands import By, define_experiment, discard_experiment, find_experiment
from splitgauge.experiments.state import Registry
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.validation import validated

__all__ = ["draft_routes"]

PATH = "/api/v1/ab-tests"


def draft_routes(changes: Changes, *, ids: Callable[[], str]) -> APIRouter:
    """The routes; `ids` gives the ids of experiments that come without one."""
    router = APIRouter(tags=["ab-tests"])

    @router.post(PATH, openapi_extra=documented("Define an experiment", body=ExperimentSpecification, status=201))
    async def define(request: Request) -> Response:
        conditions = await conditions_of(request)
        specification = validated(ExperimentSpecification, await read_json(request))
        experiment_id = id_of_new(specification, ids())

        def wish(registry: Registry, by: By) -> DecisionData:
            expect_new(registry, experiment_id)
            return define_experiment(registry, experiment_id, specification, by)

        return answer(await changes.carry_out(wish, conditions, reason="defined"), created_at=PATH)

    @router.patch(
        PATH + "/{experiment_id}",
        openapi_extra=documented("Change a draft (JSON merge patch, RFC 7396)", body={"type": "object"}),
    )
    async def change(request: Request, experiment_id: str) -> Response:
        conditions = await conditions_of(request)
        patch = await read_json(request)

        def wish(registry: Registry, by: By) -> DecisionData:
            specification = patched(find_experiment(registry, experiment_id), patch)
            return define_experiment(registry, experiment_id, specification, by)

        return answer(await changes.carry_out(wish, conditions, reason="changed"))

    @router.delete(PATH + "/{experiment_id}", openapi_extra=documented("Drop a draft"))
    async def discard(request: Request, experiment_id: str) -> Response:
        conditions = await conditions_of(request)
        subject = await changes.carry_out(
            lambda registry, by: discard_experiment(registry, experiment_id, by), conditions, reason="discarded"
        )
        return answer(subject)

    return router
