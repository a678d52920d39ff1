"""The upstream application, against a small stand-in for Splitgauge that keeps what it gets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from splitgauge.demo.client import Client
from splitgauge.demo.digits import Images
from splitgauge.demo.schedule import PlannedRequest
from splitgauge.demo.traffic import UpstreamApp
from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.errors import UpstreamError
from splitgauge.schemas.topics import RESPONSES

IMAGES = Images(pixels=[[float(digit)] * 64 for digit in range(3)], labels=[0, 1, 2])


class StandIn:
    """Answers every image with its first pixel, except for 2, which it takes for a 7; fails for the user `unlucky`."""

    def __init__(self, log: SqliteEventLog, *, reports_status: int = 202) -> None:
        self.units: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._log = log
        self._reports_status = reports_status

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/w/digits", self._answer)
        app.router.add_post("/api/v1/reports", self._take_reports)
        app.router.add_post("/api/v1/events", self._take_events)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        unit = request.headers["x-splitgauge-unit"]
        self.units.append(unit)
        if unit == "unlucky":
            return web.json_response({"error": "out of memory"}, status=500, headers={"x-splitgauge-request-id": "t-0"})
        answer = _answer_to(await request.json())
        return web.json_response(answer, headers={"x-splitgauge-request-id": f"t-{len(self.units)}"})

    async def _take_reports(self, request: web.Request) -> web.Response:
        self.reports += await request.json()
        return web.json_response({"detail": "the disk is full"}, status=self._reports_status)

    async def _take_events(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/cloudevents-batch+json"
        events: list[dict[str, Any]] = orjson.loads(await request.read())
        self.events += events
        for event in events:
            if event["type"] == "splitgauge.request.v1":
                await self._log.append(RESPONSES.name, [Record(orjson.dumps({"data": _response_to(event["data"])}))])
        return web.json_response({}, status=202)


def _answer_to(body: dict[str, Any]) -> dict[str, Any]:
    digit = int(body["pixels"][0])
    return {"digit": 7 if digit == 2 else digit, "model": "tree", "metadata": {"ab_variant_name": "control"}}


def _response_to(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "request_id": "inner",
        "caller_request_id": data["request_id"],
        "token": f"t-{data['request_id']}",
        "status": 200,
        "body": _answer_to(data["body"]),
    }


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
    log = SqliteEventLog.open(tmp_path / "data")
    yield log
    await log.close()


async def play(stand_in: StandIn, requests: list[PlannedRequest], *, folder: Path) -> UpstreamApp:
    runner = web.AppRunner(stand_in.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(_, port)] = runner.addresses
    client = Client(f"http://127.0.0.1:{port}")
    log = SqliteEventLog.open_readonly(folder)
    app = UpstreamApp([client], client, images=IMAGES, log=log)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(app.serve())
            await app.send(requests)
            await app.settle(timeout_s=10)
            serving.cancel()
    finally:
        await log.close()
        await client.close()
        await runner.cleanup()
    return app


def planned(number: int, **changes: Any) -> PlannedRequest:
    fields: dict[str, Any] = {
        "at_s": 0.0,
        "user": f"user-{number}",
        "workload": "digits",
        "image": number % 3,
        "by_event": False,
        "report_after_s": (0.0,),
    }
    return PlannedRequest(number, **{**fields, **changes})


async def test_requests_carry_their_unit_and_reports_say_by_token_whether_it_was_right(
    log: SqliteEventLog, tmp_path: Path
) -> None:
    stand_in = StandIn(log)
    app = await play(stand_in, [planned(number) for number in range(3)], folder=tmp_path / "data")
    assert sorted(stand_in.units) == ["user-0", "user-1", "user-2"]
    assert sorted(report["token"] for report in stand_in.reports) == ["t-1", "t-2", "t-3"]
    assert sorted(report["metrics"]["correct"] for report in stand_in.reports) == [False, True, True]
    assert (app.tally.sent, app.tally.reports, len(app.tally.users)) == (3, 3, 3)
    assert {(answer.model, answer.variant, answer.status) for answer in app.tally.answers} == {("tree", "control", 200)}
    assert sum(answer.correct for answer in app.tally.answers) == 2


async def test_request_events_are_answered_through_the_log_and_reported_as_events(
    log: SqliteEventLog, tmp_path: Path
) -> None:
    stand_in = StandIn(log)
    app = await play(stand_in, [planned(1, by_event=True), planned(2)], folder=tmp_path / "data")
    request, report = stand_in.events
    assert request["type"] == "splitgauge.request.v1"
    assert request["data"]["unit"] == "user-1"
    assert report["data"] == {"token": "t-request-1", "metrics": {"correct": True}}
    assert [report["metrics"] for report in stand_in.reports] == [{"correct": False}]
    assert (app.tally.sent, app.tally.by_event, app.tally.reports) == (2, 1, 2)


async def test_reports_come_late_twice_and_out_of_order(log: SqliteEventLog, tmp_path: Path) -> None:
    stand_in = StandIn(log)
    requests = [planned(0, report_after_s=(0.5,)), planned(1, report_after_s=(0.0, 0.3))]
    app = await play(stand_in, requests, folder=tmp_path / "data")
    first, again, late = (report["token"] for report in stand_in.reports)
    assert first == again != late
    assert (app.tally.reports, app.tally.twice, app.tally.out_of_order) == (3, 1, 1)


async def test_a_failed_answer_is_counted_and_not_reported(log: SqliteEventLog, tmp_path: Path) -> None:
    stand_in = StandIn(log)
    app = await play(stand_in, [planned(0, user="unlucky")], folder=tmp_path / "data")
    assert (app.tally.failed, app.tally.reports, stand_in.reports) == (1, 0, [])


async def test_reports_that_are_not_taken_end_the_run_with_the_reason(log: SqliteEventLog, tmp_path: Path) -> None:
    stand_in = StandIn(log, reports_status=503)
    with pytest.RaisesGroup(
        pytest.RaisesExc(UpstreamError, match="answered 503.*the disk is full"), flatten_subgroups=True
    ):
        await play(stand_in, [planned(0)], folder=tmp_path / "data")
