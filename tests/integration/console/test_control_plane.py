"""The control plane over real HTTP: what api.md promises, word for word."""

import asyncio
from typing import Any

import pytest

from console_harness import EXPERIMENT, Answer, Api, webhook
from splitgauge.eventlog.port import Record
from splitgauge.schemas.topics import DECISIONS


def problem(answer: Answer) -> tuple[int, str, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["status"] == answer.status
    assert answer.body["detail"]
    return answer.status, answer.body["code"], answer.body.get("where", "")


async def test_three_calls_of_the_contract(defined: Api) -> None:
    created = await defined.post("/ab-tests", EXPERIMENT)
    assert created.status == 201
    experiment_id = created.body["id"]
    assert created.headers["Location"] == f"/api/v1/ab-tests/{experiment_id}"
    assert (created.etag, created.body["status"], created.body["revision"]) == ('"1"', "draft", 1)

    activated = await defined.post(f"/ab-tests/{experiment_id}/activate")
    assert (activated.status, activated.etag, activated.body["status"]) == (200, '"2"', "active")

    results = await defined.get(f"/ab-tests/{experiment_id}/results")
    assert results.status == 200
    assert results.body["winner"] == "inconclusive"
    assert [
        (v["name"], v["traffic_percent"], v["job_count"], v["avg_latency_ms"], v["success_rate"], v["total_tokens"])
        for v in results.body["variants"]
    ] == [("control", 80, 0, None, None, 0), ("challenger", 20, 0, None, None, 0)]


async def test_silent_specification_gets_the_documented_defaults(defined: Api) -> None:
    specification = (await defined.post("/ab-tests", EXPERIMENT)).body["specification"]

    assert specification["goal"] == {"metric": "success", "effect": "absolute"}
    assert [(g["metric"], g["margin"]) for g in specification["guardrails"]] == [
        ("success", 0.005),
        ("latency_ms", 0.05),
    ]
    assert specification["minimum"] == {"units": 100, "requests": 100, "duration_s": 86400.0}
    assert (specification["alpha"], specification["policy"]["promote"]) == (0.05, "recommend")


class TestWorkloads:
    async def test_numeric_id_stays_a_number(self, api: Api) -> None:
        created = await api.post("/workloads", webhook(42, name="mistral"))
        read = await api.get("/workloads/42")

        assert created.headers["Location"] == "/api/v1/workloads/42"
        assert (read.body["id"], read.body["name"], read.etag) == (42, "mistral", '"1"')
        assert read.body["serves"]["url"] == "http://127.0.0.1:9/42"

    async def test_named_id_is_found_by_id_and_name(self, api: Api) -> None:
        await api.post("/workloads", webhook("digits", name="scanned digits"))

        assert (await api.get("/workloads/digits")).body["id"] == "digits"
        assert (await api.get("/workloads/scanned%20digits")).body["id"] == "digits"

    async def test_list_comes_in_pages(self, api: Api) -> None:
        for workload_id in (1, 2, 3):
            await api.post("/workloads", webhook(workload_id))

        first = (await api.get("/workloads?limit=2")).body
        second = (await api.get(f"/workloads?limit=2&after={first['next']}")).body

        assert ([w["id"] for w in first["items"]], first["total"], first["next"]) == ([1, 2], 3, 2)
        assert ([w["id"] for w in second["items"]], second["next"]) == ([3], None)

    async def test_redefined_workload_serves_the_new_definition(self, defined: Api) -> None:
        answer = await defined.call("PUT", "/workloads/42", {"provider": "webhook", "url": "http://127.0.0.1:9/new"})

        assert (answer.status, answer.etag, answer.body["id"]) == (200, '"2"', 42)
        assert answer.body["serves"]["url"] == "http://127.0.0.1:9/new"

    async def test_put_does_not_rename(self, defined: Api) -> None:
        assert problem(await defined.call("PUT", "/workloads/42", webhook(43))) == (422, "invalid", "/id")

    async def test_retired_workload_is_gone_and_its_id_free(self, defined: Api) -> None:
        retired = await defined.call("DELETE", "/workloads/42")
        assert (retired.status, retired.body["retired"]) == (200, True)
        assert problem(await defined.get("/workloads/42"))[:2] == (404, "not-found")

        again = await defined.post("/workloads", webhook(42))
        assert (again.status, again.etag) == (201, '"3"')

    async def test_same_id_twice_is_refused(self, defined: Api) -> None:
        assert problem(await defined.post("/workloads", webhook("42")))[:2] == (409, "illegal-step")

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_workload_in_use_cannot_be_changed(self, active: Api, method: str) -> None:
        body = webhook(57) if method == "PUT" else None
        answer = await active.call(method, "/workloads/57", body)

        assert problem(answer)[:2] == (409, "illegal-step")
        assert "'e1'" in answer.body["detail"]

    async def test_secret_in_a_header_is_refused(self, api: Api) -> None:
        answer = await api.post("/workloads", webhook(1, headers={"Authorization": "Bearer x"}))

        assert problem(answer) == (422, "invalid", "/headers")


class TestBadInput:
    async def test_malformed_json(self, api: Api) -> None:
        assert problem(await api.post("/workloads", b'{"id": 1,'))[:2] == (400, "malformed")

    async def test_no_body(self, api: Api) -> None:
        assert (await api.post("/workloads")).status == 422

    async def test_number_that_is_not_finite_is_no_json(self, api: Api) -> None:
        assert (await api.post("/ab-tests", b'{"name": "x", "alpha": NaN}')).status == 400

    async def test_unknown_field_is_refused_with_its_pointer(self, defined: Api) -> None:
        body: dict[str, Any] = {**EXPERIMENT, "gaurdrails": [], "minimum": {"unit": 5}}
        answer = await defined.post("/ab-tests", body)

        assert answer.status == 422
        assert answer.body["errors"] == [
            {"where": "/minimum/unit", "detail": "unknown field"},
            {"where": "/gaurdrails", "detail": "unknown field"},
        ]

    async def test_every_fault_has_one_pointer_into_the_body(self, defined: Api) -> None:
        body: dict[str, Any] = {
            "base_workload_id": {"no": "id"},
            "variants": [{"name": "control", "workload_id": True, "weight": -1}, {"name": "b c", "workload_id": 1}],
        }
        answer = await defined.post("/ab-tests", body)

        assert [error["where"] for error in answer.body["errors"]] == [
            "/name",
            "/base_workload_id",
            "/variants/0/workload_id",
            "/variants/0/weight",
            "/variants/1/name",
        ]

    async def test_percentages_have_to_add_up(self, defined: Api) -> None:
        variants = [{**EXPERIMENT["variants"][0], "traffic_percent": 70}, EXPERIMENT["variants"][1]]
        answer = await defined.post("/ab-tests", {**EXPERIMENT, "variants": variants})

        assert answer.status == 422
        assert answer.body["detail"] == "traffic_percent has to add up to 100; it adds up to 90"

    async def test_unknown_workload_in_a_body_is_named_by_pointer(self, defined: Api) -> None:
        variants = [EXPERIMENT["variants"][0], {**EXPERIMENT["variants"][1], "workload_id": 58}]
        answer = await defined.post("/ab-tests", {**EXPERIMENT, "variants": variants})
        assert problem(answer) == (422, "unknown-workload", "/variants/1/workload_id")

        answer = await defined.post("/ab-tests", {**EXPERIMENT, "base_workload_id": 1, "control": "control"})
        assert problem(answer) == (422, "unknown-workload", "/base_workload_id")

    @pytest.mark.parametrize("path", ["/workloads/9", "/ab-tests/none", "/ab-tests/none/results", "/nowhere"])
    async def test_what_is_not_there(self, api: Api, path: str) -> None:
        assert problem(await api.get(path))[:2] == (404, "not-found")

    @pytest.mark.parametrize("action", ["activate", "promote", "roll-back", "recommendations/r/confirm"])
    async def test_action_on_an_unknown_experiment(self, api: Api, action: str) -> None:
        assert problem(await api.post(f"/ab-tests/none/{action}"))[:2] == (404, "not-found")

    async def test_method_that_a_route_does_not_have(self, api: Api) -> None:
        answer = await api.call("DELETE", "/ab-tests")
        assert problem(answer)[:2] == (405, "method-not-allowed")
        assert answer.headers["Allow"]

    @pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "after=-1", "status=running"])
    async def test_bad_query(self, api: Api, query: str) -> None:
        status, code, where = problem(await api.get(f"/ab-tests?{query}"))
        assert (status, code, where) == (422, "invalid", f"query {query.split('=')[0]}")

    async def test_body_that_is_too_large(self, api: Api) -> None:
        answer = await api.post("/workloads", b'{"name": "' + b"x" * 2_000_000 + b'"}')
        assert problem(answer)[:2] == (422, "too-large")

    @pytest.mark.parametrize("depth", [70, 251, 900])
    async def test_body_that_is_nested_too_deeply(self, api: Api, depth: int) -> None:
        """An encoder that gives up would make every list with such a workload fail."""
        text = b'{"id": 1, "provider": "webhook", "url": "http://h", "parameters": {"p": %s}}'
        answer = await api.post("/workloads", text % (b"[" * depth + b"]" * depth))
        assert problem(answer)[:2] == (422, "invalid")
        assert (await api.post("/workloads", text % (b"[" * 60 + b"]" * 60))).status == 201
        assert (await api.get("/workloads")).status == 200

    async def test_body_that_no_decoder_takes(self, api: Api) -> None:
        assert problem(await api.post("/workloads", b"[" * 100_000))[:2] == (400, "malformed")


