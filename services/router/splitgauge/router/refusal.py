"""Errors as callers of the data path see them. Pure.

Owns what is added for OpenAI clients: they look for `error.message`, and would show a bare status otherwise.
"""

from typing import Any

from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.problem import problem_of

__all__ = ["refusal_of"]


def refusal_of(error: SplitgaugeError, *, openai: bool) -> dict[str, Any]:
    """The problem document; for OpenAI clients with the member `error` beside the others (RFC 9457, section 3.2)."""
    problem: dict[str, Any] = dict(problem_of(error))
    if openai:
        problem["error"] = {
            "message": str(error),
            "type": "invalid_request_error" if error.status < 500 else "server_error",
            "param": error.where or None,
            "code": error.code,
        }
    return problem
