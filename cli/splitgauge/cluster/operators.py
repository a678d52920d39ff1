"""What a process without the console answers: whether it lives, whether its roles are ready, and their numbers."""

from collections.abc import Mapping

from fastapi import FastAPI

from splitgauge.console.answers import render_errors
from splitgauge.console.last_answer import ASGIApp
from splitgauge.console.operators import Part, operator_routes

__all__ = ["operators_app"]


def operators_app(parts: Mapping[str, Part]) -> ASGIApp:
    """`/healthz`, `/readyz` and `/metrics`, as the console has them."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(operator_routes(parts))
    render_errors(app)
    return app
