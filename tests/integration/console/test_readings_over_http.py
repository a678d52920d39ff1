"""What comes through the log is seen over HTTP: windows, looks, decisions of others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from console_harness import Api
from splitgauge.eventlog.port import Record
from splitgauge.schemas.codec import encode
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.topics import ANALYSES, WINDOWS

AT = "2026-11-22T10:00:00.000000Z"


async def append(api: Api, topic: str, kind: Any, data: dict[str, Any], event_id: str = "x") -> None:
    event = wrap(encode(data), type=kind, id=event_id, source="/splitgauge/analyzer", time=AT, subject="e1", key="e1")
    await api.log.append(topic, [Record(event, b"e1")])


def analysis(**changes: Any) -> dict[str, Any]:
    return {
        "experiment_id": "e1",
        "revision": 2,
        "positions": {"0": 1},
        "digests": {},
        "decisions": {"upto": 4, "digest": "00"},
        "looked_at": AT,
        "as_of": AT,
        "previous": None,
        "variants": {},
        "comparisons": [],
        "guardrails": [],
        "health": {"state": "healthy"},
        "verdict": {
            "step": 8,
            "kind": "promote",
            "reason": "better",
            "winner": "challenger",
            "promotable": "challenger",
        },
        **changes,
    }


async def eventually(get: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    async with asyncio.timeout(10):
        while (await get()) != wanted:  # noqa: ASYNC110 - what another part does shows over HTTP only by asking
            await asyncio.sleep(0.01)


async def test_window_and_look_reach_the_results_and_the_winner_is_promoted(active: Api) -> None:
    totals = {"challenger": {"jobs": 3, "answered": 2, "statuses": {"complete": 2, "timeout": 1}, "output_tokens": 8}}
    window = {"experiment_id": "e1", "positions": {"0": 2}, "decisions_offset": 4, "digests": {}, "totals": totals}
    await append(active, WINDOWS.name, "splitgauge.window.v1", window)
    await append(active, ANALYSES.name, "splitgauge.analysis.v1", analysis(), "look-1")

    async def winner() -> object:
        body = (await active.get("/ab-tests/e1/results")).body
        return body["winner"], body["analysis_id"], body["variants"][1]["job_count"]

    await eventually(winner, ("challenger", "look-1", 3))
    promoted = await active.post("/ab-tests/e1/promote")
    assert (promoted.status, promoted.body["winner"]) == (200, "challenger")


async def test_a_reading_that_ends_for_an_unforeseen_reason_makes_the_console_unready(
    active: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ailing(_value: bytes) -> None:
        raise KeyError("totals")

    monkeypatch.setattr(active.console.readings, "take_window", ailing)
    await append(active, WINDOWS.name, "splitgauge.window.v1", {"experiment_id": "e1"})

    async def reason() -> object:
        status = active.console.status()
        return status["ready"], status.get("reason")

    await eventually(reason, (False, "it has failed: KeyError('totals')"))
    assert [record.message for record in caplog.records] == ["console _follow_windows has failed"]


async def test_analyses_are_listed_without_forks(active: Api) -> None:
    await append(active, ANALYSES.name, "splitgauge.analysis.v1", analysis(), "look-1")
    await append(active, ANALYSES.name, "splitgauge.analysis.v1", analysis(positions={"0": 5}), "fork")

    async def listed() -> object:
        body = (await active.get("/ab-tests/e1/analyses")).body
        return [(item["id"], item["offset"], item["positions"]) for item in body["items"]], body["total"]

    await eventually(listed, ([("look-1", 0, {"0": 1})], 1))
    assert (await active.get("/ab-tests/e1/analyses?after=1")).body["items"] == []


async def test_decision_of_another_instance_is_seen(active: Api) -> None:
    others = (await active.get("/ab-tests/e1/decisions")).body["items"]
    decision = {
        "subject": {"kind": "experiment", "id": "e1"},
        "revision": 3,
        "action": "recommend",
        "actor": {"kind": "analyzer", "name": "a1"},
        "reason": "better",
        "recommendation": {"id": "r1", "action": "promote", "variant": "challenger"},
    }
    await append(active, "splitgauge.decisions", "splitgauge.decision.v1", decision)

    async def recommendation() -> object:
        return (await active.get("/ab-tests/e1")).body["recommendation"]

    await eventually(recommendation, {"id": "r1", "action": "promote", "variant": "challenger"})
    assert len((await active.get("/ab-tests/e1/decisions")).body["items"]) == len(others) + 1
    confirmed = await active.post("/ab-tests/e1/recommendations/r1/confirm", {"reason": "agreed"})
    assert (confirmed.body["status"], confirmed.body["winner"]) == ("completed", "challenger")
    assert (await active.get("/workloads/42")).body["promotion"]["variant"] == "challenger"


async def test_event_route_is_part_of_the_application(active: Api) -> None:
    event = {"specversion": "1.0", "id": "r1", "source": "/app", "type": "splitgauge.request.v1"}
    body = {**event, "data": {"workload": 42, "unit": "u", "body": {"x": 1}}}
    answer = await active.post("/events", body, content_type="application/cloudevents+json")
    assert (answer.status, answer.body) == (
        202,
        {"events": [{"topic": "splitgauge.requests", "partition": answer.body["events"][0]["partition"], "offset": 0}]},
    )
    refused = await active.post("/events", {**event, "data": {}}, content_type="application/cloudevents+json")
    assert refused.status in {400, 422}
    assert refused.headers["Content-Type"] == "application/problem+json"
