"""Requests that come as events: answered like those over HTTP, and nothing of them can be lost.

Owns the work on `splitgauge.requests`: many at once, finished in any order, committed only as far as all before is
finished. An event counts as finished when its assignment, outcome and response are durable; one that a crash left
unfinished is done again, with the same ids.
"""

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from pydantic import ValidationError

from splitgauge.eventlog.port import EventLog, GroupMember, StoredRecord
from splitgauge.router.clock import Clock
from splitgauge.router.events import EventMaker
from splitgauge.router.exchange import Exchange, Reply
from splitgauge.router.finished_prefix import FinishedPrefix
from splitgauge.router.follower import Follower
from splitgauge.router.inquiry import CHAT, WEBHOOK, Inquiry
from splitgauge.router.json_value import is_object
from splitgauge.router.persistence import Waiting, persistently
from splitgauge.schemas import instants
from splitgauge.schemas.envelope import Envelope, parse
from splitgauge.schemas.errors import ContractError, MalformedError, SplitgaugeError
from splitgauge.schemas.identifiers import request_id_from_log
from splitgauge.schemas.problem import problem_of
from splitgauge.schemas.topics import DEAD_LETTERS, REQUESTS, RESPONSES
from splitgauge.schemas.traffic import RequestData
from splitgauge.schemas.validation import first_fault

__all__ = ["Intake"]

GROUP = "splitgauge-requests"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Intake:
    """Works on request events while `run` runs."""

    def __init__(
        self,
        log: EventLog,
        *,
        exchange: Exchange,
        follower: Follower,
        events: EventMaker,
        clock: Clock,
        concurrency: int,
        grace_s: float,
    ) -> None:
        """
        Args:
            concurrency: events worked on at once, in all partitions together.
            grace_s: how long those under way may take when the router stops; then they are left to be done again.
        """
        self._log = log
        self._exchange = exchange
        self._follower = follower
        self._events = events
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._grace_s = grace_s
        self._lanes: dict[int, _Lane] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self.waiting = Waiting()
        """Requests that cannot be settled now."""

    async def run(self) -> None:
        """Until cancelled; what is under way then is finished first."""
        await persistently(self._take_part)

    async def _take_part(self) -> None:
        async with self._log.join(REQUESTS.name, GROUP) as member, asyncio.TaskGroup() as group:
            try:
                await persistently(partial(self._take, member, group))
            except asyncio.CancelledError:
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=self._grace_s)
                raise

    async def _take(self, member: GroupMember, group: asyncio.TaskGroup) -> None:
        async for batch in member.batches():
            lane = self._lane(batch[0])
            for stored in batch:
                await self._slots.acquire()
                lane.prefix.begin(stored.offset)
                task = group.create_task(self._one(member, lane, stored))
                self._under_way.add(task)
                task.add_done_callback(self._finished)

    def _lane(self, first: StoredRecord) -> "_Lane":
        lane = self._lanes.get(first.partition)
        if lane is None or first.offset <= lane.prefix.newest:
            # Delivered again: the partition was lost and came back. What the earlier ownership still has under way
            # may not commit any more, as its positions say nothing of what is delivered now.
            if lane is not None:
                lane.void = True
            lane = self._lanes[first.partition] = _Lane()
        return lane

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._slots.release()

    async def _one(self, member: GroupMember, lane: "_Lane", stored: StoredRecord) -> None:
        await self._settle(stored)
        lane.prefix.finish(stored.offset)
        if not lane.committing:
            await persistently(partial(lane.commit, member, stored.partition), self.waiting)

    async def _settle(self, stored: StoredRecord) -> None:
        try:
            envelope, request = _read(stored.value)
        except ContractError as exc:
            await self._bury(stored, exc)
            return
        request_id = request_id_from_log(envelope.source, envelope.id)
        answer = partial(self._answer, envelope, request, request_id)
        try:
            data = _response(await persistently(answer, self.waiting), request, request_id)
        except ContractError as exc:
            await self._bury(stored, exc)
            data = _refusal(exc, request, request_id)
        if request.reply:
            await self._respond(stored, data, request)

    async def _respond(self, stored: StoredRecord, data: Mapping[str, Any], request: RequestData) -> None:
        request_id = data["request_id"]
        record = self._events.response(data, request_id=request_id, time=self._now())
        try:
            await persistently(partial(self._log.append, RESPONSES.name, [record]), self.waiting)
        except ContractError as exc:  # the answer is larger than the log takes; that much it does take
            await self._bury(stored, exc)
            refusal = self._events.response(_refusal(exc, request, request_id), request_id=request_id, time=self._now())
            await persistently(partial(self._log.append, RESPONSES.name, [refusal]), self.waiting)

    async def _answer(self, envelope: Envelope, request: RequestData, request_id: str) -> Reply:
        route = self._follower.current().routes.get(str(request.workload))
        inquiry = Inquiry(
            workload=str(request.workload),
            operation=CHAT if route is not None and route.serves.provider == "openai" else WEBHOOK,
            headers=_headers(request.headers),
            body=orjson.dumps(envelope.data["body"]),
            document=envelope.data["body"],
            unit=request.unit,
            attributes=request.attributes,
        )
        return await self._exchange.answer(inquiry, request_id=request_id, durability="strict", repeatable=True)

    async def _bury(self, stored: StoredRecord, error: SplitgaugeError) -> None:
        record = self._events.dead_letter(stored, error, time=self._now())
        await persistently(partial(self._log.append, DEAD_LETTERS.name, [record]), self.waiting)

    def _now(self) -> str:
        return instants.to_text(self._clock.now_us())


class _Lane:
    """One partition under one ownership."""

    def __init__(self) -> None:
        self.prefix = FinishedPrefix()
        self.committing = False
        self.void = False
        self._committed = -1

    async def commit(self, member: GroupMember, partition: int) -> None:
        """Commit as far as all is finished, and what finishes meanwhile."""
        self.committing = True
        try:
            while not self.void and self.prefix.position > self._committed:
                position = self.prefix.position
                await member.commit(partition, position)
                self._committed = position
        finally:
            self.committing = False


def _read(value: bytes) -> tuple[Envelope, RequestData]:
    """Raises: MalformedError, ContractError naming the field."""
    envelope = parse(value)
    if envelope.type != "splitgauge.request.v1":
        raise MalformedError(f"a {envelope.type} is no request", where="/type")
    try:
        request = RequestData.model_validate(envelope.data)
    except ValidationError as exc:
        where, fault = first_fault(exc, envelope.data)
        raise MalformedError(f"no request: {fault}", where=f"/data{where}") from exc
    body: object = envelope.data["body"]
    if request.stream or (is_object(body) and body.get("stream")):
        raise ContractError(
            "streaming is not supported yet",
            where="/data/stream",
            remedy="Send the request without `stream`",
            code="streaming-unsupported",
        )
    return envelope, request


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """In lower case. Raises: ContractError for what HTTP cannot carry, which over HTTP cannot arrive."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ContractError("a header that HTTP cannot carry", where="/data/headers", remedy="Leave it out")
    return {name.lower(): value for name, value in headers.items()}


def _response(reply: Reply, request: RequestData, request_id: str) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "caller_request_id": request.request_id,
        "token": reply.token,
        "status": reply.status,
        "body": _json_or_text(reply.own_body),
        "metadata": reply.metadata,
    }


def _refusal(error: ContractError, request: RequestData, request_id: str) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "caller_request_id": request.request_id,
        "status": error.status,
        "body": problem_of(error),
    }


def _json_or_text(body: bytes) -> object:
    """The endpoint's JSON to the byte, else its text."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
    return orjson.Fragment(body)
