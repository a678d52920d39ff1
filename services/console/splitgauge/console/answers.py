"""Answers: JSON bodies, the revision as ETag, errors as problem details."""

from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from splitgauge.console.last_answer import LastAnswer
from splitgauge.console.representation import subject_json
from splitgauge.experiments.state import ExperimentState, WorkloadState
from splitgauge.schemas.errors import ContractError, MalformedError, SplitgaugeError, UnknownSubjectError
from splitgauge.schemas.problem import CONTENT_TYPE, problem_of
from splitgauge.schemas.validation import InvalidError

__all__ = ["answer", "json_response", "render_errors"]


def json_response(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401 - any JSON value
    """A JSON body."""
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")


def answer(subject: WorkloadState | ExperimentState, *, created_at: str | None = None) -> Response:
    """A workload or an experiment with its revision as ETag; `created_at`: the path of the collection it is new in."""
    body = subject_json(subject)
    headers = {"ETag": f'"{subject.revision}"'}
    if created_at is not None:
        headers["Location"] = f"{created_at}/{body['id']}"
    return json_response(body, status=200 if created_at is None else 201, headers=headers)


def render_errors(app: FastAPI) -> None:
    """Every error, the application's, the framework's and what nobody foresaw, as a problem document."""

    async def of_ours(_request: Request, error: Exception) -> Response:
        if not isinstance(error, SplitgaugeError):
            raise error
        return _problem(error)

    async def of_framework(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return _problem(_translated(request, error), error.headers)

    async def of_nobody(_request: Request, _error: Exception) -> Response:
        return _problem(MalformedError("the caller left before the request was whole", where="body"))

    app.add_exception_handler(SplitgaugeError, of_ours)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(ClientDisconnect, of_nobody)
    app.add_middleware(LastAnswer)


def _problem(error: SplitgaugeError, headers: Any = None) -> Response:  # noqa: ANN401 - a mapping or nothing
    body: dict[str, Any] = dict(problem_of(error))
    if isinstance(error, InvalidError):
        body["errors"] = error.errors
    return Response(orjson.dumps(body), status_code=error.status, headers=dict(headers or {}), media_type=CONTENT_TYPE)


def _translated(request: Request, error: HTTPException) -> SplitgaugeError:
    if error.status_code == 404:
        return UnknownSubjectError(
            f"there is nothing at {request.url.path}",
            where=request.url.path,
            remedy="The routes stand in /api/v1/openapi.json",
        )
    translated = ContractError(
        f"{request.method} is not possible at {request.url.path}" if error.status_code == 405 else str(error.detail),
        where=request.url.path,
        remedy="The routes stand in /api/v1/openapi.json",
        code="method-not-allowed" if error.status_code == 405 else "invalid",
    )
    translated.status = error.status_code
    return translated
