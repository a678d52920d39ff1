"""What a variant is asked: precedence of parameters, system prompts, the model."""

from typing import Any

import orjson
import pytest

from splitgauge.router.body import body_for
from splitgauge.router.inquiry import CHAT, EMBEDDINGS, RESPONSES, WEBHOOK, Inquiry, Operation
from splitgauge.schemas.workload import Overrides, WorkloadConfiguration

USER = {"role": "user", "content": "hi"}
THEIRS = {"role": "system", "content": "theirs"}
OURS = {"role": "system", "content": "ours"}


def sent(fields: dict[str, Any], document: Any, operation: Operation = CHAT) -> Any:
    provider = operation.provider
    configuration = WorkloadConfiguration.model_validate({"provider": provider, "url": "http://h/v1", **fields})
    return orjson.loads(body_for(configuration, inquiry(document, operation)))


def inquiry(document: Any, operation: Operation) -> Inquiry:
    return Inquiry("w", operation, {}, orjson.dumps(document), document)


def test_what_nobody_changes_goes_on_to_the_byte() -> None:
    body = b'{ "a": 1.0, "a": 2 }'
    configuration = WorkloadConfiguration(provider="webhook", url="http://h")
    assert body_for(configuration, Inquiry("w", WEBHOOK, {}, body, orjson.loads(body))) is body


def test_the_variant_goes_before_the_caller_and_the_caller_before_the_workload() -> None:
    base = WorkloadConfiguration(provider="webhook", url="http://h", parameters={"a": "w", "b": "w", "c": "w"})
    variant = base.overridden(Overrides(parameters={"a": "v"}))
    body = body_for(variant, inquiry({"a": "c", "b": "c"}, WEBHOOK))
    assert orjson.loads(body) == {"a": "v", "b": "c", "c": "w"}


def test_a_webhook_body_that_is_no_object_has_no_parameters() -> None:
    assert sent({"parameters": {"a": 1}}, [1, 2], WEBHOOK) == [1, 2]


def test_the_endpoint_is_asked_for_its_own_model() -> None:
    assert sent({"model": "gpt"}, {"model": "w", "messages": []})["model"] == "gpt"
    assert sent({}, {"model": "w", "messages": []})["model"] == "w"


@pytest.mark.parametrize(
    ("mode", "caller", "expected"),
    [
        ("replace", [THEIRS, USER], [OURS, USER]),
        ("replace", [{"role": "developer", "content": "x"}, USER], [OURS, USER]),
        ("prepend", [THEIRS, USER], [OURS, THEIRS, USER]),
        ("if_absent", [THEIRS, USER], [THEIRS, USER]),
        ("if_absent", [USER], [OURS, USER]),
    ],
)
def test_system_prompt_of_a_chat(mode: str, caller: list[Any], expected: list[Any]) -> None:
    prompt = {"text": "ours", "mode": mode}
    assert sent({"system_prompt": prompt}, {"model": "w", "messages": caller})["messages"] == expected


@pytest.mark.parametrize(
    ("mode", "caller", "expected"),
    [
        ("replace", "theirs", "ours"),
        ("prepend", "theirs", "ours\n\ntheirs"),
        ("prepend", None, "ours"),
        ("if_absent", "theirs", "theirs"),
        ("if_absent", None, "ours"),
    ],
)
def test_system_prompt_of_a_response(mode: str, caller: str | None, expected: str) -> None:
    document = {"model": "w", "instructions": caller}
    assert sent({"system_prompt": {"text": "ours", "mode": mode}}, document, RESPONSES)["instructions"] == expected


def test_embeddings_have_no_system_prompt() -> None:
    document = {"model": "w", "input": "x"}
    assert sent({"system_prompt": {"text": "ours"}}, document, EMBEDDINGS) == document
