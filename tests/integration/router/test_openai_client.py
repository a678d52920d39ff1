"""The official OpenAI client, unchanged but for its base URL."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import openai
import orjson
import pytest

from router_world import Decider, Endpoint, Gate, observations, routing, serve, specification, workload
from splitgauge.eventlog.memory import MemoryEventLog
from splitgauge.schemas.traffic import OutcomeData
from waiting import until

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "big-2",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}, "logprobs": None}
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}
EMBEDDING = {
    "object": "list",
    "model": "e",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


class Stage:
    """A base workload on one model, a challenger on another."""

    def __init__(self, log: MemoryEventLog, gate: Gate, endpoint: Endpoint) -> None:
        self.log = log
        self.gate = gate
        self.endpoint = endpoint
        self.client = openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key="callers-key", max_retries=0)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    log, endpoint = MemoryEventLog(), Endpoint(COMPLETION)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(endpoint))
        decider = Decider(log)
        await decider.define(
            workload("assistant", f"{url}/v1", provider="openai", model="small-1", parameters={"temperature": 0.2}),
            workload(
                57,
                f"{url}/v1/",
                provider="openai",
                model="big-2",
                system_prompt={"text": "be brief"},
                price={"input_per_million": 1.0, "cached_input_per_million": 0.5, "output_per_million": 2.0},
            ),
        )
        await decider.start("e1", specification("assistant", 57, weight=100))
        gate = await stack.enter_async_context(routing(log, tmp_path))
        stage = Stage(log, gate, endpoint)
        yield stage
        await stage.client.close()


async def test_a_chat_completion_comes_from_the_variant(stage: Stage) -> None:
    raw = await stage.client.chat.completions.with_raw_response.create(
        model="assistant", messages=[{"role": "user", "content": "hi"}], user="anna", temperature=0.7
    )
    completion = raw.parse()
    assert completion.choices[0].message.content == "hello"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12
    assert completion.model_dump()["metadata"] == {"ab_test_id": "e1", "ab_variant_name": "challenger"}
    assert raw.headers["x-ab-variant-name"] == "challenger"
    assert stage.endpoint.asked[0][0]["path"] == "/v1/chat/completions"
    assert stage.endpoint.bodies == [
        {
            "model": "big-2",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
            "user": "anna",
            "temperature": 0.7,
        }
    ]
    assert stage.endpoint.header("authorization") == "Bearer callers-key"

    async def there() -> bool:
        return len(await observations(stage.log, "outcome")) == 1

    await until(there)
    [outcome] = [OutcomeData.model_validate(e.data) for e in await observations(stage.log, "outcome")]
    tokens = outcome.metrics
    assert (tokens.input_tokens, tokens.cached_input_tokens, tokens.output_tokens) == (9, 4, 3)
    assert tokens.cost == pytest.approx((5 * 1.0 + 4 * 0.5 + 3 * 2.0) / 1e6)
    assert outcome.attempts[0].tokens == 12


async def test_the_same_user_is_the_same_unit(stage: Stage) -> None:
    for user in ("anna", "anna", "bert"):
        await stage.client.chat.completions.create(model="assistant", messages=[], user=user)
    units = [event.data["unit_id"] for event in await observations(stage.log, "assignment")]
    assert len(set(units)) == 2


async def test_embeddings_and_responses_go_where_they_belong(stage: Stage) -> None:
    stage.endpoint.raw = orjson.dumps(EMBEDDING)
    result = await stage.client.embeddings.create(model="assistant", input="x", encoding_format="float")
    assert result.data[0].embedding == [0.5, 0.25]
    stage.endpoint.raw = orjson.dumps({"id": "r", "object": "response", "output": [], "metadata": {"mine": "1"}})
    response = await stage.client.responses.create(model="assistant", input="x")
    assert response.metadata == {"mine": "1", "ab_test_id": "e1", "ab_variant_name": "challenger"}
    assert [scope["path"] for scope, _ in stage.endpoint.asked] == ["/v1/embeddings", "/v1/responses"]
    assert stage.endpoint.bodies[1]["instructions"] == "be brief"


async def test_the_models_are_the_workloads(stage: Stage) -> None:
    assert [model.id async for model in stage.client.models.list()] == ["assistant", "57"]


async def test_errors_are_the_clients_own_exceptions(stage: Stage) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no workload 'zzz'") as caught:
        await stage.client.chat.completions.create(model="zzz", messages=[])
    assert (caught.value.code, caught.value.param) == ("unknown-workload", "/model")
    with pytest.raises(openai.UnprocessableEntityError, match="streaming is not supported yet"):
        await stage.client.chat.completions.create(model="assistant", messages=[], stream=True)
    stage.endpoint.status, stage.endpoint.raw = 429, b'{"error": {"message": "slow down", "type": "rate"}}'
    with pytest.raises(openai.RateLimitError, match="slow down"):
        await stage.client.chat.completions.create(model="assistant", messages=[])
