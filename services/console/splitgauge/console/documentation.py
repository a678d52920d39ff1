"""The OpenAPI 3.1 document: what FastAPI finds by itself, and the bodies that we read ourselves.

Bodies are read by `request_body`, byte for byte and with pointers to every fault, so FastAPI does not know their
models; each route names its own here.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from splitgauge.console.change_bodies import Promotion, Reason, RollBack
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.problem import CONTENT_TYPE
from splitgauge.schemas.workload import Workload

__all__ = ["describe", "documented"]

_REFERENCE = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (ExperimentSpecification, Promotion, Reason, RollBack, Workload)
_CHANGE_HEADERS: list[dict[str, Any]] = [
    {
        "name": "If-Match",
        "in": "header",
        "description": "the ETag that the change was decided on; 412 when it is no longer the present one",
        "schema": {"type": "string"},
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "the same key with the same request gets the same answer again, and changes nothing",
        "schema": {"type": "string", "maxLength": 255},
    },
]


def documented(
    summary: str,
    *,
    body: type[BaseModel] | dict[str, Any] | None = None,
    body_required: bool = True,
    status: int = 200,
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """What OpenAPI says of a route beside what FastAPI finds: `openapi_extra`."""
    extra: dict[str, Any] = {"summary": summary, "parameters": list(parameters), "x-status": status}
    if body is not None:
        schema = body if isinstance(body, dict) else {"$ref": _REFERENCE.format(model=body.__name__)}
        extra["requestBody"] = {"required": body_required, "content": {"application/json": {"schema": schema}}}
    return extra


def describe(app: FastAPI, *, version: str) -> None:
    """Let `app.openapi()` give the whole document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=version, routes=app.routes, description=app.description)
            _complete(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this as the way to extend the document


def _complete(document: dict[str, Any]) -> None:
    _, definitions = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REFERENCE)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(definitions["$defs"])
    schemas["Problem"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)  # FastAPI's own; ours are problem documents
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete_operation(method, operation)


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    status = operation.pop("x-status", None)
    operation["responses"].pop("422", None)
    if status is None:
        return  # a route that FastAPI describes by itself
    if method != "get":
        operation["parameters"] = [*operation.get("parameters", []), *_CHANGE_HEADERS]
    if not operation.get("parameters"):
        operation.pop("parameters", None)
    operation["responses"] = {
        str(status): {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}},
        "default": {
            "description": "What is wrong, where, and what to do",
            "content": {CONTENT_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
        },
    }


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable: safe to branch on"},
        "detail": {"type": "string"},
        "where": {"type": "string", "description": "JSON pointer, header, query parameter, or subject"},
        "remedy": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"where": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
