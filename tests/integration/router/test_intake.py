"""Requests and reports that come as events."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from router_world import AilingLog, Decider, Endpoint, events_of, observations, produce, routing, splitting, workload
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.eventlog.port import Record
from splitgauge.router import intake
from splitgauge.schemas.envelope import Envelope
from splitgauge.schemas.identifiers import live_event_id, report_id_from_log, request_id_from_log
from splitgauge.schemas.topics import DEAD_LETTERS, REPORTS, REQUESTS, RESPONSES
from splitgauge.schemas.traffic import OutcomeData, ResponseData
from waiting import until


class Stage:
    """A log with an experiment, and an endpoint."""

    def __init__(self, log: AilingLog, endpoint: Endpoint, folder: Path) -> None:
        self.log = log
        self.endpoint = endpoint
        self.folder = folder

    async def request(self, event_id: str, **data: Any) -> None:
        await produce(
            self.log,
            REQUESTS.name,
            "splitgauge.request.v1",
            {"workload": "a", "body": {"q": 1}, **data},
            event_id=event_id,
        )

    async def report(self, event_id: str, **data: Any) -> None:
        await produce(
            self.log, REPORTS.name, "splitgauge.report.v1", {"metrics": {"ok": True}, **data}, event_id=event_id
        )

    async def events(self, topic: str, n: int) -> list[Envelope]:
        """Of a topic, once there are so many."""

        async def there() -> bool:
            return len(await events_of(self.log, topic)) >= n

        await until(there)
        found = await events_of(self.log, topic)
        assert len(found) == n
        return found

    async def responses(self, n: int) -> list[ResponseData]:
        return [ResponseData.model_validate(event.data) for event in await self.events(RESPONSES.name, n)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    log, endpoint = AilingLog(MemoryEventLog()), Endpoint({"n": 1})
    async with splitting(log, endpoint, weight=0) as url:
        await Decider(log).define(workload("chat", f"{url}/v1", provider="openai", model="m"))
        yield Stage(log, endpoint, tmp_path)


async def test_who_cannot_join_at_first_joins_later(stage: Stage) -> None:
    stage.log.joins_in_vain = 4
    await stage.request("r1")
    await stage.report("e1", unit="anna")
    async with routing(stage.log, stage.folder):
        [response] = await stage.responses(1)

        async def reported() -> bool:
            return len(await observations(stage.log, "report")) == 1

        await until(reported)
    assert (response.status, stage.log.joins_in_vain) == (200, 0)


async def test_a_request_event_is_answered_like_one_over_http(stage: Stage) -> None:
    await stage.request("r1", request_id="mine", unit="anna", headers={"X-Tier": "gold"})
    async with routing(stage.log, stage.folder) as gate:
        [response] = await stage.responses(1)
        over_http = await gate.ask("anna")
    request_id = request_id_from_log("/app", "r1")
    assert (response.request_id, response.caller_request_id, response.status) == (request_id, "mine", 200)
    assert response.body == {"n": 1}
    assert (response.metadata.ab_test_id, response.metadata.ab_variant_name) == ("e1", "control")
    assert stage.endpoint.header("x-tier") is None  # of the second request
    assert stage.endpoint.bodies == [{"q": 1}, {"q": 1}]
    first, second = await observations(stage.log, "assignment")
    assert first.id == live_event_id(request_id, "assignment")
    assert first.data["unit_id"] == second.data["unit_id"]
    assert over_http.variant == response.metadata.ab_variant_name


async def test_an_openai_workload_gets_a_chat(stage: Stage) -> None:
    await stage.request("r1", workload="chat", body={"messages": []})
    async with routing(stage.log, stage.folder):
        await stage.responses(1)
    assert stage.endpoint.asked[0][0]["path"] == "/v1/chat/completions"
    assert stage.endpoint.bodies == [{"messages": [], "model": "m"}]


async def test_delivered_again_it_makes_the_same_ids(stage: Stage) -> None:
    await stage.request("r1", unit="anna")
    await stage.request("r1", unit="anna")
    async with routing(stage.log, stage.folder):
        await stage.responses(2)
    assert len({event.id for event in await events_of(stage.log, RESPONSES.name)}) == 1
    assert len({event.id for event in await observations(stage.log)}) == 2


async def test_without_reply_there_is_no_response(stage: Stage) -> None:
    await stage.request("r1", reply=False)
    await stage.request("r2")
    async with routing(stage.log, stage.folder):
        await stage.responses(1)
    assert len(await observations(stage.log, "outcome")) == 2


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"not json", "malformed"),
        (b'{"specversion":"1.0","id":"x","source":"/app","type":"other","data":{}}', "malformed"),
        (b'{"specversion":"1.0","id":"x","source":"/app","type":"splitgauge.request.v1","data":{}}', "malformed"),
    ],
)
async def test_what_is_no_request_goes_to_the_dead_letters_without_its_bytes(
    stage: Stage, event: bytes, code: str
) -> None:
    await stage.log.append(REQUESTS.name, [Record(event, b"k")])
    await stage.request("r2")
    async with routing(stage.log, stage.folder):
        await stage.responses(1)
        [letter] = await stage.events(DEAD_LETTERS.name, 1)
    assert (letter.data["topic"], letter.data["offset"], letter.data["code"]) == (REQUESTS.name, 0, code)
    assert base64.b64encode(event).decode() not in orjson.dumps(letter.data).decode()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({"workload": "zzz"}, 404, "unknown-workload"),
        ({"headers": {"x": "a\r\nb: c"}}, 422, "invalid"),
    ],
)
async def test_who_waits_for_an_answer_is_told_why_there_is_none(
    stage: Stage, data: dict[str, Any], status: int, code: str
) -> None:
    await stage.request("r1", **data)
    async with routing(stage.log, stage.folder):
        [response] = await stage.responses(1)
        [letter] = await stage.events(DEAD_LETTERS.name, 1)
    assert response.status == status
    assert isinstance(response.body, dict)
    assert response.body["code"] == letter.data["code"] == code
    assert await observations(stage.log) == []


async def test_many_finish_and_none_is_done_again_after_a_restart(stage: Stage) -> None:
    for i in range(50):
        await stage.request(f"r{i}", unit=f"u{i}")
    async with routing(stage.log, stage.folder, intake_concurrency=8):
        await stage.responses(50)
    async with routing(stage.log, stage.folder):
        await stage.request("last")
        await stage.responses(51)
    assert len(stage.endpoint.asked) == 51


async def test_what_a_stop_leaves_unfinished_is_done_again_with_the_same_ids(stage: Stage) -> None:
    stage.endpoint.delay_s = 30
    await stage.request("r1", unit="anna")
    async with routing(stage.log, stage.folder, stop_grace_s=0.05):

        async def working() -> bool:
            return len(stage.endpoint.asked) == 1

        await until(working)
    assert await observations(stage.log, "outcome") == []
    stage.endpoint.delay_s = 0
    async with routing(stage.log, stage.folder):
        await stage.responses(1)
    assert len({event.id for event in await observations(stage.log, "assignment")}) == 1
    [outcome] = await observations(stage.log, "outcome")
    assert OutcomeData.model_validate(outcome.data).status == "complete"


async def test_a_stop_lets_what_is_under_way_finish(stage: Stage) -> None:
    stage.endpoint.delay_s = 0.2
    await stage.request("r1")
    async with routing(stage.log, stage.folder):

        async def working() -> bool:
            return len(stage.endpoint.asked) == 1

        await until(working)
    assert len(await stage.responses(1)) == 1


async def test_while_the_log_is_away_requests_from_it_wait_and_are_answered_once(stage: Stage) -> None:
    async with routing(stage.log, stage.folder, log_patience_s=0.05) as gate:
        await stage.request("r1", unit="anna")
        stage.log.failing = True

        async def waiting() -> bool:
            return len(stage.endpoint.asked) == 1 and gate.router.status()["log_away"] is True

        await until(waiting)
        stage.log.recover()
        await stage.responses(1)

        async def brought_back() -> bool:
            return len({event.id for event in await observations(stage.log)}) == 2

        # What was spooled is durable, and comes to the log in its own time.
        await until(brought_back)


async def test_events_wait_while_dead_letters_cannot_be_written_and_the_router_says_what_for(stage: Stage) -> None:
    stage.log.refusing = {DEAD_LETTERS.name}
    async with routing(stage.log, stage.folder) as gate:
        await stage.log.append(REQUESTS.name, [Record(b"no request", b"k")])
        await stage.report("p1", token="forged")

        async def said() -> bool:
            status = gate.router.status()
            return (status["waiting_request_events"], status["waiting_report_batches"]) == (1, 1)

        await until(said)
        status = gate.router.status()
        assert status["waiting_reason"] == f"{DEAD_LETTERS.name}: a test wants it."
        assert (status["ready"], (await gate.ask("anna")).status) == (True, 200)

        stage.log.refusing = set()
        letters = await stage.events(DEAD_LETTERS.name, 2)
        assert {letter.data["topic"] for letter in letters} == {REQUESTS.name, REPORTS.name}

        async def nothing_waits() -> bool:
            status = gate.router.status()
            return not (status["waiting_request_events"] or status["waiting_report_batches"])

        await until(nothing_waits)
        assert "waiting_reason" not in gate.router.status()


async def test_an_intake_that_has_ended_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def ailing(*_: object) -> None:
        raise KeyError("a test wants it")

    monkeypatch.setattr(intake, "_read", ailing)
    async with routing(stage.log, stage.folder) as gate:
        await stage.request("r1")

        async def unready() -> bool:
            return not gate.router.ready

        await until(unready)
        assert gate.router.status()["reason"] == "router intake has ended; the log of the process says why"


async def test_reports_from_the_log_are_attributed_and_bad_ones_buried(stage: Stage) -> None:
    async with routing(stage.log, stage.folder) as gate:
        token = (await gate.ask("anna")).token
        await stage.report("p1", token=token)
        await stage.report("p2", unit="anna", experiment_id="e1", metrics={"stars": 3})
        await stage.report("p3", token="forged")
        await stage.report("p4", unit="anna", metrics={"stars": "NaN"})
        await stage.report("p5", unit="anna", experiment_id="zzz")

        letters = await stage.events(DEAD_LETTERS.name, 3)

        async def there() -> bool:
            return len(await observations(stage.log, "report")) == 2

        await until(there)
    by_token, by_unit = sorted(await observations(stage.log, "report"), key=lambda e: "request_id" not in e.data)
    assert by_token.id == report_id_from_log("/app", "p1")
    assert (by_token.data["experiment_id"], by_token.data["epoch"]) == ("e1", 1)
    assert by_unit.data["unit_id"] == by_token.data["unit_id"]
    assert by_unit.time == "2026-11-22T10:00:00.000000Z"
    assert sorted(letter.data["code"] for letter in letters) == ["malformed", "unknown-experiment", "unknown-token"]
