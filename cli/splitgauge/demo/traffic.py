"""The upstream application: asks for digits over HTTP and through the log, and reports later whether they were right.

Owns what was sent and what came back; knows nothing of variants and verdicts beyond what an answer tells it.
"""

import asyncio
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from time import time_ns
from typing import Any, NamedTuple, cast

import orjson

from splitgauge.demo.client import Client
from splitgauge.demo.digits import Images
from splitgauge.demo.experiments import GOAL
from splitgauge.demo.schedule import PlannedRequest
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas.errors import UpstreamError
from splitgauge.schemas.topics import RESPONSES

__all__ = ["Answer", "Tally", "UpstreamApp"]

SOURCE = "/demo/upstream-app"
_FLUSH_EVERY_S = 0.1
_IN_FLIGHT = 48
_MODEL_IS_SILENT = ""


class Answer(NamedTuple):
    """What came back for one request: the endpoint's own answer, and what Splitgauge says of it."""

    workload: str
    sent_us: int
    model: str
    variant: str | None
    status: int
    correct: bool


@dataclass(slots=True)
class Tally:
    """What the application did."""

    sent: int = 0
    by_event: int = 0
    answers: list[Answer] = field(default_factory=list[Answer])
    users: set[str] = field(default_factory=set[str])
    reports: int = 0
    late: int = 0
    twice: int = 0
    out_of_order: int = 0

    @property
    def failed(self) -> int:
        """Answers that were no success."""
        return sum(answer.status >= 400 for answer in self.answers)

    def newest_models(self, workload: str, *, limit: int) -> list[str]:
        """Who answered the last requests to a workload."""
        newest = (answer.model for answer in reversed(self.answers) if answer.workload == workload)
        return list(islice(newest, limit))


class _Report(NamedTuple):
    due: float
    tie: int
    number: int
    token: str
    correct: bool
    by_event: bool


