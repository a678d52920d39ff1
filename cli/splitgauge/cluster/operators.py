"""What a process without the console answers: whether it lives, and whether its roles are ready."""

from collections.abc import Mapping

from fastapi import FastAPI, Response

from splitgauge.console.answers import json_response, render_errors
from splitgauge.console.service import Part
from splitgauge.standalone.application import ASGIApp

__all__ = ["operators_app"]


def operators_app(parts: Mapping[str, Part]) -> ASGIApp:
    """`/healthz` and `/readyz`, as the console has them."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    async def healthz() -> Response:
        return json_response({"status": "ok"})

    async def readyz() -> Response:
        said = {name: dict(part()) for name, part in parts.items()}
        ready = all(part.get("ready") is True for part in said.values())
        return json_response({"ready": ready, "parts": said}, status=200 if ready else 503)

    app.add_api_route("/healthz", healthz)
    app.add_api_route("/readyz", readyz)
    render_errors(app)
    return app
