"""The request as a variant gets it: its model, its system prompt, its parameters. Pure.

Owns the precedence: the variant's overrides, the caller, the workload's defaults. Where nothing changes, the caller's
bytes go on as they are.
"""

from typing import Any

import orjson

from splitgauge.router.inquiry import CHAT, RESPONSES, Inquiry, Operation
from splitgauge.router.json_value import is_array, is_object
from splitgauge.schemas.workload import SystemPrompt, WorkloadConfiguration

__all__ = ["body_for"]

_SYSTEM_ROLES = frozenset({"system", "developer"})


def body_for(configuration: WorkloadConfiguration, inquiry: Inquiry) -> bytes:
    """The bytes for the variant's endpoint."""
    caller = inquiry.document
    if not is_object(caller):
        return inquiry.body
    changed = {**configuration.parameters, **caller, **configuration.forced_parameters}
    if configuration.provider == "openai":
        if configuration.model is not None:
            changed["model"] = configuration.model
        if configuration.system_prompt is not None:
            _prompt(changed, configuration.system_prompt, inquiry.operation)
    return inquiry.body if changed == caller else orjson.dumps(changed)


def _prompt(document: dict[str, Any], prompt: SystemPrompt, operation: Operation) -> None:
    if operation is CHAT:
        messages = document.get("messages")
        if is_array(messages):
            document["messages"] = _with_system(messages, prompt)
    elif operation is RESPONSES:
        document["instructions"] = _instructions(document.get("instructions"), prompt)


def _with_system(messages: list[Any], prompt: SystemPrompt) -> list[Any]:
    ours = {"role": "system", "content": prompt.text}
    others = [message for message in messages if not _is_system(message)]
    if prompt.mode == "replace":
        return [ours, *others]
    if prompt.mode == "if_absent" and len(others) < len(messages):
        return messages
    return [ours, *messages]


def _is_system(message: object) -> bool:
    return is_object(message) and message.get("role") in _SYSTEM_ROLES


def _instructions(caller: object, prompt: SystemPrompt) -> object:
    if prompt.mode == "replace" or not isinstance(caller, str) or not caller:
        return prompt.text
    return caller if prompt.mode == "if_absent" else f"{prompt.text}\n\n{caller}"
