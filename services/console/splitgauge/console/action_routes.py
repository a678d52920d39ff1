"""`/api/v1/ab-tests/{id}/...`: what can be done to an experiment that was defined."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from splitgauge.console.answers import answer
from splitgauge.console.change_bodies import Promotion, Reason, RollBack, Weights
from splitgauge.console.changes import Changes, Wish
from splitgauge.console.documentation import documented
from splitgauge.console.promotion import only_challenger_of, winner_of
from splitgauge.console.readings import Readings
from splitgauge.console.request_body import conditions_of, read_json, read_model
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.experiments import commands
from splitgauge.experiments.commands import By
from splitgauge.experiments.state import Registry
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.validation import validated

__all__ = ["action_routes"]

PATH = "/api/v1/ab-tests/{experiment_id}"

_PLAIN: dict[str, tuple[Callable[[Registry, str, By], DecisionData], str]] = {
    "activate": (commands.activate_experiment, "Start it: everything that runs is frozen"),
    "pause": (commands.pause_experiment, "Stop its traffic, keep its numbers"),
    "resume": (commands.resume_experiment, "Go on after a pause"),
    "complete": (commands.complete_experiment, "End it and leave the base workload as it is"),
}


def action_routes(decisions: DecisionLog, readings: Readings, changes: Changes) -> APIRouter:
    """The routes over one registry and its looks."""
    router = APIRouter(tags=["ab-tests"])
    for action, (command, summary) in _PLAIN.items():
        _add_plain(router, changes, action=action, command=command, summary=summary)
    _add_promote(router, decisions, readings, changes=changes)
    _add_roll_back(router, changes)
    _add_weights(router, changes)
    _add_recommendations(router, changes)
    return router


def _add_plain(
    router: APIRouter,
    changes: Changes,
    *,
    action: str,
    command: Callable[[Registry, str, By], DecisionData],
    summary: str,
) -> None:
    async def act(request: Request, experiment_id: str) -> Response:
        body = await read_model(request, Reason)
        return await _answer(
            request, changes, lambda registry, by: command(registry, experiment_id, by), body.reason or f"{action}d"
        )

    router.add_api_route(
        f"{PATH}/{action}",
        act,
        methods=["POST"],
        name=action,
        openapi_extra=documented(summary, body=Reason, body_required=False),
    )


def _add_promote(router: APIRouter, decisions: DecisionLog, readings: Readings, *, changes: Changes) -> None:
    summary = "Give a variant all traffic and complete; without a body: the winner of the latest accepted look"

    @router.post(PATH + "/promote", openapi_extra=documented(summary, body=Promotion, body_required=False))
    async def promote(request: Request, experiment_id: str) -> Response:
        body = await read_model(request, Promotion)

        def wish(registry: Registry, by: By) -> DecisionData:
            state = commands.find_experiment(registry, experiment_id)
            commands.expect_legal_now(state, "promote", by)
            look = readings.last_look(experiment_id)
            variant = body.variant or winner_of(state, look, decisions.history)
            return commands.promote_variant(registry, experiment_id, variant, by)

        said = f"promoted {body.variant}" if body.variant else "promoted as the winner of the latest analysis"
        return await _answer(request, changes, wish, body.reason or said)


def _add_roll_back(router: APIRouter, changes: Changes) -> None:
    summary = "Give a challenger's traffic to control; left out: the only challenger"

    @router.post(PATH + "/roll-back", openapi_extra=documented(summary, body=RollBack, body_required=False))
    async def roll_back(request: Request, experiment_id: str) -> Response:
        body = await read_model(request, RollBack)

        def wish(registry: Registry, by: By) -> DecisionData:
            state = commands.find_experiment(registry, experiment_id)
            commands.expect_legal_now(state, "roll_back", by)
            variant = body.variant or only_challenger_of(state)
            return commands.roll_back_variant(registry, experiment_id, variant, by)

        return await _answer(request, changes, wish, body.reason or "rolled back")


def _add_weights(router: APIRouter, changes: Changes) -> None:
    schema = {
        "type": "object",
        "additionalProperties": {"type": "number", "minimum": 0},
        "examples": [{"control": 50, "challenger": 50}],
    }

    @router.put(PATH + "/weights", openapi_extra=documented("Re-weight: the fewest units move", body=schema))
    async def reweight(request: Request, experiment_id: str) -> Response:
        weights = validated(Weights, await read_json(request))
        return await _answer(
            request,
            changes,
            lambda registry, by: commands.reweight_experiment(registry, experiment_id, weights, by),
            "reweighted",
        )


def _add_recommendations(router: APIRouter, changes: Changes) -> None:
    path = PATH + "/recommendations/{recommendation_id}"

    @router.post(
        path + "/confirm", openapi_extra=documented("Carry out what is recommended", body=Reason, body_required=False)
    )
    async def confirm(request: Request, experiment_id: str, recommendation_id: str) -> Response:
        body = await read_model(request, Reason)
        return await _answer(
            request,
            changes,
            lambda registry, by: commands.confirm_recommendation(registry, experiment_id, recommendation_id, by),
            body.reason or "confirmed",
        )

    @router.post(
        path + "/dismiss", openapi_extra=documented("Turn down what is recommended", body=Reason, body_required=False)
    )
    async def dismiss(request: Request, experiment_id: str, recommendation_id: str) -> Response:
        body = await read_model(request, Reason)
        return await _answer(
            request,
            changes,
            lambda registry, by: commands.dismiss_recommendation(registry, experiment_id, recommendation_id, by),
            body.reason or "dismissed",
        )


async def _answer(request: Request, changes: Changes, wish: Wish, reason: str) -> Response:
    return answer(await changes.carry_out(wish, await conditions_of(request), reason=reason))
