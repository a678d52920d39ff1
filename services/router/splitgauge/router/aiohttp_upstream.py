"""The upstream port on aiohttp's client.

Owns the settings that keep the client from helping: no decompression, redirects, cookies, or proxies from the
environment. Foreign exceptions end here.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp

from splitgauge.router.upstream import Answer, AnswerTooLargeError, Call
from splitgauge.schemas.errors import UpstreamError, UpstreamTimeoutError

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

__all__ = ["AiohttpUpstream"]

IDLE_S = 4.0
"""Common servers close idle connections after 5 s: giving them up before keeps a request from meeting a closing one."""
CONNECTIONS = 2_000
"""In total; more requests than this wait for a connection, within their time-out."""

_connected_anew: ContextVar[list[bool]] = ContextVar("_connected_anew")


class AiohttpUpstream:
    """One session for all endpoints; belongs to the event loop that it was made in."""

    def __init__(self, *, answer_bytes: int, monotonic_s: Callable[[], float]) -> None:
        """`answer_bytes`: the largest body taken."""
        self._answer_bytes = answer_bytes
        self._monotonic_s = monotonic_s
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=CONNECTIONS, keepalive_timeout=IDLE_S, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        )

    async def call(self, call: Call) -> Answer:
        anew = [False]
        _connected_anew.set(anew)
        try:
            return await self._once(call)
        except TimeoutError as exc:
            raise _late(call) from exc
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as exc:
            # No head came. A reused connection was closed before the request arrived; on a new one the endpoint took
            # the request and broke off, and may have acted on it.
            if anew[0]:
                raise _broken(exc) from exc
        except (aiohttp.ClientError, ValueError) as exc:
            raise _broken(exc) from exc
        return await self._again(call)

    async def close(self) -> None:
        await self._session.close()

    async def _again(self, call: Call) -> Answer:
        try:
            return await self._once(call)
        except TimeoutError as exc:
            raise _late(call) from exc
        except (aiohttp.ClientError, ConnectionError, ValueError) as exc:
            raise _broken(exc) from exc

    async def _once(self, call: Call) -> Answer:
        async with self._session.post(
            call.url,
            data=call.body,
            headers=call.headers,
            allow_redirects=False,
            timeout=self._timeout(call.timeout_s),
        ) as response:
            first_byte_s = self._monotonic_s()
            try:
                body = await self._body(response)
            except (aiohttp.ClientConnectionError, ConnectionError) as exc:  # the head was there: not to be repeated
                if isinstance(exc, TimeoutError):
                    raise
                raise _broken(exc) from exc
            return Answer(response.status, response.raw_headers, body, first_byte_s)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        limit, length = self._answer_bytes, response.content_length
        if length is not None and length <= limit:
            return await response.read()
        chunks: list[bytes] = []
        size = 0
        if length is None:
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    break
        if length is not None or size > limit:
            response.close()
            raise AnswerTooLargeError(
                f"the endpoint answered more than {limit} bytes",
                where="answer",
                remedy="Let it answer less, or raise the router's setting `answer_bytes`",
            )
        return b"".join(chunks)

    def _timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(total_s)
        if timeout is None:
            timeout = self._timeouts[total_s] = aiohttp.ClientTimeout(total=total_s)
        return timeout


class _Connector(aiohttp.TCPConnector):
    """Notes, for the request under way in this context, that it got a connection of its own."""

    async def _create_connection(
        self,
        req: "ClientRequest",
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> "ResponseHandler":
        _connected_anew.get([False])[0] = True
        return await super()._create_connection(req, traces, timeout)


def _late(call: Call) -> UpstreamTimeoutError:
    return UpstreamTimeoutError(
        f"the endpoint did not answer within {call.timeout_s:g} s",
        where="endpoint",
        remedy="Try again, or raise the workload's `timeout_s`",
    )


def _broken(error: Exception) -> UpstreamError:
    return UpstreamError(
        f"the endpoint could not be reached or broke off ({_kind(error)})",
        where="endpoint",
        remedy="See whether it is up: the workload's `url` says where",
    )


def _kind(error: Exception) -> str:
    """What went wrong in a word or two: texts of foreign errors may repeat URLs and bodies."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{type(error).__name__}, {error.os_error.strerror or 'no reason given'}"
    return type(error).__name__
