"""The data path over HTTP: what callers see, and what is left in the log."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import orjson
import pytest

from router_world import BY, Decider, Endpoint, Gate, observations, routing, serve, specification, workload
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.experiments import commands
from splitgauge.schemas.traffic import AssignmentData, OutcomeData, ReportObservationData
from waiting import until


class Stage:
    """Workloads a and b on two endpoints, a router before them."""

    def __init__(self, log: MemoryEventLog, gate: Gate, a: Endpoint, b: Endpoint) -> None:
        self.log = log
        self.gate = gate
        self.decider = Decider(log)
        self.a = a
        self.b = b

    async def start(self, *, weight: float = 50) -> None:
        """An experiment of b against a."""
        await self.decider.start("e1", specification("a", "b", weight=weight))
        await self.gate.up_to_date()

    async def redefine(self, **fields: object) -> None:
        """Workload a."""
        await self.decider.decide(
            lambda r: commands.redefine_workload(r, r.workloads["a"].workload.model_copy(update=fields), BY)
        )
        await self.gate.up_to_date()

    async def outcomes(self, n: int) -> list[OutcomeData]:
        """The outcomes, once there are so many."""

        async def there() -> bool:
            return len(await observations(self.log, "outcome")) >= n

        await until(there)
        found = await observations(self.log, "outcome")
        assert len(found) == n
        return [OutcomeData.model_validate(event.data) for event in found]

    async def assignments(self) -> list[AssignmentData]:
        return [AssignmentData.model_validate(e.data) for e in await observations(self.log, "assignment")]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    log, a, b = MemoryEventLog(), Endpoint({"from": "a", "n": 1.0}), Endpoint({"from": "b"})
    async with AsyncExitStack() as stack:
        url_a, url_b = await stack.enter_async_context(serve(a)), await stack.enter_async_context(serve(b))
        gate = await stack.enter_async_context(
            routing(log, tmp_path, request_bytes=1_000, answer_bytes=100_000, outcome_linger_s=0.0)
        )
        stage = Stage(log, gate, a, b)
        await stage.decider.define(workload("a", url_a, name="first"), workload("b", url_b))
        await gate.up_to_date()
        yield stage


async def test_the_caller_sees_the_endpoints_answer_and_the_metadata(stage: Stage) -> None:
    await stage.start(weight=0)
    reply = await stage.gate.ask("anna")
    assert reply.status == 200
    assert reply.body == b'{"from":"a","n":1.0,"metadata":{"ab_test_id":"e1","ab_variant_name":"control"}}'
    assert (reply.headers["x-ab-test-id"], reply.variant) == ("e1", "control")
    assert reply.headers["content-type"] == "application/json"


async def test_without_experiment_the_metadata_says_so(stage: Stage) -> None:
    reply = await stage.gate.ask("anna")
    assert reply.json["metadata"] == {"ab_test_id": None, "ab_variant_name": None}
    assert "x-ab-test-id" not in reply.headers
    [assignment] = await stage.assignments()
    assert (assignment.reason, assignment.variant, assignment.workload) == ("default", None, "a")


async def test_the_body_goes_on_to_the_byte(stage: Stage) -> None:
    body = b'{ "a" : 1.50, "a": "\\u00e9" }\n'
    await stage.gate.post("/w/first?x=1", body=body, content_type="application/json")
    scope, received = stage.a.asked[0]
    assert received == body
    assert scope["query_string"] == b"x=1"
    assert stage.a.header("content-type") == "application/json"


async def test_one_assignment_and_one_outcome_say_what_happened(stage: Stage) -> None:
    await stage.start(weight=100)
    stage.b.raw = orjson.dumps({"usage": {"input_tokens": 3, "output_tokens": 2}})
    reply = await stage.gate.ask("anna")
    [assignment], [outcome] = await stage.assignments(), await stage.outcomes(1)
    assert (assignment.reason, assignment.variant, assignment.experiment_id, assignment.epoch) == (
        "split",
        "challenger",
        "e1",
        1,
    )
    assert not assignment.own_unit
    assert assignment.decisions_offset == stage.gate.router.status()["decisions_offset"]
    same = ("experiment_id", "epoch", "workload", "request_id", "unit_id", "variant", "reason", "decisions_offset")
    assert all(getattr(assignment, field) == getattr(outcome, field) for field in same)
    assert (outcome.status, outcome.served, outcome.metrics.success) == ("complete", "challenger", True)
    assert (outcome.metrics.input_tokens, outcome.metrics.output_tokens) == (3, 2)
    assert outcome.metrics.latency_ms is not None
    assert outcome.metrics.ttft_ms is not None
    assert outcome.metrics.ttft_ms <= outcome.metrics.latency_ms
    [event] = await observations(stage.log, "assignment")
    assert event.time == outcome.assigned_at
    assert (event.subject, event.partitionkey, event.source) == ("e1", assignment.unit_id, "/splitgauge/router")
    assert assignment.unit_id not in reply.body.decode()


async def test_the_same_unit_gets_the_same_variant_and_the_split_follows_the_weights(stage: Stage) -> None:
    await stage.start(weight=30)
    replies = [await stage.gate.ask(f"u{i % 200}") for i in range(400)]
    seen = [reply.variant for reply in replies]
    assert seen[:200] == seen[200:]
    assert 30 <= Counter(seen[:200])["challenger"] <= 90
    assert [reply.json["from"] for reply in replies] == ["b" if v == "challenger" else "a" for v in seen]


async def test_requests_without_unit_are_their_own(stage: Stage) -> None:
    await stage.start()
    for _ in range(3):
        await stage.gate.ask()
    assignments = await stage.assignments()
    assert all(assignment.own_unit for assignment in assignments)
    assert len({assignment.unit_id for assignment in assignments}) == 3


async def test_an_endpoints_own_error_passes_as_it_is_and_is_counted(stage: Stage) -> None:
    stage.a.status, stage.a.raw = 429, b'{"error": "slow down"}'
    stage.a.headers.append((b"retry-after", b"7"))
    reply = await stage.gate.ask("anna")
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (429, b'{"error": "slow down"}', "7")
    [outcome] = await stage.outcomes(1)
    assert (outcome.status, outcome.metrics.success) == ("upstream_error", False)


async def test_a_slow_endpoint_is_a_timeout(stage: Stage) -> None:
    stage.a.delay_s = 30
    await stage.redefine(timeout_s=0.3)
    reply = await stage.gate.ask("anna")
    assert (reply.status, reply.json["code"]) == (504, "upstream-timeout")
    assert reply.headers["content-type"] == "application/problem+json"
    [outcome] = await stage.outcomes(1)
    assert (outcome.status, outcome.metrics.success, outcome.served) == ("timeout", False, None)


async def test_an_endpoint_that_is_down_is_an_error_with_a_remedy(stage: Stage) -> None:
    await stage.decider.define(workload("down", "http://127.0.0.1:9/x"))
    await stage.gate.up_to_date()
    reply = await stage.gate.ask("anna", workload="down")
    assert (reply.status, reply.json["code"]) == (502, "upstream-failed")
    assert reply.json["remedy"]
    assert reply.token
    [outcome] = await stage.outcomes(1)
    assert (outcome.status, outcome.metrics.success) == ("upstream_error", False)


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(stage: Stage) -> None:
    stage.a.raw = b" " * 100_001
    reply = await stage.gate.ask("anna")
    assert (reply.status, reply.json["code"]) == (502, "upstream-too-large")
    [outcome] = await stage.outcomes(1)
    assert (outcome.status, outcome.metrics.success) == ("too_large", False)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"<html>", b"text/html"),
        (b"[1.0]", b"application/json"),
        (b"{broken", b"application/json"),
        (b'{"a":1}', b"text/plain"),
    ],
)
async def test_what_is_no_json_object_passes_untouched_with_headers(stage: Stage, raw: bytes, kind: bytes) -> None:
    await stage.start(weight=0)
    stage.a.raw, stage.a.headers = raw, [(b"content-type", kind)]
    reply = await stage.gate.ask("anna")
    assert (reply.status, reply.body, reply.variant) == (200, raw, "control")


async def test_a_caller_that_leaves_aborts_the_call_and_is_counted(stage: Stage) -> None:
    stage.a.delay_s = 60
    await stage.redefine(timeout_s=60.0)

    async def under_way() -> bool:
        return len(stage.a.asked) == 1

    async with aiohttp.ClientSession() as session:
        asking = asyncio.ensure_future(session.post(stage.gate.url + "/w/a", data=b"{}"))
        await until(under_way)
        asking.cancel()
        await asyncio.wait((asking,))
    [outcome] = await stage.outcomes(1)
    assert (outcome.status, outcome.metrics.success) == ("client_gone", None)

    async def aborted() -> bool:
        return stage.a.left == 1

    await until(aborted)


async def test_every_request_leaves_one_assignment_and_one_outcome(stage: Stage) -> None:
    await stage.start()
    stage.b.status = 500
    await asyncio.gather(*(stage.gate.ask(f"u{i}") for i in range(200)))
    outcomes = await stage.outcomes(200)
    assignments = await stage.assignments()
    assert len({a.request_id for a in assignments}) == len(assignments) == 200
    assert {a.request_id for a in assignments} == {o.request_id for o in outcomes}


@pytest.mark.parametrize("body", [b"", b"{", b"{'a': 1}", b'{"a": NaN}', b"\xff", b'{"a": 1}}'])
async def test_malformed_json_is_refused_with_its_place(stage: Stage, body: bytes) -> None:
    reply = await stage.gate.post("/w/a", body=body)
    assert (reply.status, reply.json["code"]) == (400, "malformed")
    assert reply.json["where"].startswith("line 1")
    assert await stage.assignments() == []
    assert stage.a.asked == []


@pytest.mark.parametrize(
    ("path", "document", "status", "code"),
    [
        ("/w/zzz", {}, 404, "unknown-workload"),
        ("/w/", {}, 404, "unknown-workload"),
        ("/v1/chat/completions", {"model": "zzz", "messages": []}, 404, "unknown-workload"),
        ("/v1/chat/completions", {"model": "a", "messages": []}, 422, "wrong-provider"),
        ("/v1/chat/completions", {"messages": []}, 422, "invalid"),
        ("/v1/chat/completions", [], 422, "invalid"),
        ("/v1/chat/completions", {"model": "a", "stream": True}, 422, "streaming-unsupported"),
        ("/nowhere", {}, 404, "not-found"),
        ("/w/a", {"a": "x" * 1_000}, 413, "request-too-large"),
    ],
)
async def test_requests_that_cannot_be_routed_are_problems(
    stage: Stage, path: str, document: object, status: int, code: str
) -> None:
    reply = await stage.gate.post(path, document)
    assert (reply.status, reply.json["status"], reply.json["code"]) == (status, status, code)
    assert reply.json["remedy"]
    assert await stage.assignments() == []


async def test_a_body_without_declared_length_has_the_same_limit(stage: Stage) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    async with aiohttp.ClientSession() as session, session.post(stage.gate.url + "/w/a", data=chunks()) as response:
        assert response.status == 413


async def test_methods_that_a_path_does_not_take_are_refused(stage: Stage) -> None:
    for path, method in (("/w/a", "GET"), ("/v1/models", "POST"), ("/api/v1/reports", "PUT")):
        assert (await stage.gate.post(path, {}, method=method)).status == 405


async def test_models_are_the_workloads(stage: Stage) -> None:
    reply = await stage.gate.post("/v1/models", method="GET", body=b"")
    assert [(model["id"], model["object"], model["name"]) for model in reply.json["data"]] == [
        ("a", "model", "first"),
        ("b", "model", ""),
    ]


async def test_a_report_by_token_is_the_requests(stage: Stage) -> None:
    await stage.start()
    token = (await stage.gate.ask("anna")).token
    reply = await stage.gate.post("/api/v1/reports", [{"token": token, "metrics": {"ok": True}}])
    assert (reply.status, reply.json) == (202, {"accepted": 1})
    [event] = await observations(stage.log, "report")
    report = ReportObservationData.model_validate(event.data)
    [assignment] = await stage.assignments()
    assert (report.unit_id, report.request_id) == (assignment.unit_id, assignment.request_id)
    assert (report.experiment_id, report.epoch, report.metrics) == ("e1", 1, {"ok": True})


async def test_a_report_by_unit_goes_to_the_units_partition(stage: Stage) -> None:
    await stage.gate.ask("anna")
    reports = [{"unit": "anna", "metrics": {"stars": 4.5}, "time": "2026-11-22T10:00:00Z"}]
    assert (await stage.gate.post("/api/v1/reports", reports, idempotency_key="k")).status == 202
    [event], [assignment] = await observations(stage.log, "report"), await stage.assignments()
    assert event.data["unit_id"] == assignment.unit_id
    assert "request_id" not in event.data
    assert event.time == "2026-11-22T10:00:00Z"


async def test_of_a_list_with_one_bad_report_none_is_taken(stage: Stage) -> None:
    token = (await stage.gate.ask("anna")).token
    good = {"token": token, "metrics": {"ok": 1}}
    for bad, where, status in (
        ({"token": "forged", "metrics": {"ok": 1}}, "/1/token", 404),
        ({"unit": "anna", "id": "1", "experiment": "zzz", "metrics": {"ok": 1}}, "/1/experiment", 404),
        ({"unit": "anna", "id": "1", "metrics": {"ok": "1"}}, "/1/metrics/ok", 422),
    ):
        reply = await stage.gate.post("/api/v1/reports", [good, bad])
        assert reply.status == status
        assert reply.json["where"].startswith(where)
    not_finite = b'[{"unit": "anna", "id": "1", "metrics": {"ok": NaN}}]'
    assert (await stage.gate.post("/api/v1/reports", body=not_finite)).status == 400
    assert await observations(stage.log, "report") == []


async def test_credentials_go_to_the_endpoint_and_nowhere_else(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "ours")
    await stage.decider.decide(
        lambda r: commands.redefine_workload(
            r, r.workloads["a"].workload.model_copy(update={"credential": "env:A_KEY"}), BY
        )
    )
    await stage.gate.up_to_date()
    await stage.gate.post("/w/a", {}, authorization="Bearer callers", cookie="c=secret")
    assert stage.a.header("authorization") == "Bearer ours"
    assert stage.a.header("cookie") is None
    await stage.gate.post("/w/b", {}, authorization="Bearer callers", cookie="c=secret")
    assert stage.b.header("authorization") == "Bearer callers"
    await stage.outcomes(2)
    logged = str(await observations(stage.log))
    assert "ours" not in logged
    assert "callers" not in logged
    assert "secret" not in logged


async def test_a_credential_that_is_not_there_is_the_variants_failure(stage: Stage) -> None:
    await stage.decider.define(workload("x", "http://127.0.0.1:9", credential="env:NOT_SET_ANYWHERE"))
    await stage.gate.up_to_date()
    reply = await stage.gate.ask("anna", workload="x")
    assert (reply.status, reply.json["code"]) == (502, "credential-missing")
    [outcome] = await stage.outcomes(1)
    assert outcome.status == "upstream_error"


async def test_a_decision_applies_to_the_next_request(stage: Stage) -> None:
    await stage.start(weight=100)
    assert (await stage.gate.ask("anna")).json["from"] == "b"
    await stage.decider.decide(lambda r: commands.roll_back_variant(r, "e1", "challenger", BY))
    await stage.gate.up_to_date()
    reply = await stage.gate.ask("anna")
    assert (reply.json["from"], reply.variant) == ("a", None)
