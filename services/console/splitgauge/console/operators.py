"""What operators ask every process: whether it lives, whether its parts are ready, and their numbers for Prometheus.

Owns paths and forms; what a part says of itself is the part's. Its numbers become metrics under their own names, so
that `/metrics` and `/readyz` never tell two stories: `spool_bytes` of the part `router` is
`splitgauge_router_spool_bytes`, and what is called `..._total` is a counter.
"""

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from splitgauge.console.answers import json_response

__all__ = ["OPERATORS_PATHS", "Part", "exposition", "operator_routes"]

OPERATORS_PATHS = ("/healthz", "/readyz", "/metrics")

Part = Callable[[], Mapping[str, object]]
"""What a part of the process says of itself; `ready` among it."""

_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def operator_routes(parts: Mapping[str, Part]) -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics` of these parts, by name."""
    routes = APIRouter(tags=["operators"])

    health, readiness, numbers = OPERATORS_PATHS

    @routes.get(health, summary="Whether the process lives")
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @routes.get(readiness, summary="Whether it can serve, part by part")
    async def readyz() -> Response:
        said = {name: dict(part()) for name, part in parts.items()}
        ready = all(part.get("ready") is True for part in said.values())
        return json_response({"ready": ready, "parts": said}, status=200 if ready else 503)

    @routes.get(numbers, response_class=PlainTextResponse, summary="The numbers of all parts, for Prometheus")
    async def metrics() -> Response:
        return Response(exposition({name: part() for name, part in parts.items()}), media_type=_TEXT_FORMAT)

    return routes


def exposition(said: Mapping[str, Mapping[str, object]]) -> bytes:
    """Numbers and truths in Prometheus' text format 0.0.4; text and what is nested is left to `/readyz`."""
    lines: list[str] = []
    for part, status in said.items():
        for name, value in status.items():
            if isinstance(value, int | float):
                metric = f"splitgauge_{part}_{name}"
                kind = "counter" if name.endswith("_total") else "gauge"
                lines += [f"# TYPE {metric} {kind}", f"{metric} {value + 0}"]
    return "".join(f"{line}\n" for line in lines).encode()
