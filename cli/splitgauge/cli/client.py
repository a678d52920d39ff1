"""The control plane as the command line calls it: one blocking HTTP request at a time, on the standard library.

Owns the mapping of what can go wrong on the way; knows no route.
"""

import http.client
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

import orjson

from splitgauge.cli.failures import RefusedError, UnreachableError
from splitgauge.schemas.errors import ContractError

__all__ = ["Answer", "Client", "path_of"]

TIMEOUT_S = 60.0
"""A change waits for the log; a log that does not answer within this is away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer."""

    status: int
    body: Any
    etag: str | None


def path_of(*parts: str) -> str:
    """A path under `/api/v1`, every part escaped.

    >>> path_of("workloads", "a/b")
    '/api/v1/workloads/a%2Fb'
    """
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


class Client:
    """Calls one server.

    Raises: ContractError for a URL that is none.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ContractError(f"{url!r} is no URL of a server", where="--url", remedy="Write http://HOST:PORT")
        try:
            port = parts.port
        except ValueError as exc:
            raise ContractError(f"{url!r} has no valid port", where="--url", remedy="Write http://HOST:PORT") from exc
        self.url = url.rstrip("/")
        self._base = parts.path.rstrip("/")
        self._host, self._port, self._secure = parts.hostname, port, parts.scheme == "https"

    def get(self, path: str, *needs: str) -> Answer:
        """Read."""
        return self.call("GET", path, needs=needs)

    def find(self, path: str, *needs: str) -> Answer | None:
        """Read; None where there is nothing. Raises: as `call` for all else."""
        try:
            return self.call("GET", path, needs=needs)
        except RefusedError as exc:
            if exc.code == "not-found":
                return None
            raise

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        needs: Collection[str] = (),
    ) -> Answer:
        """One request.

        Args:
            needs: fields that the answer of a Splitgauge server has.

        Raises: UnreachableError where nothing answers, or something else does; RefusedError with the server's own words
            for 4xx and 5xx.
        """
        connection = self._connect()
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, self._base + path, None if body is None else orjson.dumps(body), sent)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise UnreachableError(
                f"no server answers: {_words(exc)}",
                where=self.url,
                remedy="Start `splitgauge up` or a cluster's console, or name another with --url or SPLITGAUGE_URL",
            ) from exc
        finally:
            connection.close()
        answer = self._answer(response, content)
        found = answer.body
        fields = set(cast("dict[str, Any]", found)) if isinstance(found, dict) else set[str]()
        if not fields.issuperset(needs):
            raise self._stranger(f"status {answer.status}, and JSON of another kind")
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)

    def _answer(self, response: http.client.HTTPResponse, content: bytes) -> Answer:
        try:
            body = orjson.loads(content) if content else None
        except orjson.JSONDecodeError as exc:
            raise self._stranger(f"status {response.status}, and no JSON") from exc
        if response.status >= 400:
            raise _refused(response.status, body)
        return Answer(response.status, body, response.getheader("ETag"))

    def _stranger(self, answered: str) -> UnreachableError:
        return UnreachableError(
            f"what answers is not a Splitgauge server: {answered}",
            where=self.url,
            remedy="Name the address that `splitgauge up` printed",
        )


def _refused(status: int, body: Any) -> RefusedError:  # noqa: ANN401 - any JSON value
    problem = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    error = RefusedError(
        str(problem.get("detail") or f"the server answered {status}"),
        where=str(problem.get("where", "")),
        remedy=str(problem.get("remedy", "")),
        code=str(problem.get("code", "refused")),
    )
    error.status = status
    return error


def _words(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