class TestDrafts:
    async def test_patch_changes_the_fields_it_names(self, defined: Api) -> None:
        await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1", "alpha": 0.01})
        answer = await defined.call("PATCH", "/ab-tests/e1", {"name": "other", "minimum": {"units": 7}, "alpha": None})

        specification = answer.body["specification"]
        assert (answer.status, answer.etag, specification["name"]) == (200, '"2"', "other")
        assert specification["minimum"] == {"units": 7, "requests": 100, "duration_s": 86400.0}
        assert specification["alpha"] == 0.05

    async def test_patch_is_checked_as_a_whole(self, defined: Api) -> None:
        await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"})
        assert problem(await defined.call("PATCH", "/ab-tests/e1", {"goal": {"metric": "clicks"}}))[0] == 422
        assert problem(await defined.call("PATCH", "/ab-tests/e1", {"id": "e2"})) == (422, "invalid", "/id")
        assert problem(await defined.call("PATCH", "/ab-tests/e1", [1]))[0] == 422

    async def test_what_runs_is_frozen(self, active: Api) -> None:
        assert problem(await active.call("PATCH", "/ab-tests/e1", {"name": "x"}))[:2] == (409, "illegal-step")
        assert problem(await active.call("DELETE", "/ab-tests/e1"))[:2] == (409, "illegal-step")

    async def test_same_id_twice_is_refused(self, defined: Api) -> None:
        await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"})
        assert problem(await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"})) == (409, "illegal-step", "/id")

    async def test_discarded_draft_is_not_listed_and_its_id_is_free(self, defined: Api) -> None:
        await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"})
        assert (await defined.call("DELETE", "/ab-tests/e1")).body["status"] == "discarded"
        assert (await defined.get("/ab-tests")).body["items"] == []
        assert [e["id"] for e in (await defined.get("/ab-tests?status=discarded")).body["items"]] == ["e1"]

        again = await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"})
        assert (again.status, again.etag, again.body["status"]) == (201, '"3"', "draft")

    async def test_list_by_status(self, active: Api) -> None:
        await active.post("/ab-tests", {**EXPERIMENT, "id": "e2"})
        listed = {s: (await active.get(f"/ab-tests?status={s}")).body["items"] for s in ("draft", "active", "paused")}
        assert {status: [e["id"] for e in items] for status, items in listed.items()} == {
            "draft": ["e2"],
            "active": ["e1"],
            "paused": [],
        }


class TestLifecycle:
    async def test_pause_and_resume(self, active: Api) -> None:
        paused = await active.post("/ab-tests/e1/pause", {"reason": "the model is being replaced"})
        assert (paused.body["status"], paused.etag) == ("paused", '"3"')
        resumed = await active.post("/ab-tests/e1/resume")
        assert (resumed.body["status"], resumed.etag) == ("active", '"4"')

    async def test_illegal_step_says_what_is_legal(self, active: Api) -> None:
        answer = await active.post("/ab-tests/e1/resume")
        assert problem(answer) == (409, "illegal-step", "experiment e1")
        assert answer.body["remedy"] == "Legal now: complete, pause, promote, roll-back, weights"

    async def test_weights_whose_sum_no_float_holds_count_by_their_ratios(self, defined: Api) -> None:
        variants = [
            {"name": name, "workload_id": workload_id, "weight": 1e308}
            for name, workload_id in (("control", 42), ("challenger", 57))
        ]
        assert (await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1", "variants": variants})).status == 201
        assert (await defined.post("/ab-tests/e1/activate")).status == 200
        weighted = await defined.call("PUT", "/ab-tests/e1/weights", {"control": 1.5e308, "challenger": 0.5e308})
        assert [variant["traffic_percent"] for variant in weighted.body["variants"]] == [75, 25]

    @pytest.mark.parametrize("weight", ["5", True, None])
    async def test_weights_are_numbers(self, active: Api, weight: object) -> None:
        refused = await active.call("PUT", "/ab-tests/e1/weights", {"control": 1, "challenger": weight})
        assert (refused.status, refused.body["where"]) == (422, "/challenger")
        assert refused.body["detail"].startswith("has to be a number, not ")

    async def test_second_experiment_on_a_busy_base_workload(self, active: Api) -> None:
        await active.post("/ab-tests", {**EXPERIMENT, "id": "e2"})
        answer = await active.post("/ab-tests/e2/activate")
        assert problem(answer) == (409, "illegal-step", "/traffic")
        assert "'e1'" in answer.body["detail"]

    async def test_weights(self, active: Api) -> None:
        answer = await active.call("PUT", "/ab-tests/e1/weights", {"control": 1, "challenger": 1})
        assert (answer.status, answer.body["epoch"]) == (200, 2)
        assert [v["traffic_percent"] for v in answer.body["variants"]] == [50, 50]

    @pytest.mark.parametrize(
        "weights",
        [{"control": 1}, {"control": 0, "challenger": 0}, {"control": 1, "challenger": -1}, {"a": 1, "b": 1}, 5],
        ids=["one left out", "all 0", "negative", "others", "no object"],
    )
    async def test_weights_that_are_no_split(self, active: Api, weights: object) -> None:
        assert problem(await active.call("PUT", "/ab-tests/e1/weights", weights))[:2] == (422, "invalid")

    async def test_promotion_by_a_person(self, active: Api) -> None:
        body = {"variant": "challenger", "reason": "the old model goes away tomorrow"}
        promoted = await active.post("/ab-tests/e1/promote", body)
        assert (promoted.body["status"], promoted.body["winner"]) == ("completed", "challenger")

        workload = (await active.get("/workloads/42")).body
        assert workload["serves"]["url"] == "http://127.0.0.1:9/57"
        assert workload["promotion"] == {"experiment_id": "e1", "variant": "challenger"}
        assert workload["revision"] == 2
        timeline = (await active.get("/ab-tests/e1/decisions")).body["items"]
        assert timeline[-1]["reason"] == "the old model goes away tomorrow"
        assert timeline[-1]["actor"] == {"kind": "user", "name": "api"}

    async def test_promotion_without_a_name_needs_a_winner(self, active: Api) -> None:
        answer = await active.post("/ab-tests/e1/promote")
        assert problem(answer) == (409, "no-winner", "experiment e1")
        assert "there is no analysis yet" in answer.body["detail"]

    async def test_promotion_of_nobody(self, active: Api) -> None:
        answer = await active.post("/ab-tests/e1/promote", {"variant": "nobody"})
        assert problem(answer) == (409, "illegal-step", "/variant")

    async def test_roll_back_of_the_only_challenger_completes(self, active: Api) -> None:
        answer = await active.post("/ab-tests/e1/roll-back", {"reason": "complaints"})
        assert (answer.body["status"], answer.body["winner"]) == ("completed", "control")
        assert (await active.get("/workloads/42")).body["revision"] == 1

    async def test_roll_back_of_one_of_several_has_to_name_it(self, defined: Api) -> None:
        third = {"name": "third", "workload_id": 57, "overrides": {"parameters": {"t": 0}}, "traffic_percent": 10}
        variants = [{**EXPERIMENT["variants"][0], "traffic_percent": 70}, EXPERIMENT["variants"][1], third]
        await defined.post("/ab-tests", {**EXPERIMENT, "id": "e1", "variants": variants})
        await defined.post("/ab-tests/e1/activate")
        assert problem(await defined.post("/ab-tests/e1/roll-back"))[::2] == (422, "/variant")

        answer = await defined.post("/ab-tests/e1/roll-back", {"variant": "third"})
        assert (answer.body["status"], answer.body["epoch"]) == ("active", 2)
        assert answer.body["variants"] == [
            {"name": "control", "traffic_percent": 80, "rolled_back": False},
            {"name": "challenger", "traffic_percent": 20, "rolled_back": False},
            {"name": "third", "traffic_percent": 0, "rolled_back": True},
        ]

    async def test_complete_leaves_the_workload_as_it_is(self, active: Api) -> None:
        answer = await active.post("/ab-tests/e1/complete")
        assert (answer.body["status"], answer.body["winner"]) == ("completed", "inconclusive")
        assert (await active.get("/workloads/42")).body["promotion"] is None

    async def test_unknown_recommendation(self, active: Api) -> None:
        for action in ("confirm", "dismiss"):
            answer = await active.post(f"/ab-tests/e1/recommendations/r1/{action}")
            assert problem(answer)[:2] == (409, "illegal-step")

    async def test_timeline_shows_every_decision(self, active: Api) -> None:
        items = (await active.get("/ab-tests/e1/decisions")).body["items"]
        assert [(item["action"], item["revision"], item["accepted"]) for item in items] == [
            ("define", 1, True),
            ("activate", 2, True),
        ]


class TestConditions:
    async def test_stale_revision_is_refused_before_anything_else(self, active: Api) -> None:
        for path in ("pause", "resume", "promote", "activate"):
            answer = await active.post(f"/ab-tests/e1/{path}", if_match='"1"')
            assert problem(answer)[:2] == (412, "stale-revision"), path
        assert (await active.get("/ab-tests/e1")).etag == '"2"'

    async def test_present_revision_passes(self, active: Api) -> None:
        assert (await active.post("/ab-tests/e1/pause", if_match='"2"')).status == 200

    async def test_etag_that_is_none(self, active: Api) -> None:
        assert (await active.post("/ab-tests/e1/pause", if_match='"abc"')).status == 412

    async def test_stale_revision_of_a_workload(self, defined: Api) -> None:
        assert (await defined.call("PUT", "/workloads/42", webhook(42), if_match='"7"')).status == 412
        assert (await defined.call("PUT", "/workloads/42", webhook(42), if_match='"1"')).status == 200
        assert (await defined.call("DELETE", "/workloads/42", if_match='"1"')).status == 412

    async def test_same_key_gets_the_same_answer_again(self, defined: Api) -> None:
        first = await defined.post("/ab-tests", EXPERIMENT, idempotency_key="k1")
        await defined.post(f"/ab-tests/{first.body['id']}/activate")
        again = await defined.post("/ab-tests", EXPERIMENT, idempotency_key="k1")

        assert (again.status, again.body, again.etag) == (first.status, first.body, first.etag)
        assert (await defined.get("/ab-tests")).body["total"] == 1

    async def test_same_key_with_another_request_is_refused(self, active: Api) -> None:
        await active.post("/ab-tests/e1/pause", idempotency_key="k1")
        for path, body in (("pause", {"reason": "other"}), ("resume", None)):
            answer = await active.post(f"/ab-tests/e1/{path}", body, idempotency_key="k1")
            assert problem(answer) == (422, "idempotency-key-reused", "Idempotency-Key")

    async def test_failed_request_does_not_use_up_its_key(self, active: Api) -> None:
        assert (await active.post("/ab-tests/e1/resume", idempotency_key="k1")).status == 409
        await active.post("/ab-tests/e1/pause")
        assert (await active.post("/ab-tests/e1/resume", idempotency_key="k1")).status == 200

    async def test_same_key_at_the_same_time_changes_once(self, defined: Api) -> None:
        answers = await asyncio.gather(
            *(defined.post("/ab-tests", {**EXPERIMENT, "id": "e1"}, idempotency_key="k1") for _ in range(5))
        )
        assert {answer.status for answer in answers} == {201}
        assert len({answer.body["revision"] for answer in answers}) == 1

    async def test_racing_writers_one_wins(self, active: Api) -> None:
        answers = await asyncio.gather(
            *(active.call("PUT", "/ab-tests/e1/weights", {"control": 1, "challenger": n}) for n in range(1, 7))
        )
        statuses = sorted(answer.status for answer in answers)
        assert statuses[0] == 200
        assert set(statuses) <= {200, 409}
        won = [answer.body["revision"] for answer in answers if answer.status == 200]
        assert (await active.get("/ab-tests/e1")).body["revision"] == max(won) == 2 + len(won)

    async def test_racing_writers_of_one_revision_one_wins(self, active: Api) -> None:
        answers = await asyncio.gather(
            *(
                active.call("PUT", "/ab-tests/e1/weights", {"control": 1, "challenger": n}, if_match='"2"')
                for n in range(1, 7)
            )
        )
        assert sorted(answer.status for answer in answers) == [200] + [412] * 5


class TestOtherSites:
    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    async def test_page_of_another_site_changes_nothing(self, active: Api, site: str) -> None:
        answers = [
            await active.post("/ab-tests/e1/pause", sec_fetch_site=site),
            await active.post("/workloads", webhook(1), sec_fetch_site=site),
            await active.call("PUT", "/ab-tests/e1/weights", {"control": 1, "challenger": 1}, sec_fetch_site=site),
        ]
        assert {problem(answer)[:2] for answer in answers} == {(403, "cross-site")}
        assert (await active.get("/ab-tests/e1")).etag == '"2"'

    async def test_own_page_may(self, active: Api) -> None:
        assert (await active.post("/ab-tests/e1/pause", sec_fetch_site="same-origin")).status == 200


class TestOperators:
    async def test_health(self, api: Api) -> None:
        async with api.session.get("/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})

    async def test_ready(self, active: Api) -> None:
        async with active.session.get("/readyz") as response:
            assert response.status == 200
            assert await response.json() == {
                "ready": True,
                "parts": {"console": {"ready": True, "decisions_offset": 4}},
            }

    async def test_decision_under_unknown_rules_makes_it_unready_and_refuses_changes(self, active: Api) -> None:
        [record] = await active.log.read(DECISIONS.name, 0, 3)
        later = record.value.replace(b'"rules":1', b'"rules":2')
        await active.log.append(DECISIONS.name, [Record(later, b"e1")])

        assert problem(await active.post("/ab-tests/e1/pause"))[:2] == (503, "unknown-rules")
        async with active.session.get("/readyz") as response:
            body = await response.json()
        assert (response.status, body["ready"]) == (503, False)
        assert "rules" in body["parts"]["console"]["reason"]

    async def test_openapi_document_names_the_bodies(self, api: Api) -> None:
        document = (await api.get("/openapi.json")).body
        assert document["openapi"].startswith("3.1")
        post = document["paths"]["/api/v1/ab-tests"]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ExperimentSpecification"}
        assert {"ExperimentSpecification", "Workload", "Problem"} <= set(document["components"]["schemas"])
        events = document["paths"]["/api/v1/events"]["post"]
        assert set(events["requestBody"]["content"]) == {
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
        }
        assert set(events["responses"]) == {"202", "default"}
