"""Splitgauge as its users reach it: the HTTP API. Knows the addresses; knows nothing of what the demo wants to show."""

from typing import Any, cast

import aiohttp
import orjson

from splitgauge.schemas.errors import MalformedError, UpstreamError

__all__ = ["Client", "Json"]

Json = dict[str, Any]

_IDLE_S = 15.0
"""Connections unused for longer are not used again: well before the server closes its side."""
_PAGE = 1_000
_TIMEOUT_S = 30.0


class Client:
    """Calls on one Splitgauge. Raises: UpstreamError where it does not answer, or not with what was hoped for."""

    def __init__(self, url: str, *, connections: int = 64) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_IDLE_S),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        )

    async def close(self) -> None:
        """Let go of all connections."""
        await self._session.close()

    async def post(
        self, path: str, body: bytes, *, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Any call with a body: status, headers (lower-case names), body."""
        try:
            async with self._session.post(
                self.url + path, data=body, headers={"content-type": "application/json", **(headers or {})}
            ) as response:
                return (
                    response.status,
                    {key.lower(): value for key, value in response.headers.items()},
                    await response.read(),
                )
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise UpstreamError(f"Splitgauge does not answer: {exc or type(exc).__name__}", where=path) from exc

    async def get(self, path: str, *, also: int = 200) -> Json:
        """A JSON object; with status 200, or the other one that is expected."""
        try:
            async with self._session.get(self.url + path) as response:
                status = 200 if response.status == also else response.status
                return _object(path, status, await response.read())
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise UpstreamError(f"Splitgauge does not answer: {exc or type(exc).__name__}", where=path) from exc

    async def readiness(self) -> Json:
        """GET /readyz, ready or not."""
        return await self.get("/readyz", also=503)

    async def define_workload(self, document: Json) -> None:
        """POST /api/v1/workloads."""
        await self._change("/api/v1/workloads", document)

    async def define_experiment(self, document: Json) -> str:
        """POST /api/v1/ab-tests; its id."""
        return str((await self._change("/api/v1/ab-tests", document))["id"])

    async def activate(self, experiment_id: str) -> None:
        """POST /api/v1/ab-tests/{id}/activate."""
        await self._change(f"/api/v1/ab-tests/{experiment_id}/activate", {})

    async def results(self, experiment_id: str) -> Json:
        """GET /api/v1/ab-tests/{id}/results."""
        return await self.get(f"/api/v1/ab-tests/{experiment_id}/results")

    async def decisions(self, experiment_id: str) -> list[Json]:
        """All of GET /api/v1/ab-tests/{id}/decisions."""
        return await self._all(f"/api/v1/ab-tests/{experiment_id}/decisions")

    async def analyses(self, experiment_id: str) -> list[Json]:
        """All of GET /api/v1/ab-tests/{id}/analyses."""
        return await self._all(f"/api/v1/ab-tests/{experiment_id}/analyses")

    async def _all(self, path: str) -> list[Json]:
        items: list[Json] = []
        after: int | None = 0
        while after is not None:
            page = await self.get(f"{path}?limit={_PAGE}&after={after}")
            items += page["items"]
            after = page["next"]
        return items

    async def _change(self, path: str, document: Json) -> Json:
        status, _, body = await self.post(path, orjson.dumps(document))
        return _object(path, status, body)


def _object(path: str, status: int, body: bytes) -> Json:
    try:
        content: Any = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise MalformedError(f"answered {status} and no JSON", where=path) from exc
    if not isinstance(content, dict):
        raise MalformedError(f"answered {status} and no JSON object", where=path)
    answer = cast("Json", content)
    if status >= 400:
        raise UpstreamError(f"answered {status}: {answer.get('detail', answer)}", where=path)
    return answer