class UpstreamApp:
    """One run of the application. `send` the schedule while `serve` goes on; then `settle`."""

    def __init__(self, routers: Sequence[Client], console: Client, *, images: Images, log: EventLog) -> None:
        """Requests and reports go to the routers in turn, events to the console; answers to these come in the log."""
        self.tally = Tally()
        self._routers = cycle(routers)
        self._console = console
        self._images = images
        self._log = log
        self._asked: dict[str, tuple[PlannedRequest, int]] = {}
        self._events: list[dict[str, Any]] = []
        self._reports: list[_Report] = []
        self._ties = count()
        self._unreported = 0
        self._newest_reported = -1
        self._gate = asyncio.Semaphore(_IN_FLIGHT)

    async def serve(self) -> None:
        """Send what is due in batches, and read the answers to request events, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_responses())
            while True:
                await asyncio.sleep(_FLUSH_EVERY_S)
                await self._flush()

    async def send(self, requests: Iterable[PlannedRequest]) -> None:
        """All of them, each at its time; back when the last one over HTTP is answered."""
        clock = asyncio.get_running_loop().time
        start = clock()
        async with asyncio.TaskGroup() as tasks:
            for request in requests:
                await asyncio.sleep(max(0.0, start + request.at_s - clock()))
                self.tally.sent += 1
                self.tally.users.add(request.user)
                if request.by_event:
                    self._ask_by_event(request)
                    continue
                await self._gate.acquire()
                tasks.create_task(self._ask(request))

    async def settle(self, *, timeout_s: float) -> None:
        """Wait until all answers are there and all reports are sent.

        Raises: UpstreamError where request events stay without an answer.
        """
        clock = asyncio.get_running_loop().time
        give_up = clock() + timeout_s
        while self._asked or self._unreported:
            if clock() > give_up:
                raise UpstreamError(
                    f"{len(self._asked)} request events without an answer and {self._unreported} reports not taken "
                    f"{timeout_s:g} s after the last request",
                    where="the upstream app",
                )
            await asyncio.sleep(_FLUSH_EVERY_S)

    async def _ask(self, request: PlannedRequest) -> None:
        try:
            sent_us = _now_us()
            status, headers, body = await next(self._routers).post(
                f"/w/{request.workload}",
                orjson.dumps({"pixels": self._images.pixels[request.image]}),
                headers={"x-splitgauge-unit": request.user},
            )
        finally:
            self._gate.release()
        answer = self._answer(request, sent_us, status=status, body=orjson.loads(body))
        self._take(request, answer, token=headers.get("x-splitgauge-request-id"))

    def _ask_by_event(self, request: PlannedRequest) -> None:
        key = f"request-{request.number}"
        data = {
            "request_id": key,
            "workload": request.workload,
            "unit": request.user,
            "body": {"pixels": self._images.pixels[request.image]},
        }
        self.tally.by_event += 1
        self._asked[key] = (request, _now_us())
        self._events.append(_event("splitgauge.request.v1", key, data))

    async def _read_responses(self) -> None:
        positions = dict.fromkeys(await self._log.bounds(RESPONSES.name), 0)
        async for batch in self._log.follow(RESPONSES.name, positions):
            for record in batch:
                self._take_response(orjson.loads(record.value)["data"])

    def _take_response(self, data: dict[str, Any]) -> None:
        asked = self._asked.pop(data["caller_request_id"] or "", None)
        if asked is None:
            return
        request, sent_us = asked
        answer = self._answer(request, sent_us, status=data["status"], body=data["body"])
        self._take(request, answer, token=data["token"])

    def _answer(self, request: PlannedRequest, sent_us: int, *, status: int, body: Any) -> Answer:  # noqa: ANN401 - the endpoint's JSON
        content = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        metadata: dict[str, Any] = content.get("metadata", {})
        return Answer(
            workload=request.workload,
            sent_us=sent_us,
            model=content.get("model", _MODEL_IS_SILENT),
            variant=metadata.get("ab_variant_name"),
            status=status,
            correct=content.get("digit") == self._images.labels[request.image],
        )

    def _take(self, request: PlannedRequest, answer: Answer, *, token: str | None) -> None:
        self.tally.answers.append(answer)
        if answer.status >= 400 or token is None:
            return
        now = asyncio.get_running_loop().time()
        self.tally.late += request.late
        self.tally.twice += len(request.report_after_s) == 2
        self._unreported += len(request.report_after_s)
        for after_s in request.report_after_s:
            report = _Report(
                now + after_s, next(self._ties), request.number, token, answer.correct, by_event=request.by_event
            )
            heapq.heappush(self._reports, report)

    async def _flush(self) -> None:
        due = self._due_reports()
        listed = [{"token": report.token, "metrics": {GOAL: report.correct}} for report in due if not report.by_event]
        events, self._events = self._events, []
        for report in due:
            if report.by_event:
                data = {"token": report.token, "metrics": {GOAL: report.correct}}
                events.append(_event("splitgauge.report.v1", f"report-{report.number}", data))
        if listed:
            await _give(next(self._routers), "/api/v1/reports", listed, content_type="application/json")
        if events:
            await _give(self._console, "/api/v1/events", events, content_type="application/cloudevents-batch+json")
        self.tally.reports += len(due)
        self._unreported -= len(due)

    def _due_reports(self) -> list[_Report]:
        now = asyncio.get_running_loop().time()
        due: list[_Report] = []
        while self._reports and self._reports[0].due <= now:
            report = heapq.heappop(self._reports)
            self.tally.out_of_order += report.number < self._newest_reported
            self._newest_reported = max(self._newest_reported, report.number)
            due.append(report)
        return due


async def _give(client: Client, path: str, items: list[dict[str, Any]], *, content_type: str) -> None:
    status, _, body = await client.post(path, orjson.dumps(items), headers={"content-type": content_type})
    if status != 202:
        raise UpstreamError(f"answered {status}: {body.decode(errors='replace')[:300]}", where=path)


def _now_us() -> int:
    return time_ns() // 1_000


def _event(kind: str, key: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"specversion": "1.0", "id": key, "source": SOURCE, "type": kind, "data": data}
