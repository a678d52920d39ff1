"""One request's life: planned, assigned, forwarded, answered, and ended with one outcome, whatever the end.

Owns the order of these steps and what each end means for the variant. Knows neither ASGI nor where requests come from.

    1. plan                by the table in force
    2. assignment queued   it is on its way to the log while the endpoint works
    3. forward
    4. assignment durable  only then may an answer leave: a crash from here on leaves an assignment to every answer
    5. outcome queued      it can be lost only together with the process; the assignment then counts as missing

Where 4 fails the caller is refused, and the outcome of an assignment that may stand all the same is that it has gone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from splitgauge.router.body import body_for
from splitgauge.router.clock import Clock
from splitgauge.router.credentials import Credentials
from splitgauge.router.events import Assigned, Ending, EventMaker
from splitgauge.router.follower import Follower
from splitgauge.router.headers import answer_headers, request_headers
from splitgauge.router.inquiry import Inquiry
from splitgauge.router.outbox import Outbox, Ticket
from splitgauge.router.plan import Plan, plan, plan_outside
from splitgauge.router.refusal import refusal_of
from splitgauge.router.settings import Durability
from splitgauge.router.splice import splice
from splitgauge.router.token import Token, TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.router.upstream import Answer, AnswerTooLargeError, Call, Upstream
from splitgauge.router.usage import NO_USAGE, cost_of, usage_of
from splitgauge.schemas import instants
from splitgauge.schemas.errors import LogUnavailableError, UpstreamError, UpstreamTimeoutError
from splitgauge.schemas.problem import CONTENT_TYPE
from splitgauge.schemas.traffic import OutcomeStatus

__all__ = ["Exchange", "Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller gets.

    Attributes:
        body: as HTTP callers get it, metadata spliced in.
        own_body: the endpoint's own.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    own_body: bytes
    token: str
    metadata: dict[str, str | None]


class Exchange:
    """Answers requests. All parts are the router's own."""

    def __init__(
        self,
        *,
        follower: Follower,
        outbox: Outbox,
        upstream: Upstream,
        events: EventMaker,
        key: UnitKey,
        tokens: TokenSigner,
        credentials: Credentials,
        clock: Clock,
    ) -> None:
        self._follower = follower
        self._outbox = outbox
        self._upstream = upstream
        self._events = events
        self._key = key
        self._tokens = tokens
        self._credentials = credentials
        self._clock = clock
        self.unmeasured = 0
        """Requests served outside any experiment because the log was away."""

    async def answer(
        self, inquiry: Inquiry, *, request_id: str, durability: Durability, repeatable: bool = False
    ) -> Reply:
        """The reply, when as much is durable as was asked for.

        Cancelled, the caller has gone, and the outcome says so; unless the request is `repeatable`: then it will be
        made again from its event, and have its outcome then.

        Raises: UnknownSubjectError, ContractError: the request names no workload, nothing was written;
            LogUnavailableError: what has to be durable cannot be; UnknownRulesError.
        """
        assigned = self._assign(inquiry, request_id)
        waited_for = durability != "batched"
        ticket = self._outbox.put((self._events.assignment(assigned),), urgent=waited_for, owed=not waited_for)
        started_s = self._clock.monotonic_s()
        try:
            result = await self._forward(assigned.plan, inquiry)
            latency_ms = self._since_ms(started_s)
            if waited_for:
                await ticket.durable()
        except asyncio.CancelledError:
            if not repeatable:
                self._end(assigned, _gone(self._since_ms(started_s)), urgent=False)
            raise
        except LogUnavailableError:
            # The caller is told that there is no answer. Where the assignment may stand, so does that.
            if ticket.doubtful and not repeatable:
                self._end(assigned, _gone(self._since_ms(started_s)), urgent=False)
            raise
        document = _document(result) if isinstance(result, Answer) else None
        ending = self._ending(assigned.plan, result, document, started_s=started_s, latency_ms=latency_ms)
        ticket = self._end(assigned, ending, urgent=durability == "strict")
        if durability == "strict":
            await ticket.durable()
        return self._reply(assigned, result, document)

    def _assign(self, inquiry: Inquiry, request_id: str) -> Assigned:
        table = self._follower.current()
        route = table.route(inquiry)
        refusal = self._outbox.refusal
        if refusal is not None:
            raise refusal
        away = self._outbox.away
        self.unmeasured += away
        planner = plan_outside if away else plan
        planned = planner(route, inquiry, request_id=request_id, key=self._key)
        return Assigned(request_id, planned, instants.to_text(self._clock.now_us()), table.offset)

    async def _forward(self, planned: Plan, inquiry: Inquiry) -> Answer | UpstreamError:
        configuration = planned.configuration
        try:
            secret = self._credentials.secret(configuration.credential)
            call = Call(
                url=_url(configuration.url, inquiry),
                headers=request_headers(inquiry.headers, configuration.headers, secret=secret),
                body=body_for(configuration, inquiry),
                timeout_s=configuration.timeout_s,
            )
            return await self._upstream.call(call)
        except UpstreamError as exc:
            return exc

    def _ending(
        self,
        planned: Plan,
        result: Answer | UpstreamError,
        document: object,
        *,
        started_s: float,
        latency_ms: float,
    ) -> Ending:
        if not isinstance(result, Answer):
            return Ending(_status_of(result), False, False, latency_ms, None, NO_USAGE, None)
        ttft_ms = round(1e3 * (result.first_byte_s - started_s), 3)
        usage = usage_of(document)
        if not _complete(result):
            return Ending("upstream_error", False, True, latency_ms, ttft_ms, usage, None)
        cost = cost_of(usage, planned.configuration.price)
        return Ending("complete", True, True, latency_ms, ttft_ms, usage, cost)

    def _end(self, assigned: Assigned, ending: Ending, *, urgent: bool) -> Ticket:
        time = instants.to_text(self._clock.now_us())
        return self._outbox.put((self._events.outcome(assigned, ending, time=time),), urgent=urgent, owed=True)

    def _reply(self, assigned: Assigned, result: Answer | UpstreamError, document: object) -> Reply:
        planned = assigned.plan
        token = self._tokens.sign(
            Token(assigned.request_id, planned.unit_id, planned.experiment_id, planned.epoch)
            if planned.split
            else Token(assigned.request_id, planned.unit_id)
        )
        metadata = {
            "ab_test_id": planned.experiment_id if planned.split else None,
            "ab_variant_name": planned.variant,
        }
        if isinstance(result, Answer):
            own = result.body
            body = splice(own, document, metadata) if _complete(result) else own
            status, headers = result.status, answer_headers(result.headers, spliced=body is not own, length=len(body))
        else:
            own = body = orjson.dumps(refusal_of(result, openai=planned.configuration.provider == "openai"))
            status, headers = result.status, _problem_headers(len(body))
        for name, value in metadata.items():
            if value is not None:
                headers.append((_METADATA_HEADERS[name], value.encode()))
        headers.append((b"x-splitgauge-request-id", token.encode()))
        return Reply(status, headers, body, own, token, metadata)

    def _since_ms(self, started_s: float) -> float:
        return round(1e3 * (self._clock.monotonic_s() - started_s), 3)


_METADATA_HEADERS = {"ab_test_id": b"x-ab-test-id", "ab_variant_name": b"x-ab-variant-name"}


def _problem_headers(length: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % length)]


def _url(url: str, inquiry: Inquiry) -> str:
    url = url.rstrip("/") + inquiry.operation.suffix if inquiry.operation.suffix else url
    if not inquiry.query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{inquiry.query}"


def _complete(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _status_of(error: UpstreamError) -> OutcomeStatus:
    if isinstance(error, UpstreamTimeoutError):
        return "timeout"
    return "too_large" if isinstance(error, AnswerTooLargeError) else "upstream_error"


def _gone(latency_ms: float) -> Ending:
    return Ending("client_gone", None, False, latency_ms, None, NO_USAGE, None)


def _document(answer: Answer) -> object:
    """The JSON value of an answer that says it is JSON, or does not say what it is; else None."""
    kind = next((value for name, value in answer.headers if name.lower() == b"content-type"), b"json")
    if b"json" not in kind.lower():
        return None
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
